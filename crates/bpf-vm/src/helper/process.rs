//! Time, randomness, the current process, and its memory.

use super::*;
use crate::world::Environment;

pub(super) fn ktime(shared: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(shared.time.now())
}

pub(super) fn ktime_tai(shared: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(shared.time.atomic())
}

/// `CONFIG_HZ=250`, as many distributions have it.
const TICK: u64 = 4_000_000;
/// Five minutes before the counter of 32 bits wraps: where it begins (`INITIAL_JIFFIES`).
const FIRST_TICK: u64 = (-300i32 * 250) as u32 as u64;

pub(super) fn jiffies(shared: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(FIRST_TICK + shared.time.now() / TICK)
}

pub(super) fn random(shared: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(shared.random.next().into())
}

pub(super) fn processor(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(cpu(call)?.into())
}

pub(super) fn numa_node(_: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(0)
}

pub(super) fn pid_tgid(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let process = &call.state::<State>()?.environment.process;
    Ok(u64::from(process.tgid) << 32 | u64::from(process.pid))
}

pub(super) fn uid_gid(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let process = &call.state::<State>()?.environment.process;
    Ok(u64::from(process.gid) << 32 | u64::from(process.uid))
}

/// `TASK_COMM_LEN`.
const COMM: usize = 16;

pub(super) fn comm(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, size, ..] = call.arguments;
    let comm = call.state::<State>()?.environment.process.comm.clone().into_bytes();
    // As strscpy_pad: cut, closed by NUL, the rest zeroed.
    call.check(address, size, true)?;
    let mut bytes = vec![0; size as usize];
    let length = comm.len().min(COMM - 1).min(bytes.len().saturating_sub(1));
    bytes[..length].copy_from_slice(&comm[..length]);
    call.write(address, &bytes)?;
    Ok(0)
}

pub(super) fn task(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.state::<State>()?.environment.process.task)
}

pub(super) fn cgroup(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.state::<State>()?.environment.process.cgroup_id)
}

pub(super) fn ancestor_cgroup(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let level = call.arguments[0] as i32;
    let process = &call.state::<State>()?.environment.process;
    let level = usize::try_from(level).ok();
    Ok(level.and_then(|level| process.cgroup_ancestors.get(level).copied()).unwrap_or_default())
}

pub(super) fn netns(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.state::<State>()?.environment.netns_cookie)
}

pub(super) fn return_value(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(i64::from(call.state::<State>()?.return_value) as u64)
}

pub(super) fn set_return_value(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let value = call.arguments[0] as i32;
    call.state::<State>()?.return_value = value;
    Ok(0)
}

/// Reads memory that may not be there: what isn't lent can't be read, and the program gets zeroes.
pub(super) fn probe_read(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [to, size, from, ..] = call.arguments;
    let size = size as u32;
    call.check(to, size.into(), true)?;
    let mut bytes = vec![0; size as usize];
    let read = call.check(from, size.into(), false).is_ok();
    if read {
        call.read(from, &mut bytes)?;
    }
    call.write(to, &bytes)?;
    code(if read { Ok(()) } else { Err(Errno::EFAULT) })
}

pub(super) fn probe_read_str(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [to, size, from, ..] = call.arguments;
    let size = size as u32;
    call.check(to, size.into(), true)?;
    if size == 0 {
        return Ok(0);
    }
    match read_string(call, from, size as usize - 1) {
        Ok(mut text) => {
            text.push(0);
            call.write(to, &text)?;
            Ok(text.len() as u64)
        }
        Err(_) => {
            call.write(to, &vec![0; size as usize])?;
            code(Err(Errno::EFAULT))
        }
    }
}

pub(super) fn storage_get(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, task, initial, flags, _] = call.arguments;
    let process = &call.state::<State>()?.environment.process;
    // The current task is the only one that there is.
    if task != process.task {
        return Ok(0);
    }
    let owner = process.pid.into();
    sockets::storage_of(shared, call, map, owner, initial, flags)
}

pub(super) fn storage_delete(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, task, ..] = call.arguments;
    let process = &call.state::<State>()?.environment.process;
    if task != process.task {
        return code(Err(Errno::EINVAL));
    }
    let owner = process.pid.into();
    code(shared.map(map)?.delete_owner(owner))
}

/// The storage of a cgroup: those of the current process have the address that their numbers are.
pub(super) fn cgroup_storage_get(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, cgroup, initial, flags, _] = call.arguments;
    if cgroup == 0 {
        return Ok(0);
    }
    sockets::storage_of(shared, call, map, cgroup, initial, flags)
}

pub(super) fn cgroup_storage_delete(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, cgroup, ..] = call.arguments;
    if cgroup == 0 {
        return code(Err(Errno::EINVAL));
    }
    code(shared.map(map)?.delete_owner(cgroup))
}

/// `bpf_get_local_storage`: what the map has for the cgroup that the program is attached to, which
/// here is the current process's. It is there from the start.
pub(super) fn local_storage(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_LOCAL_STORAGE_GET_F_CREATE`.
    const CREATE: u64 = 1;
    let map = call.arguments[0];
    let per_cpu = shared.map(map)?.definition().kind == bpf_object::MapType::PER_CPU_CGROUP_STORAGE;
    let Environment { cpu, process, .. } = &*call.state::<State>()?.environment;
    // Values of CPUs are owned by the cgroup's number with the CPU's above it.
    let cpu = if per_cpu { u64::from(*cpu) << 48 } else { 0 };
    let owner = process.cgroup_id | cpu;
    sockets::storage_of(shared, call, map, owner, 0, CREATE)
}

/// `BPF_F_SKIP_FIELD_MASK`, `BPF_F_USER_STACK` and those of each helper.
const SKIP: u64 = 0xff;
const USER_STACK: u64 = 1 << 8;

/// There are no stacks to look at, as for a thread of the kernel that is asked for its user's.
pub(super) fn stack_id(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_F_FAST_STACK_CMP` and `BPF_F_REUSE_STACKID`.
    const KNOWN: u64 = SKIP | USER_STACK | 1 << 9 | 1 << 10;
    let [_, map, flags, ..] = call.arguments;
    shared.map(map)?;
    code(Err(if flags & !KNOWN == 0 { Errno::EFAULT } else { Errno::EINVAL }))
}

pub(super) fn stack(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_F_USER_BUILD_ID`.
    const KNOWN: u64 = SKIP | USER_STACK | 1 << 11;
    let [_, to, size, flags, _] = call.arguments;
    let size = size & 0xffff_ffff;
    call.check(to, size, true)?;
    call.write(to, &vec![0; size as usize])?;
    let is_known = flags & !KNOWN == 0 && size.is_multiple_of(8);
    code(Err(if is_known { Errno::EFAULT } else { Errno::EINVAL }))
}

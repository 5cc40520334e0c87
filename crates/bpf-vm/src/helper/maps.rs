//! Maps, tail calls, loops and locks.

use std::sync::Arc;

use super::*;
use crate::map::update::LOCK;
use crate::map::{Content, Who, lock_word};
use crate::memory;
use crate::slab::Slab;

/// The longest key that needs no allocation.
const SHORT: usize = 64;

/// Reads a key and does something with it.
#[inline]
fn with_key<R>(
    call: &Call<'_, '_>,
    map: &Map,
    address: u64,
    act: impl FnOnce(&[u8]) -> R,
) -> Result<R, Stop> {
    let length = map.definition().key_size as usize;
    if length == 4 {
        Ok(act(&call.read_array::<4>(address)?))
    } else if length <= SHORT {
        let mut key = [0; SHORT];
        let key = &mut key[..length];
        call.read(address, key)?;
        Ok(act(key))
    } else {
        Ok(act(&read_bytes(call, address, length as u64)?))
    }
}

fn find_on(shared: &Shared, call: &mut Call<'_, '_>, map: &Arc<Map>, cpu: u32) -> Outcome {
    let key = call.arguments[1];
    if map.definition().kind.holds_maps() {
        let inner = with_key(call, map, key, |key| map.inner(key))?;
        let Some(inner) = inner else { return Ok(0) };
        let handle = shared.add_map(&inner);
        // It may be newer than the run.
        call.memory().add_map(&inner);
        return Ok(handle.unwrap_or_default());
    }
    if map.definition().kind == bpf_object::MapType::SOCKET_MAP
        || map.definition().kind == bpf_object::MapType::SOCKET_HASH
    {
        let cookie = with_key(call, map, key, |key| map.reference_of(key))?;
        return sockets::lend_by_cookie(shared, call, cookie);
    }
    with_key(call, map, key, |key| map.find(key, cpu).unwrap_or_default())
}

#[inline]
pub(super) fn lookup(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let map = shared.map(call.arguments[0])?;
    // What programs do most.
    let key = call.arguments[1];
    match (map.quick(), map.definition().key_size) {
        (true, 4) => return Ok(map.find(&call.read_array::<4>(key)?, 0).unwrap_or_default()),
        (true, 8) => return Ok(map.find(&call.read_array::<8>(key)?, 0).unwrap_or_default()),
        (true, 16) => return Ok(map.find(&call.read_array::<16>(key)?, 0).unwrap_or_default()),
        _ => {}
    }
    let cpu = if map.definition().is_per_cpu() { cpu(call)? } else { 0 };
    find_on(shared, call, map, cpu)
}

pub(super) fn lookup_on_cpu(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let map = shared.map(call.arguments[0])?;
    let cpu = call.arguments[2] as u32;
    if !map.definition().is_per_cpu() || cpu >= shared.cpus {
        return Ok(0);
    }
    find_on(shared, call, map, cpu)
}

pub(super) fn update(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, key, value, flags, _] = call.arguments;
    let map = shared.map(map)?;
    let cpu = cpu(call)?;
    // It would wait for itself.
    if flags & LOCK != 0 && !call.state::<State>()?.locked.is_empty() {
        return Err(Reason::Helper("a program holds one spin lock at a time".to_owned()).into());
    }
    let value = read_bytes(call, value, map.definition().value_size.into())?;
    let who = Who::Program { cpu };
    code(with_key(call, map, key, |key| map.update_as(who, key, &value, flags))?)
}

pub(super) fn delete(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let map = shared.map(call.arguments[0])?;
    let who = Who::Program { cpu: cpu(call)? };
    let result = with_key(call, map, call.arguments[1], |key| match map.definition().kind {
        // Programs may not change these.
        bpf_object::MapType::PROGRAM_ARRAY
        | bpf_object::MapType::ARRAY_OF_MAPS
        | bpf_object::MapType::HASH_OF_MAPS => Err(Errno::EINVAL),
        _ => map.delete_as(who, key),
    })?;
    code(result)
}

pub(super) fn push(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, value, flags, ..] = call.arguments;
    let map = shared.map(map)?;
    let value = read_bytes(call, value, map.definition().value_size.into())?;
    code(map.push(&value, flags))
}

fn take(shared: &Shared, call: &mut Call<'_, '_>, remove: bool) -> Outcome {
    let [map, address, ..] = call.arguments;
    let map = shared.map(map)?;
    let size = map.definition().value_size as usize;
    if let Content::Bloom(_) = map.content() {
        if remove {
            return code(Err(Errno::EOPNOTSUPP));
        }
        let value = read_bytes(call, address, size as u64)?;
        return code(match map.may_hold(&value) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Errno::ENOENT),
            Err(error) => Err(error),
        });
    }
    call.check(address, size as u64, true)?;
    match map.take(remove) {
        Ok(value) => {
            call.write(address, &value)?;
            Ok(0)
        }
        Err(error) => {
            // As the kernel's, which clears what it doesn't fill.
            call.write(address, &vec![0; size])?;
            Ok(error.result())
        }
    }
}

pub(super) fn pop(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    take(shared, call, true)
}

pub(super) fn peek(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    take(shared, call, false)
}

pub(super) fn tail_call(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, map, index, ..] = call.arguments;
    match shared.map(map)?.program(index as u32) {
        Some(program) => {
            call.state::<State>()?.program = Some(program.clone());
            Err(Stop::TailCall(program))
        }
        // The program goes on. The kernel leaves the register as it was; nobody may read it.
        None => Ok(Errno::ENOENT.result()),
    }
}

pub(super) fn for_each(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [handle, callback, context, flags, _] = call.arguments;
    if flags != 0 {
        return code(Err(Errno::EINVAL));
    }
    let map = shared.map(handle)?.clone();
    let elements = match map.elements(cpu(call)?) {
        Ok(elements) => elements,
        Err(error) => return code(Err(error)),
    };
    let stride = u64::from(map.definition().key_size.next_multiple_of(8));
    let copies = match copies(call.state::<State>()?, stride * elements.len() as u64) {
        Ok(copies) => copies,
        Err(error) => return code(Err(error)),
    };
    let (start, length) = (copies.address(), copies.len());
    call.memory().add(memory::Region { start, length, writable: false });
    let mut count = 0;
    let mut over = Ok(0);
    for (key, value) in elements {
        // As for a jump back, as of `bpf_loop`.
        over = call.burn(1).map(|()| 0);
        if over.is_err() {
            break;
        }
        copies.store(count * stride, &key);
        let key = copies.address() + count * stride;
        over = call.invoke(callback, [handle, key, value, context, 0]);
        count += 1;
        if !matches!(over, Ok(0)) {
            break;
        }
    }
    call.state::<State>()?.copies.push(copies);
    over.map(|_| count)
}

/// Memory for the keys that callbacks are given. It is lent as long as the run lasts, since they may
/// have kept where a key was; who goes over a map next gets it again.
pub(super) fn copies(state: &mut State, bytes: u64) -> Result<Arc<Slab>, Errno> {
    let large = state.copies.iter().position(|slab| slab.len() >= bytes);
    match large {
        Some(at) => Ok(state.copies.swap_remove(at)),
        None => Slab::new(bytes.next_power_of_two()).map(Arc::new),
    }
}

/// Rounds of `bpf_loop` (`BPF_MAX_LOOPS`).
const LOOPS: u64 = 8 << 20;

pub(super) fn repeat(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [count, callback, context, flags, _] = call.arguments;
    if flags != 0 {
        return code(Err(Errno::EINVAL));
    }
    // Where it can, the kernel puts the loop in place of the call: there it compares all 64 bits, and
    // the error has 32 (kernel/bpf/verifier.c, Linux 6.12: inline_bpf_loop).
    if count > LOOPS {
        return Ok(Errno::E2BIG.result() & u64::from(u32::MAX));
    }
    for round in 0..count {
        // Each round costs as much as a jump back of one instruction.
        call.burn(1)?;
        if call.invoke(callback, [round, context, 0, 0, 0])? != 0 {
            return Ok(round + 1);
        }
    }
    Ok(count)
}

pub(super) fn lock(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    if !call.memory().is_in_map(address, 4) {
        return Err(memory::AccessError::Write { address, length: 4 }.into());
    }
    if !address.is_multiple_of(4) {
        return Err(memory::AccessError::Misaligned { address, length: 4 }.into());
    }
    let state = call.state::<State>()?;
    // The verifier allows one at a time; a second could wait for ever.
    if !state.locked.is_empty() {
        return Err(Reason::Helper("a program holds one spin lock at a time".to_owned()).into());
    }
    // SAFETY: checked to be writable and aligned.
    if !lock_word(unsafe { memory::atomic32(address) }) {
        return Err(Reason::Helper("nobody lets go of this spin lock".to_owned()).into());
    }
    call.state::<State>()?.locked.push(address);
    Ok(0)
}

pub(super) fn unlock(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let state = call.state::<State>()?;
    let Some(at) = state.locked.iter().position(|held| *held == address) else {
        return Err(Reason::Helper("the program doesn't hold this spin lock".to_owned()).into());
    };
    state.locked.swap_remove(at);
    release_lock(address);
    Ok(0)
}

/// Lets go of a lock that a run holds.
pub(crate) fn release_lock(address: u64) {
    // SAFETY: it was taken by this run, so it lies in a map's value, which outlives the run.
    unsafe { memory::atomic32(address) }.store(0, std::sync::atomic::Ordering::Release);
}

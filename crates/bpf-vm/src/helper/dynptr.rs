//! Dynptrs: pointers whose bounds are checked when they are used.
//!
//! The program's `struct bpf_dynptr` holds only the number of an entry in the state of the run, so
//! that a forged one can't reach further than those that the program has.

use super::maps::copies;
use super::*;
use crate::map::Content;
use crate::slab::Slab;
use crate::state::{Dynptr, MOST_DYNPTRS, Target};

/// `struct bpf_dynptr` is 16 bytes; what is ours has this in its upper half.
const MARK: u64 = 0x00d1_9000 << 32;
/// `DYNPTR_MAX_SIZE`.
const LONGEST: u64 = (1 << 24) - 1;

/// Makes a dynptr at an address.
fn make(call: &mut Call<'_, '_>, at: u64, dynptr: Option<Dynptr>) -> Result<(), Stop> {
    call.check(at, 16, true)?;
    let number = match dynptr {
        Some(dynptr) => {
            let state = call.state::<State>()?;
            // Further ones are as one that couldn't be made.
            if state.dynptrs.len() == MOST_DYNPTRS {
                0
            } else {
                state.dynptrs.push(Some(dynptr));
                MARK | (state.dynptrs.len() as u64 - 1)
            }
        }
        None => 0,
    };
    call.write(at, &number.to_ne_bytes())?;
    call.write(at + 8, &0u64.to_ne_bytes())
}

fn entry(call: &mut Call<'_, '_>, at: u64) -> Result<Option<(u64, Dynptr)>, Stop> {
    let mut bytes = [0; 8];
    call.read(at, &mut bytes)?;
    let number = u64::from_ne_bytes(bytes);
    if number & !u64::from(u32::MAX) != MARK {
        return Ok(None);
    }
    let index = number & u64::from(u32::MAX);
    Ok(call.state::<State>()?.dynptr(index).map(|dynptr| (index, dynptr.clone())))
}

pub(super) fn from_memory(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, size, flags, at, _] = call.arguments;
    let size = size & 0xffff_ffff;
    let checked = if size > LONGEST {
        Err(Errno::E2BIG)
    } else if flags != 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    };
    call.check(address, size, true)?;
    let target = Target::Memory { address };
    let dynptr = Dynptr { target, offset: 0, size: size as u32, read_only: false };
    make(call, at, checked.is_ok().then_some(dynptr))?;
    code(checked)
}

pub(super) fn reserve(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, size, flags, at, _] = call.arguments;
    let size = size & 0xffff_ffff;
    call.check(at, 16, true)?;
    let reserved = if flags != 0 {
        Err(Errno::EINVAL)
    } else if size > LONGEST {
        Err(Errno::E2BIG)
    } else {
        rings::reserve_record(shared, call, map, size)?.map_err(|_| Errno::EINVAL)
    };
    match reserved {
        Ok(address) => {
            let target = Target::Record { address };
            let dynptr = Dynptr { target, offset: 0, size: size as u32, read_only: false };
            make(call, at, Some(dynptr))?;
            Ok(0)
        }
        Err(error) => {
            make(call, at, None)?;
            code(Err(error))
        }
    }
}

fn finish(call: &mut Call<'_, '_>, discard: bool) -> Outcome {
    let [at, flags, ..] = call.arguments;
    // One without a record: the reservation failed.
    let Some((index, dynptr)) = entry(call, at)? else { return Ok(0) };
    let Target::Record { address } = dynptr.target else {
        return Err(Reason::Helper("this dynptr is no record".to_owned()).into());
    };
    call.state::<State>()?.dynptrs[index as usize] = None;
    make(call, at, None)?;
    rings::finish(call, address, discard, flags)
}

pub(super) fn submit(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    finish(call, false)
}

pub(super) fn discard(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    finish(call, true)
}

/// Whether a part lies in it (`bpf_dynptr_check_off_len`).
fn within(dynptr: &Dynptr, offset: u64, length: u64) -> Result<(), Errno> {
    let size = u64::from(dynptr.size);
    if length > size || offset > size - length { Err(Errno::E2BIG) } else { Ok(()) }
}

pub(super) fn read(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [to, length, at, offset, flags] = call.arguments;
    let (length, offset) = (length & 0xffff_ffff, offset & 0xffff_ffff);
    let Some((_, dynptr)) = entry(call, at)?.filter(|_| flags == 0) else {
        return code(Err(Errno::EINVAL));
    };
    if let Err(error) = within(&dynptr, offset, length) {
        return code(Err(error));
    }
    call.check(to, length, true)?;
    let from = u64::from(dynptr.offset) + offset;
    let mut bytes = vec![0; length as usize];
    match &dynptr.target {
        Target::Memory { address } | Target::Record { address } => {
            call.read(address + from, &mut bytes)?;
        }
        Target::Bytes(slab) => slab.load(from, &mut bytes),
        Target::Packet => match packet_part(call, from, length)? {
            Some(address) => call.read(address, &mut bytes)?,
            None => return code(Err(Errno::EFAULT)),
        },
    }
    call.write(to, &bytes)?;
    Ok(0)
}

/// Where a part of the packet lies now.
fn packet_part(call: &mut Call<'_, '_>, from: u64, length: u64) -> Result<Option<u64>, Stop> {
    let Some(bounds) = call.state::<State>()?.packet else { return Ok(None) };
    let end = from.checked_add(length).filter(|end| *end <= bounds.len().into());
    Ok(end.map(|_| bounds.base + u64::from(bounds.data) + from))
}

pub(super) fn write(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [at, offset, from, length, flags] = call.arguments;
    let (length, offset) = (length & 0xffff_ffff, offset & 0xffff_ffff);
    let Some((_, dynptr)) = entry(call, at)?.filter(|(_, dynptr)| !dynptr.read_only) else {
        return code(Err(Errno::EINVAL));
    };
    if let Err(error) = within(&dynptr, offset, length) {
        return code(Err(error));
    }
    /// `BPF_F_RECOMPUTE_CSUM` and `BPF_F_INVALIDATE_HASH`, which are for packets.
    const OF_PACKETS: u64 = 3;
    let is_skb = call.state::<State>()?.is_skb();
    let of_packets = matches!(dynptr.target, Target::Packet) && is_skb;
    if flags & !(if of_packets { OF_PACKETS } else { 0 }) != 0 {
        return code(Err(Errno::EINVAL));
    }
    let bytes = read_bytes(call, from, length)?;
    let to = u64::from(dynptr.offset) + offset;
    match &dynptr.target {
        Target::Memory { address } | Target::Record { address } => {
            call.write(address + to, &bytes)?;
        }
        Target::Bytes(slab) => slab.store(to, &bytes),
        Target::Packet => match packet_part(call, to, length)? {
            Some(address) => call.write(address, &bytes)?,
            None => return code(Err(Errno::EFAULT)),
        },
    }
    Ok(0)
}

pub(super) fn data(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [at, offset, length, ..] = call.arguments;
    let (length, offset) = (length & 0xffff_ffff, offset & 0xffff_ffff);
    let Some((_, dynptr)) = entry(call, at)? else { return Ok(0) };
    if within(&dynptr, offset, length).is_err() || dynptr.read_only {
        return Ok(0);
    }
    match dynptr.target {
        Target::Memory { address } | Target::Record { address } => {
            Ok(address + u64::from(dynptr.offset) + offset)
        }
        // Samples can only be read, and packets move.
        Target::Bytes(_) | Target::Packet => Ok(0),
    }
}

/// `bpf_dynptr_from_skb` and `bpf_dynptr_from_xdp`.
pub(super) fn from_packet(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, flags, at, ..] = call.arguments;
    let state = call.state::<State>()?;
    let read_only = state.kind == crate::state::Kind::Skb { ethernet: false };
    let Some(bounds) = state.packet.filter(|_| flags == 0) else {
        make(call, at, None)?;
        return code(Err(Errno::EINVAL));
    };
    let dynptr = Dynptr { target: Target::Packet, offset: 0, size: bounds.len(), read_only };
    make(call, at, Some(dynptr))?;
    Ok(0)
}

/// The address of a part, so that no copy is needed; the buffer that programs give for others
/// isn't.
pub(super) fn slice(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [at, offset, _, length, _] = call.arguments;
    let (offset, length) = (offset & 0xffff_ffff, length & 0xffff_ffff);
    let Some((_, dynptr)) = entry(call, at)? else { return Ok(0) };
    if within(&dynptr, offset, length).is_err() {
        return Ok(0);
    }
    let from = u64::from(dynptr.offset) + offset;
    Ok(match dynptr.target {
        Target::Memory { address } | Target::Record { address } => address + from,
        Target::Packet => packet_part(call, from, length)?.unwrap_or(0),
        Target::Bytes(slab) => {
            let (start, length) = (slab.address(), slab.len());
            if call.state::<State>()?.keep(slab).is_err() {
                return Ok(0);
            }
            call.memory().add(crate::memory::Region { start, length, writable: false });
            start + from
        }
    })
}

pub(super) fn slice_to_write(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let at = call.arguments[0];
    match entry(call, at)? {
        Some((_, dynptr)) if !dynptr.read_only => slice(shared, call),
        _ => Ok(0),
    }
}

pub(super) fn adjust(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [at, start, end, ..] = call.arguments;
    let (start, end) = (start as u32, end as u32);
    let Some((index, dynptr)) = entry(call, at)?.filter(|_| start <= end) else {
        return code(Err(Errno::EINVAL));
    };
    if start > dynptr.size || end > dynptr.size {
        return code(Err(Errno::ERANGE));
    }
    if let Some(dynptr) = call.state::<State>()?.dynptr(index) {
        dynptr.offset += start;
        dynptr.size = end - start;
    }
    Ok(0)
}

pub(super) fn is_null(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let at = call.arguments[0];
    Ok(entry(call, at)?.is_none().into())
}

pub(super) fn is_read_only(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let at = call.arguments[0];
    let found = entry(call, at)?;
    Ok(found.is_some_and(|(_, dynptr)| dynptr.read_only).into())
}

pub(super) fn size(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let at = call.arguments[0];
    value(match entry(call, at)? {
        Some((_, dynptr)) => Ok(dynptr.size.into()),
        None => Err(Errno::EINVAL),
    })
}

pub(super) fn clone(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [at, to, ..] = call.arguments;
    let found = entry(call, at)?.map(|(_, dynptr)| dynptr);
    let is_there = found.is_some();
    make(call, to, found)?;
    code(if is_there { Ok(()) } else { Err(Errno::EINVAL) })
}

/// `bpf_dynptr_copy`, through memory of ours.
pub(super) fn copy(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [to, to_offset, from, from_offset, length] = call.arguments;
    let Ok(slab) = copies(call.state()?, length & 0xffff_ffff) else {
        return code(Err(Errno::ENOMEM));
    };
    let (start, whole) = (slab.address(), slab.len());
    call.memory().add(crate::memory::Region { start, length: whole, writable: true });
    call.arguments = [start, length, from, from_offset, 0];
    let result = match read(shared, call)? {
        0 => {
            call.arguments = [to, to_offset, start, length, 0];
            write(shared, call)
        }
        error => Ok(error),
    };
    call.memory().take_back(start);
    call.state::<State>()?.copies.push(slab);
    result
}

/// `BPF_MAX_USER_RINGBUF_SAMPLES`.
const SAMPLES: u64 = 128 * 1024;

pub(super) fn drain(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, callback, context, flags, _] = call.arguments;
    let map = shared.map(map)?.clone();
    let Content::UserRing(ring) = map.content() else {
        return Err(Reason::Helper(format!("map {} holds no samples", map.name())).into());
    };
    if flags & !(crate::map::NO_WAKEUP | crate::map::FORCE_WAKEUP) != 0 {
        return code(Err(Errno::EINVAL));
    }
    if let Err(error) = ring.begin() {
        return code(Err(error));
    }
    let result = drain_samples(call, ring, callback, context);
    ring.end();
    result
}

fn drain_samples(
    call: &mut Call<'_, '_>,
    ring: &crate::map::UserRing,
    callback: u64,
    context: u64,
) -> Outcome {
    // The callback's dynptr lies in memory of its own, which it may read.
    let Ok(holder) = copies(call.state()?, 16) else { return code(Err(Errno::ENOMEM)) };
    let at = holder.address();
    let result = drain_into(call, ring, at, callback, context);
    call.state::<State>()?.copies.push(holder);
    result
}

/// `at` is where each sample's dynptr is put.
fn drain_into(
    call: &mut Call<'_, '_>,
    ring: &crate::map::UserRing,
    at: u64,
    callback: u64,
    context: u64,
) -> Outcome {
    let region = crate::memory::Region { start: at, length: 16, writable: true };
    let mut count = 0;
    while count < SAMPLES {
        let Some(sample) = ring.take() else { break };
        let slab = match Slab::new(sample.len() as u64) {
            Ok(slab) => Arc::new(slab),
            Err(error) => return code(Err(error)),
        };
        slab.store(0, &sample);
        call.memory().add(region);
        let size = sample.len() as u32;
        let dynptr = Dynptr { target: Target::Bytes(slab), offset: 0, size, read_only: true };
        make(call, at, Some(dynptr))?;
        let result = call.invoke(callback, [at, context, 0, 0, 0]);
        if let Some((index, _)) = entry(call, at)? {
            call.state::<State>()?.dynptrs[index as usize] = None;
        }
        call.memory().take_back(at);
        count += 1;
        if result? != 0 {
            break;
        }
    }
    Ok(count)
}

//! Records for the host.

use super::*;
use crate::map::{Content, Ring};
use crate::state::Reserved;

/// `BPF_F_CURRENT_CPU` and the mask of an index in the flags of `bpf_perf_event_output`.
const CURRENT_CPU: u64 = 0xffff_ffff;
/// How much of the packet goes behind the record (`BPF_F_CTXLEN_MASK`).
const CONTEXT_SHIFT: u32 = 32;
const CONTEXT_MASK: u64 = 0xfffff << CONTEXT_SHIFT;

fn ring(map: &Map) -> Result<&Ring, Stop> {
    match map.content() {
        Content::Ring(ring) => Ok(ring),
        _ => Err(Reason::Helper(format!("map {} is no ring buffer", map.name())).into()),
    }
}

pub(super) fn perf_event_output(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, map, flags, data, size] = call.arguments;
    let map = shared.map(map)?;
    let Content::Events(events) = map.content() else {
        return Err(Reason::Helper(format!("map {} takes no events", map.name())).into());
    };
    if flags & !(CURRENT_CPU | CONTEXT_MASK) != 0 {
        return code(Err(Errno::EINVAL));
    }
    let mut record = read_bytes(call, data, size)?;
    let from_packet = (flags & CONTEXT_MASK) >> CONTEXT_SHIFT;
    let state = call.state::<State>()?;
    let cpu = state.environment.cpu;
    if from_packet > 0 {
        let Some(bounds) = state.packet.filter(|bounds| from_packet <= bounds.len().into()) else {
            return code(Err(Errno::EFAULT));
        };
        let mut bytes = vec![0; from_packet as usize];
        bounds.read(bounds.data, &mut bytes);
        record.extend(bytes);
    }
    let index = match flags & CURRENT_CPU {
        CURRENT_CPU => cpu,
        index => index as u32,
    };
    if index >= map.definition().max_entries {
        return code(Err(Errno::E2BIG));
    }
    // Each entry is the buffer of a CPU, and only that one writes there.
    if index != cpu {
        return code(Err(Errno::EOPNOTSUPP));
    }
    code(events.output(index, record))
}

pub(super) fn output(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, data, size, flags, _] = call.arguments;
    let map = shared.map(map)?;
    let bytes = read_bytes(call, data, size)?;
    code(ring(map)?.output(&bytes, flags))
}

/// Takes room for a record and lends it.
pub(super) fn reserve_record(
    shared: &Shared,
    call: &mut Call<'_, '_>,
    map: u64,
    size: u64,
) -> Result<Result<u64, Errno>, Stop> {
    let map = shared.map(map)?;
    let (position, region) = match ring(map)?.reserve(size) {
        Ok(reserved) => reserved,
        Err(error) => return Ok(Err(error)),
    };
    call.state::<State>()?.reserved.push(Reserved { map: map.clone(), position, region });
    call.memory().add(region);
    Ok(Ok(region.start))
}

pub(super) fn reserve(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, size, flags, ..] = call.arguments;
    if flags != 0 {
        return Ok(0);
    }
    Ok(reserve_record(shared, call, map, size)?.unwrap_or_default())
}

/// Gives a record to the consumer, or drops it.
pub(super) fn finish(call: &mut Call<'_, '_>, address: u64, discard: bool, flags: u64) -> Outcome {
    let state = call.state::<State>()?;
    let reserved = state.reserved.iter().position(|r| r.region.start == address);
    let Some(at) = reserved else {
        return Err(Reason::Helper("this is no record that was reserved".to_owned()).into());
    };
    let reserved = state.reserved.swap_remove(at);
    call.memory().take_back(address);
    ring(&reserved.map)?.commit(reserved.position, discard, flags);
    Ok(0)
}

pub(super) fn submit(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, flags, ..] = call.arguments;
    finish(call, address, false, flags)
}

pub(super) fn discard(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, flags, ..] = call.arguments;
    finish(call, address, true, flags)
}

pub(super) fn query(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, what, ..] = call.arguments;
    Ok(ring(shared.map(map)?)?.query(what))
}

impl State {
    /// Records that the program has left behind are dropped, so that those after them can be read;
    /// its locks are let go.
    #[inline]
    pub fn clean_up(&mut self) {
        if !self.reserved.is_empty() || !self.locked.is_empty() {
            self.let_go();
        }
    }

    #[cold]
    fn let_go(&mut self) {
        for reserved in self.reserved.drain(..) {
            if let Content::Ring(ring) = reserved.map.content() {
                ring.commit(reserved.position, true, 0);
            }
        }
        for address in self.locked.drain(..) {
            maps::release_lock(address);
        }
    }
}

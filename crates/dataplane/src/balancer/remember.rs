//! The table of flows: which flows are remembered with their backend, and for how long.

use super::parse::{Packet, flags};
use super::{Env, hash};
use abi::balancer::{Flow, FrontEnd, Settings, backend_flags};
use wire::ip::protocol;

/// Flow keeping `moved`, for a slot that has [`abi::balancer::slot::MOVED`]: `owner` is the slot's.
#[inline(never)]
pub fn moved(env: &impl Env, front: &FrontEnd, packet: &mut Packet, owner: u32) -> u32 {
    let now = env.now();
    let opens = packet.flags & flags::SYN != 0 && packet.flags & flags::ERROR == 0;
    let in_window = now < front.window_end_ns;
    if let Some(flow) = env.flow(&packet.key) {
        flow.last_seen_ns.set(now);
        if opens {
            // An earlier flow of the same client and ports; or the SYN came twice.
            flow.backend.set(owner);
            return owner;
        }
        let number = flow.backend.get();
        if is_up(env, number) {
            if number != owner {
                count_moved(env, front, packet);
            }
            return number;
        }
        flow.backend.set(owner);
        return owner;
    }
    if !in_window {
        return owner;
    }
    let previous = if opens { 0 } else { previous_owner(env, front, packet) };
    let number = if previous != 0 && is_up(env, previous) { previous } else { owner };
    if packet.flags & flags::ERROR == 0 {
        env.insert_flow(&packet.key, &Flow { last_seen_ns: now, backend: number, vip: front.vip });
    }
    if number != owner {
        count_moved(env, front, packet);
    }
    number
}

#[inline(always)]
fn previous_owner(env: &impl Env, front: &FrontEnd, packet: &Packet) -> u32 {
    if front.previous_len == 0 {
        return 0;
    }
    let slot = front.previous.wrapping_add(hash::previous_slot(front, packet));
    u32::from(env.slot(slot).unwrap_or(0) & abi::balancer::slot::BACKEND)
}

#[inline(always)]
fn is_up(env: &impl Env, number: u32) -> bool {
    match env.backend(number) {
        Some(backend) => backend.flags & backend_flags::DOWN == 0 && !backend.address.is_none(),
        None => false,
    }
}

#[inline(always)]
fn count_moved(env: &impl Env, front: &FrontEnd, packet: &mut Packet) {
    packet.flags |= flags::MOVED;
    if let Some(counters) = env.vip(front.vip) {
        counters.moved.set(counters.moved.get() + 1);
    }
}

/// Flow keeping `all`: the backend of a flow that is known and not too old.
#[inline(always)]
pub fn known(env: &impl Env, settings: &Settings, packet: &Packet) -> Option<u32> {
    let flow = env.flow(&packet.key)?;
    if packet.key.protocol == protocol::UDP {
        let now = env.now();
        if now.wrapping_sub(flow.last_seen_ns.get()) > settings.udp_timeout_ns {
            return None;
        }
        flow.last_seen_ns.set(now);
    }
    let number = flow.backend.get();
    is_up(env, number).then_some(number)
}

/// Flow keeping `all`: a new flow.
#[inline(always)]
pub fn new(env: &impl Env, front: &FrontEnd, packet: &Packet, number: u32) {
    // Only UDP's flows end by time.
    let last_seen_ns = if packet.key.protocol == protocol::UDP { env.now() } else { 0 };
    env.insert_flow(&packet.key, &Flow { last_seen_ns, backend: number, vip: front.vip });
}

/// Flow keeping `all`: the packet itself has named its backend.
#[inline(always)]
pub fn overrule(env: &impl Env, front: &FrontEnd, packet: &Packet, number: u32) {
    match env.flow(&packet.key) {
        Some(flow) => flow.backend.set(number),
        None => {
            let flow = Flow { last_seen_ns: 0, backend: number, vip: front.vip };
            env.insert_flow(&packet.key, &flow);
        }
    }
}

/// The VIP's limit of new flows: a bucket that holds a second's worth. Two CPUs may take the same
/// token: the limit guards backends, it doesn't account.
#[inline(never)]
pub fn admits(env: &impl Env, front: &FrontEnd) -> bool {
    let Some(limit) = env.limit(front.vip) else { return true };
    let rate = u64::from(front.new_flows_per_second);
    let (tokens, refilled) = refill(limit.tokens.get(), limit.refilled_ns.get(), env.now(), rate);
    limit.refilled_ns.set(refilled);
    if tokens == 0 {
        if let Some(counters) = env.vip(front.vip) {
            counters.limited.set(counters.limited.get() + 1);
        }
        return false;
    }
    limit.tokens.set(tokens - 1);
    true
}

const SECOND: u64 = 1_000_000_000;

/// The bucket's tokens, and up to when time has been counted: the part of a second that gave no
/// whole token counts for the next.
#[inline(always)]
fn refill(tokens: u64, since: u64, now: u64, rate: u64) -> (u64, u64) {
    // Another CPU may be ahead.
    let elapsed = now.saturating_sub(since);
    if elapsed >= SECOND {
        return (rate, now);
    }
    let gained = elapsed * rate / SECOND;
    if gained == 0 {
        return (tokens, since);
    }
    let counted = (gained * SECOND).checked_div(rate).unwrap_or(elapsed);
    ((tokens + gained).min(rate), since + counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        let check = |(tokens, since, now, rate), expected| {
            assert_eq!(refill(tokens, since, now, rate), expected);
        };
        check((0, 0, SECOND, 10), (10, SECOND));
        check((3, 0, 5 * SECOND, 10), (10, 5 * SECOND));
        check((0, 0, SECOND / 20, 10), (0, 0));
        check((9, 0, SECOND / 2, 10), (10, SECOND / 2));
        // Half a token is not lost.
        check((0, 0, SECOND * 3 / 20, 10), (1, SECOND / 10));
        // A CPU whose clock is behind fills nothing.
        check((0, 1001, 1000, 10), (0, 1001));
        check((7, 0, SECOND - 1, u64::from(u32::MAX)), (u64::from(u32::MAX), 999_999_998));
    }
}

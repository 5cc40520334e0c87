//! Which backend a flow gets.

use super::frame::{Frame, Why};
use super::parse::{Packet, flags};
use super::{Env, hash, remember, server_id, source};
use abi::balancer::{DownKey, FrontEnd, Settings, counter, frontend_flags as vip, slot};
use abi::{Address, Port};
use wire::ip::protocol;

const NO_BACKEND: Why = Why(counter::DROP_NO_BACKEND);

/// The ring alone, and the flow table where the flow's slot has moved.
#[inline(always)]
pub fn by_ring(env: &impl Env, front: &FrontEnd, packet: &mut Packet) -> Result<u32, Why> {
    if front.ring_len == 0 {
        return Err(NO_BACKEND);
    }
    if front.flags & vip::DESTINATION_PORT_ONLY != 0 {
        packet.key.source_port = packet.key.destination_port;
        packet.key.source = Address::NONE;
    }
    let slot = env.slot(front.ring.wrapping_add(hash::slot(front, packet))).ok_or(NO_BACKEND)?;
    let number = u32::from(slot & slot::BACKEND);
    if number == 0 {
        return Err(NO_BACKEND);
    }
    if slot & slot::MOVED != 0 {
        return Ok(remember::moved(env, front, packet, number));
    }
    Ok(number)
}

/// A VIP that looks at more than addresses and ports. 0 with the reason in the packet: the kernel's
/// functions return one register.
#[inline(never)]
pub fn specially(
    env: &impl Env,
    frame: &impl Frame,
    settings: &Settings,
    front: &FrontEnd,
    packet: &mut Packet,
) -> u32 {
    match look(env, frame, settings, front, packet) {
        Ok(number) => number,
        Err(why) => {
            packet.why = why.0;
            0
        }
    }
}

#[inline(always)]
fn look(
    env: &impl Env,
    frame: &impl Frame,
    settings: &Settings,
    front: &FrontEnd,
    packet: &mut Packet,
) -> Result<u32, Why> {
    let is_tcp = packet.key.protocol == protocol::TCP;
    let is_error = packet.flags & flags::ERROR != 0;
    let is_syn = packet.flags & flags::SYN != 0;

    if front.flags & (vip::QUIC | vip::UDP_STABLE_ROUTING) != 0 && !is_tcp && !is_error {
        if front.flags & vip::QUIC != 0
            && let Some(id) = server_id::quic(frame, packet)
            && let Some(number) = server_id::backend(env, id)
        {
            if front.flags & vip::KEEP_ALL != 0 {
                remember::overrule(env, front, packet, number);
            }
            return Ok(number);
        }
        if front.flags & vip::UDP_STABLE_ROUTING != 0
            && let Some(id) = server_id::stable_routing(frame, packet)
            && let Some(number) = server_id::backend(env, id)
        {
            return Ok(number);
        }
    }
    if front.flags & vip::TCP_SERVER_ID != 0
        && is_tcp
        && !is_error
        && !is_syn
        && let Some(id) = server_id::tcp(frame, packet)
        && let Some(number) = server_id::backend(env, id)
    {
        if front.flags & vip::KEEP_ALL != 0 {
            remember::overrule(env, front, packet, number);
        }
        return Ok(number);
    }
    if front.flags & vip::KEEP_ALL != 0
        && !is_syn
        && let Some(number) = remember::known(env, settings, packet)
    {
        let key = DownKey { vip: front.vip, backend: number };
        if front.flags & vip::UDP_MIGRATION == 0 || is_tcp || !env.is_down(&key) {
            return Ok(number);
        }
        env.count(counter::MIGRATED);
    }
    anew(env, front, packet, is_tcp, is_syn)
}

/// A flow that isn't known.
#[inline(always)]
fn anew(
    env: &impl Env,
    front: &FrontEnd,
    packet: &mut Packet,
    is_tcp: bool,
    is_syn: bool,
) -> Result<u32, Why> {
    let keep_all = front.flags & vip::KEEP_ALL != 0;
    let is_limited = front.flags & vip::LIMITED != 0 && (is_syn || keep_all && !is_tcp);
    if is_limited && !remember::admits(env, front) {
        return Err(Why(counter::DROP_LIMITED));
    }
    let number = match source::route(env, front, packet) {
        Some(number) => number,
        None => by_ring(env, front, packet)?,
    };
    if keep_all {
        if packet.key.source_port != Port::NONE || packet.key.source != Address::NONE {
            remember::new(env, front, packet, number);
        }
        if let Some(counters) = env.vip(front.vip) {
            if is_tcp && !is_syn {
                packet.flags |= flags::MISSED;
                counters.misses.set(counters.misses.get() + 1);
            } else if !is_tcp {
                packet.flags |= flags::NEW;
                counters.new_flows.set(counters.new_flows.get() + 1);
            }
        }
    }
    Ok(number)
}

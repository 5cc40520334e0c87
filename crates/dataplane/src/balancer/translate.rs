//! Delivery by address translation. Each flow has two entries in map `lb_translations`: the client's
//! packets find the backend's address there (and a source of ours, if answers are to come back
//! here), the backend's packets find the VIP's and the client's. So a flow stays with its backend
//! whatever happens to the ring.

mod error;
mod families;
mod rewrite;

use super::deliver::{next_hop, send};
use super::frame::{Frame, Hop, Link, Route, Vlan, Why};
use super::parse::{Packet, Translating, flags};
use super::{Env, Verdict, drop, hash};
use abi::balancer::{Backend, Settings, Translation, backend_flags as how, counter};
use abi::{Address, Port};
use wire::Be16;
use wire::ethernet::ethertype;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::Ports;

const FAILED: Why = Why(counter::DROP_REWRITE);

/// Ports that are tried for a new flow before it is dropped.
const TRIES: u32 = 8;

/// From a client to the flow's backend.
#[inline(always)]
pub fn to_backend(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
    backend: &Backend,
) -> Verdict {
    if !know(env, frame, settings, packet, backend) {
        return drop(env, Why(counter::DROP_NO_PORT));
    }
    carry_out(env, frame, settings, packet)
}

/// Finds the flow's translation or begins one.
#[inline(never)]
fn know(
    env: &impl Env,
    frame: &impl Frame,
    settings: &Settings,
    packet: &mut Packet,
    backend: &Backend,
) -> bool {
    if tuple(frame, packet).is_none() {
        return false;
    }
    if let Some(known) = env.translation(&packet.translating.key)
        && let Some(its) = env.backend(known.backend)
        && its.flags & how::DOWN == 0
    {
        return true;
    }
    packet.flags & flags::ERROR == 0 && begin(env, settings, packet, backend)
}

/// A packet that is for no VIP: from a backend to a client, perhaps.
#[inline(always)]
pub fn answer(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
) -> Verdict {
    if !is_answer(env, frame, packet) {
        env.count(counter::PASSED);
        return Verdict::Pass;
    }
    packet.flags |= flags::TO_CLIENT;
    carry_out(env, frame, settings, packet)
}

#[inline(never)]
fn is_answer(env: &impl Env, frame: &impl Frame, packet: &mut Packet) -> bool {
    tuple(frame, packet).is_some() && env.translation(&packet.translating.key).is_some()
}

/// Addresses and ports as they are in the packet, whatever the VIP hashes.
#[inline(always)]
fn tuple(frame: &impl Frame, packet: &mut Packet) -> Option<()> {
    packet.translating.key = packet.key;
    if packet.flags & flags::ERROR != 0 {
        // Already taken from the embedded packet, reversed; only a port may have been left out.
        let ports: Ports = frame.read(packet.transport)?;
        packet.translating.key.source_port = Port::from_wire(ports.destination);
        packet.translating.key.destination_port = Port::from_wire(ports.source);
        return Some(());
    }
    packet.translating.key.source = if packet.is_v6() {
        Address(frame.read::<Ipv6>(packet.network)?.source)
    } else {
        Address::from_v4_word(frame.read::<Ipv4>(packet.network)?.source)
    };
    if packet.flags & flags::LATER_FRAGMENT == 0 {
        let ports: Ports = frame.read(packet.transport)?;
        packet.translating.key.source_port = Port::from_wire(ports.source);
        packet.translating.key.destination_port = Port::from_wire(ports.destination);
    }
    Some(())
}

/// A new flow: an entry for each direction. False if no port is free.
#[inline(never)]
fn begin(env: &impl Env, settings: &Settings, packet: &mut Packet, backend: &Backend) -> bool {
    let start = hash::own(packet);
    let number = packet.backend;
    let Translating { key, answers, forward, back } = &mut packet.translating;
    // A client that is its own backend would be answered by itself (hairpin).
    let hairpin = key.source == backend.address;
    let masquerade = !backend.source.is_none() && (backend.flags & how::MASQUERADE != 0 || hairpin);
    forward.source = if masquerade { backend.source } else { key.source };
    forward.destination = backend.address;
    forward.source_port = key.source_port;
    forward.destination_port =
        if backend.port == Port::NONE { key.destination_port } else { backend.port };
    forward.backend = number;
    forward.created_ns = env.now();
    back.source = key.destination;
    back.destination = key.source;
    back.source_port = key.destination_port;
    back.destination_port = key.source_port;
    back.backend = number;
    back.created_ns = forward.created_ns;
    answers.source = forward.destination;
    answers.destination = forward.source;
    answers.source_port = forward.destination_port;
    answers.protocol = key.protocol;
    let range =
        u32::from(settings.nat_last_port).wrapping_sub(u32::from(settings.nat_first_port)) + 1;
    for attempt in 0..TRIES {
        if masquerade {
            // The same flow gets the same port from every balancer, if it is free.
            let nth = start.wrapping_add(attempt.wrapping_mul(start >> 16 | 1)) % range.max(1);
            forward.source_port = Port::new(settings.nat_first_port.wrapping_add(nth as u16));
        }
        answers.destination_port = forward.source_port;
        let is_ours = env.new_translation(answers, back)
            || match env.translation(answers) {
                // Of the same flow, whose other entry has gone.
                Some(other) => {
                    other.source == back.source
                        && other.destination == back.destination
                        && other.source_port == back.source_port
                        && other.destination_port == back.destination_port
                        && other.backend == number
                }
                None => false,
            };
        if is_ours {
            env.count(counter::TRANSLATED);
            return env.replace_translation(key, forward);
        }
        if !masquerade {
            break;
        }
    }
    false
}

/// Rewrites and sends.
#[inline(never)]
fn carry_out(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
) -> Verdict {
    let Some(translation) = env.translation(&packet.translating.key) else {
        return drop(env, FAILED);
    };
    let translation: &Translation = &translation;
    let Some(backend) = env.backend(translation.backend) else {
        return drop(env, Why(counter::DROP_BACKEND_UNKNOWN));
    };
    let backend: &Backend = &backend;
    let hop = if packet.flags & flags::TO_CLIENT != 0 {
        way_to_client(frame, settings, packet, backend, translation)
    } else {
        next_hop(frame, settings, packet, backend, 0)
    };
    let Some(hop) = hop else { return drop(env, Why(counter::DROP_NO_ROUTE)) };
    let done = if packet.flags & flags::ERROR != 0 {
        if packet.is_v6() {
            error::v6(frame, packet, translation)
        } else {
            error::v4(frame, packet, translation)
        }
    } else if translation.destination.is_v4() != packet.is_v6() {
        rewrite::same_family(frame, packet, translation)
    } else {
        families::change(frame, packet, translation)
    };
    let ethertype = if translation.destination.is_v4() { ethertype::IPV4 } else { ethertype::IPV6 };
    if !done || link(frame, packet, &hop, ethertype).is_none() {
        return drop(env, FAILED);
    }
    send(frame, &hop)
}

#[inline(always)]
fn way_to_client(
    frame: &impl Frame,
    settings: &Settings,
    packet: &Packet,
    backend: &Backend,
    translation: &Translation,
) -> Option<Hop> {
    if backend.flags & how::FIB == 0 {
        let destination = settings.router_mac.0;
        return Some(Hop { ifindex: 0, destination, source: packet.link });
    }
    let v6 = !translation.destination.is_v4();
    let length = packet.length + if packet.is_v6() { ipv6::LEN as u32 } else { 0 };
    frame.route(&Route {
        source: translation.source,
        destination: translation.destination,
        length: length as u16,
        v6,
    })
}

#[inline(always)]
fn link(frame: &mut impl Frame, packet: &Packet, hop: &Hop, ethertype: Be16) -> Option<()> {
    let (destination, source) = (hop.destination, hop.source);
    if packet.flags & flags::TAGGED == 0 {
        return frame.write_head::<Link, 0>(&Link { destination, source, ethertype });
    }
    let tag = Be16(packet.tag);
    let tagged = ethertype::VLAN;
    frame.write_head::<Vlan, 0>(&Vlan { destination, source, tagged, tag, ethertype })
}

/// A frame of IPv4 must have room for the longer header.
const FAMILIES_DIFFER_BY: u32 = (ipv6::LEN - ipv4::LEN) as u32;

//! Packets that are not plain TCP or UDP: VLAN tags, options, extension headers, fragments, ICMP.

use super::{flags, refuses};
use crate::balancer::Packet;
use crate::balancer::frame::{Frame, Next, Vlan};
use abi::Address;
use abi::balancer::{Settings, counter};
use wire::ethernet::{self, ethertype};
use wire::icmp::{self, Icmp};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Extension, Fragment, Ipv6};
use wire::transport::{self, Ports};

/// Extension headers that are looked through.
const MAX_EXTENSIONS: u32 = 6;

#[inline(always)]
pub const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

#[inline(never)]
pub fn tagged(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    const NETWORK: u32 = ethernet::LEN as u32 + 4;
    let Some(vlan) = frame.head::<Vlan, 0>() else { return into.refuse(counter::DROP_MALFORMED) };
    into.flags |= flags::TAGGED;
    into.tag = vlan.tag.0;
    match vlan.ethertype {
        ethertype::IPV4 => v4(frame, settings, into, NETWORK),
        ethertype::IPV6 => {
            into.flags |= flags::V6;
            v6(frame, settings, into, NETWORK)
        }
        _ => Next::Pass,
    }
}

#[inline(never)]
pub fn v4(frame: &impl Frame, settings: &Settings, into: &mut Packet, network: u32) -> Next {
    let Some(ip) = frame.read::<Ipv4>(network) else { return into.refuse(counter::DROP_MALFORMED) };
    let header = ip.header_length();
    if ip.version() != 4 || header < ipv4::LEN as u32 {
        return into.refuse(counter::DROP_MALFORMED);
    }
    if header != ipv4::LEN as u32 && refuses(settings) {
        return into.refuse(counter::DROP_OPTIONS);
    }
    into.key.source = Address::from_v4_word(ip.source);
    into.key.destination = Address::from_v4_word(ip.destination);
    into.key.protocol = ip.protocol;
    into.protocol = ip.protocol;
    into.tos = ip.tos;
    into.length = u32::from(ip.total_length.number());
    into.network = network;
    into.transport = network + header;
    if ip.is_fragment() {
        if refuses(settings) {
            return into.refuse(counter::DROP_FRAGMENT);
        }
        into.fragment = u32::from(ip.id.0);
        return fragment(frame, into, ip.is_later_fragment());
    }
    match ip.protocol {
        protocol::TCP | protocol::UDP => transport(frame, into),
        protocol::ICMP => icmp_v4(frame, settings, into),
        _ => Next::Pass,
    }
}

#[inline(never)]
pub fn v6(frame: &impl Frame, settings: &Settings, into: &mut Packet, network: u32) -> Next {
    let Some(ip) = frame.read::<Ipv6>(network) else { return into.refuse(counter::DROP_MALFORMED) };
    if ip.version() != 6 {
        return into.refuse(counter::DROP_MALFORMED);
    }
    into.key.source = Address(ip.source);
    into.key.destination = Address(ip.destination);
    into.tos = (ip.version_class_flow.number() >> 20) as u8;
    into.length = u32::from(ip.payload_length.number());
    into.network = network;
    let mut next = ip.next_header;
    let mut offset = network + ipv6::LEN as u32;
    let mut later = false;
    let mut fragmented = false;
    if is_extension(next) && refuses(settings) {
        // Katran drops fragments and leaves what it doesn't know to the stack.
        return match next {
            protocol::FRAGMENT => into.refuse(counter::DROP_FRAGMENT),
            _ => Next::Pass,
        };
    }
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(next) || later {
            break;
        }
        if next == protocol::FRAGMENT {
            let Some(header) = frame.read::<Fragment>(offset) else {
                return into.refuse(counter::DROP_MALFORMED);
            };
            next = header.next_header;
            offset += ipv6::FRAGMENT_LEN;
            if !header.is_atomic() {
                into.fragment = header.id;
                fragmented = true;
                later = header.is_later();
            }
        } else {
            let Some(header) = frame.read::<Extension>(offset) else {
                return into.refuse(counter::DROP_MALFORMED);
            };
            offset += match next {
                protocol::AUTHENTICATION => header.authentication_length(),
                _ => header.options_length(),
            };
            next = header.next_header;
        }
    }
    if is_extension(next) && !later {
        return into.refuse(counter::DROP_EXTENSIONS);
    }
    into.key.protocol = next;
    into.protocol = next;
    into.transport = offset;
    if fragmented {
        return fragment(frame, into, later);
    }
    match next {
        protocol::TCP | protocol::UDP => transport(frame, into),
        protocol::ICMPV6 => icmp_v6(frame, settings, into),
        _ => Next::Pass,
    }
}

#[inline(always)]
fn fragment(frame: &impl Frame, into: &mut Packet, later: bool) -> Next {
    if into.protocol != protocol::TCP && into.protocol != protocol::UDP {
        return Next::Pass;
    }
    if later {
        into.flags |= flags::LATER_FRAGMENT;
        return Next::Fragment;
    }
    into.flags |= flags::FIRST_FRAGMENT;
    match transport(frame, into) {
        Next::Flow => Next::Fragment,
        other => other,
    }
}

#[inline(always)]
fn transport(frame: &impl Frame, into: &mut Packet) -> Next {
    let Some(ports) = frame.read::<Ports>(into.transport) else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    into.ports_are(ports.source, ports.destination);
    if into.key.protocol == protocol::TCP {
        let Some(tcp) = frame.read::<u8>(into.transport + transport::TCP_FLAGS) else {
            return into.refuse(counter::DROP_MALFORMED);
        };
        into.tcp_flags(tcp);
    }
    Next::Flow
}

/// Errors are looked into: those that a client's network sends about what a backend sent. Their
/// embedded packet goes from VIP to client, so the flow is its reverse.
#[inline(always)]
fn icmp_v4(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    let Some(header) = frame.read::<Icmp>(into.transport) else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    match header.kind {
        icmp::v4::ECHO => return Next::Echo,
        icmp::v4::DESTINATION_UNREACHABLE => {}
        icmp::v4::TIME_EXCEEDED | icmp::v4::PARAMETER_PROBLEM if !refuses(settings) => {}
        _ => return Next::Pass,
    }
    let inner = into.transport + icmp::LEN;
    let Some(ip) = frame.read::<Ipv4>(inner) else { return into.refuse(counter::DROP_MALFORMED) };
    let length = ip.header_length();
    if ip.version() != 4 || length < ipv4::LEN as u32 || ip.is_later_fragment() {
        return into.refuse(counter::DROP_MALFORMED);
    }
    if length != ipv4::LEN as u32 && refuses(settings) {
        return into.refuse(counter::DROP_OPTIONS);
    }
    into.key.source = Address::from_v4_word(ip.destination);
    into.key.destination = Address::from_v4_word(ip.source);
    into.key.protocol = ip.protocol;
    embedded(frame, into, inner + length)
}

#[inline(always)]
fn icmp_v6(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    /// Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
    const UNREACHABLE: u8 = 1;
    const PARAMETER_PROBLEM: u8 = 4;
    const TOO_BIG: u8 = 2;
    let Some(header) = frame.read::<Icmp>(into.transport) else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    match header.kind {
        icmp::v6::ECHO => return Next::Echo,
        UNREACHABLE | TOO_BIG => {}
        UNREACHABLE..=PARAMETER_PROBLEM if !refuses(settings) => {}
        _ => return Next::Pass,
    }
    let inner = into.transport + icmp::LEN;
    let Some(ip) = frame.read::<Ipv6>(inner) else { return into.refuse(counter::DROP_MALFORMED) };
    if ip.version() != 6 {
        return into.refuse(counter::DROP_MALFORMED);
    }
    into.key.source = Address(ip.destination);
    into.key.destination = Address(ip.source);
    into.key.protocol = ip.next_header;
    embedded(frame, into, inner + ipv6::LEN as u32)
}

#[inline(always)]
fn embedded(frame: &impl Frame, into: &mut Packet, transport: u32) -> Next {
    into.flags |= flags::ERROR;
    into.transport = transport;
    match into.key.protocol {
        protocol::TCP | protocol::UDP => {}
        _ => return Next::Pass,
    }
    let Some(ports) = frame.read::<Ports>(transport) else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    into.ports_are(ports.destination, ports.source);
    Next::Flow
}

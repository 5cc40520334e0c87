//! From IPv4 to IPv6 and back (RFC 7915, as far as TCP and UDP need it). Fragments are not
//! translated: an IPv6 sender learns the path's MTU, and an IPv4 one should.

use super::FAMILIES_DIFFER_BY;
use super::rewrite::{both, ports};
use crate::balancer::deliver::sum_v4;
use crate::balancer::frame::{Frame, Outer};
use crate::balancer::parse::{Packet, flags};
use abi::Address;
use abi::balancer::Translation;
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::Udp;
use wire::{Be16, Be32};

#[inline(never)]
pub fn change(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> bool {
    try_change(frame, packet, to).is_some()
}

#[inline(always)]
fn try_change(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let plain = if packet.is_v6() { ipv6::LEN } else { ipv4::LEN } as u32;
    let fragment = flags::FIRST_FRAGMENT | flags::LATER_FRAGMENT;
    if packet.transport != packet.network + plain || packet.flags & fragment != 0 {
        return None;
    }
    if packet.is_v6() { to_v4(frame, packet, to) } else { to_v6(frame, packet, to) }
}

#[inline(always)]
fn to_v6(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let ip: Ipv4 = frame.read(packet.network)?;
    if ip.ttl <= 1 {
        return None;
    }
    if packet.protocol == protocol::UDP && frame.read::<Udp>(packet.transport)?.checksum.0 == 0 {
        // IPv6 must have one, and the packet is not ours to sum.
        return None;
    }
    let before = both(&Address::from_v4_word(ip.source), &Address::from_v4_word(ip.destination));
    ports(frame, packet.transport, packet.protocol, to, before)?;
    frame.grow(FAMILIES_DIFFER_BY, Outer::V6)?;
    let length = packet.length.checked_sub(ipv4::LEN as u32)?;
    let header = Ipv6 {
        version_class_flow: Be32::new(6 << 28 | u32::from(ip.tos) << 20),
        payload_length: Be16::new(length as u16),
        next_header: ip.protocol,
        hop_limit: ip.ttl - 1,
        source: to.source.0,
        destination: to.destination.0,
    };
    frame.write(packet.network, &header)
}

#[inline(always)]
fn to_v4(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let ip: Ipv6 = frame.read(packet.network)?;
    if ip.hop_limit <= 1 {
        return None;
    }
    let before = both(&Address(ip.source), &Address(ip.destination));
    ports(frame, packet.transport, packet.protocol, to, before)?;
    frame.shrink(FAMILIES_DIFFER_BY)?;
    let dont_fragment = Be16::new(0x4000);
    let mut header = Ipv4 {
        version_length: 0x45,
        tos: packet.tos,
        total_length: Be16::new((packet.length + ipv4::LEN as u32) as u16),
        id: Be16(0),
        flags_offset: dont_fragment,
        ttl: ip.hop_limit - 1,
        protocol: packet.protocol,
        checksum: Be16(0),
        source: to.source.v4_word(),
        destination: to.destination.v4_word(),
    };
    header.checksum = Be16(sum_v4(&header).finish());
    frame.write(packet.network, &header)
}

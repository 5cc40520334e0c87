//! Sending a packet to its backend: outer headers and the next hop.

use super::frame::{Frame, Hop, Link, Outer, Route, Vlan, Why};
use super::parse::{Packet, flags};
use super::{Env, Verdict, answer, drop, translate};
use abi::Address;
use abi::balancer::{Backend, Settings, backend_flags as how, counter, settings_flags};
use wire::Be16;
use wire::Be32;
use wire::checksum::Sum;
use wire::ethernet::{self, ethertype};
use wire::geneve::{self, Geneve};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::Udp;

const NETWORK: usize = ethernet::LEN;
const TAGGED: usize = ethernet::LEN + 4;

/// Hop limit of outer headers.
pub const HOPS: u8 = 64;

const FAILED: Why = Why(counter::DROP_REWRITE);

/// Bytes of the outer headers.
#[inline(always)]
const fn overhead(backend: &Backend) -> u32 {
    let outer = if backend.flags & how::V6 != 0 { ipv6::LEN } else { ipv4::LEN } as u32;
    match backend.flags & how::DELIVERY {
        how::GUE => outer + UDP_LEN,
        how::GENEVE => outer + UDP_LEN + geneve::LEN,
        _ => outer,
    }
}

/// Plain IPIP is what most packets get; the rest is in [`otherwise`].
#[inline(always)]
pub fn deliver(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
    backend: &Backend,
) -> Verdict {
    if backend.flags & how::DELIVERY == how::NAT {
        return translate::to_backend(env, frame, settings, packet, backend);
    }
    let overhead = overhead(backend);
    if frame.length() + overhead > settings.max_sent {
        return answer::too_big(env, frame, settings, packet, overhead);
    }
    let plain = backend.flags & (how::DELIVERY | how::FIB) == how::IPIP
        && packet.flags & flags::TAGGED == 0
        && backend.ifindex == 0;
    if !plain {
        return otherwise(env, frame, settings, packet, backend);
    }
    let mac = if backend.flags & how::OWN_MAC != 0 { backend.mac } else { settings.router_mac };
    let link = Link { destination: mac.0, source: packet.link, ethertype: ethertype::IPV4 };
    match ipip::<NETWORK>(frame, settings, packet, backend, &link) {
        Some(()) => Verdict::Transmit,
        None => drop(env, FAILED),
    }
}

/// Writes the Ethernet header, with the packet's VLAN tag if the network offset says so.
#[inline(always)]
fn write_link<const OFFSET: usize>(
    frame: &mut impl Frame,
    packet: &Packet,
    link: &Link,
) -> Option<()> {
    if OFFSET == NETWORK {
        return frame.write_head::<Link, 0>(link);
    }
    frame.write_head::<Vlan, 0>(&Vlan {
        destination: link.destination,
        source: link.source,
        tagged: ethertype::VLAN,
        tag: Be16(packet.tag),
        ethertype: link.ethertype,
    })
}

#[inline(always)]
fn tos(settings: &Settings, packet: &Packet) -> u8 {
    if settings.flags & settings_flags::COPY_TOS != 0 { packet.tos } else { 0 }
}

#[inline(always)]
fn inner_length(packet: &Packet) -> u32 {
    if packet.is_v6() { packet.length + ipv6::LEN as u32 } else { packet.length }
}

#[inline(always)]
pub fn outer_v4(tos: u8, length: u32, next: u8, source: u32, destination: u32) -> Ipv4 {
    let mut ip = Ipv4 {
        version_length: 0x45,
        tos,
        total_length: Be16::new((ipv4::LEN as u32 + length) as u16),
        id: Be16(0),
        flags_offset: Be16(0),
        ttl: HOPS,
        protocol: next,
        checksum: Be16(0),
        source,
        destination,
    };
    ip.checksum = Be16(sum_v4(&ip).finish());
    ip
}

/// Of a header without options. Its fields are summed as words in memory order.
#[inline(always)]
pub fn sum_v4(ip: &Ipv4) -> Sum {
    Sum::ZERO
        .word(u16::from_ne_bytes([ip.version_length, ip.tos]))
        .word(ip.total_length.0)
        .word(ip.id.0)
        .word(ip.flags_offset.0)
        .word(u16::from_ne_bytes([ip.ttl, ip.protocol]))
        .word(ip.checksum.0)
        .double(ip.source)
        .double(ip.destination)
}

#[inline(always)]
pub fn outer_v6(tos: u8, length: u32, next: u8, source: [u32; 4], destination: [u32; 4]) -> Ipv6 {
    Ipv6 {
        version_class_flow: Be32::new(6 << 28 | u32::from(tos) << 20),
        payload_length: Be16::new(length as u16),
        next_header: next,
        hop_limit: HOPS,
        source,
        destination,
    }
}

/// IPIP with a source that differs by client and port, so that a backend's receive queues share the
/// load: as Katran does it, 172.16/16 with half of the client's address, or 100::/64 with its last
/// word.
#[inline(always)]
fn ipip<const OFFSET: usize>(
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
    backend: &Backend,
    link: &Link,
) -> Option<()> {
    let next = if packet.is_v6() { protocol::IPV6 } else { protocol::IPIP };
    let client = packet.key.source.0[3];
    let port = packet.source_port.to_wire();
    let length = inner_length(packet);
    if backend.flags & how::V6 == 0 {
        let spread = client ^ u32::from(port.swap_bytes()) << 16;
        let source = spread & 0xffff_0000 | u32::from(settings.ipip_source_v4);
        let ip = outer_v4(tos(settings, packet), length, next, source, backend.address.v4_word());
        frame.grow(ipv4::LEN as u32, Outer::V4)?;
        write_link::<OFFSET>(frame, packet, &Link { ethertype: ethertype::IPV4, ..*link })?;
        return frame.write_head::<Ipv4, OFFSET>(&ip);
    }
    let [a, b, c] = settings.ipip_source_v6;
    let source = [a, b, c, client ^ u32::from(port)];
    let ip = outer_v6(tos(settings, packet), length, next, source, backend.address.0);
    frame.grow(ipv6::LEN as u32, Outer::V6)?;
    write_link::<OFFSET>(frame, packet, &Link { ethertype: ethertype::IPV6, ..*link })?;
    frame.write_head::<Ipv6, OFFSET>(&ip)
}

/// All but plain IPIP to a fixed next hop.
#[inline(never)]
fn otherwise(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
    backend: &Backend,
) -> Verdict {
    let Some(hop) = next_hop(frame, settings, packet, backend, overhead(backend)) else {
        return drop(env, Why(counter::DROP_NO_ROUTE));
    };
    let link =
        Link { destination: hop.destination, source: hop.source, ethertype: ethertype::IPV4 };
    let written = match (backend.flags & how::DELIVERY, packet.flags & flags::TAGGED) {
        (how::IPIP, 0) => ipip::<NETWORK>(frame, settings, packet, backend, &link),
        (how::IPIP, _) => ipip::<TAGGED>(frame, settings, packet, backend, &link),
        (_, 0) => udp::<NETWORK>(frame, settings, packet, backend, &link),
        (_, _) => udp::<TAGGED>(frame, settings, packet, backend, &link),
    };
    match written {
        Some(()) => send(frame, &hop),
        None => drop(env, FAILED),
    }
}

/// Where a packet goes next, and by which interface.
#[inline(always)]
pub fn next_hop(
    frame: &impl Frame,
    settings: &Settings,
    packet: &Packet,
    backend: &Backend,
    overhead: u32,
) -> Option<Hop> {
    if backend.flags & how::FIB != 0 {
        return frame.route(&Route {
            source: backend.source,
            destination: backend.address,
            length: (inner_length(packet) + overhead) as u16,
            v6: backend.flags & how::V6 != 0,
        });
    }
    let mac = if backend.flags & how::OWN_MAC != 0 { backend.mac } else { settings.router_mac };
    let elsewhere = backend.ifindex != 0 && backend.ifindex != frame.ifindex();
    let source = if elsewhere { backend.source_mac.0 } else { packet.link };
    Some(Hop { ifindex: backend.ifindex, destination: mac.0, source })
}

#[inline(always)]
pub fn send(frame: &mut impl Frame, hop: &Hop) -> Verdict {
    if hop.ifindex == 0 || hop.ifindex == frame.ifindex() {
        return Verdict::Transmit;
    }
    frame.redirect(hop.ifindex)
}

const UDP_LEN: u32 = size_of::<Udp>() as u32;

/// GUE (variant 1, without a header of its own) and Geneve.
#[inline(always)]
fn udp<const OFFSET: usize>(
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
    backend: &Backend,
    link: &Link,
) -> Option<()> {
    let is_geneve = backend.flags & how::DELIVERY == how::GENEVE;
    let to_v6 = backend.flags & how::V6 != 0;
    let header = if is_geneve { geneve::LEN } else { 0 };
    let length = inner_length(packet) + UDP_LEN + header;
    let geneve = Geneve::new(packet.is_v6(), backend.vni);
    let port = if is_geneve { settings.geneve_port } else { settings.gue_port };
    let mut udp = Udp {
        source: Be16(source_port(packet, to_v6)),
        destination: Be16(port.to_wire()),
        length: Be16::new(length as u16),
        checksum: Be16(0),
    };
    let headers = Sum::ZERO.word(udp.source.0).word(udp.destination.0).word(udp.length.0);
    let headers = if is_geneve { geneve.add_to(headers) } else { headers };
    let inner = inner_sum(frame, settings, packet);
    let pseudo = |sum: Sum, from: &Address, to: &Address| {
        let sum = sum.word(u16::from(protocol::UDP).to_be()).word(udp.length.0);
        let words = |sum: Sum, address: &Address| {
            if to_v6 {
                address.0.iter().fold(sum, |sum, word| sum.double(*word))
            } else {
                sum.double(address.v4_word())
            }
        };
        words(words(sum, from), to)
    };
    if let Some(inner) = inner {
        let sum = pseudo(headers, &backend.source, &backend.address).word(inner.fold());
        udp.checksum = Be16(sum.finish());
    }
    let tos = tos(settings, packet);
    if to_v6 {
        let (from, to) = (backend.source.0, backend.address.0);
        let ip = outer_v6(tos, length, protocol::UDP, from, to);
        frame.grow(ipv6::LEN as u32 + UDP_LEN + header, Outer::UdpV6)?;
        write_link::<OFFSET>(frame, packet, &Link { ethertype: ethertype::IPV6, ..*link })?;
        frame.write_head::<Ipv6, OFFSET>(&ip)?;
        frame.write((OFFSET + ipv6::LEN) as u32, &udp)?;
        if is_geneve {
            frame.write((OFFSET + ipv6::LEN) as u32 + UDP_LEN, &geneve)?;
        }
        return Some(());
    }
    let (from, to) = (backend.source.v4_word(), backend.address.v4_word());
    let ip = outer_v4(tos, length, protocol::UDP, from, to);
    frame.grow(ipv4::LEN as u32 + UDP_LEN + header, Outer::UdpV4)?;
    write_link::<OFFSET>(frame, packet, &Link { ethertype: ethertype::IPV4, ..*link })?;
    frame.write_head::<Ipv4, OFFSET>(&ip)?;
    frame.write((OFFSET + ipv4::LEN) as u32, &udp)?;
    if is_geneve {
        frame.write((OFFSET + ipv4::LEN) as u32 + UDP_LEN, &geneve)?;
    }
    Some(())
}

/// Differs by client and port, as Katran's does.
#[inline(always)]
fn source_port(packet: &Packet, to_v6: bool) -> u16 {
    let port = packet.source_port.to_wire();
    let client = packet.key.source.0[3];
    match (to_v6, packet.is_v6()) {
        (true, true) => client as u16 ^ port,
        (true, false) => (client >> 16) as u16 ^ port,
        (false, _) => (client >> 16) as u16 ^ port.swap_bytes(),
    }
}

/// The sum over the inner packet, without reading it: its transport checksum makes everything it
/// covers, together with the pseudo-header, sum to nothing. `None` where it covers something else.
#[inline(always)]
fn inner_sum(frame: &impl Frame, settings: &Settings, packet: &Packet) -> Option<Sum> {
    let compatible = settings.flags & settings_flags::KATRAN != 0;
    if !compatible {
        if packet.flags & (flags::FIRST_FRAGMENT | flags::LATER_FRAGMENT) != 0 {
            return None;
        }
        let is_udp = packet.protocol == protocol::UDP;
        if is_udp && frame.read::<Udp>(packet.transport)?.checksum.0 == 0 {
            return None;
        }
    }
    // Minus zero, which is what the covered part sums to.
    let zero = Sum::ZERO.word(0xffff);
    if packet.is_v6() {
        let ip = frame.read::<Ipv6>(packet.network)?;
        let addresses = ip.source.iter().chain(&ip.destination);
        let header = addresses.fold(zero, |sum, word| sum.double(*word));
        let header = header
            .double(ip.version_class_flow.0)
            .word(ip.payload_length.0)
            .word(u16::from_ne_bytes([ip.next_header, ip.hop_limit]));
        let addresses = ip.source.iter().chain(&ip.destination);
        let pseudo = addresses.fold(Sum::ZERO, |sum, word| sum.double(*word));
        // Where extension headers precede it, the transport's length is less than the payload's,
        // and they are not covered.
        if packet.transport != packet.network + ipv6::LEN as u32 && packet.flags & flags::ERROR == 0
        {
            return None;
        }
        let pseudo = pseudo.word(ip.payload_length.0).word(u16::from(packet.protocol).to_be());
        return Some(header.word(!pseudo.fold()));
    }
    let ip = frame.read::<Ipv4>(packet.network)?;
    let options = ip.header_length() != ipv4::LEN as u32;
    if options {
        return None;
    }
    let header = Sum::ZERO.word(sum_v4(&ip).fold()).word(0xffff);
    if packet.protocol == protocol::ICMP && !compatible {
        // ICMP has no pseudo-header in IPv4.
        return Some(header);
    }
    let length = Be16::new(ip.total_length.number().wrapping_sub(ipv4::LEN as u16));
    let pseudo = Sum::ZERO
        .double(ip.source)
        .double(ip.destination)
        .word(length.0)
        .word(u16::from(ip.protocol).to_be());
    Some(header.word(!pseudo.fold()))
}

//! Translation of a packet from its own tuple to another, with all checksums.
//!
//! An ICMP error is translated outside and inside, so that its receiver finds the packet in it that
//! it has sent. The transport checksum of the embedded packet stays as it is: nobody verifies it,
//! and it is often cut off.

use crate::flow::Tuple;
use crate::packet::{Checksum, Packet, RewriteFailed, Size};
use crate::parse::{Fragmented, Parsed};
use abi::{Address, Port};
use wire::Be16;
use wire::checksum::{Sum, update};
use wire::ethernet::{self, HopV4, HopV6};
use wire::ip::protocol;
use wire::{icmp, ipv4, ipv6, transport};

/// Makes the packet, whose tuple is `parsed.tuple`, one with the tuple `to`.
#[inline(always)]
pub fn translate(
    packet: &mut impl Packet,
    parsed: &Parsed,
    to: &Tuple,
) -> Result<(), RewriteFailed> {
    if parsed.is_error {
        translate_error(packet, parsed, to)?;
        return translate_embedded(packet, parsed, to);
    }
    let from = &parsed.tuple;
    let checksum = transport_checksum(parsed);
    if from.source != to.source {
        let at = Field::new(parsed.is_v6, parsed.network, Side::Source);
        replace_address(packet, at, &from.source, &to.source, checksum)?;
    }
    if from.destination != to.destination {
        let at = Field::new(parsed.is_v6, parsed.network, Side::Destination);
        replace_address(packet, at, &from.destination, &to.destination, checksum)?;
    }
    if parsed.fragmented == Fragmented::Later {
        return Ok(());
    }
    let source = parsed.transport + transport::offset::SOURCE_PORT;
    replace_port(packet, source, from.source_port, to.source_port, checksum)?;
    let destination = parsed.transport + transport::offset::DESTINATION_PORT;
    replace_port(packet, destination, from.destination_port, to.destination_port, checksum)
}

// In two functions, one after the other: they have less of the stack to themselves than one would
// take.
#[inline(never)]
fn translate_error(
    packet: &mut impl Packet,
    parsed: &Parsed,
    to: &Tuple,
) -> Result<(), RewriteFailed> {
    let from = &parsed.tuple;
    // ICMPv6 sums the addresses of the packet it is in, ICMP doesn't.
    let checksum = parsed.is_v6.then_some(Checksum { pseudo: true, ..error_checksum(parsed) });
    if parsed.source == from.source && from.source != to.source {
        let at = Field::new(parsed.is_v6, parsed.network, Side::Source);
        replace_address(packet, at, &from.source, &to.source, checksum)?;
    }
    if from.destination != to.destination {
        let at = Field::new(parsed.is_v6, parsed.network, Side::Destination);
        replace_address(packet, at, &from.destination, &to.destination, checksum)?;
    }
    Ok(())
}

/// The packet that an error speaks of: what was sent is what now comes back.
#[inline(never)]
fn translate_embedded(
    packet: &mut impl Packet,
    parsed: &Parsed,
    to: &Tuple,
) -> Result<(), RewriteFailed> {
    let from = &parsed.tuple;
    let checksum = error_checksum(parsed);
    // A change of an IPv4 address and that of the header's checksum cancel out in the sum over both.
    let addresses = parsed.is_v6.then_some(checksum);
    if from.source != to.source {
        let at = Field::new(parsed.is_v6, parsed.inner_network, Side::Destination);
        replace_address(packet, at, &from.source, &to.source, addresses)?;
    }
    if from.destination != to.destination {
        let at = Field::new(parsed.is_v6, parsed.inner_network, Side::Source);
        replace_address(packet, at, &from.destination, &to.destination, addresses)?;
    }
    let destination = parsed.inner_transport + transport::offset::DESTINATION_PORT;
    replace_port(packet, destination, from.source_port, to.source_port, Some(checksum))?;
    let source = parsed.inner_transport + transport::offset::SOURCE_PORT;
    replace_port(packet, source, from.destination_port, to.destination_port, Some(checksum))
}

#[inline(always)]
fn error_checksum(parsed: &Parsed) -> Checksum {
    Checksum { offset: parsed.transport + icmp::CHECKSUM, pseudo: false, zero_is_none: false }
}

/// Makes the packet, untranslated or not, one from `source` to the next hop at `destination`.
#[inline(always)]
pub fn hop(
    packet: &mut impl Packet,
    parsed: &Parsed,
    destination: [u8; 6],
    source: [u8; 6],
) -> Result<(), RewriteFailed> {
    if parsed.network != ethernet::LEN as u32 {
        decrement_ttl(packet, parsed)?;
        return packet.set_macs(destination, source);
    }
    // The common case in one write.
    let ttl = parsed.ttl.saturating_sub(1);
    if parsed.is_v6 {
        let mut head = packet.head::<HopV6, 0>().ok_or(RewriteFailed)?;
        head.frame.destination = destination;
        head.frame.source = source;
        head.hop_limit = ttl;
        return packet.store_head(&head);
    }
    let mut head = packet.head::<HopV4, 0>().ok_or(RewriteFailed)?;
    head.frame.destination = destination;
    head.frame.source = source;
    head.ttl = ttl;
    let sum = |ttl: u8| Sum::ZERO.word(u16::from_ne_bytes([ttl, head.protocol]));
    head.checksum = Be16(update(head.checksum.0, sum(parsed.ttl), sum(ttl)));
    packet.store_head(&head)
}

/// Takes one hop off.
#[inline(always)]
pub fn decrement_ttl(packet: &mut impl Packet, parsed: &Parsed) -> Result<(), RewriteFailed> {
    let ttl = parsed.ttl.saturating_sub(1);
    if parsed.is_v6 {
        return packet.store_byte(parsed.network + ipv6::offset::HOP_LIMIT, ttl);
    }
    // The half-word of the sum that holds the time to live has the protocol beside it, which is the
    // same before and after.
    let half = |ttl: u8| u32::from(u16::from_ne_bytes([ttl, 0]));
    let checksum = parsed.network + ipv4::offset::CHECKSUM;
    packet.correct_header(checksum, half(parsed.ttl), half(ttl), Size::Half)?;
    packet.store_byte(parsed.network + ipv4::offset::TTL, ttl)
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// An address field in an IP header.
#[derive(Clone, Copy)]
struct Field {
    is_v6: bool,
    network: u32,
    offset: u32,
}

impl Field {
    #[inline(always)]
    fn new(is_v6: bool, network: u32, side: Side) -> Self {
        let offset = match (is_v6, side) {
            (false, Side::Source) => ipv4::offset::SOURCE,
            (false, Side::Destination) => ipv4::offset::DESTINATION,
            (true, Side::Source) => ipv6::offset::SOURCE,
            (true, Side::Destination) => ipv6::offset::DESTINATION,
        };
        Field { is_v6, network, offset: network + offset }
    }
}

#[inline(always)]
fn replace_address(
    packet: &mut impl Packet,
    at: Field,
    from: &Address,
    to: &Address,
    checksum: Option<Checksum>,
) -> Result<(), RewriteFailed> {
    if to.is_v4() == at.is_v6 {
        return Err(RewriteFailed);
    }
    if at.is_v6 {
        if let Some(checksum) = checksum {
            packet.correct_v6(checksum, from, to)?;
        }
        return packet.store_address(at.offset, to);
    }
    if let Some(checksum) = checksum {
        packet.correct(checksum, from.v4_word(), to.v4_word(), Size::Word)?;
    }
    let header = at.network + ipv4::offset::CHECKSUM;
    packet.correct_header(header, from.v4_word(), to.v4_word(), Size::Word)?;
    packet.store_word(at.offset, to.v4_word())
}

#[inline(always)]
fn replace_port(
    packet: &mut impl Packet,
    offset: u32,
    from: Port,
    to: Port,
    checksum: Option<Checksum>,
) -> Result<(), RewriteFailed> {
    if from == to {
        return Ok(());
    }
    // Without a checksum to correct (SCTP's is no sum) a port can't be changed.
    let checksum = Checksum { pseudo: false, ..checksum.ok_or(RewriteFailed)? };
    packet.correct(checksum, from.to_wire().into(), to.to_wire().into(), Size::Half)?;
    packet.store_half(offset, to.to_wire())
}

/// The checksum that covers addresses and ports; none if this packet has none.
#[inline(always)]
fn transport_checksum(parsed: &Parsed) -> Option<Checksum> {
    if parsed.fragmented == Fragmented::Later {
        return None;
    }
    let (offset, zero_is_none) = match parsed.tuple.protocol {
        protocol::TCP => (transport::offset::TCP_CHECKSUM, false),
        protocol::UDP => (transport::offset::UDP_CHECKSUM, true),
        protocol::ICMPV6 => (icmp::CHECKSUM, false),
        _ => return None,
    };
    Some(Checksum { offset: parsed.transport + offset, pseudo: true, zero_is_none })
}

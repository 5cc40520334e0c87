//! ICMP errors about translated flows: the error and the packet that it embeds.

use super::rewrite::{both, sum_of};
use crate::balancer::frame::Frame;
use crate::balancer::parse::Packet;
use abi::Address;
use abi::balancer::Translation;
use wire::Be16;
use wire::checksum::{Sum, update};
use wire::icmp;
use wire::ipv4::Ipv4;
use wire::ipv6;
use wire::transport::Ports;

/// New ports of the embedded packet, and the sums of old and new ones. The error goes where the
/// flow's packets go; the packet that it speaks of came from there.
#[inline(always)]
fn ports(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<(Sum, Sum)> {
    if to.destination.is_v4() == packet.is_v6() {
        // Between families, an error would have to become another.
        return None;
    }
    let ports: Ports = frame.read(packet.transport)?;
    let new =
        Ports { source: to.destination_port.to_wire(), destination: to.source_port.to_wire() };
    frame.write(packet.transport, &new)?;
    let sum = |ports: &Ports| Sum::ZERO.word(ports.source).word(ports.destination);
    Some((sum(&ports), sum(&new)))
}

#[inline(never)]
pub fn v4(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> bool {
    try_v4(frame, packet, to).is_some()
}

#[inline(always)]
fn try_v4(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let (from, into) = ports(frame, packet, to)?;
    let mut outer: Ipv4 = frame.read(packet.network)?;
    let icmp = packet.network + outer.header_length();
    let target = Address::from_v4_word(outer.destination);
    outer.destination = to.destination.v4_word();
    outer.checksum = Be16(update(outer.checksum.0, sum_of(&target), sum_of(&to.destination)));
    frame.write(packet.network, &outer)?;
    let mut inner: Ipv4 = frame.read(icmp + icmp::LEN)?;
    let before =
        both(&Address::from_v4_word(inner.source), &Address::from_v4_word(inner.destination));
    (inner.source, inner.destination) = (to.destination.v4_word(), to.source.v4_word());
    // The embedded header's checksum balances its addresses, so that the error's sees only ports.
    inner.checksum = Be16(update(inner.checksum.0, before, both(&to.destination, &to.source)));
    frame.write(icmp + icmp::LEN, &inner)?;
    let at = icmp + icmp::CHECKSUM;
    let checksum: Be16 = frame.read(at)?;
    frame.write(at, &Be16(update(checksum.0, from, into)))
}

#[inline(never)]
pub fn v6(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> bool {
    try_v6(frame, packet, to).is_some()
}

#[inline(always)]
fn try_v6(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let (from, into) = ports(frame, packet, to)?;
    // The embedded packet's headers lie right before its ports.
    let inner_at = packet.transport.checked_sub(ipv6::LEN as u32)?;
    let icmp = inner_at.checked_sub(icmp::LEN)?;
    // Addresses alone, not headers: the stack is short.
    let outer_at = packet.network + ipv6::offset::DESTINATION;
    let target = Address(frame.read(outer_at)?);
    frame.write(outer_at, &to.destination.0)?;
    let addresses_at = inner_at + ipv6::offset::SOURCE;
    let [source, destination]: [[u32; 4]; 2] = frame.read(addresses_at)?;
    let before = both(&Address(source), &Address(destination));
    frame.write(addresses_at, &[to.destination.0, to.source.0])?;
    let at = icmp + icmp::CHECKSUM;
    let checksum: Be16 = frame.read(at)?;
    let from = from.word(before.fold()).word(sum_of(&target).fold());
    let after = both(&to.destination, &to.source);
    let into = into.word(after.fold()).word(sum_of(&to.destination).fold());
    frame.write(at, &Be16(update(checksum.0, from, into)))
}

//! Addresses and ports within one family.

use crate::balancer::frame::Frame;
use crate::balancer::parse::{Packet, flags};
use abi::Address;
use abi::balancer::Translation;
use wire::Be16;
use wire::checksum::{Sum, update};
use wire::ip::protocol;
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::transport::{Ports, offset};

#[inline(always)]
pub fn sum_of(address: &Address) -> Sum {
    if address.is_v4() {
        Sum::ZERO.double(address.v4_word())
    } else {
        address.0.iter().fold(Sum::ZERO, |sum, word| sum.double(*word))
    }
}

#[inline(always)]
pub fn both(one: &Address, other: &Address) -> Sum {
    Sum::ZERO.word(sum_of(one).fold()).word(sum_of(other).fold())
}

/// One hop less, new addresses, new ports, and the checksums.
#[inline(never)]
pub fn same_family(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> bool {
    try_same_family(frame, packet, to).is_some()
}

#[inline(always)]
fn try_same_family(frame: &mut impl Frame, packet: &Packet, to: &Translation) -> Option<()> {
    let before = if packet.is_v6() {
        let mut ip: Ipv6 = frame.read(packet.network)?;
        let before = both(&Address(ip.source), &Address(ip.destination));
        if ip.hop_limit <= 1 {
            return None;
        }
        ip.hop_limit -= 1;
        (ip.source, ip.destination) = (to.source.0, to.destination.0);
        frame.write(packet.network, &ip)?;
        before
    } else {
        let mut ip: Ipv4 = frame.read(packet.network)?;
        let (source, destination) =
            (Address::from_v4_word(ip.source), Address::from_v4_word(ip.destination));
        let before = both(&source, &destination);
        if ip.ttl <= 1 {
            return None;
        }
        let hops = |ip: &Ipv4| u16::from_ne_bytes([ip.ttl, ip.protocol]);
        let old = before.word(hops(&ip));
        ip.ttl -= 1;
        (ip.source, ip.destination) = (to.source.v4_word(), to.destination.v4_word());
        let new = both(&to.source, &to.destination).word(hops(&ip));
        ip.checksum = Be16(update(ip.checksum.0, old, new));
        frame.write(packet.network, &ip)?;
        before
    };
    if packet.flags & flags::LATER_FRAGMENT != 0 {
        return Some(());
    }
    ports(frame, packet.transport, packet.protocol, to, before)
}

/// New ports at `transport`, and the checksum for them and for the addresses, whose sum was
/// `before`.
#[inline(always)]
pub fn ports(
    frame: &mut impl Frame,
    transport: u32,
    protocol: u8,
    to: &Translation,
    before: Sum,
) -> Option<()> {
    let old: Ports = frame.read(transport)?;
    let new =
        Ports { source: to.source_port.to_wire(), destination: to.destination_port.to_wire() };
    frame.write(transport, &new)?;
    let at = transport
        + if protocol == protocol::TCP { offset::TCP_CHECKSUM } else { offset::UDP_CHECKSUM };
    let checksum: Be16 = frame.read(at)?;
    if protocol == protocol::UDP && checksum.0 == 0 {
        return Some(());
    }
    let from = before.word(old.source).word(old.destination);
    let to = both(&to.source, &to.destination).word(new.source).word(new.destination);
    let mut checksum = update(checksum.0, from, to);
    if protocol == protocol::UDP && checksum == 0 {
        checksum = 0xffff;
    }
    frame.write(at, &Be16(checksum))
}

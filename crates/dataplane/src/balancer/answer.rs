//! What the balancer answers itself: echo requests, and messages about packets that are too long.

use super::deliver::{HOPS, outer_v4, outer_v6, sum_v4};
use super::frame::{Frame, Link, Outer, Why};
use super::parse::{Packet, flags};
use super::{Env, Verdict, drop, front_end};
use abi::balancer::{Settings, counter, settings_flags};
use abi::{Address, Port};
use wire::Be16;
use wire::checksum::{self, Sum};
use wire::ethernet::{self, ethertype};
use wire::icmp::{self, Icmp};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};

const FAILED: Why = Why(counter::DROP_REWRITE);

/// An echo request: answered for VIPs, and in the compatibility mode for every address.
#[inline(never)]
pub fn echo(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
) -> Verdict {
    if settings.flags & settings_flags::KATRAN == 0 {
        packet.key.source_port = Port::NONE;
        packet.key.destination_port = Port::NONE;
        if front_end::find(env, settings, packet, false).is_none() {
            env.count(counter::PASSED);
            return Verdict::Pass;
        }
    }
    let answered = if packet.is_v6() {
        echo_v6(frame, settings, packet)
    } else {
        echo_v4(frame, settings, packet)
    };
    match answered {
        Some(()) => {
            env.count(counter::ECHO_ANSWERED);
            Verdict::Transmit
        }
        None => drop(env, FAILED),
    }
}

#[inline(always)]
fn turn_link(frame: &mut impl Frame) -> Option<()> {
    let link = frame.head::<Link, 0>()?;
    let turned = Link { destination: link.source, source: link.destination, ..link };
    frame.write_head::<Link, 0>(&turned)
}

#[inline(always)]
fn echo_v4(frame: &mut impl Frame, settings: &Settings, packet: &Packet) -> Option<()> {
    let mut ip = frame.read::<Ipv4>(packet.network)?;
    // Asked with a multicast or broadcast destination, we would answer from it.
    (ip.source, ip.destination) = (ip.destination, ip.source);
    let before = u16::from_ne_bytes([ip.ttl, ip.protocol]);
    ip.ttl = HOPS;
    if ip.header_length() == ipv4::LEN as u32 {
        ip.checksum = Be16(0);
        ip.checksum = Be16(sum_v4(&ip).finish());
    } else {
        let after = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        let (from, to) = (Sum::ZERO.word(before), Sum::ZERO.word(after));
        ip.checksum = Be16(checksum::update(ip.checksum.0, from, to));
    }
    frame.write(packet.network, &ip)?;
    answer_icmp(frame, settings, packet, icmp::v4::ECHO, icmp::v4::ECHO_REPLY)?;
    turn_link(frame)
}

#[inline(always)]
fn echo_v6(frame: &mut impl Frame, settings: &Settings, packet: &Packet) -> Option<()> {
    let mut ip = frame.read::<Ipv6>(packet.network)?;
    (ip.source, ip.destination) = (ip.destination, ip.source);
    ip.hop_limit = HOPS;
    frame.write(packet.network, &ip)?;
    answer_icmp(frame, settings, packet, icmp::v6::ECHO, icmp::v6::ECHO_REPLY)?;
    turn_link(frame)
}

/// Only the type differs, and the checksum by as much.
#[inline(always)]
fn answer_icmp(
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
    from: u8,
    to: u8,
) -> Option<()> {
    let mut header = frame.read::<Icmp>(packet.transport)?;
    header.kind = to;
    let (from, to) = (u16::from_ne_bytes([from, 0]), u16::from_ne_bytes([to, 0]));
    header.checksum = Be16(if settings.flags & settings_flags::KATRAN != 0 {
        // Katran forgets the carry.
        header.checksum.0.wrapping_add(from).wrapping_sub(to)
    } else {
        checksum::update(header.checksum.0, Sum::ZERO.word(from), Sum::ZERO.word(to))
    });
    frame.write(packet.transport, &header)
}

/// As much of the packet as goes into the message, from its IP header on. Multiples of four.
const EMBEDDED_V4: usize = 84;
const EMBEDDED_V6: usize = 248;

/// A packet that doesn't fit, with `overhead` bytes before it.
#[inline(never)]
pub fn too_big(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &Packet,
    overhead: u32,
) -> Verdict {
    if let Some(counters) = env.vip(packet.vip) {
        counters.too_big.set(counters.too_big.get() + 1);
    }
    let unanswerable = flags::ERROR | flags::TAGGED | flags::LATER_FRAGMENT;
    if settings.flags & settings_flags::SEND_TOO_BIG == 0 || packet.flags & unanswerable != 0 {
        return drop(env, Why(counter::DROP_TOO_BIG));
    }
    let fits = settings.max_frame.min(settings.max_sent.wrapping_sub(overhead));
    let mtu = fits.wrapping_sub(ethernet::LEN as u32);
    let sent = if packet.is_v6() { too_big_v6(frame, mtu) } else { too_big_v4(frame, mtu) };
    match sent {
        Some(()) => {
            env.count(counter::TOO_BIG_SENT);
            Verdict::Transmit
        }
        None => drop(env, FAILED),
    }
}

const NETWORK: usize = ethernet::LEN;

#[inline(always)]
pub fn too_big_v4(frame: &mut impl Frame, mtu: u32) -> Option<()> {
    const FRAGMENTATION_NEEDED: u8 = 4;
    const ICMP: usize = NETWORK + ipv4::LEN;
    let link = frame.head::<Link, 0>()?;
    let about = frame.head::<Ipv4, NETWORK>()?;
    frame.truncate((NETWORK + EMBEDDED_V4) as u32)?;
    let sum = frame.sum::<NETWORK, EMBEDDED_V4>()?;
    frame.grow(ipv4::LEN as u32 + icmp::LEN, Outer::V4)?;
    let mut header = Icmp {
        kind: icmp::v4::DESTINATION_UNREACHABLE,
        code: FRAGMENTATION_NEEDED,
        checksum: Be16(0),
        id: 0,
        sequence: Be16::new(mtu as u16),
    };
    let head = Sum::ZERO.word(u16::from_ne_bytes([header.kind, header.code]));
    header.checksum = Be16(head.word(header.sequence.0).word(sum.fold()).finish());
    let length = icmp::LEN + EMBEDDED_V4 as u32;
    let ip = outer_v4(0, length, protocol::ICMP, about.destination, about.source);
    let back =
        Link { destination: link.source, source: link.destination, ethertype: ethertype::IPV4 };
    frame.write_head::<Link, 0>(&back)?;
    frame.write_head::<Ipv4, NETWORK>(&ip)?;
    frame.write_head::<Icmp, ICMP>(&header)
}

#[inline(always)]
pub fn too_big_v6(frame: &mut impl Frame, mtu: u32) -> Option<()> {
    const TOO_BIG: u8 = 2;
    const ICMP: usize = NETWORK + ipv6::LEN;
    let link = frame.head::<Link, 0>()?;
    let about = frame.head::<Ipv6, NETWORK>()?;
    frame.truncate((NETWORK + EMBEDDED_V6) as u32)?;
    let sum = frame.sum::<NETWORK, EMBEDDED_V6>()?;
    frame.grow(ipv6::LEN as u32 + icmp::LEN, Outer::V6)?;
    let length = icmp::LEN + EMBEDDED_V6 as u32;
    let mut header =
        Icmp { kind: TOO_BIG, code: 0, checksum: Be16(0), id: 0, sequence: Be16::new(mtu as u16) };
    let words = |sum: Sum, address: [u32; 4]| sum_words(sum, &Address(address));
    let pseudo = words(words(Sum::ZERO, about.source), about.destination)
        .word((length as u16).to_be())
        .word(u16::from(protocol::ICMPV6).to_be());
    let head = pseudo.word(u16::from_ne_bytes([header.kind, 0])).word(header.sequence.0);
    header.checksum = Be16(head.word(sum.fold()).finish());
    let ip = outer_v6(0, length, protocol::ICMPV6, about.destination, about.source);
    let back =
        Link { destination: link.source, source: link.destination, ethertype: ethertype::IPV6 };
    frame.write_head::<Link, 0>(&back)?;
    frame.write_head::<Ipv6, NETWORK>(&ip)?;
    frame.write_head::<Icmp, ICMP>(&header)
}

#[inline(always)]
fn sum_words(sum: Sum, address: &Address) -> Sum {
    address.0.iter().fold(sum, |sum, word| sum.double(*word))
}

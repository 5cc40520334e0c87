//! Masqueraded flows, before the kernel makes socket buffers of their packets.
//!
//! A program of XDP on the node's own interfaces. What [`from_outside`](crate::from_outside) would
//! translate and send on by one of these interfaces, it sends on itself. It begins nothing, ends
//! nothing and decides nothing: it takes packets of flows whose verdict is of the policy in force and
//! that call for no event, nor for anything to be written but the flow's own counters. All others, and
//! those without a route or a neighbour, go on as they came, to `from_outside`, which does all of
//! this as well and gives the same.
//!
//! Packets that come from a virtual machine or container of the same host may have a checksum that is
//! yet to be completed. Only socket buffers say so; here it shows in the checksum itself, which is then
//! the sum of the pseudo-header.

use crate::balancer::{Frame, Hop, Link, Route, Verdict};
use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow::{self, Tuple};
use crate::forward;
use abi::conntrack::{FlowKey, ServiceFlowKey, conn_flags, tcp_state};
use abi::drop_reason::DropReason;
use abi::endpoint::device_flags;
use abi::state::State;
use abi::{Address, Port, metrics};
use wire::Be16;
use wire::checksum::{Sum, update};
use wire::dsr;
use wire::ethernet::{self, ethertype};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::{Ports, Udp, tcp_flags};

const NETWORK: usize = ethernet::LEN;
const V4: usize = NETWORK + ipv4::LEN;
const V6: usize = NETWORK + ipv6::LEN;

/// A TCP header without options, in half-words.
type Tcp = [u16; 10];
/// A UDP header.
type Datagram = [u16; size_of::<Udp>() / 2];
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Packets with these change the state of their connection.
const OTHERS: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;

/// The kernel asks after a neighbour whose address it hasn't heard of for a while, but only when its own
/// stack sends something there: for one second in 64 (as long as 2^30 ns are) all goes by the stack.
const SECOND: u32 = 30;
const SECONDS: u64 = 64;

const NO_TUPLE: Tuple = ServiceFlowKey {
    source: Address::NONE,
    destination: Address::NONE,
    source_port: Port::NONE,
    destination_port: Port::NONE,
    protocol: 0,
    zero: [0; 3],
};

#[inline(always)]
pub fn shortcut<E: Env>(env: &E, frame: &mut impl Frame) -> Verdict {
    let mut from = NO_TUPLE;
    let mut to = NO_TUPLE;
    let mut hop = Hop { ifindex: 0, destination: [0; 3], source: [0; 3] };
    let length = read(frame, &mut from);
    if length == 0 || !follow(env, frame, &from, &mut to, (length, &mut hop)) {
        return Verdict::Pass;
    }
    send(env, frame, &from, &to, (length, &hop))
}

/// The tuple of a packet that this is for, and its length; 0 for any other.
#[inline(always)]
fn read(frame: &impl Frame, tuple: &mut Tuple) -> u32 {
    let Some(link) = frame.head::<Link, 0>() else { return 0 };
    let found = match link.ethertype {
        ethertype::IPV4 => read_v4(frame, tuple),
        ethertype::IPV6 => read_v6(frame, tuple),
        _ => None,
    };
    match found {
        Some(length) if length + NETWORK as u32 <= frame.length() => length,
        _ => 0,
    }
}

#[inline(always)]
fn read_v4(frame: &impl Frame, tuple: &mut Tuple) -> Option<u32> {
    let ip = frame.head::<Ipv4, NETWORK>()?;
    if ip.version_length != 0x45 || ip.is_fragment() || ip.ttl <= 1 {
        return None;
    }
    tuple.source = Address::from_v4_word(ip.source);
    tuple.destination = Address::from_v4_word(ip.destination);
    tuple.protocol = ip.protocol;
    let length = u32::from(ip.total_length.number());
    read_transport::<V4>(frame, tuple, length.checked_sub(ipv4::LEN as u32)?)?;
    Some(length)
}

#[inline(always)]
fn read_v6(frame: &impl Frame, tuple: &mut Tuple) -> Option<u32> {
    let ip = frame.head::<Ipv6, NETWORK>()?;
    if ip.version() != 6 || ip.hop_limit <= 1 {
        return None;
    }
    tuple.source = Address(ip.source);
    tuple.destination = Address(ip.destination);
    if tuple.source.is_v4() || tuple.destination.is_v4() {
        // They would be found as those of another packet.
        return None;
    }
    tuple.protocol = ip.next_header;
    let length = u32::from(ip.payload_length.number());
    read_transport::<V6>(frame, tuple, length)?;
    Some(ipv6::LEN as u32 + length)
}

/// `length` is that of the transport header and what follows.
#[inline(always)]
fn read_transport<const AT: usize>(
    frame: &impl Frame,
    tuple: &mut Tuple,
    length: u32,
) -> Option<()> {
    let (checksum, header) = match tuple.protocol {
        protocol::TCP => {
            let tcp = frame.head::<Tcp, AT>()?;
            let [_, flags] = tcp[TCP_FLAGS / 2].to_ne_bytes();
            if flags & OTHERS != 0 {
                return None;
            }
            (tcp[TCP_CHECKSUM / 2], size_of::<Tcp>())
        }
        protocol::UDP => {
            let udp = frame.head::<Datagram, AT>()?;
            (udp[UDP_CHECKSUM / 2], size_of::<Datagram>())
        }
        _ => return None,
    };
    let ports = frame.head::<Ports, AT>()?;
    tuple.source_port = Port::from_wire(ports.source);
    tuple.destination_port = Port::from_wire(ports.destination);
    if tuple.protocol == protocol::UDP && ports.destination == dsr::GENEVE_PORT.0 {
        // Another node may have sent it on.
        return None;
    }
    let pseudo_header =
        sum(tuple).word(u16::from_ne_bytes([0, tuple.protocol])).double(length.to_be());
    let is_partial = pseudo_header.fold() == checksum;
    (!is_partial && length >= header as u32).then_some(())
}

/// Writes what becomes of the tuple, and the way, and accounts for the packet. False if it isn't for
/// here.
#[inline(always)]
fn follow<E: Env>(
    env: &E,
    frame: &impl Frame,
    from: &Tuple,
    to: &mut Tuple,
    (length, hop): (u32, &mut Hop),
) -> bool {
    let now = env.now();
    if (now >> SECOND).is_multiple_of(SECONDS) {
        return false;
    }
    let Some(state) = env.state() else { return false };
    let state: &State = &state;
    let mut key = FlowKey {
        low: Address::NONE,
        high: Address::NONE,
        low_port: Port::NONE,
        high_port: Port::NONE,
        protocol: 0,
        zero: [0; 3],
    };
    to.protocol = from.protocol;
    let from_high = flow::canonical(from, &mut key);
    if let Some(entry) = env.connection(&key)
        && !entry.is_expired(from.protocol, &state.timeouts, now)
    {
        // An answer to this node.
        if !entry.is_reply(from_high)
            || !entry.has(conn_flags::MASQUERADED)
            || !is_settled(&entry, from.protocol, state, true)
        {
            return false;
        }
        let Some(of) = env.masquerade(&key) else { return false };
        to.source = entry.vip.get();
        to.source_port = entry.vip_port.get();
        to.destination = of.client;
        to.destination_port = of.port;
        if !find_way(env, frame, to, length, hop) {
            return false;
        }
        entry.update(true, length, now);
        return true;
    }
    let Some(flow) = env.service_flow(from) else { return false };
    if flow.source.is_none() || forward::is_stale(&flow, now) {
        return false;
    }
    if from.protocol != protocol::TCP && env.backend(flow.backend).is_none() {
        return false;
    }
    to.source = flow.source;
    to.source_port = flow.source_port;
    to.destination = flow.address;
    to.destination_port = flow.port;
    let from_high = flow::canonical(to, &mut key);
    let Some(entry) = env.connection(&key) else { return false };
    let is_own = !entry.is_reply(from_high)
        && entry.has(conn_flags::MASQUERADED)
        && entry.vip.get() == from.destination
        && entry.vip_port.get() == from.destination_port
        && !entry.is_expired(from.protocol, &state.timeouts, now)
        && is_settled(&entry, from.protocol, state, false);
    if !is_own {
        return false;
    }
    match env.masquerade(&key) {
        Some(of) if of.client == from.source && of.port == from.source_port => {}
        _ => return false,
    }
    if !find_way(env, frame, to, length, hop) {
        return false;
    }
    entry.update(false, length, now);
    true
}

/// False if the packet can't leave by an interface that takes it.
#[inline(always)]
fn find_way(env: &impl Env, frame: &impl Frame, to: &Tuple, length: u32, hop: &mut Hop) -> bool {
    let (source, destination) = (to.source, to.destination);
    let v6 = !destination.is_v4();
    let query = Route { source, destination, length: length as u16, v6 };
    let Some(found) = frame.route(&query) else { return false };
    *hop = found;
    let Some(device) = env.device(found.ifindex) else { return false };
    if device.flags & device_flags::TAKES_FRAMES != 0 {
        return true;
    }
    // What a generic program sends are socket buffers, which any other of them takes.
    let is_generic = |flags: u32| flags & device_flags::GENERIC != 0;
    is_generic(device.flags) && env.device(frame.ifindex()).is_some_and(|own| is_generic(own.flags))
}

/// Nothing but its counters is to be written for a packet of this flow.
#[inline(always)]
fn is_settled(entry: &Entry, protocol: u8, state: &State, is_reply: bool) -> bool {
    entry.epoch.get() == state.policy_epoch
        && entry.denied.get() == 0
        && (!is_reply || entry.has(conn_flags::REPLY_SEEN))
        && (protocol != protocol::TCP || entry.state.get() == tcp_state::ESTABLISHED)
}

#[inline(always)]
fn send(
    env: &impl Env,
    frame: &mut impl Frame,
    from: &Tuple,
    to: &Tuple,
    (length, hop): (u32, &Hop),
) -> Verdict {
    let v6 = !to.destination.is_v4();
    let ethertype = if v6 { ethertype::IPV6 } else { ethertype::IPV4 };
    let link = Link { destination: hop.destination, source: hop.source, ethertype };
    let written = if v6 { write_v6(frame, from, to) } else { write_v4(frame, from, to) };
    if written.is_none() || frame.write_head::<Link, 0>(&link).is_none() {
        env.count(DropReason::RewriteFailed as u32, length);
        return Verdict::Drop;
    }
    env.count(metrics::SHORTCUT, length);
    env.count(metrics::PACKET_TRANSLATED, length);
    env.count(metrics::FORWARDED, length);
    if hop.ifindex == frame.ifindex() { Verdict::Transmit } else { frame.redirect(hop.ifindex) }
}

#[inline(always)]
fn sum(tuple: &Tuple) -> Sum {
    let words =
        |sum: Sum, address: &Address| address.0.iter().fold(sum, |sum, word| sum.double(*word));
    words(words(Sum::ZERO, &tuple.source), &tuple.destination)
}

#[inline(never)]
fn write_v4(frame: &mut impl Frame, from: &Tuple, to: &Tuple) -> Option<()> {
    let mut ip = frame.head::<Ipv4, NETWORK>()?;
    let hops = |ip: &Ipv4| u16::from_ne_bytes([ip.ttl, ip.protocol]);
    // The words that make an address one of IPv4 are in both sums.
    let old = sum(from).word(hops(&ip));
    ip.ttl = ip.ttl.saturating_sub(1);
    ip.source = to.source.v4_word();
    ip.destination = to.destination.v4_word();
    ip.checksum = Be16(update(ip.checksum.0, old, sum(to).word(hops(&ip))));
    write_ports::<V4>(frame, from, to)?;
    frame.write_head::<Ipv4, NETWORK>(&ip)
}

#[inline(never)]
fn write_v6(frame: &mut impl Frame, from: &Tuple, to: &Tuple) -> Option<()> {
    let mut ip = frame.head::<Ipv6, NETWORK>()?;
    ip.hop_limit = ip.hop_limit.saturating_sub(1);
    ip.source = to.source.0;
    ip.destination = to.destination.0;
    write_ports::<V6>(frame, from, to)?;
    frame.write_head::<Ipv6, NETWORK>(&ip)
}

#[inline(always)]
fn write_ports<const AT: usize>(frame: &mut impl Frame, from: &Tuple, to: &Tuple) -> Option<()> {
    let all = |tuple: &Tuple| {
        sum(tuple).word(tuple.source_port.to_wire()).word(tuple.destination_port.to_wire())
    };
    let (source, destination) = (to.source_port.to_wire(), to.destination_port.to_wire());
    if from.protocol == protocol::TCP {
        let mut tcp = frame.head::<Tcp, AT>()?;
        (tcp[0], tcp[1]) = (source, destination);
        tcp[TCP_CHECKSUM / 2] = update(tcp[TCP_CHECKSUM / 2], all(from), all(to));
        return frame.write_head::<Tcp, AT>(&tcp);
    }
    let mut udp = frame.head::<Datagram, AT>()?;
    (udp[0], udp[1]) = (source, destination);
    let checksum = udp[UDP_CHECKSUM / 2];
    if checksum != 0 {
        let new = update(checksum, all(from), all(to));
        // Zero would say that there is none.
        udp[UDP_CHECKSUM / 2] = if new == 0 { 0xffff } else { new };
    }
    frame.write_head::<Datagram, AT>(&udp)
}

//! The shortest way: TCP or UDP over IPv4, to a VIP by its own port, on to a backend by IPIP and a
//! fixed next hop.
//!
//! Nothing of it goes through memory but the frame and the maps. Whatever else a frame is, or its
//! VIP or its backend wants, is left to the long way, with the frame as it was and nothing counted:
//! the long way does all of this as well, and gives the same.

use super::deliver::outer_v4;
use super::frame::{Frame, Link, Outer, Why};
use super::{Env, Verdict, drop, hash};
use abi::balancer::{
    Backend, FrontEnd, FrontEndKey, Settings, backend_flags as how, counter, frontend_flags as vip,
    settings_flags, slot,
};
use abi::{Address, Port};
use wire::ethernet::{self, ethertype};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::transport::tcp_flags;
use zerocopy::FromBytes;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quick {
    Done(Verdict),
    /// Not for a VIP by its own port.
    Missed,
    /// Not for this way.
    Left,
}

/// A frame from its third byte on, so that words lie where words may. Of UDP the last fields are
/// payload or padding; shorter frames go the long way.
#[derive(Clone, Copy, FromBytes)]
#[repr(C)]
struct Headers {
    _link: [u16; 5],
    ethertype: u16,
    version_tos: [u8; 2],
    total_length: wire::Be16,
    _id: u16,
    flags_offset: u16,
    ttl_protocol: [u8; 2],
    _checksum: u16,
    source: u32,
    destination: u32,
    ports: [u16; 2],
    _sequence: [u32; 2],
    _data_offset: u8,
    tcp_flags: u8,
    _window: u16,
}

const SKIPPED: usize = 2;

/// More fragments, and the fragment's offset.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// What takes a packet off this way, of the settings, of its VIP and of its backend.
const OTHER_SETTINGS: u32 = settings_flags::DECAPSULATE;
const OTHER_VIPS: u32 = vip::SPECIAL
    | vip::NO_SOURCE_PORT
    | vip::DESTINATION_PORT_ONLY
    | vip::HASH_ALL_PORTS
    | vip::KATRAN_HASH
    | vip::LOCAL;
const OTHER_BACKENDS: u32 = how::DELIVERY | how::V6 | how::FIB | how::OWN_MAC;

#[inline(always)]
pub fn balance(env: &impl Env, frame: &mut impl Frame, settings: &Settings) -> Quick {
    if settings.flags & OTHER_SETTINGS != 0 {
        return Quick::Left;
    }
    let Some(headers) = frame.head::<Headers, SKIPPED>() else { return Quick::Left };
    let [version, tos] = headers.version_tos;
    let next = headers.ttl_protocol[1];
    if headers.ethertype != ethertype::IPV4.0
        || version != 0x45
        || headers.flags_offset & FRAGMENT != 0
        || next != protocol::TCP && next != protocol::UDP
    {
        return Quick::Left;
    }
    let [source_port, destination_port] = headers.ports;
    let key = FrontEndKey {
        address: Address::from_v4_word(headers.destination),
        port: Port::from_wire(destination_port),
        protocol: next,
        zero: 0,
    };
    let Some(front) = env.front_end(settings, &key) else { return Quick::Missed };
    let front: &FrontEnd = &front;
    let length = frame.length();
    if front.flags & OTHER_VIPS != 0
        || front.ring_len == 0
        || length > settings.max_frame
        || length + ipv4::LEN as u32 > settings.max_sent
    {
        return Quick::Left;
    }
    let ports = u32::from(source_port) | u32::from(destination_port) << 16;
    let at = hash::spread(hash::own_v4(headers.source, ports), front.ring_len);
    let Some(owner) = env.slot(front.ring.wrapping_add(at)) else { return Quick::Left };
    if owner & slot::MOVED != 0 || owner == 0 {
        return Quick::Left;
    }
    let number = u32::from(owner);
    let Some(backend) = env.backend(number) else { return Quick::Left };
    let backend: &Backend = &backend;
    if backend.flags & OTHER_BACKENDS != how::IPIP || backend.ifindex != 0 {
        return Quick::Left;
    }
    let inner = u32::from(headers.total_length.number());
    if let Some(counters) = env.vip(front.vip) {
        counters.packets.set(counters.packets.get() + 1);
        counters.bytes.set(counters.bytes.get() + u64::from(inner));
        if next == protocol::TCP && headers.tcp_flags & tcp_flags::SYN != 0 {
            counters.new_flows.set(counters.new_flows.get() + 1);
        }
    }
    if let Some(counters) = env.backend_counters(number) {
        counters.packets.set(counters.packets.get() + 1);
        counters.bytes.set(counters.bytes.get() + u64::from(inner));
    }
    let spread = headers.source ^ u32::from(source_port.swap_bytes()) << 16;
    let outer_source = spread & 0xffff_0000 | u32::from(settings.ipip_source_v4);
    let tos = if settings.flags & settings_flags::COPY_TOS != 0 { tos } else { 0 };
    let ip = outer_v4(tos, inner, protocol::IPIP, outer_source, backend.address.v4_word());
    match encapsulate(frame, settings, &ip) {
        Some(()) => Quick::Done(Verdict::Transmit),
        None => Quick::Done(drop(env, Why(counter::DROP_REWRITE))),
    }
}

#[inline(always)]
fn encapsulate(frame: &mut impl Frame, settings: &Settings, ip: &Ipv4) -> Option<()> {
    frame.grow(ipv4::LEN as u32, Outer::V4)?;
    // The old Ethernet header's destination, as far behind the frame's new beginning as it has grown.
    let source = frame.head::<[u16; 3], { ipv4::LEN }>()?;
    let link = Link { destination: settings.router_mac.0, source, ethertype: ethertype::IPV4 };
    frame.write_head::<Link, 0>(&link)?;
    frame.write_head::<Ipv4, { ethernet::LEN }>(ip)
}

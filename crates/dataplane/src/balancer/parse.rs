//! From bytes to the flow that a frame belongs to.
//!
//! TCP and UDP without VLAN tag, options and extension headers are read in place at fixed offsets;
//! everything else goes through [`wide`].

mod wide;

use super::frame::{Frame, Link, Next};
use abi::balancer::{FlowKey, Settings, Translation, counter, settings_flags};
use abi::{Address, Port};
use wire::ethernet::ethertype;
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::{Tcp, Udp, tcp_flags};
use zerocopy::FromZeros;

/// What a packet says.
#[derive(Debug, FromZeros)]
#[repr(C)]
pub struct Packet {
    /// The flow, from client to VIP: for an ICMP error, the flow that it speaks of.
    pub key: FlowKey,
    /// Destination MAC of the frame.
    pub link: [u16; 3],
    /// The VLAN tag's two bytes; read only with [`flags::TAGGED`].
    pub tag: u16,
    /// What Katran counts as the packet's bytes: the total length of IPv4, the payload of IPv6.
    pub length: u32,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of the flow's transport header: in an ICMP error, of the embedded packet's.
    pub transport: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// The client's port as it is in the packet, whatever the VIP hashes.
    pub source_port: Port,
    /// Class of service.
    pub tos: u8,
    /// Protocol of the packet itself; that of the flow is in `key`.
    pub protocol: u8,
    /// Fragment identification, for the table of fragments.
    pub fragment: u32,
    /// Why it is dropped, if it is.
    pub why: u32,
    /// VIP and backend that it has been given.
    pub vip: u32,
    pub backend: u32,
    pub translating: Translating,
}

/// What a new translated flow is made of: here because the kernel's stack has no room for it.
#[derive(Debug, FromZeros)]
#[repr(C)]
pub struct Translating {
    pub key: FlowKey,
    pub answers: FlowKey,
    pub forward: Translation,
    pub back: Translation,
}

pub mod flags {
    pub const V6: u32 = 1 << 0;
    pub const SYN: u32 = 1 << 1;
    pub const RST: u32 = 1 << 2;
    /// An ICMP error.
    pub const ERROR: u32 = 1 << 3;
    pub const TAGGED: u32 = 1 << 4;
    /// The first fragment.
    pub const FIRST_FRAGMENT: u32 = 1 << 5;
    /// One without a transport header.
    pub const LATER_FRAGMENT: u32 = 1 << 6;
    /// A translated answer.
    pub const TO_CLIENT: u32 = 1 << 7;
    /// It went elsewhere than to its slot's owner.
    pub const MOVED: u32 = 1 << 8;
    /// Its flow should have been remembered and was not.
    pub const MISSED: u32 = 1 << 9;
    /// It made a flow be remembered.
    pub const NEW: u32 = 1 << 10;
}

impl Packet {
    /// Both ports as one word in memory order.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.key.source_port.to_wire() as u32 | (self.key.destination_port.to_wire() as u32) << 16
    }

    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.flags & flags::V6 != 0
    }
}

const NETWORK: usize = wire::ethernet::LEN;
const V4_TRANSPORT: usize = NETWORK + ipv4::LEN;
const V6_TRANSPORT: usize = NETWORK + ipv6::LEN;

#[inline(always)]
pub fn parse(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    let Some(link) = frame.head::<Link, 0>() else { return into.refuse(counter::DROP_MALFORMED) };
    // Element by element: for arrays the compiler would call a function that copies bytes.
    let [a, b, c] = link.destination;
    (into.link[0], into.link[1], into.link[2]) = (a, b, c);
    into.flags = 0;
    match link.ethertype {
        ethertype::IPV4 => v4(frame, settings, into),
        ethertype::IPV6 => v6(frame, settings, into),
        ethertype::VLAN | ethertype::QINQ => wide::tagged(frame, settings, into),
        _ => Next::Pass,
    }
}

#[inline(always)]
fn v4(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    let Some(ip) = frame.head::<Ipv4, NETWORK>() else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    if ip.version_length != 0x45 || ip.is_fragment() {
        return wide::v4(frame, settings, into, NETWORK as u32);
    }
    into.key.source = Address::from_v4_word(ip.source);
    into.key.destination = Address::from_v4_word(ip.destination);
    into.key.protocol = ip.protocol;
    into.protocol = ip.protocol;
    into.tos = ip.tos;
    into.length = u32::from(ip.total_length.number());
    into.network = NETWORK as u32;
    into.transport = V4_TRANSPORT as u32;
    match ip.protocol {
        protocol::TCP | protocol::UDP => transport::<V4_TRANSPORT>(frame, into),
        protocol::ICMP => wide::v4(frame, settings, into, NETWORK as u32),
        _ => Next::Pass,
    }
}

#[inline(always)]
fn v6(frame: &impl Frame, settings: &Settings, into: &mut Packet) -> Next {
    let Some(ip) = frame.head::<Ipv6, NETWORK>() else {
        return into.refuse(counter::DROP_MALFORMED);
    };
    into.flags = flags::V6;
    match ip.next_header {
        protocol::TCP | protocol::UDP => {}
        protocol::ICMPV6 => return wide::v6(frame, settings, into, NETWORK as u32),
        next if wide::is_extension(next) => {
            return wide::v6(frame, settings, into, NETWORK as u32);
        }
        _ => return Next::Pass,
    }
    let ([a, b, c, d], [e, f, g, h]) = (ip.source, ip.destination);
    let (source, destination) = (&mut into.key.source.0, &mut into.key.destination.0);
    (source[0], source[1], source[2], source[3]) = (a, b, c, d);
    (destination[0], destination[1], destination[2], destination[3]) = (e, f, g, h);
    into.key.protocol = ip.next_header;
    into.protocol = ip.next_header;
    into.tos = (ip.version_class_flow.number() >> 20) as u8;
    into.length = u32::from(ip.payload_length.number());
    into.network = NETWORK as u32;
    into.transport = V6_TRANSPORT as u32;
    transport::<V6_TRANSPORT>(frame, into)
}

#[inline(always)]
fn transport<const OFFSET: usize>(frame: &impl Frame, into: &mut Packet) -> Next {
    if into.key.protocol == protocol::TCP {
        let Some(tcp) = frame.head::<Tcp, OFFSET>() else {
            return into.refuse(counter::DROP_MALFORMED);
        };
        into.ports_are(tcp.source.0, tcp.destination.0);
        into.tcp_flags(tcp.flags);
    } else {
        let Some(udp) = frame.head::<Udp, OFFSET>() else {
            return into.refuse(counter::DROP_MALFORMED);
        };
        into.ports_are(udp.source.0, udp.destination.0);
    }
    Next::Flow
}

impl Packet {
    #[inline(always)]
    fn refuse(&mut self, why: u32) -> Next {
        self.why = why;
        Next::Drop
    }

    #[inline(always)]
    fn ports_are(&mut self, source: u16, destination: u16) {
        self.key.source_port = Port::from_wire(source);
        self.key.destination_port = Port::from_wire(destination);
        self.source_port = self.key.source_port;
    }

    #[inline(always)]
    fn tcp_flags(&mut self, tcp: u8) {
        if tcp & tcp_flags::SYN != 0 {
            self.flags |= flags::SYN;
        }
        if tcp & tcp_flags::RST != 0 {
            self.flags |= flags::RST;
        }
    }
}

/// Whether the compatibility mode refuses what we would look through.
#[inline(always)]
fn refuses(settings: &Settings) -> bool {
    settings.flags & settings_flags::KATRAN != 0
}

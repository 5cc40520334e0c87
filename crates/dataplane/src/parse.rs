//! From bytes to a tuple.
//!
//! Looked through: one VLAN tag, IPv4 options, IPv6 extension headers (at most
//! [`MAX_EXTENSIONS`]), and the packet that an ICMP error embeds. What never leaves the link (ARP)
//! or should not (neighbour discovery, multicast listener messages) is told apart here, since it
//! belongs to the host's stack whatever policy says; [`control`](crate::control) says which of the
//! latter does stay.
//!
//! Nothing is read past the end that the IP header gives: the receiver will not see what lies there.

use crate::flow::Tuple;
use crate::packet::Packet;
use abi::conntrack::{FragmentKey, ServiceFlowKey};
use abi::drop_reason::DropReason;
use abi::{Address, Port};
use wire::ethernet::{self, Ethernet, Vlan, ethertype};
use wire::icmp::{self, Icmp};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Extension, Fragment, Ipv6};
use wire::transport::{self, Ports};

pub const MAX_EXTENSIONS: u32 = 8;

/// What a packet says.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The flow. For an ICMP error: the direction of the broken flow that the error travels in.
    pub tuple: Tuple,
    /// Addresses of the packet itself; those of `tuple` except in an ICMP error.
    pub source: Address,
    pub destination: Address,
    pub fragment: FragmentKey,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of the transport header.
    pub transport: u32,
    /// Offsets in the packet that an ICMP error embeds.
    pub inner_network: u32,
    pub inner_transport: u32,
    /// Of the whole IP packet.
    pub length: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    pub tcp: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub is_v6: bool,
    pub is_error: bool,
    pub fragmented: Fragmented,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragmented {
    No = 0,
    First = 1,
    /// Has no transport header.
    Later = 2,
}

impl Parsed {
    pub const fn empty() -> Self {
        Parsed {
            tuple: ServiceFlowKey {
                source: Address::NONE,
                destination: Address::NONE,
                source_port: Port::NONE,
                destination_port: Port::NONE,
                protocol: 0,
                zero: [0; 3],
            },
            source: Address::NONE,
            destination: Address::NONE,
            fragment: FragmentKey {
                source: Address::NONE,
                destination: Address::NONE,
                id: 0,
                protocol: 0,
                zero: [0; 3],
            },
            network: 0,
            transport: 0,
            inner_network: 0,
            inner_transport: 0,
            length: 0,
            ttl: 0,
            tcp: 0,
            icmp_type: 0,
            icmp_code: 0,
            is_v6: false,
            is_error: false,
            fragmented: Fragmented::No,
        }
    }

    #[inline(always)]
    fn reset(&mut self) {
        addresses(self, Address::NONE, Address::NONE);
        self.tuple.protocol = 0;
        self.tuple.zero = [0; 3];
        self.length = 0;
        self.tuple.source_port = Port::NONE;
        self.tuple.destination_port = Port::NONE;
        self.tcp = 0;
        self.icmp_type = 0;
        self.icmp_code = 0;
        self.is_v6 = false;
        self.is_error = false;
        self.fragmented = Fragmented::No;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flow,
    /// Stays on the link: not a flow, and the host's stack must have it.
    Link,
    /// An ICMPv6 message of a type that should stay on the link.
    Control,
}

const NETWORK: usize = ethernet::LEN;
const NETWORK_TAGGED: usize = ethernet::LEN + size_of::<Vlan>();
const V4_PORTS: usize = NETWORK + ipv4::LEN;
const V4_FLAGS: usize = V4_PORTS + transport::TCP_FLAGS as usize;
const V6_PORTS: usize = NETWORK + ipv6::LEN;
const V6_FLAGS: usize = V6_PORTS + transport::TCP_FLAGS as usize;

#[inline(always)]
pub fn parse(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    into.reset();
    let frame = packet.head::<Ethernet, 0>().ok_or(DropReason::Malformed)?;
    match frame.ethertype {
        ethertype::IPV4 => ipv4::<NETWORK>(packet, into),
        ethertype::IPV6 => ipv6::<NETWORK>(packet, into),
        ethertype::ARP => Ok(Kind::Link),
        ethertype::VLAN | ethertype::QINQ => tagged(packet, into),
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

#[inline(always)]
fn tagged(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    let tag = packet.head::<Vlan, NETWORK>().ok_or(DropReason::Malformed)?;
    match tag.ethertype {
        ethertype::IPV4 => ipv4::<NETWORK_TAGGED>(packet, into),
        ethertype::IPV6 => ipv6::<NETWORK_TAGGED>(packet, into),
        ethertype::ARP => Ok(Kind::Link),
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

#[inline(always)]
fn ipv4<const OFFSET: usize>(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    let ip = packet.head::<Ipv4, OFFSET>().ok_or(DropReason::Malformed)?;
    let header = ip.header_length();
    if ip.version() != 4 || header < ipv4::LEN as u32 {
        return Err(DropReason::Malformed);
    }
    into.length = match u32::from(ip.total_length.number()) {
        // More than the field can say (BIG TCP), of which only the socket buffer knows.
        0 => packet.length().saturating_sub(OFFSET as u32),
        length => length,
    };
    if into.length < header {
        return Err(DropReason::Malformed);
    }
    into.ttl = ip.ttl;
    into.network = OFFSET as u32;
    into.transport = OFFSET as u32 + header;
    addresses(into, Address::from_v4_word(ip.source), Address::from_v4_word(ip.destination));
    into.tuple.protocol = ip.protocol;
    if ip.is_fragment() {
        fragment(into, u32::from(ip.id.0), ip.is_later_fragment());
        return transport(packet, into);
    }
    // Where the transport header of nearly every packet is.
    match OFFSET {
        NETWORK if header == ipv4::LEN as u32 => transport_at::<V4_PORTS, V4_FLAGS>(packet, into),
        _ => transport(packet, into),
    }
}

#[inline(always)]
fn ipv6<const OFFSET: usize>(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    let ip = packet.head::<Ipv6, OFFSET>().ok_or(DropReason::Malformed)?;
    if ip.version() != 6 {
        return Err(DropReason::Malformed);
    }
    into.is_v6 = true;
    into.length = match u32::from(ip.payload_length.number()) {
        // As above.
        0 => packet.length().saturating_sub(OFFSET as u32),
        length => ipv6::LEN as u32 + length,
    };
    into.ttl = ip.hop_limit;
    into.network = OFFSET as u32;
    into.transport = OFFSET as u32 + ipv6::LEN as u32;
    addresses(into, Address(ip.source), Address(ip.destination));
    into.tuple.protocol = ip.next_header;
    if is_extension(ip.next_header) {
        extensions(packet, into)?;
        return transport(packet, into);
    }
    match OFFSET {
        NETWORK => transport_at::<V6_PORTS, V6_FLAGS>(packet, into),
        _ => transport(packet, into),
    }
}

#[inline(always)]
fn addresses(into: &mut Parsed, source: Address, destination: Address) {
    into.source = source;
    into.destination = destination;
    into.tuple.source = source;
    into.tuple.destination = destination;
}

/// Refuses a packet that ends before `offset`.
#[inline(always)]
fn reaches(into: &Parsed, offset: u32) -> Result<(), DropReason> {
    if offset > into.network + into.length { Err(DropReason::Malformed) } else { Ok(()) }
}

#[inline(always)]
fn fragment(into: &mut Parsed, id: u32, later: bool) {
    into.fragmented = if later { Fragmented::Later } else { Fragmented::First };
    into.fragment = FragmentKey {
        source: into.source,
        destination: into.destination,
        id,
        protocol: into.tuple.protocol,
        zero: [0; 3],
    };
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

/// Walks to the transport header, or to the end of what a later fragment shows.
#[inline(never)]
fn extensions(packet: &impl Packet, into: &mut Parsed) -> Result<(), DropReason> {
    let mut next = into.tuple.protocol;
    let mut offset = into.transport;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            protocol::FRAGMENT => {
                let header: Fragment = packet.read(offset).ok_or(DropReason::Malformed)?;
                next = header.next_header;
                offset += ipv6::FRAGMENT_LEN;
                if !header.is_atomic() {
                    into.tuple.protocol = next;
                    fragment(into, header.id, header.is_later());
                    if header.is_later() {
                        break;
                    }
                }
            }
            protocol::AUTHENTICATION => {
                let header: Extension = packet.read(offset).ok_or(DropReason::Malformed)?;
                next = header.next_header;
                offset += header.authentication_length();
            }
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let header: Extension = packet.read(offset).ok_or(DropReason::Malformed)?;
                next = header.next_header;
                offset += header.options_length();
            }
            _ => break,
        }
    }
    into.tuple.protocol = next;
    into.transport = offset;
    reaches(into, offset)?;
    if is_extension(next) && into.fragmented != Fragmented::Later {
        return Err(DropReason::TooManyExtensions);
    }
    Ok(())
}

/// Of TCP without options, UDP or SCTP.
#[inline(always)]
const fn header_length(protocol: u8) -> u32 {
    match protocol {
        protocol::TCP => size_of::<transport::Tcp>() as u32,
        protocol::UDP => size_of::<transport::Udp>() as u32,
        _ => size_of::<transport::Sctp>() as u32,
    }
}

/// TCP and UDP where the offsets are known when compiling; others as anywhere.
#[inline(always)]
fn transport_at<const PORTS: usize, const FLAGS: usize>(
    packet: &impl Packet,
    into: &mut Parsed,
) -> Result<Kind, DropReason> {
    if into.tuple.protocol != protocol::TCP && into.tuple.protocol != protocol::UDP {
        return transport(packet, into);
    }
    reaches(into, PORTS as u32 + header_length(into.tuple.protocol))?;
    let ports = packet.head::<Ports, PORTS>().ok_or(DropReason::Malformed)?;
    into.tuple.source_port = Port::from_wire(ports.source);
    into.tuple.destination_port = Port::from_wire(ports.destination);
    if into.tuple.protocol == protocol::TCP {
        into.tcp = packet.head::<u8, FLAGS>().ok_or(DropReason::Malformed)?;
    }
    Ok(Kind::Flow)
}

#[inline(always)]
fn transport(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    if into.fragmented == Fragmented::Later {
        return Ok(Kind::Flow);
    }
    match into.tuple.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            reaches(into, into.transport + header_length(into.tuple.protocol))?;
            let ports: Ports = packet.read(into.transport).ok_or(DropReason::Malformed)?;
            into.tuple.source_port = Port::from_wire(ports.source);
            into.tuple.destination_port = Port::from_wire(ports.destination);
            if into.tuple.protocol == protocol::TCP {
                into.tcp = packet
                    .read::<u8>(into.transport + transport::TCP_FLAGS)
                    .ok_or(DropReason::Malformed)?;
            }
            Ok(Kind::Flow)
        }
        protocol::ICMP if !into.is_v6 => icmp_v4(packet, into),
        protocol::ICMPV6 if into.is_v6 => icmp_v6(packet, into),
        _ => Ok(Kind::Flow),
    }
}

#[inline(always)]
fn icmp_v4(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    let header = icmp_header(packet, into)?;
    if icmp::v4::is_error(header.kind) {
        return embedded_v4(packet, into).map(|()| Kind::Flow);
    }
    if icmp::v4::has_id(header.kind) {
        set_id(into, &header);
    }
    Ok(Kind::Flow)
}

#[inline(always)]
fn icmp_v6(packet: &impl Packet, into: &mut Parsed) -> Result<Kind, DropReason> {
    let header = icmp_header(packet, into)?;
    if icmp::v6::is_discovery(header.kind) || icmp::v6::is_listener(header.kind) {
        return Ok(Kind::Control);
    }
    if icmp::v6::is_error(header.kind) {
        return embedded_v6(packet, into).map(|()| Kind::Flow);
    }
    if icmp::v6::has_id(header.kind) {
        set_id(into, &header);
    }
    Ok(Kind::Flow)
}

#[inline(always)]
fn icmp_header(packet: &impl Packet, into: &mut Parsed) -> Result<Icmp, DropReason> {
    reaches(into, into.transport + icmp::LEN)?;
    let header: Icmp = packet.read(into.transport).ok_or(DropReason::Malformed)?;
    into.icmp_type = header.kind;
    into.icmp_code = header.code;
    Ok(header)
}

#[inline(always)]
fn set_id(into: &mut Parsed, header: &Icmp) {
    into.tuple.source_port = Port::from_wire(header.id);
    into.tuple.destination_port = Port::from_wire(header.id);
}

/// The packet that an IPv4 error is about. Its sender is the receiver of the error, so the flow's
/// direction in which the error travels is the reverse of the embedded packet's.
#[inline(never)]
fn embedded_v4(packet: &impl Packet, into: &mut Parsed) -> Result<(), DropReason> {
    let network = into.transport + icmp::LEN;
    let ip: Ipv4 = packet.read(network).ok_or(DropReason::Malformed)?;
    let header = ip.header_length();
    if ip.version() != 4 || header < ipv4::LEN as u32 || ip.is_later_fragment() {
        return Err(DropReason::Malformed);
    }
    into.inner_network = network;
    into.inner_transport = network + header;
    into.tuple.source = Address::from_v4_word(ip.destination);
    into.tuple.destination = Address::from_v4_word(ip.source);
    into.tuple.protocol = ip.protocol;
    embedded_ports(packet, into)
}

#[inline(never)]
fn embedded_v6(packet: &impl Packet, into: &mut Parsed) -> Result<(), DropReason> {
    let network = into.transport + icmp::LEN;
    let ip: Ipv6 = packet.read(network).ok_or(DropReason::Malformed)?;
    if ip.version() != 6 {
        return Err(DropReason::Malformed);
    }
    into.inner_network = network;
    into.inner_transport = network + ipv6::LEN as u32;
    into.tuple.source = Address(ip.destination);
    into.tuple.destination = Address(ip.source);
    into.tuple.protocol = ip.next_header;
    embedded_ports(packet, into)
}

#[inline(always)]
fn embedded_ports(packet: &impl Packet, into: &mut Parsed) -> Result<(), DropReason> {
    into.is_error = true;
    reaches(into, into.inner_transport)?;
    if into.tuple.destination != into.destination {
        // Sent to another than the one whose packet it speaks of.
        return Err(DropReason::UnrelatedError);
    }
    match into.tuple.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            reaches(into, into.inner_transport + size_of::<Ports>() as u32)?;
            let ports: Ports = packet.read(into.inner_transport).ok_or(DropReason::Malformed)?;
            into.tuple.source_port = Port::from_wire(ports.destination);
            into.tuple.destination_port = Port::from_wire(ports.source);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            reaches(into, into.inner_transport + icmp::LEN)?;
            let header: Icmp = packet.read(into.inner_transport).ok_or(DropReason::Malformed)?;
            set_id(into, &header);
        }
        _ => {}
    }
    Ok(())
}

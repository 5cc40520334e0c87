//! Connections: map `conntrack` (LRU hash).
//!
//! One entry per flow and node. The key is canonical (the lower end first), so that one lookup
//! serves both directions. For a service it is the translated tuple, and map `service_flows` leads
//! from the tuple before translation to the backend.

use crate::process::ProcessKey;
use crate::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of map `conntrack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FlowKey {
    pub low: Address,
    pub high: Address,
    pub low_port: Port,
    pub high_port: Port,
    pub protocol: u8,
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

/// Packets and bytes (of the whole IP packet) of one direction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Counters {
    pub packets: u64,
    pub bytes: u64,
}

/// Value of map `conntrack`. "Original" is the direction of the first packet seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Connection {
    pub created_ns: u64,
    pub last_seen_ns: u64,
    pub original: Counters,
    pub reply: Counters,
    /// Process behind the end that sent the first packet, if it is local and known.
    pub initiator: ProcessKey,
    pub responder: ProcessKey,
    /// Service address that the initiator used; none if no packet needs translating. With
    /// [`conn_flags::SOCKET_TRANSLATED`] it is there for events only.
    pub vip: Address,
    pub vip_port: Port,
    /// Bits of [`conn_flags`].
    pub flags: u16,
    pub service: u32,
    pub backend: u32,
    /// Policy epoch in which the verdict was given; an older one is decided again.
    pub epoch: u32,
    pub initiator_identity: u32,
    pub responder_identity: u32,
    /// Endpoint ids; 0 if the end is not local.
    pub initiator_endpoint: u32,
    pub responder_endpoint: u32,
    /// Rules that allowed it; [`crate::policy::NO_RULE`] where nothing restricts.
    pub egress_rule: u32,
    pub ingress_rule: u32,
    /// One of [`tcp_state`] for TCP, 0 otherwise.
    pub state: u8,
    /// Bits of TCP flags seen, by direction: low nibble original, high nibble reply
    /// ([`seen`]).
    pub seen: u8,
    /// Drop reason if the flow has been denied since it began, else 0.
    pub denied: u8,
    /// ICMP type of the first packet, which policy takes as the port.
    pub icmp_type: u8,
    /// [`crate::event::Direction`] whose policy denied it.
    pub denied_direction: u8,
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<Connection>() == 144);

pub mod conn_flags {
    /// The original direction goes from the key's high end to its low end.
    pub const FROM_HIGH: u16 = 1;
    pub const REPLY_SEEN: u16 = 2;
    /// The service was translated at the socket: packets are as the backend sees them.
    pub const SOCKET_TRANSLATED: u16 = 4;
    /// The source has been replaced by the hairpin address; the initiator is the responder.
    pub const HAIRPIN: u16 = 8;
    /// The end has been reported.
    pub const END_REPORTED: u16 = 16;
    /// Adopted in mid-connection: the first packet seen was not a SYN.
    pub const ADOPTED: u16 = 32;
    /// Came from outside to a service: its replies go out by the route, past the host's stack,
    /// which would take a packet from the node's own address for a forgery.
    pub const OUTSIDE: u16 = 64;
    /// The client's address and port have been replaced by the node's; see map `masquerades`.
    pub const MASQUERADED: u16 = 128;
    /// The client's port has been replaced, as another flow has it to the same backend; its address
    /// has not. See map `masquerades`.
    pub const OTHER_PORT: u16 = 256;
    /// Its packets from the client are sent on to the backend's node, which answers the client; the
    /// key is that of the packets as they come.
    pub const DIRECT_RETURN: u16 = 512;
}

pub mod tcp_state {
    pub const NONE: u8 = 0;
    pub const SYN_SENT: u8 = 1;
    pub const SYN_RECEIVED: u8 = 2;
    pub const ESTABLISHED: u8 = 3;
    /// One end has sent FIN.
    pub const CLOSING: u8 = 4;
    /// Both have, or one has sent RST.
    pub const CLOSED: u8 = 5;
}

pub mod seen {
    pub const FIN: u8 = 1;
    pub const RST: u8 = 2;
    pub const SYN: u8 = 4;
    pub const ACK: u8 = 8;
    /// Shift of the reply direction's nibble.
    pub const REPLY_SHIFT: u8 = 4;
}

/// Key of map `service_flows` (LRU hash): tuple as the initiator sends it, not canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceFlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: Port,
    pub destination_port: Port,
    pub protocol: u8,
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<ServiceFlowKey>() == 40);

/// Value of map `service_flows`: which backend the flow has. Holds its address as well, so that an
/// open TCP connection outlives the backend's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceFlow {
    pub last_seen_ns: u64,
    pub backend: u32,
    pub service: u32,
    pub address: Address,
    /// What the backend sees as the source instead of the client; none if it sees the client.
    pub source: Address,
    pub port: Port,
    /// What it sees as the source port; none if it is the client's.
    pub source_port: Port,
    pub zero: [u8; 4],
}

const _: () = assert!(size_of::<ServiceFlow>() == 56);

/// Value of map `masquerades` (LRU hash by [`FlowKey`] of the translated tuple): whose flow it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Masquerade {
    pub client: Address,
    pub port: Port,
    pub zero: [u8; 2],
}

const _: () = assert!(size_of::<Masquerade>() == 20);

/// Ports that masqueraded flows get, of the node's own addresses, and others whose port is taken:
/// below the usual node ports, which are below the ports that Linux gives to sockets.
pub mod masquerade_ports {
    pub const FIRST: u16 = 16_384;
    pub const COUNT: u16 = 13_616;
}

/// Key of map `fragments` (LRU hash): one fragmented IP packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FragmentKey {
    pub source: Address,
    pub destination: Address,
    /// Identification as it stands in the packet; IPv4's 16 bits in the low half.
    pub id: u32,
    pub protocol: u8,
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// Value of map `fragments`: the ports, which only the first fragment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FragmentPorts {
    pub source_port: Port,
    pub destination_port: Port,
}

const _: () = assert!(size_of::<FragmentPorts>() == 4);

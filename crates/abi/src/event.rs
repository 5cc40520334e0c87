//! Flow events, as the ring buffer `events` carries them.

use crate::conntrack::Counters;
use crate::process::ProcessKey;
use crate::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowKind {
    /// First packet of a flow was let through.
    Start = 1,
    /// First packet of the other direction.
    Reply = 2,
    /// The flow is over: TCP closed, or reported by the agent when the entry timed out.
    End = 3,
    /// A packet was dropped.
    Drop = 4,
    /// An established flow was decided again and denied; its packets are dropped from now on.
    Cut = 5,
}

impl FlowKind {
    pub fn from_number(number: u8) -> Option<Self> {
        [FlowKind::Start, FlowKind::Reply, FlowKind::End, FlowKind::Drop, FlowKind::Cut]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Neither end's policy decided (the packet was refused before).
    None = 0,
    /// Towards a local endpoint: its ingress policy decided.
    Ingress = 1,
    /// From a local endpoint: its egress policy decided.
    Egress = 2,
}

/// One event. "Source" is the end that sent the flow's first packet; for a drop that belongs to no
/// known flow, the sender of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FlowEvent {
    pub time_ns: u64,
    /// Counts the events of this CPU, lost ones included, so that a gap shows how many were lost.
    pub sequence: u64,
    pub source: Address,
    /// After translation: the backend.
    pub destination: Address,
    /// Service address the source used, or none.
    pub vip: Address,
    pub source_port: Port,
    pub destination_port: Port,
    pub vip_port: Port,
    pub cpu: u16,
    pub source_process: ProcessKey,
    pub destination_process: ProcessKey,
    pub original: Counters,
    pub reply: Counters,
    /// Boot time of the first packet.
    pub started_ns: u64,
    pub source_identity: u32,
    pub destination_identity: u32,
    pub source_endpoint: u32,
    pub destination_endpoint: u32,
    pub service: u32,
    pub backend: u32,
    pub egress_rule: u32,
    pub ingress_rule: u32,
    /// Interface the packet came in or went out by.
    pub ifindex: u32,
    /// Length of the IP packet that caused the event.
    pub length: u32,
    /// [`FlowKind`].
    pub kind: u8,
    /// [`crate::drop_reason::DropReason`], or 0.
    pub reason: u8,
    /// [`Direction`] whose policy decided, for drops.
    pub direction: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags of the packet.
    pub tcp_flags: u8,
    /// ICMP type and code.
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// 1 if the packet that caused the event goes against the flow's direction.
    pub is_reply: u8,
    /// Bits of [`crate::conntrack::conn_flags`].
    pub flags: u16,
    pub zero: [u8; 6],
}

const _: () = assert!(size_of::<FlowEvent>() == 200);

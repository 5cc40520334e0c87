//! Counters per CPU: map `metrics` (per-CPU array of [`Metric`]).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Metric {
    pub packets: u64,
    pub bytes: u64,
}

/// Indices below 64 count drops by [`crate::drop_reason::DropReason`].
pub const FORWARDED: u32 = 64;
/// Connections created.
pub const CONNECTIONS: u32 = 65;
/// Events that found the ring buffer full.
pub const EVENTS_LOST: u32 = 66;
/// Events held back by the rate limit.
pub const EVENTS_LIMITED: u32 = 67;
/// Events written.
pub const EVENTS: u32 = 68;
/// Packets handed to another endpoint without the host's stack.
pub const REDIRECTED: u32 = 69;
/// connect(2) and sendmsg(2) calls translated at the socket.
pub const SOCKET_TRANSLATED: u32 = 70;
/// Packets whose service address was translated.
pub const PACKET_TRANSLATED: u32 = 71;
/// Flows decided again because the policy epoch had moved on.
pub const REVALIDATED: u32 = 72;
/// Connections removed by the programs themselves (a closed tuple that was opened anew).
pub const CONNECTIONS_REPLACED: u32 = 73;
/// Packets of services' known flows sent on by XDP.
pub const SHORTCUT: u32 = 74;

/// Entries of the map.
pub const COUNT: u32 = 96;

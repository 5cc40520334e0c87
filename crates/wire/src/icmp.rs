//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use crate::Be16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header that all messages share; an error's embedded packet follows it.
pub const LEN: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: Be16,
    /// Identifier of an echo or another query; in memory order.
    pub id: u16,
    pub sequence: Be16,
}

const _: () = assert!(size_of::<Icmp>() == LEN as usize);

/// Offset of the checksum.
pub const CHECKSUM: u32 = 2;

/// Types of ICMP for IPv4.
pub mod v4 {
    pub const ECHO_REPLY: u8 = 0;
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const TIMESTAMP: u8 = 13;
    pub const TIMESTAMP_REPLY: u8 = 14;

    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(
            kind,
            DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        )
    }

    /// Messages whose identifier tells flows apart.
    #[inline(always)]
    pub const fn has_id(kind: u8) -> bool {
        matches!(kind, ECHO | ECHO_REPLY | TIMESTAMP | TIMESTAMP_REPLY)
    }
}

/// Types of ICMPv6.
pub mod v6 {
    pub const ECHO: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    pub const LISTENER_QUERY: u8 = 130;
    pub const LISTENER_DONE: u8 = 132;
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    pub const LISTENER_REPORT_V2: u8 = 143;

    /// Error messages have types below 128 (RFC 4443, 2.1).
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }

    /// Messages whose identifier tells flows apart.
    #[inline(always)]
    pub const fn has_id(kind: u8) -> bool {
        matches!(kind, ECHO | ECHO_REPLY)
    }

    /// Hop limit of every neighbour discovery message (RFC 4861, 7.1): one that has passed a router
    /// has less.
    pub const DISCOVERY_HOPS: u8 = 255;
    /// Hop limit of every multicast listener message (RFC 3810, 5).
    pub const LISTENER_HOPS: u8 = 1;

    /// Neighbour discovery (RFC 4861).
    #[inline(always)]
    pub const fn is_discovery(kind: u8) -> bool {
        matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
    }

    /// Multicast listener discovery (RFC 2710, RFC 3810).
    #[inline(always)]
    pub const fn is_listener(kind: u8) -> bool {
        matches!(kind, LISTENER_QUERY..=LISTENER_DONE | LISTENER_REPORT_V2)
    }

    /// What only a router says of itself and of others.
    #[inline(always)]
    pub const fn is_of_router(kind: u8) -> bool {
        matches!(kind, ROUTER_ADVERTISEMENT | REDIRECT)
    }
}

//! IPv6 (RFC 8200) and its extension headers.

use crate::{Be16, Be32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Without extension headers.
pub const LEN: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv6 {
    pub version_class_flow: Be32,
    /// Bytes after this header.
    pub payload_length: Be16,
    pub next_header: u8,
    pub hop_limit: u8,
    /// In memory order.
    pub source: [u32; 4],
    /// In memory order.
    pub destination: [u32; 4],
}

const _: () = assert!(size_of::<Ipv6>() == LEN);

/// Offsets of the fields that a translation writes.
pub mod offset {
    pub const HOP_LIMIT: u32 = 7;
    pub const SOURCE: u32 = 8;
    pub const DESTINATION: u32 = 24;
}

impl Ipv6 {
    #[inline(always)]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.number() >> 28) as u8
    }
}

/// The start of every extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Extension {
    pub next_header: u8,
    /// In units that depend on the header.
    pub length: u8,
}

impl Extension {
    /// Bytes of a hop-by-hop, routing or destination header.
    #[inline(always)]
    pub const fn options_length(&self) -> u32 {
        (self.length as u32 + 1) * 8
    }

    /// Bytes of an authentication header (RFC 4302, 2.2).
    #[inline(always)]
    pub const fn authentication_length(&self) -> u32 {
        (self.length as u32 + 2) * 4
    }
}

pub const FRAGMENT_LEN: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Fragment {
    pub next_header: u8,
    pub reserved: u8,
    pub offset_flags: Be16,
    /// In memory order.
    pub id: u32,
}

const _: () = assert!(size_of::<Fragment>() == FRAGMENT_LEN as usize);

impl Fragment {
    const MORE_FRAGMENTS: u16 = 1;
    const OFFSET: u16 = 0xfff8;

    /// A fragment that carries no transport header.
    #[inline(always)]
    pub const fn is_later(&self) -> bool {
        self.offset_flags.0 & Self::OFFSET.to_be() != 0
    }

    /// The whole packet in one "fragment" (RFC 6946).
    #[inline(always)]
    pub const fn is_atomic(&self) -> bool {
        self.offset_flags.0 & (Self::OFFSET | Self::MORE_FRAGMENTS).to_be() == 0
    }
}

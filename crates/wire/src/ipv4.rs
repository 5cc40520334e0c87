//! IPv4 (RFC 791).

use crate::Be16;
use crate::checksum::{Sum, update};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Without options.
pub const LEN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv4 {
    pub version_length: u8,
    pub tos: u8,
    pub total_length: Be16,
    pub id: Be16,
    pub flags_offset: Be16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: Be16,
    /// In memory order.
    pub source: u32,
    /// In memory order.
    pub destination: u32,
}

const _: () = assert!(size_of::<Ipv4>() == LEN);

/// Offsets of the fields that a translation writes.
pub mod offset {
    pub const TTL: u32 = 8;
    pub const CHECKSUM: u32 = 10;
    pub const SOURCE: u32 = 12;
    pub const DESTINATION: u32 = 16;
}

impl Ipv4 {
    const MORE_FRAGMENTS: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;

    #[inline(always)]
    pub const fn version(&self) -> u8 {
        self.version_length >> 4
    }

    /// Header length in bytes, options included; less than [`LEN`] if the packet is malformed.
    #[inline(always)]
    pub const fn header_length(&self) -> u32 {
        (self.version_length & 0x0f) as u32 * 4
    }

    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.flags_offset.0 & (Self::MORE_FRAGMENTS | Self::OFFSET).to_be() != 0
    }

    /// With `words` more 32-bit words of options, whose sum is `options` (which they lose if `more`
    /// is not set); its checksum is corrected. `None` if there can't be so many.
    #[inline(always)]
    pub const fn with_options(&self, words: u8, options: Sum, more: bool) -> Option<Ipv4> {
        let bytes = words as u16 * 4;
        let mut ip = *self;
        if more {
            if (self.version_length & 0x0f) + words > 0x0f {
                return None;
            }
            ip.version_length += words;
            ip.total_length = Be16::new(self.total_length.number().wrapping_add(bytes));
        } else {
            ip.version_length = self.version_length.wrapping_sub(words);
            ip.total_length = Be16::new(self.total_length.number().wrapping_sub(bytes));
        }
        let (from, to) = (self.lengths(), ip.lengths());
        let (from, to) =
            if more { (from, to.word(options.fold())) } else { (from.word(options.fold()), to) };
        ip.checksum = Be16(update(self.checksum.0, from, to));
        Some(ip)
    }

    #[inline(always)]
    const fn lengths(&self) -> Sum {
        Sum::ZERO
            .word(u16::from_ne_bytes([self.version_length, self.tos]))
            .word(self.total_length.0)
    }

    /// A fragment that carries no transport header.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.flags_offset.0 & Self::OFFSET.to_be() != 0
    }
}

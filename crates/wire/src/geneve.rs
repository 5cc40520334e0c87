//! Geneve (RFC 8926), with IP packets inside rather than Ethernet frames, and no options.

use crate::checksum::Sum;
use crate::ethernet::ethertype;
use crate::{Be16, Be32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const LEN: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Geneve {
    pub version_options: u8,
    pub flags: u8,
    /// An ethertype.
    pub protocol: Be16,
    /// The network identifier in the upper 24 bits.
    pub vni: Be32,
}

const _: () = assert!(size_of::<Geneve>() == LEN as usize);

impl Geneve {
    #[inline(always)]
    pub const fn new(inner_v6: bool, vni: u32) -> Self {
        let protocol = if inner_v6 { ethertype::IPV6 } else { ethertype::IPV4 };
        Geneve { version_options: 0, flags: 0, protocol, vni: Be32::new(vni << 8) }
    }

    #[inline(always)]
    pub const fn add_to(&self, sum: Sum) -> Sum {
        sum.word(u16::from_ne_bytes([self.version_options, self.flags]))
            .word(self.protocol.0)
            .double(self.vni.0)
    }
}

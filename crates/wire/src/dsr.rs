//! What a node tells another about a packet that it sends on to a backend there: at which service's
//! address it came. In an option of Geneve, of IPv4, or of IPv6.
//!
//! Numbers are those set aside for experiments: option class 0xff00 and above (RFC 8926, section 7),
//! option 30 of IPv4 and of IPv6 (RFC 4727).

use crate::Be16;
use crate::checksum::Sum;
use crate::geneve;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Class and type of the option in Geneve.
pub const CLASS: Be16 = Be16::new(0xff5c);
/// Who doesn't know it must drop the packet.
const CRITICAL: u8 = 0x80;
pub const KIND: u8 = CRITICAL | 1;
/// The flag in Geneve's own header that says so.
pub const CRITICAL_PRESENT: u8 = 0x40;

/// Geneve's usual port.
pub const GENEVE_PORT: Be16 = Be16::new(6081);

/// IPv4: is copied into fragments, is about control, number 30.
pub const OPTION_V4: u8 = 0x80 | 30;
/// IPv6: is skipped by who doesn't know it, does not change on the way.
pub const OPTION_V6: u8 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GeneveV4 {
    pub class: Be16,
    pub kind: u8,
    pub length: u8,
    /// In memory order, as all addresses here.
    pub address: u32,
    pub port: u16,
    pub zero: u16,
}

pub const GENEVE_V4_LEN: u32 = 12;
const _: () = assert!(size_of::<GeneveV4>() == GENEVE_V4_LEN as usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GeneveV6 {
    pub class: Be16,
    pub kind: u8,
    pub length: u8,
    pub address: [u32; 4],
    pub port: u16,
    pub zero: u16,
}

pub const GENEVE_V6_LEN: u32 = 24;
const _: () = assert!(size_of::<GeneveV6>() == GENEVE_V6_LEN as usize);

impl GeneveV4 {
    #[inline(always)]
    pub const fn new(address: u32, port: u16) -> Self {
        let length = (GENEVE_V4_LEN as u8 - 4) / 4;
        GeneveV4 { class: CLASS, kind: KIND, length, address, port, zero: 0 }
    }
}

impl GeneveV6 {
    #[inline(always)]
    pub const fn new(address: [u32; 4], port: u16) -> Self {
        let length = (GENEVE_V6_LEN as u8 - 4) / 4;
        GeneveV6 { class: CLASS, kind: KIND, length, address, port, zero: 0 }
    }
}

/// Geneve's own header before `options` bytes of options.
#[inline(always)]
pub const fn geneve(inner_v6: bool, options: u32) -> geneve::Geneve {
    let header = geneve::Geneve::new(inner_v6, 0);
    geneve::Geneve { version_options: (options / 4) as u8, flags: CRITICAL_PRESENT, ..header }
}

/// In an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct InV4 {
    pub kind: u8,
    pub length: u8,
    pub port: u16,
    pub address: u32,
}

pub const IN_V4_LEN: u32 = 8;
const _: () = assert!(size_of::<InV4>() == IN_V4_LEN as usize);

/// An IPv6 header of destination options with this one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct InV6 {
    pub next_header: u8,
    /// In units of 8 bytes, without the first.
    pub units: u8,
    pub kind: u8,
    pub length: u8,
    pub port: u16,
    pub zero: u16,
    pub address: [u32; 4],
}

pub const IN_V6_LEN: u32 = 24;
const _: () = assert!(size_of::<InV6>() == IN_V6_LEN as usize);

impl InV4 {
    #[inline(always)]
    pub const fn new(address: u32, port: u16) -> Self {
        InV4 { kind: OPTION_V4, length: IN_V4_LEN as u8, port, address }
    }

    #[inline(always)]
    pub const fn sum(&self) -> Sum {
        Sum::ZERO
            .word(u16::from_ne_bytes([self.kind, self.length]))
            .word(self.port)
            .double(self.address)
    }
}

impl InV6 {
    #[inline(always)]
    pub const fn new(next_header: u8, address: [u32; 4], port: u16) -> Self {
        let units = (IN_V6_LEN as u8 - 8) / 8;
        let length = IN_V6_LEN as u8 - 4;
        InV6 { next_header, units, kind: OPTION_V6, length, port, zero: 0, address }
    }
}

//! Addresses and ports as maps hold them.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address as v4-mapped IPv6 (RFC 4291, 2.5.5.2).
///
/// Four words rather than sixteen bytes, because the eBPF target loads and compares byte arrays
/// byte by byte. The words hold network order, whatever the machine's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// `::`, which stands for "none".
    pub const NONE: Address = Address([0; 4]);
    /// Third word of a v4-mapped address: `00 00 ff ff`.
    const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

    /// From the four bytes of an IPv4 address, loaded as one word in memory order.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Address([0, 0, Self::MAPPED, word])
    }

    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(octets))
    }

    pub const fn from_v6(o: [u8; 16]) -> Self {
        Address([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// No address, but a number where one is expected; never equal to an address that can be used.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        Address([0, 1, number as u32, (number >> 32) as u32])
    }

    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::MAPPED
    }

    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && self.0[3] == 0
    }

    /// True in fe80::/10.
    #[inline(always)]
    pub const fn is_link_local(&self) -> bool {
        self.0[0] & u32::from_be(0xffc0_0000) == u32::from_be(0xfe80_0000)
    }

    /// True in ff00::/8; no IPv4 address is.
    #[inline(always)]
    pub const fn is_multicast_v6(&self) -> bool {
        self.0[0] & u32::from_be(0xff00_0000) == u32::from_be(0xff00_0000)
    }

    /// True for an IPv6 multicast address whose scope is no wider than the link.
    #[inline(always)]
    pub const fn is_link_multicast_v6(&self) -> bool {
        let scope = u32::from_be(self.0[0]) >> 16 & 0xf;
        self.is_multicast_v6() && scope <= 2
    }

    /// The IPv4 address in memory order; meaningful only if [`is_v4`](Self::is_v4).
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// All sixteen bytes in network order.
    pub const fn octets(&self) -> [u8; 16] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        let (c, d) = (self.0[2].to_ne_bytes(), self.0[3].to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Address::from_v4(v4.octets()),
            IpAddr::V6(v6) => Address::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            IpAddr::V4(Ipv4Addr::from(address.0[3].to_ne_bytes()))
        } else {
            IpAddr::V6(Ipv6Addr::from(address.octets()))
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

/// A transport port in network order, as it stands in the packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Port(u16);

impl Port {
    pub const NONE: Port = Port(0);

    /// From a number in the machine's order.
    pub const fn new(number: u16) -> Self {
        Port(number.to_be())
    }

    /// From two bytes of a packet, loaded as one half-word in memory order.
    #[inline(always)]
    pub const fn from_wire(raw: u16) -> Self {
        Port(raw)
    }

    /// As two bytes of a packet, to be stored as one half-word in memory order.
    #[inline(always)]
    pub const fn to_wire(self) -> u16 {
        self.0
    }

    #[inline(always)]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["10.1.2.3", "0.0.0.0", "::", "2001:db8::1", "fd00::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
        assert!(Address::from_v4([10, 0, 0, 1]).is_v4());
        assert!(!Address::from_v6([0; 16]).is_v4());
    }

    #[test]
    fn ports_are_in_network_order() {
        assert_eq!(Port::new(80).as_bytes(), [0, 80]);
        assert_eq!(Port::new(8080).number(), 8080);
    }
}

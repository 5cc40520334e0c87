//! How the balancer reads and rewrites a frame.

use wire::Be16;
use wire::checksum::Sum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The reason of a drop: an index of [`abi::balancer::counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why(pub u32);

/// What a frame turned out to be. Without payload, since the kernel's functions return one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Flow,
    Pass,
    /// An echo request.
    Echo,
    /// A fragment, whose flow is to be found out.
    Fragment,
    /// For the reason that the packet has.
    Drop,
}

/// An Ethernet header; addresses as half-words in memory order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Link {
    pub destination: [u16; 3],
    pub source: [u16; 3],
    pub ethertype: Be16,
}

/// An Ethernet header with one VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Vlan {
    pub destination: [u16; 3],
    pub source: [u16; 3],
    pub tagged: Be16,
    pub tag: Be16,
    pub ethertype: Be16,
}

/// What is put before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// Nothing: its own header grows.
    None,
    V4,
    V6,
    UdpV4,
    UdpV6,
}

/// A frame that starts with its Ethernet header. Offsets count from there. Nothing panics: what
/// would leave the frame is `None`.
pub trait Frame {
    fn length(&self) -> u32;
    fn ifindex(&self) -> u32;

    /// A header at an offset known when compiling: the quick way.
    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T>;
    /// A header anywhere.
    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T>;
    fn write_head<T: IntoBytes + Immutable + Copy, const OFFSET: usize>(
        &mut self,
        value: &T,
    ) -> Option<()>;
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: u32, value: &T) -> Option<()>;

    /// Makes room for `bytes` before the packet. Afterwards the frame's beginning, Ethernet header
    /// included, is undefined up to the old packet.
    fn grow(&mut self, bytes: u32, outer: Outer) -> Option<()>;
    /// Takes `bytes` away before the packet; afterwards the Ethernet header is undefined.
    fn shrink(&mut self, bytes: u32) -> Option<()>;
    /// Cuts the end off.
    fn truncate(&mut self, length: u32) -> Option<()>;
    /// Sum of `LENGTH` bytes (a multiple of 4).
    fn sum<const OFFSET: usize, const LENGTH: usize>(&self) -> Option<Sum>;

    /// Has the frame leave by another interface.
    fn redirect(&mut self, ifindex: u32) -> super::Verdict;
    /// Asks the kernel's routes and neighbours for the way to `query`'s destination.
    fn route(&self, query: &Route) -> Option<Hop>;
}

/// What the kernel's routes are asked.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub source: abi::Address,
    pub destination: abi::Address,
    pub length: u16,
    pub v6: bool,
}

/// What they answer.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    pub ifindex: u32,
    pub destination: [u16; 3],
    pub source: [u16; 3],
}

//! How decisions read and rewrite a packet.

use crate::balancer::Frame;
use crate::env::Owner;
use crate::flow::Tuple;
use abi::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The packet could not be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewriteFailed;

/// A frame that starts with its Ethernet header. Offsets count from there.
pub trait Packet {
    /// The same frame, for who makes it longer or shorter.
    type Frame<'a>: Frame
    where
        Self: 'a;
    fn frame(&mut self) -> Self::Frame<'_>;

    /// Interface the packet came in or goes out by.
    fn ifindex(&self) -> u32;
    /// Interface by which the packet entered this machine (or network namespace); 0 if it was sent
    /// by the machine itself.
    fn ingress_ifindex(&self) -> u32;
    fn mark(&self) -> u32;
    /// Bytes of the frame.
    fn length(&self) -> u32;
    /// Bytes of payload in each of the packets that the network card makes of this one; 0 if it
    /// stays one.
    fn segment(&self) -> u32;

    /// Reads a header at an offset known when compiling: the quick way.
    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T>;
    /// Reads a header anywhere.
    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T>;

    /// The local socket that sent the packet, if there is one and it is known. `tuple` is that of
    /// the packet: an unconnected socket knows by destination what it asked for.
    fn owner(&self, tuple: &Tuple) -> Option<Owner>;

    /// The interface by which a packet with this tuple, come by [`ifindex`](Self::ifindex), is sent
    /// on.
    fn route(&self, tuple: &Tuple) -> Option<u32>;

    /// Overwrites the beginning of the frame.
    fn store_head<T: IntoBytes + Immutable>(&mut self, head: &T) -> Result<(), RewriteFailed>;
    fn set_macs(&mut self, destination: [u8; 6], source: [u8; 6]) -> Result<(), RewriteFailed>;
    fn store_byte(&mut self, offset: u32, value: u8) -> Result<(), RewriteFailed>;
    /// `value` is in memory order, as all numbers below are.
    fn store_half(&mut self, offset: u32, value: u16) -> Result<(), RewriteFailed>;
    fn store_word(&mut self, offset: u32, value: u32) -> Result<(), RewriteFailed>;
    fn store_address(&mut self, offset: u32, value: &Address) -> Result<(), RewriteFailed>;

    /// Corrects a plain checksum (of an IPv4 header) for a half-word or word that changes.
    fn correct_header(
        &mut self,
        checksum: u32,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed>;
    /// Corrects a transport checksum, which the network card may have yet to compute.
    fn correct(
        &mut self,
        checksum: Checksum,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed>;
    /// The same for an IPv6 address of the pseudo-header.
    fn correct_v6(
        &mut self,
        checksum: Checksum,
        from: &Address,
        to: &Address,
    ) -> Result<(), RewriteFailed>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Half = 2,
    Word = 4,
}

/// A transport checksum to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub offset: u32,
    /// What changes belongs to the pseudo-header, which a checksum that is still to be completed
    /// already covers.
    pub pseudo: bool,
    /// Zero means "no checksum" (UDP over IPv4), and a computed zero is stored as its complement.
    pub zero_is_none: bool,
}

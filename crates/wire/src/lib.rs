//! Packet headers: layouts, how to read them without leaving the buffer, checksums, builders.
//!
//! A header is a plain `repr(C)` value that is copied out of a packet as a whole; its accessors
//! therefore can't read out of bounds and can't panic. Numbers of more than one byte are kept as
//! they stand in the packet ([`Be16`], [`Be32`]), because the eBPF target loads aligned words
//! fast and byte arrays byte by byte.
//!
//! This crate knows formats only. What a packet means, and what happens to it, is `dataplane`'s.

#![no_std]

pub mod arp;
#[cfg(any(test, feature = "std"))]
pub mod build;
pub mod checksum;
pub mod dsr;
pub mod ethernet;
pub mod geneve;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod number;
pub mod transport;

pub use number::{Be16, Be32};

use zerocopy::FromBytes;

/// A copy of the header at `offset`, or `None` if the packet ends before it does.
#[inline]
pub fn read<T: FromBytes>(packet: &[u8], offset: usize) -> Option<T> {
    T::read_from_prefix(packet.get(offset..)?).ok().map(|(header, _)| header)
}

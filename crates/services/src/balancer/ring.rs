//! Rings of backend numbers.
//!
//! A ring is a function of its members alone: two balancers with the same file have the same ring,
//! whatever happened to each before. [`weighted`] is our own: shares in proportion to weights, and a
//! change moves little more than it must. [`katran`] makes the same rings as Katran does.

mod katran;
mod weighted;

pub use self::katran::{Version, katran};
pub use self::weighted::weighted;

use abi::balancer::slot;
use std::net::IpAddr;

/// A backend that takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Backend number, 1 to 32,767. It is only what slots hold; where they are depends on the
    /// address, port and weight.
    pub number: u16,
    pub address: IpAddr,
    /// Tells apart members of one address; not of meaning to [`katran`].
    pub port: u16,
    pub weight: u32,
}

/// Largest backend number that a slot can hold.
pub const MAX_NUMBER: u16 = slot::BACKEND;

/// Slots of the ring for so many backends: at least 100 for each, and few sizes, because nearly
/// every slot moves when the size changes. All are primes, so that a walk of any stride meets every
/// slot.
pub fn size(backends: usize) -> u32 {
    match backends {
        0..=32 => 4_093,
        33..=160 => 16_381,
        161..=640 => 65_521,
        641..=2560 => 262_139,
        _ => 1_048_573,
    }
}

#[cfg(test)]
mod tests;

//! What the eBPF programs and the agent share: keys and values of every map, events, ids.
//!
//! This crate is the contract between the two sides of the kernel boundary. Every type is
//! `#[repr(C)]`, has no implicit padding (zerocopy's derive refuses it) and a size assertion; a
//! snapshot test prints all layouts, so that a change shows in review and comes with a new
//! [`ABI_VERSION`]. It knows no logic: decisions are in `dataplane`, compiling tables in `policy`
//! and `services`.
//!
//! Conventions: addresses are 16 bytes, IPv4 as v4-mapped IPv6; addresses and ports are in network
//! order, everything else in the machine's; times are boot-time nanoseconds (`CLOCK_BOOTTIME`).

#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod balancer;
pub mod conntrack;
pub mod drop_reason;
pub mod endpoint;
pub mod event;
pub mod identity;
pub mod maps;
pub mod metrics;
pub mod policy;
pub mod process;
pub mod service;
pub mod state;

pub use address::{Address, Port};

/// Version of all layouts here. An agent that finds pinned maps of another version uses none of
/// them: it replaces them if it is told to, and refuses to start otherwise.
pub const ABI_VERSION: u32 = 4;

#[cfg(test)]
mod layout_tests;

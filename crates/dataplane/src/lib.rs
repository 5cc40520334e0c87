//! Decisions of the datapath: which flow a packet belongs to, which backend it gets, whether policy
//! lets it through, how it is rewritten and where it goes.
//!
//! The same code runs in three places: in the eBPF programs (through `ebpf/kit`), in `cargo test`
//! and in the simulator. It therefore knows no helper, no map type and no clock: maps, time, chance
//! and events are behind [`Env`], bytes behind [`Packet`]. It never allocates, never panics, and
//! every loop has a constant bound, so that the kernel's verifier accepts it.
//!
//! What is too large for the 512 bytes of an eBPF stack lives in a [`Scratch`] that the caller owns.

#![no_std]
#![forbid(unsafe_code)]

pub mod balancer;
pub mod conntrack;
pub mod control;
pub mod env;
pub mod event;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod limit;
#[cfg(any(test, feature = "std"))]
pub mod memory;
pub mod packet;
pub mod parse;
pub mod policy;
pub mod rewrite;
pub mod service;
pub mod shortcut;
pub mod socket;

pub use env::Env;
pub use forward::{Decision, Scratch, from_endpoint, from_outside, to_endpoint, to_outside};
pub use packet::Packet;

#[cfg(test)]
mod tests;

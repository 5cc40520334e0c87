//! Packets through the node's own bytecode, without a kernel and without privileges.
//!
//! A [`Node`] is made of manifests: the compilers that fill a real node's maps ([`policy`],
//! [`services`]) fill the maps of a [`bpf_vm::Runtime`], in which the very objects run that the
//! kernel would be given. [`Node::send`] takes a packet from a workload or from outside, through
//! program after program (the edge balancer's too, where the node is one), and says where it ended up, by which rule, and what became of its bytes.
//! Packets come from captures ([`capture`]) or are made from a few words ([`scenario`]).
//!
//! [`Node::call`] begins a step before: at a socket of a process, whose address is translated.
//! The crate decides nothing about packets. What the host's own network stack
//! would do is reduced to what a packet's way needs: one hop less, addresses of the next link.

#![forbid(unsafe_code)]

mod balancer;
pub mod capture;
mod device;
mod error;
mod node;
pub mod scenario;
mod socket;
mod stack;
mod vm_maps;
mod way;

pub use balancer::{Balanced, Balancer};
pub use device::{Device, Outside};
pub use error::Error;
pub use node::{Endpoint, Node, Settings};
pub use socket::{Call, CallKind, SocketCall};
pub use stack::{Headers, headers};
pub use vm_maps::VmMaps;
pub use way::{Fate, From, Place, Step, Way};

/// Boot was so long ago, in nanoseconds: times of zero mean never.
const BOOT: u64 = 1_000_000_000_000;

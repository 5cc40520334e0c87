//! Packets through the node's own bytecode, without a kernel and without privileges.
//!
//! A [`Node`] is made of manifests: the compilers that fill a real node's maps ([`policy`],
//! [`services`]) fill the maps of a [`bpf_vm::Runtime`], in which the very objects run that the
//! kernel would be given. [`Node::send`] takes a packet from a workload or from outside, through
//! program after program, and says where it ended up, by which rule, and what became of its bytes.
//! Packets come from captures ([`capture`]) or are made from a few words ([`scenario`]).
//!
//! The crate decides nothing about packets, and knows nothing of the node's processes: traffic is
//! what is on the wire, so sockets translate no addresses here. What the host's own network stack
//! would do is reduced to what a packet's way needs: one hop less, addresses of the next link.

#![forbid(unsafe_code)]

pub mod capture;
mod error;
mod image;
mod node;
pub mod scenario;
mod stack;
mod way;

pub use error::Error;
pub use image::{Entries, Image};
pub use node::{Endpoint, Node, Settings};
pub use stack::{Headers, headers};
pub use way::{Fate, From, Step, Way};

//! Proofs on the real kernel: an isolated node, workloads that are network namespaces, and real
//! traffic between them.
//!
//! A [`Node`] is a network namespace of its own with a folder, a bpffs and a cgroup subtree, in
//! which the real `skepd` runs; a [`Workload`] is one more namespace and cgroup; a
//! [`probe::Probe`] is a process in one that serves ports and asks others. The agent is driven as
//! a user drives it, through the `skep` command line. The crate knows nothing of maps and
//! programs: what it can't see from outside, it doesn't test.
//!
//! Everything a node makes carries the node's name, so that it can be found and removed by that
//! name alone: at the end, on a panic, on Ctrl-C, and by the next run if this one was killed.

#![forbid(unsafe_code)]

pub mod binaries;
pub mod ends;
pub mod fixtures;
pub mod gate;
pub mod l4lb;
pub mod manifest;
pub mod network_policy;
pub mod node;
pub mod offload;
pub mod outside;
pub mod place;
pub mod pod;
pub mod probe;
pub mod remains;
pub mod sctp;
pub mod skep;
pub mod wait;

pub use binaries::Binaries;
pub use host::process::boot_time;
pub use node::{Node, Workload};
pub use outside::{Link, Neighbour};
pub use place::Place;
pub use pod::{Plan, Pod};
pub use skep::Skep;
pub use wait::eventually;

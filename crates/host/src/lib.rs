//! The node as Skep finds it: network namespaces, interfaces, addresses and routes (through
//! netlink), cgroups, processes and container runtimes.
//!
//! Every fact about the machine that isn't an eBPF map enters Skep here, as small typed values,
//! and every change to its network leaves here. The crate insulates the rest from netlink
//! messages, `/proc` and `/sys` formats, sysctls and runtimes' sockets. It refuses to know eBPF,
//! policy, identities and manifests: it is told *which* namespace gets *which* addresses, never why.
//!
//! Nothing depends on the namespace a thread happens to be in. A [`NetNamespace`] is a value, a
//! [`Netlink`] connection belongs to one, and what must run inside one runs on a thread of its own.
//! `ensure_*` means: afterwards it is so; what was right already is not touched.

// `memory` has the one exception.
#![deny(unsafe_code)]

pub mod address;
pub mod cgroup;
pub mod endpoint_link;
pub mod generic;
pub mod link;
pub mod memory;
pub mod neighbour;
pub mod netns;
pub mod process;
pub mod route;
pub mod runtime;
pub mod sockets;
pub mod sysctl;
pub mod watch;
pub mod xdp;

mod error;
mod exchange;
mod netlink;

pub use error::{Error, Result};
pub use netlink::Netlink;
pub use netns::NetNamespace;

#[cfg(test)]
mod ground;

//! Services and their backends compiled into the load-balancing tables that the kernel reads.
//!
//! Pure: no I/O, no kernel. Services, EndpointSlices and workloads go into a [`Compiler`] one at a
//! time; what has to change in maps `services`, `ring` and `backends` comes out of
//! [`Compiler::take_changes`], and a change of one service touches its own entries only. The crate
//! refuses to know how packets are translated and how maps are written.
//!
//! **Invariants**
//! - A ring block in use is never rewritten: a new ring goes into free blocks, then the service
//!   entry flips to it, and the old blocks are free for the change after this one.
//! - Same objects, same ids: backend and service ids are hashes of content, and an agent that
//!   restarts takes over ids and blocks from what the kernel holds ([`Compiler::adopt`]).

#![forbid(unsafe_code)]

pub mod balancer;
pub mod maglev;

mod backends;
mod compiler;
mod ring;
mod view;

pub use compiler::{
    Capacity, Changes, Compiler, FrontEndKind, HealthCheck, NodeInput, Problem, ServiceRef, Tables,
    WorkloadInput, workload_of_host_ports,
};
pub use view::{BackendView, FrontEndView, PortView, ServiceView};

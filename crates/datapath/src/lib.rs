//! From the model to the kernel: endpoints, tables, programs.
//!
//! [`Datapath::prepare`] takes changed objects through the compilers (`policy`, `services`) and
//! makes or removes interfaces; [`Datapath::commit`] writes what has to change into the kernel's
//! maps, in an order in which every packet sees the old or the new state. In between the caller
//! stores the numbers that must outlive the agent. What is pinned stays when the agent goes; the
//! first commit of the next one takes it over and writes only what differs.
//!
//! The crate refuses to know where objects come from (that is `store`) and what becomes of events
//! (that is `agent`).

#![forbid(unsafe_code)]

mod balancer;
mod closing;
mod config;
mod conntrack;
mod counters;
mod datapath;
mod devices;
mod endpoint_rows;
mod endpoints;
mod error;
mod host_cgroup;
mod kernel_maps;
mod place;
mod pool;
mod processes;
mod programs;
mod shortcuts;
mod tables;

pub use balancer::testbench;
pub use balancer::{
    Attachment, BackendCounters, Balancer, BalancerCounter, Capture, CaptureError, CaptureNames,
    CaptureRequest, CapturedPacket, Choice, Interface, VipCounters,
};
pub use config::{Acceleration, Config, SendOn};
pub use conntrack::{Collected, Connections, ServiceUse};
pub use counters::Counters;
pub use datapath::{Datapath, Kept, MapFill, Places, Prepared, Problem, ProgramUse};
pub use endpoints::{Endpoint, Lease, State};
pub use error::{Error, Result};
pub use kernel_maps::{KernelMaps, Named};
pub use processes::{Process, Processes};

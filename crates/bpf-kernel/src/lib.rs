//! The kernel's side of eBPF: loading objects, maps, links, pins, ring buffers, feature probes.
//!
//! This crate insulates the rest of Skep from bpf(2), its versions and the libraries around it: it
//! is the only home of `aya` and of that system call. It offers what the datapath needs, typed, with
//! errors a user can act on. Kernel differences are found by trying, never by version numbers.
//!
//! It refuses to know what the programs and maps mean: no policy, no services, no `Model`.

pub mod attach;
mod btf;
mod error;
mod link;
pub mod linked;
pub mod map;
pub mod mount;
mod object;
pub mod offsets;
mod pin;
pub mod privilege;
pub mod probe;
pub mod profile;
mod program;
mod ring;
mod sys;
mod test_run;
mod verifier;

pub use self::{
    attach::{Attached, Direction, InterfaceHook},
    btf::Btf,
    error::Error,
    link::{Link, LinkInfo, LinkTarget},
    map::{Map, MapDetails, MapInfo, MapKind, MapLayout, PerCpu, RawEntry, Table},
    object::{Loader, Object},
    offsets::KernelOffsets,
    pin::unpin,
    probe::{Feature, Features},
    program::{Program, ProgramDetails, ProgramInfo, ProgramKind},
    ring::{AsyncRing, Ring},
    test_run::{TestRun, TestRunResult},
    verifier::{LoadFailure, SourceLine},
};

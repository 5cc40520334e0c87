//! eBPF programs in user space: where no kernel will take them, the same bytecode runs here.
//!
//! A [`Program`] is loaded once (decoded, its jumps resolved, its helpers and addresses bound to a
//! [`Platform`]) and run any number of times, on any number of threads, over [`Memory`] that the
//! caller lends it. Registers hold addresses of the host, so that memory is shared with maps and
//! helpers without translation; every access is held against the lent regions, so a program can
//! be wrong but not harmful: it ends with a [`Fault`].
//!
//! Two engines do the same: the interpreter is the reference, the compiler ([`Program::compile`],
//! x86-64 on Linux) gives machine code. What a verifier has accepted is compiled without checks.
//!
//! The crate runs programs that nobody has verified. It does not know whether a kernel would
//! accept one, what its context means, or where it comes from: those are the verifier's, the
//! platform's and the object loader's.
//!
//! `unsafe` is in `memory.rs` (access to checked addresses), `run.rs` and `interpret.rs` (the
//! stack, and instructions at checked positions) and `jit/` (memory for code, and the way in and
//! out). Users of this crate need none, unless they vouch for a program themselves
//! ([`Program::compile_unchecked`]).

mod clock;
pub mod conformance;
pub mod context;
mod errno;
mod fault;
mod fuse;
mod helper;
mod interpret;
mod jit;
mod load;
pub mod map;
mod memory;
mod op;
mod packet;
mod platform;
mod program;
mod run;
mod runtime;
pub mod semantics;
mod slab;
mod state;
mod world;

pub use clock::Clock;
pub use errno::Errno;
pub use fault::{Fault, LoadError, Reason, Stop};
pub use helper::{HELPERS, TunnelKey};
pub use jit::{CompileError, CompileOptions};
pub use map::{Map, MapDefinition};
pub use memory::{AccessError, Memory};
pub use packet::{LONGEST, Packet, PacketError};
pub use platform::{Helper, Platform};
pub use program::{Input, Program, code_address};
pub use run::{Call, FRAME, FRAMES, TAIL_CALLS};
pub use runtime::{
    Builder, Engine, Instance, Loader, Outcome, ProgramHandle, Runtime, RuntimeError,
};
pub use state::Redirect;
pub use world::{Environment, Interface, MAIN_TABLE, Neighbour, Process, Route, RouteKind, World};

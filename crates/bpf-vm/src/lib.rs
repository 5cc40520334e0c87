//! eBPF in user space: where no kernel will take programs, the same bytecode runs here.
//!
//! A [`Runtime`] holds what programs share: maps, a clock, a seed, and the [`World`] that they ask
//! about. It loads objects ([`Runtime::load`]) or single programs ([`Runtime::bind`]), which then
//! run on packets, socket calls or any other context, on any number of threads, without root.
//!
//! ```
//! use bpf_isa::{place, text::{Syntax, assemble}};
//! use bpf_object::MapType;
//! use bpf_vm::context::Xdp;
//! use bpf_vm::{MapDefinition, Packet, Runtime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder().cpus(2).seed(1).build();
//! let counts = runtime.map(MapDefinition::new(MapType::ARRAY, 4, 8, 1).named("counts"))?;
//! // Counts the packet, takes off its first two bytes and lets it pass (XDP_PASS is 2).
//! let source = "
//!     r6 = r1
//!     *(u32 *)(r10 - 4) = 0
//!     ld_pseudo r1, 5, 0
//!     r2 = r10
//!     r2 += -4
//!     call 1
//!     if r0 == 0 goto done
//!     r1 = 1
//!     lock *(u64 *)(r0 + 0) += r1
//!     r1 = r6
//!     r2 = 2
//!     call 44
//!     done:
//!     r0 = 2
//!     exit";
//! let instructions: Vec<_> = place(assemble(source, Syntax::Llvm)?);
//! let program = runtime.bind("count", &instructions, &[counts.clone()])?;
//! let mut packet = Packet::new(&[7; 60])?;
//! let outcome = program.run_xdp(&mut packet, &Xdp::default())?;
//! assert_eq!(outcome.action(), 2);
//! assert_eq!(packet.len(), 58);
//! assert_eq!(counts.lookup(&0u32.to_ne_bytes())?, 1u64.to_ne_bytes());
//! # Ok(())
//! # }
//! ```
//!
//! The example `run_object` runs a program of an object file.
//!
//! - [`map`]: maps with the kernel's semantics and error numbers; `map/host.rs` is bpf(2).
//! - `helper`: the functions that programs call, listed in [`HELPERS`].
//! - [`context`], `packet`: what programs are given, byte for byte as the kernel's user API has it.
//!   Contexts hold a packet's bounds in 32 bits, so packets lie below 4 GiB, or in a window that
//!   stands for that where a system has no memory there (`window.rs`).
//! - `runtime`: objects to maps and programs, and their runs.
//!
//! Below that, a [`Program`] is loaded once (decoded, its jumps resolved, its helpers and addresses
//! bound to a [`Platform`]) and run over [`Memory`] that the caller lends it. Registers hold
//! addresses of the host, so that memory is shared with maps and helpers without translation; every
//! access is held against the lent regions, in a map's values against the one element, so a program
//! can be wrong but not harmful: it ends with a [`Fault`].
//!
//! Two engines do the same: the interpreter is the reference, the compiler ([`Program::compile`],
//! for x86-64 and AArch64) gives machine code. What a verifier has accepted is compiled without
//! checks.
//!
//! The crate runs on Linux; its tests also run as on AArch64, by an emulator. For macOS it
//! compiles, on both processors, but nobody has run it there. Memory for code is asked for as Apple
//! wants it (`jit/mapping.rs`). Runs on packets are the interpreter's there, whatever the program was
//! compiled to: the window isn't known to machine code.
//!
//! The crate runs programs that nobody has verified. It does not know whether a kernel would
//! accept one: that is the verifier's.
//!
//! `unsafe` is in `memory.rs` (access to checked addresses), `slab.rs` and `packet` (memory that
//! programs and the host share), `clock.rs` (the system's clock), `helper/maps.rs` (locks in values), `run.rs` and `interpret.rs` (the
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
mod trace;
mod window;
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
    Builder, Engine, Instance, Loader, Outcome, ProgramHandle, Runs, Runtime, RuntimeError,
};
pub use state::Redirect;
pub use trace::{Step, Trace};
pub use world::{Environment, Interface, MAIN_TABLE, Neighbour, Process, Route, RouteKind, World};

//! ELF objects of eBPF programs, from clang, rustc and bpf-linker or gcc, to linked programs.
//!
//! [`Object::parse`] reads an object: functions, maps, variables, externs, types. Its user may set
//! variables, then [`Object::link`] gives a [`Program`]: an entry point with all that it calls, in
//! which maps are named by index, variables by map and offset, and what depends on the kernel's
//! types (CO-RE) is answered from the [`btf::Btf`] of the kernel it is for.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bpf_object::{Object, btf::Btf};
//!
//! let mut object = Object::parse(&std::fs::read("filter.o")?)?;
//! object.set_variable("limit", &100u32.to_le_bytes())?;
//! let kernel = Btf::parse(&std::fs::read("/sys/kernel/btf/vmlinux")?)?;
//! for program in object.link_all(Some(&kernel))? {
//!     println!("{}: {} instructions", program.name, program.instructions.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The crate works on bytes. It loads nothing, makes no maps, asks no kernel, and does not know
//! whether a program is safe: that is for the engines and the verifier. Objects are input from
//! anywhere: damaged ones give an [`Error`] that names section and offset, and never a panic.

#![forbid(unsafe_code)]

pub mod btf;
mod bytes;
mod combine;
mod configuration;
mod core_relocation;
mod elf;
mod error;
mod inspect;
mod kind;
mod link;
mod map;
mod object;
mod section_name;
mod slot;
mod write;

pub use combine::{CombineError, Input, combine};
pub use configuration::Configuration;
pub use core_relocation::{Answer, CoreError, answer};
pub use elf::DataKind;
pub use error::{Error, Problem};
pub use inspect::{CoreSummary, Group, Inspection, Need, ProgramSummary, TypeSummary};
pub use kind::{AttachType, MapType, ProgramType};
pub use link::{CoreUse, ExternUse, Line, LinkedFunction, Program};
pub use map::{InitialValue, Map, Origin, Pointer, PointerTarget};
pub use object::{Extern, ExternSort, Function, Object, Role, SectionSummary, Variable};
pub use section_name::ProgramKind;
pub use write::object_of_code;

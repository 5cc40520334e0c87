//! What kernels offer to programs: helpers and what they take, contexts and who may read what of
//! them, kinds of programs and maps, and which kernel has which of these.
//!
//! It is knowledge, not judgement: the verifier and the runtime use it. It does not know programs.

#![forbid(unsafe_code)]

pub mod caller;
pub mod context;
pub mod feature;
pub mod helper;
pub mod hook;
pub mod kfunc;
pub mod needs;
pub mod profile;
pub mod program;
pub mod prototype;
pub mod typed;
mod version;

pub use version::{NoVersion, Version};

//! Whether a kernel would take a program, and why not: abstract interpretation by the kernel's
//! rules, in user space, that explains itself.
//!
//! [`verify`] walks all paths of a linked program with what is known about each register and stack
//! slot, as Linux 6.12's verifier does (kernel/bpf/verifier.c), and gives one of three answers:
//! accepted, refused by a rule, or not modelled. What the engine doesn't know is never a reason to
//! refuse, and never accepted silently.
//!
//! The crate judges programs. Which helpers, contexts and types there are it takes from
//! `bpf-interface` and from the kernel's types; it runs nothing, loads nothing and asks no kernel.

#![forbid(unsafe_code)]

mod change;
mod code;
mod dynptr;
mod engine;
mod explain;
mod global_function;
mod helper_call;
mod iterator;
mod kfunc_call;
mod loops;
mod maps;
mod memory;
mod precision;
mod prune;
mod references;
mod register;
mod request;
mod rule;
mod scalar;
mod signature;
mod stack;
mod stack_depth;
mod state;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod tnum;
mod verdict;
mod verify;

pub use change::Rules;
pub use request::{Options, Request};
pub use rule::Rule;
pub use verdict::{
    Facts, FunctionFacts, MapShape, NotModelled, Refusal, RefusedAt, Step, Touched, Verdict,
    Verified,
};
pub use verify::{verify, verify_with_log};

//! What the compilers say, written into maps, whoever has them.
//!
//! The kernel's maps and those of our own runtime are filled by the same code: it sees either as
//! [`Maps`], and knows which table is written before which, so that a packet between two writes
//! meets the old or the new state. [`node`] has the tables of endpoints, policies and services,
//! [`balancer`] those of the edge balancer.
//!
//! The crate makes no map and loads no program, and what a row says is the compilers' affair.

#![forbid(unsafe_code)]

pub mod balancer;
mod difference;
mod maps;
pub mod node;

pub use difference::Difference;
pub use maps::{Maps, Row};

//! The edge balancer: load balancers compiled into the tables of object `balancer`.
//!
//! [`ring`] makes rings of backends, [`transition`] says what a change of a ring does to flows, and
//! [`Compiler`] takes objects, health and drained backends to map entries, a transaction at a time.

pub mod ring;
pub mod transition;

mod blocks;
mod check;
mod compiler;
mod keys;
mod numbers;
mod roles;
mod rows;
mod view;

pub use check::{CheckTarget, Health};
pub use compiler::{Adopted, Capacity, Change, Changes, Compiler, Conflict, Refusal, Rows, Used};
pub use keys::VipKey;
pub use roles::{FULL, Reason, Role};
pub use rows::{BackendKey, NO_BACKEND, SEED};
pub use view::{BackendView, VipView};

#[cfg(test)]
mod tests;

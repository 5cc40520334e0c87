//! The edge balancer's rings: who owns which slot, and what a change does to flows.

pub mod ring;
pub mod transition;

//! Truth tables of NetworkPolicy: any file of cases, on the real kernel.

pub mod case;
pub mod run;

mod desired;
mod explain;
mod pods;

pub use run::{Disagreement, Options, Outcome, run};

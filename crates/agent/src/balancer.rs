//! What the edge balancer needs of a running agent: health checks, and what has become of backends.

pub mod checks;
pub mod history;
mod probe;
mod upkeep;

pub use upkeep::keep_up;

/// Shared by the tasks that check and those that show.
#[derive(Debug, Default)]
pub struct Balancing {
    pub findings: checks::Findings,
    pub history: history::History,
}

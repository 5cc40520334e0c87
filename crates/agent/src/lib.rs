//! Skep's node agent as a library: wiring and supervision only.
//!
//! [`run`] brings up one node: it takes the lock, opens store and datapath, brings everything into
//! force, then serves until it is told to stop. What decides is elsewhere: `store` reads what users
//! want, `policy` and `services` compile it, `datapath` brings it into the kernel. The agent gives
//! events their names, keeps the latest, and answers the API.
//!
//! The kernel goes on without it: nothing that a packet needs waits for this process.

#![forbid(unsafe_code)]

mod balancer;
mod control;
mod flows;
mod health_ports;
mod http;
mod lock;
mod metrics;
mod node;
mod options;
mod run;
mod server;
mod supervise;

pub use lock::LockError;
pub use options::Options;
pub use run::run;

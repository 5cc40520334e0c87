use bpf_vm::{Errno, RuntimeError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this is no capture that can be read: {0}")]
    Capture(String),
    #[error("the capture is of link type {0:?}: only Ethernet is known here")]
    LinkType(String),
    #[error("the scenario is not understood: {0}")]
    Scenario(String),
    #[error("packet {packet}: {reason}")]
    Packet { packet: usize, reason: String },
    #[error("there are no addresses left for workload {0}: give the simulation a larger pool")]
    Pool(String),
    #[error("the node's object {object} can't be read: {reason}")]
    Object { object: &'static str, reason: String },
    #[error("map {map} takes no more: {source}")]
    Map { map: &'static str, source: Errno },
    #[error("the node's objects have no map {0}: they are of another version")]
    NoMap(&'static str),
    #[error("a policy can't be put into the tables: {0}")]
    Policy(#[from] policy::PolicyError),
    #[error("the call can't be made: {0}")]
    Call(String),
    #[error("the load balancers can't come into force: {0}")]
    LoadBalancer(String),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

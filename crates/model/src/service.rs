//! Services and where their backends are.

use crate::{Labels, ObjectName, Origin, Protocol};
use std::net::IpAddr;

/// Kind `Service`, `v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: ObjectName,
    /// None for a headless service; one or two (one per family) otherwise.
    pub cluster_ips: Vec<IpAddr>,
    /// Picks workloads of the same namespace; without it only EndpointSlices give backends.
    pub selector: Option<Labels>,
    pub ports: Vec<ServicePort>,
    pub algorithm: Algorithm,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty if the service has one port without a name.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub target: TargetPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    /// A named port of each workload.
    Name(String),
}

/// How a backend is chosen. Annotation `skep.dev/lb-algorithm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    #[default]
    Random,
    Maglev,
}

/// Kind `EndpointSlice`, `discovery.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub name: ObjectName,
    /// Label `kubernetes.io/service-name`: name of a service in the same namespace.
    pub service: Option<String>,
    pub endpoints: Vec<SliceEndpoint>,
    pub ports: Vec<SlicePort>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub address: IpAddr,
    /// Condition `ready`; missing means yes.
    pub ready: bool,
    /// Condition `serving`; missing means as `ready`.
    pub serving: bool,
    pub terminating: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

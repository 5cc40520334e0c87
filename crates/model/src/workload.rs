//! Workloads: whatever has an identity on this node.

use crate::{Labels, ObjectName, Origin, Protocol};
use std::net::IpAddr;
use std::path::PathBuf;

/// Kind `Workload`, `skep.dev/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: ObjectName,
    pub labels: Labels,
    pub place: Place,
    /// Interface inside its network namespace.
    pub interface: String,
    pub addresses: AddressRequest,
    pub ports: Vec<NamedPort>,
    pub host_ports: Vec<HostPort>,
    pub origin: Origin,
}

/// Where a workload runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A network namespace by path, and the cgroup its processes are in, if that is known.
    Netns {
        path: PathBuf,
        cgroup: Option<PathBuf>,
    },
    Container {
        runtime: ContainerRuntime,
        name: Option<String>,
        labels: Labels,
    },
    SystemdUnit {
        unit: String,
    },
    /// Absolute, or relative to the cgroup v2 mount.
    Cgroup {
        path: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRuntime {
    Docker,
    Podman,
    Containerd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressRequest {
    /// One IPv4 and one IPv6 address from the node's pools, as far as it has them.
    Auto,
    Fixed(Vec<IpAddr>),
}

/// A port of the node that leads to one of the workload: `ports[].hostPort`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Empty if the port has no name.
    pub name: String,
    pub protocol: Protocol,
    /// At which of the node's addresses; at all without one.
    pub address: Option<IpAddr>,
    pub host_port: u16,
    /// The workload's own.
    pub port: u16,
}

/// A port that policies and services can refer to by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

//! Services and where their backends are.

use crate::{Labels, ObjectName, Origin, Protocol};
use ipnet::IpNet;
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
    /// None: as the node does it.
    pub forwarding: Option<Forwarding>,
    /// Addresses besides the cluster's at which the service answers everybody.
    pub external_ips: Vec<IpAddr>,
    /// The same, given to it by whoever balances load before the nodes; `source_ranges` hold here.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may come by a load balancer's address; empty for everybody.
    pub source_ranges: Vec<IpNet>,
    /// Which backends traffic gets that comes to a cluster IP.
    pub internal_traffic: TrafficPolicy,
    /// Which backends traffic from outside gets that comes to any other address.
    pub external_traffic: TrafficPolicy,
    pub distribution: Distribution,
    /// For how many seconds after it last opened a flow a client keeps its backend.
    pub affinity: Option<u32>,
    /// Backends that aren't ready are backends too.
    pub publish_not_ready: bool,
    /// Where the node answers whether it has backends of its own, with [`TrafficPolicy::Local`] for
    /// external traffic.
    pub health_check_port: Option<u16>,
    pub origin: Origin,
}

impl Service {
    /// A service without addresses, ports and backends, and every choice as Kubernetes defaults it.
    pub fn new(name: ObjectName, origin: Origin) -> Self {
        Service {
            name,
            cluster_ips: Vec::new(),
            selector: None,
            ports: Vec::new(),
            algorithm: Algorithm::default(),
            forwarding: None,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal_traffic: TrafficPolicy::default(),
            external_traffic: TrafficPolicy::default(),
            distribution: Distribution::default(),
            affinity: None,
            publish_not_ready: false,
            health_check_port: None,
            origin,
        }
    }
}

/// `internalTrafficPolicy` and `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All backends.
    #[default]
    Cluster,
    /// Those on this node, or none.
    Local,
}

/// `trafficDistribution`: which backends are preferred among those that a policy allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    #[default]
    Even,
    /// `PreferClose`, `PreferSameZone`.
    SameZone,
    SameNode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty if the service has one port without a name.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub target: TargetPort,
    /// The port of every node's own addresses at which it answers too.
    pub node_port: Option<u16>,
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

/// How traffic from outside comes to a backend on another node, and its answers back. Annotation
/// `skep.dev/lb-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// As traffic of this node, which the answers come back to.
    #[default]
    Masquerade,
    /// With the client's address; the other node answers the client.
    DirectReturn,
    /// TCP by direct return, all else masqueraded.
    Hybrid,
}

impl Forwarding {
    pub const ALL: [Forwarding; 3] =
        [Forwarding::Masquerade, Forwarding::DirectReturn, Forwarding::Hybrid];

    /// As the annotation and the agent's option name it.
    pub const fn name(self) -> &'static str {
        match self {
            Forwarding::Masquerade => "snat",
            Forwarding::DirectReturn => "dsr",
            Forwarding::Hybrid => "hybrid",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|forwarding| forwarding.name() == name)
    }

    pub fn returns_directly(self, protocol: Protocol) -> bool {
        match self {
            Forwarding::Masquerade => false,
            Forwarding::DirectReturn => true,
            Forwarding::Hybrid => protocol == Protocol::Tcp,
        }
    }
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
    /// `nodeName`.
    pub node: Option<String>,
    pub zone: Option<String>,
    /// `hints.forZones`.
    pub for_zones: Vec<String>,
    /// `hints.forNodes`.
    pub for_nodes: Vec<String>,
}

impl SliceEndpoint {
    /// One that takes connections, of which nothing else is known.
    pub fn ready(address: IpAddr) -> Self {
        SliceEndpoint {
            address,
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            for_zones: Vec::new(),
            for_nodes: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

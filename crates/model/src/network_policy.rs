//! Kind `NetworkPolicy`, `networking.k8s.io/v1`, parsed and defaulted.

use crate::{ObjectName, Origin, Protocol, Selector};
use ipnet::IpNet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub name: ObjectName,
    /// Picks workloads of the policy's own namespace.
    pub subjects: Selector,
    /// `None` if the policy says nothing of the direction (policyTypes lacks it); an empty list
    /// restricts it and allows nothing.
    pub ingress: Option<Vec<PolicyRule>>,
    pub egress: Option<Vec<PolicyRule>>,
    pub origin: Origin,
}

/// One element of `ingress` or `egress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Empty means every peer.
    pub peers: Vec<PolicyPeer>,
    /// Empty means every port of every protocol.
    pub ports: Vec<PolicyPort>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyPeer {
    /// Workloads: of the namespaces that `namespaces` picks by their labels, or of the policy's
    /// own namespace without it.
    Workloads { namespaces: Option<Selector>, workloads: Selector },
    /// `ipBlock`. Selects any address inside, workloads' own included.
    Block { block: IpNet, except: Vec<IpNet> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyPort {
    pub protocol: Protocol,
    pub port: PortMatch,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMatch {
    Any,
    /// First and last, both included; a single port has them equal.
    Range(u16, u16),
    /// A named port of the receiving workload.
    Name(String),
}

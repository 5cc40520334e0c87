//! What the node should do, as typed values that can't be wrong in form.
//!
//! Sources (manifests, the API, later etcd and Kubernetes) parse into these types at the edge;
//! compilers (`policy`, `services`, `datapath`) read them. The crate does no I/O and knows no wire
//! format: there is no serde here, and no kernel type.

#![forbid(unsafe_code)]

pub mod content_id;
pub mod labels;
pub mod load_balancer;
pub mod name;
pub mod network_policy;
pub mod object;
pub mod protocol;
pub mod service;
pub mod workload;

mod snapshot;

pub use labels::{Labels, Operator, Requirement, Selector};
pub use load_balancer::LoadBalancer;
pub use name::{Kind, ObjectName, ObjectRef, Origin};
pub use network_policy::{NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule, PortMatch};
pub use object::{Namespace, Object};
pub use protocol::Protocol;
pub use service::{
    Algorithm, Distribution, EndpointSlice, Forwarding, Service, ServicePort, SliceEndpoint,
    SlicePort, TargetPort, TrafficPolicy,
};
pub use snapshot::{Model, NAMESPACE_NAME_LABEL};
pub use workload::{AddressRequest, ContainerRuntime, HostPort, NamedPort, Place, Workload};

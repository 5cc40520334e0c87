//! Any object, as sources hand them over.

use std::sync::Arc;

use crate::{
    EndpointSlice, Kind, Labels, LoadBalancer, NetworkPolicy, ObjectName, ObjectRef, Origin,
    Service, Workload,
};

/// Kind `Namespace`, `v1`: only its labels matter. A namespace without an object has the label
/// `kubernetes.io/metadata.name` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: ObjectName,
    pub labels: Labels,
    pub origin: Origin,
}

/// An object of any kind. What there can be thousands of is shared: sources, model and compilers
/// all keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Namespace(Namespace),
    Workload(Workload),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    NetworkPolicy(Arc<NetworkPolicy>),
    LoadBalancer(Arc<LoadBalancer>),
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Object::Namespace(_) => Kind::Namespace,
            Object::Workload(_) => Kind::Workload,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::NetworkPolicy(_) => Kind::NetworkPolicy,
            Object::LoadBalancer(_) => Kind::LoadBalancer,
        }
    }

    pub fn name(&self) -> &ObjectName {
        match self {
            Object::Namespace(object) => &object.name,
            Object::Workload(object) => &object.name,
            Object::Service(object) => &object.name,
            Object::EndpointSlice(object) => &object.name,
            Object::NetworkPolicy(object) => &object.name,
            Object::LoadBalancer(object) => &object.name,
        }
    }

    pub fn origin(&self) -> &Origin {
        match self {
            Object::Namespace(object) => &object.origin,
            Object::Workload(object) => &object.origin,
            Object::Service(object) => &object.origin,
            Object::EndpointSlice(object) => &object.origin,
            Object::NetworkPolicy(object) => &object.origin,
            Object::LoadBalancer(object) => &object.origin,
        }
    }

    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.name().clone() }
    }
}

//! The desired state as a whole.

use crate::{
    EndpointSlice, Kind, Labels, LoadBalancer, Namespace, NetworkPolicy, Object, ObjectName,
    ObjectRef, Service, Workload,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All objects by name. Changed one object at a time, so that compilers can work per change.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub namespaces: BTreeMap<ObjectName, Namespace>,
    pub workloads: BTreeMap<ObjectName, Workload>,
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    pub endpoint_slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub network_policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    pub load_balancers: BTreeMap<ObjectName, Arc<LoadBalancer>>,
}

impl Model {
    /// Adds or replaces an object; says whether anything changed (a new origin is a change).
    pub fn put(&mut self, object: Object) -> bool {
        fn put<T: PartialEq>(
            map: &mut BTreeMap<ObjectName, T>,
            name: ObjectName,
            value: T,
        ) -> bool {
            if map.get(&name) == Some(&value) {
                return false;
            }
            map.insert(name, value);
            true
        }
        let name = object.name().clone();
        match object {
            Object::Namespace(object) => put(&mut self.namespaces, name, object),
            Object::Workload(object) => put(&mut self.workloads, name, object),
            Object::Service(object) => put(&mut self.services, name, object),
            Object::EndpointSlice(object) => put(&mut self.endpoint_slices, name, object),
            Object::NetworkPolicy(object) => put(&mut self.network_policies, name, object),
            Object::LoadBalancer(object) => put(&mut self.load_balancers, name, object),
        }
    }

    /// Removes an object; says whether it was there.
    pub fn remove(&mut self, object: &ObjectRef) -> bool {
        let name = &object.name;
        match object.kind {
            Kind::Namespace => self.namespaces.remove(name).is_some(),
            Kind::Workload => self.workloads.remove(name).is_some(),
            Kind::Service => self.services.remove(name).is_some(),
            Kind::EndpointSlice => self.endpoint_slices.remove(name).is_some(),
            Kind::NetworkPolicy => self.network_policies.remove(name).is_some(),
            Kind::LoadBalancer => self.load_balancers.remove(name).is_some(),
        }
    }

    /// Labels of a namespace, with the one that every namespace has.
    pub fn namespace_labels(&self, namespace: &str) -> Labels {
        let object = self.namespaces.get(&ObjectName::new("", namespace));
        let mut labels = object.map(|object| object.labels.clone()).unwrap_or_default();
        labels.0.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
        labels
    }
}

/// Set by Kubernetes on every namespace, whatever its manifest says.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

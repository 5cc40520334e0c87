//! The objects of a step, and what to change to get from one step to the next.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::Step;
use super::pods::Pods;
use crate::manifest;

/// Kind, namespace and name.
pub type Name = (String, String, String);
pub type Objects = BTreeMap<Name, Value>;

/// What is in force.
#[derive(Debug, Default)]
pub struct Desired(Objects);

impl Desired {
    /// Objects in force that a step doesn't have, or whose pod begins anew.
    pub fn to_delete(&self, step: &Step, pods: &Pods) -> Vec<Value> {
        let mut kept: Vec<Name> = step.policies.iter().map(manifest::name_of).collect();
        kept.extend(step.namespaces.keys().map(|name| namespace_name(name)));
        let going = pods.going(step);
        let staying = step.pods.iter().filter(|pod| !going.contains(&pod.full_name()));
        kept.extend(staying.map(|pod| workload_name(&pod.namespace, &pod.name)));
        let gone = self.0.iter().filter(|(name, _)| !kept.contains(name));
        gone.map(|(_, object)| object.clone()).collect()
    }

    pub fn deleted(&mut self, objects: &[Value]) {
        for object in objects {
            self.0.remove(&manifest::name_of(object));
        }
    }

    /// Objects of a step that are not in force as it has them.
    pub fn to_apply(&self, step: &Step, pods: &Pods) -> Vec<Value> {
        let mut objects: Vec<Value> = Vec::new();
        let namespaces = step.namespaces.iter();
        objects.extend(namespaces.map(|(name, labels)| manifest::namespace(name, labels)));
        objects.extend(step.pods.iter().filter_map(|pod| pods.manifest(pod)));
        objects.extend(step.policies.iter().cloned());
        objects.retain(|object| self.0.get(&manifest::name_of(object)) != Some(object));
        objects
    }

    pub fn applied(&mut self, objects: Vec<Value>) {
        self.0.extend(objects.into_iter().map(|object| (manifest::name_of(&object), object)));
    }
}

fn namespace_name(name: &str) -> Name {
    ("Namespace".into(), String::new(), name.into())
}

fn workload_name(namespace: &str, name: &str) -> Name {
    ("Workload".into(), namespace.into(), name.into())
}

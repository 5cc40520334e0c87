//! Keeping the names that events are enriched with up to date.

use super::Node;
use crate::flows::names::{EndpointNames, IdentityNames, Names, RuleNames, ServiceNames};
use abi::identity::RESERVED;
use model::{Kind, NetworkPolicy, ObjectName, ObjectRef};
use policy::{Direction, Identity};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

impl Node {
    /// After a commit, for what `changed` can have changed.
    pub(super) fn update_names(&mut self, changed: &BTreeSet<ObjectRef>) {
        let mut names = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let touches = |kinds: &[Kind]| changed.iter().any(|object| kinds.contains(&object.kind));
        if touches(&[Kind::Workload, Kind::Namespace, Kind::NetworkPolicy]) {
            self.name_identities(&mut names);
            self.name_endpoints(&mut names);
        }
        let of_kind = |kind| changed.iter().filter(move |object| object.kind == kind);
        for object in of_kind(Kind::NetworkPolicy) {
            if let Some(policy) = self.model.network_policies.get(&object.name) {
                self.name_rules(&mut names, policy);
            }
        }
        // Of those that are gone nothing else will tell.
        names.services.retain(|_, it| {
            services::workload_of_host_ports(&it.service)
                .is_none_or(|name| !changed.contains(&ObjectRef { kind: Kind::Workload, name }))
        });
        let of_workloads: Vec<ObjectName> = of_kind(Kind::Workload)
            .flat_map(|object| self.datapath.services().services_of_workload(&object.name))
            .collect();
        let services: BTreeSet<&ObjectName> =
            of_kind(Kind::Service).map(|object| &object.name).chain(&of_workloads).collect();
        self.name_services(&mut names, &services);
    }

    fn name_identities(&self, names: &mut Names) {
        for (number, name) in RESERVED {
            names
                .identities
                .entry(number)
                .or_insert_with(|| Arc::new(identity_names(&Identity::Reserved(name))));
        }
        // A number is never given to another label set, so what is known stays right.
        let mut known = 0;
        for (number, identity) in self.datapath.policy().identities() {
            known += 1;
            names.identities.entry(number).or_insert_with(|| Arc::new(identity_names(identity)));
        }
        let wanted = |number: &u32| self.datapath.policy().identity(*number).is_some();
        prune(&mut names.identities, known, wanted);
    }

    fn name_endpoints(&self, names: &mut Names) {
        names.interfaces.clear();
        names.endpoints.clear();
        for endpoint in self.datapath.endpoints() {
            if let Some(interface) = &endpoint.interface {
                names.interfaces.insert(interface.host_index, interface.host_name.as_str().into());
            }
            let workload = &endpoint.workload;
            let selecting: Vec<&Arc<NetworkPolicy>> = self
                .model
                .network_policies
                .values()
                .filter(|policy| {
                    policy.name.namespace == workload.name.namespace
                        && policy.subjects.matches(&workload.labels)
                })
                .collect();
            let restricting = |ingress: bool| {
                let policies = selecting.iter().filter(|policy| match ingress {
                    true => policy.ingress.is_some(),
                    false => policy.egress.is_some(),
                });
                policies.map(|policy| Arc::new(whole_policy(policy, ingress))).collect()
            };
            let endpoint_names = EndpointNames {
                workload: workload.name.clone(),
                ingress_policies: restricting(true),
                egress_policies: restricting(false),
            };
            names.endpoints.insert(endpoint.id, Arc::new(endpoint_names));
        }
    }

    fn name_rules(&self, names: &mut Names, policy: &NetworkPolicy) {
        for id in self.datapath.policy().rule_ids(&policy.name) {
            if let Some(rule) = self.datapath.policy().rule(id) {
                let rule_names = RuleNames {
                    policy: rule.policy.clone(),
                    ingress: rule.direction == Direction::Ingress,
                    rule: Some(rule.index),
                    origin: rule.origin.clone(),
                };
                names.rules.insert(id, Arc::new(rule_names));
            }
        }
        let policy = self.datapath.policy();
        prune(&mut names.rules, policy.rule_count(), |id| policy.rule(*id).is_some());
    }

    fn name_services(&self, names: &mut Names, changed: &BTreeSet<&ObjectName>) {
        if changed.is_empty() {
            return;
        }
        names.services.retain(|_, service| !changed.contains(&service.service));
        for service in changed {
            for (id, port) in self.datapath.services().port_ids(service) {
                let name = ServiceNames { service: (*service).clone(), port: port.to_owned() };
                names.services.insert(id, Arc::new(name));
            }
        }
    }
}

/// Names of what is gone are kept for events that are on their way, until they are as many as
/// those of what is there.
fn prune<T>(names: &mut HashMap<u32, T>, there: usize, wanted: impl Fn(&u32) -> bool) {
    const SPARE: usize = 1024;
    if names.len() > 2 * there + SPARE {
        names.retain(|number, _| wanted(number));
    }
}

fn whole_policy(policy: &NetworkPolicy, ingress: bool) -> RuleNames {
    RuleNames { policy: policy.name.clone(), ingress, rule: None, origin: policy.origin.clone() }
}

fn identity_names(identity: &Identity) -> IdentityNames {
    let mut names =
        IdentityNames { name: String::new(), namespace: String::new(), labels: BTreeMap::new() };
    match identity {
        Identity::Reserved(name) => names.name = (*name).to_owned(),
        Identity::Block(block) => names.name = block.to_string(),
        Identity::Workload(labels) => {
            names.namespace = labels.namespace.to_string();
            names.labels = labels.labels.0.clone();
        }
    }
    names
}

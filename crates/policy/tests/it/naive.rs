//! NetworkPolicy read as its documentation has it, one question at a time.

use model::{Labels, NamedPort, NetworkPolicy, PolicyPeer, PolicyRule, PortMatch, Protocol};
use policy::EndpointInput;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Default, Debug)]
pub struct World {
    pub namespaces: BTreeMap<String, Labels>,
    pub workloads: Vec<EndpointInput>,
    pub policies: Vec<NetworkPolicy>,
    pub hosts: Vec<IpAddr>,
}

impl World {
    fn owner(&self, address: IpAddr) -> Option<&EndpointInput> {
        let mut owners: Vec<_> =
            self.workloads.iter().filter(|w| w.addresses.contains(&address)).collect();
        owners.sort_by_key(|workload| &workload.name);
        owners.first().copied().filter(|_| !self.hosts.contains(&address))
    }

    pub fn allows(&self, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.one_way(from, to, false, to, protocol, port)
            && self.one_way(to, from, true, to, protocol, port)
    }

    fn one_way(
        &self,
        subject: IpAddr,
        peer: IpAddr,
        ingress: bool,
        receiver: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        let Some(workload) = self.owner(subject).filter(|workload| workload.enforced) else {
            return true;
        };
        if self.hosts.contains(&peer) {
            return true;
        }
        let mut isolated = false;
        for policy in &self.policies {
            let rules = if ingress { &policy.ingress } else { &policy.egress };
            let Some(rules) = rules else { continue };
            if policy.name.namespace != workload.name.namespace
                || !policy.subjects.matches(&workload.labels)
            {
                continue;
            }
            isolated = true;
            let allows = |rule: &PolicyRule| {
                self.peer_matches(policy, rule, peer)
                    && self.port_matches(rule, receiver, protocol, port)
            };
            if rules.iter().any(allows) {
                return true;
            }
        }
        !isolated
    }

    fn peer_matches(&self, policy: &NetworkPolicy, rule: &PolicyRule, peer: IpAddr) -> bool {
        rule.peers.is_empty()
            || rule.peers.iter().any(|selector| match selector {
                PolicyPeer::Workloads { namespaces, workloads } => {
                    self.owner(peer).is_some_and(|owner| {
                        let namespace = &owner.name.namespace;
                        let in_namespace = match namespaces {
                            None => *namespace == policy.name.namespace,
                            Some(selector) => {
                                let mut labels =
                                    self.namespaces.get(&**namespace).cloned().unwrap_or_default();
                                let key = model::NAMESPACE_NAME_LABEL.to_owned();
                                labels.0.insert(key, namespace.to_string());
                                selector.matches(&labels)
                            }
                        };
                        in_namespace && workloads.matches(&owner.labels)
                    })
                }
                PolicyPeer::Block { block, except } => {
                    block.contains(&peer) && !except.iter().any(|net| net.contains(&peer))
                }
            })
    }

    fn port_matches(
        &self,
        rule: &PolicyRule,
        receiver: IpAddr,
        protocol: Protocol,
        number: u16,
    ) -> bool {
        rule.ports.is_empty()
            || rule.ports.iter().any(|port| {
                port.protocol == protocol
                    && match &port.port {
                        PortMatch::Any => true,
                        PortMatch::Range(first, last) => (*first..=*last).contains(&number),
                        PortMatch::Name(name) => self.owner(receiver).is_some_and(|owner| {
                            owner.ports.contains(&NamedPort {
                                name: name.clone(),
                                protocol,
                                port: number,
                            })
                        }),
                    }
            })
    }
}

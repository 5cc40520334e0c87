//! From the kinds that users write to the compiler's own form.

use crate::blocks::canonical;
use crate::rule::{
    Action, Direction, NamespaceSelector, PeerSelector, PortSelector, Rule, RuleGroup, Tier,
    WorkloadSelector,
};
use model::{NetworkPolicy, PolicyPeer, PolicyRule};

/// NetworkPolicy: tier Normal, allow only, restricts each direction that it speaks of.
pub fn network_policy(policy: &NetworkPolicy) -> Vec<RuleGroup> {
    let directions = [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)];
    directions
        .into_iter()
        .filter_map(|(direction, rules)| {
            let rules = rules.as_ref()?.iter().map(|rule| lower_rule(policy, rule)).collect();
            Some(RuleGroup {
                policy: policy.name.clone(),
                direction,
                subjects: WorkloadSelector {
                    namespaces: NamespaceSelector::Name(policy.name.namespace.clone()),
                    workloads: policy.subjects.clone(),
                },
                tier: Tier::Normal,
                priority: 0,
                enforces_default_deny: true,
                rules,
                origin: policy.origin.clone(),
            })
        })
        .collect()
}

fn lower_rule(policy: &NetworkPolicy, rule: &PolicyRule) -> Rule {
    let peers = rule.peers.iter().map(|peer| match peer {
        PolicyPeer::Workloads { namespaces, workloads } => {
            PeerSelector::Workloads(WorkloadSelector {
                namespaces: match namespaces {
                    Some(selector) => NamespaceSelector::Labels(selector.clone()),
                    None => NamespaceSelector::Name(policy.name.namespace.clone()),
                },
                workloads: workloads.clone(),
            })
        }
        PolicyPeer::Block { block, except } => PeerSelector::Block {
            block: canonical(*block),
            except: except.iter().copied().map(canonical).collect(),
        },
    });
    let ports = rule.ports.iter().map(|port| PortSelector {
        protocol: Some(port.protocol.number()),
        port: port.port.clone(),
    });
    Rule {
        action: Action::Allow,
        peers: peers.collect(),
        ports: ports.collect(),
        origin: rule.origin.clone(),
    }
}

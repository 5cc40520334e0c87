//! Words for why a rule does not match, and for what would.

use super::{DirectionState, End, Explanation, Mismatch, RuleReport};
use crate::rule::{
    Direction, NamespaceSelector, PeerSelector, Rule, RuleGroup, WorkloadSelector, protocol_name,
};
use crate::selector_cache::matches;
use model::{Labels, NamedPort, PortMatch, Selector};

pub(super) fn rule_report(index: u32, rule: &Rule, mismatch: Option<Mismatch>) -> RuleReport {
    let peers: Vec<String> = rule.peers.iter().map(ToString::to_string).collect();
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    RuleReport {
        index,
        origin: rule.origin.clone(),
        peers: if peers.is_empty() { "anyone".to_owned() } else { peers.join(" or ") },
        ports: ports.join(", "),
        mismatch,
    }
}

pub(super) fn peer_mismatch(group: &RuleGroup, rule: &Rule, peer: &End) -> Option<String> {
    if rule.peers.is_empty() || rule.peers.iter().any(|selector| matches(selector, &peer.peer)) {
        return None;
    }
    let mut reasons: Vec<String> =
        rule.peers.iter().map(|selector| selector_mismatch(group, selector, peer)).collect();
    reasons.dedup();
    Some(reasons.join("; "))
}

fn selector_mismatch(group: &RuleGroup, selector: &PeerSelector, peer: &End) -> String {
    let name = &peer.short;
    match selector {
        PeerSelector::Workloads(WorkloadSelector { namespaces, workloads }) => {
            let Some(labels) = &peer.peer.labels else {
                return format!("{name} is not a workload");
            };
            if !namespaces.matches(&labels.namespace, &labels.namespace_labels) {
                return match namespaces {
                    NamespaceSelector::Name(wanted) if *wanted == group.policy.namespace => {
                        format!(
                            "{name} is in namespace {}, and without a namespaceSelector only {wanted} is meant",
                            labels.namespace
                        )
                    }
                    NamespaceSelector::Name(_) => {
                        format!("{name} is in namespace {}", labels.namespace)
                    }
                    NamespaceSelector::Labels(selector) => {
                        let namespace = format!("namespace {}", labels.namespace);
                        label_mismatch(&namespace, selector, &labels.namespace_labels)
                    }
                };
            }
            label_mismatch(name, workloads, &labels.labels)
        }
        PeerSelector::Block { block, except } => {
            let blocks = &peer.peer.attributes.blocks;
            match except.iter().find(|net| blocks.contains(net)) {
                Some(net) if blocks.contains(block) => {
                    format!("{} is in the exception {net}", address_of(peer))
                }
                _ => format!("{} is outside", address_of(peer)),
            }
        }
        PeerSelector::Entity(_) => format!("{name} is not {selector}"),
    }
}

fn address_of(peer: &End) -> String {
    match peer.address {
        Some(address) if peer.short != address.to_string() => {
            format!("{} ({address})", peer.short)
        }
        _ => peer.short.clone(),
    }
}

fn label_mismatch(name: &str, selector: &Selector, labels: &Labels) -> String {
    let failing = selector.requirements.iter().find(|requirement| !requirement.holds(labels));
    let Some(requirement) = failing else { return format!("{name} does not match") };
    match labels.value(&requirement.key) {
        Some(value) => format!("{name} has {}={value}", requirement.key),
        None => format!("{name} has no label {}", requirement.key),
    }
}

pub(super) fn port_mismatch(rule: &Rule, named: &[NamedPort], protocol: u8, port: u16) -> String {
    let missing = rule.ports.iter().find_map(|selector| match &selector.port {
        PortMatch::Name(name) if !named.iter().any(|port| port.name == *name) => Some(name),
        _ => None,
    });
    match missing {
        Some(name) => format!("the receiver has no port named {name}"),
        None => format!("the port is {port}/{}", protocol_name(protocol)),
    }
}

/// The smallest addition that would allow what is denied.
pub(super) fn hint(explanation: &Explanation, from: &End, to: &End) -> Option<String> {
    let (report, peer) = if !explanation.egress.allowed() {
        (&explanation.egress, to)
    } else if !explanation.ingress.allowed() {
        (&explanation.ingress, from)
    } else {
        return None;
    };
    let DirectionState::Restricted { decided_by, policies, .. } = &report.state else {
        return None;
    };
    if let Some(rule) = decided_by {
        return Some(format!("it is denied by {} ({})", rule.policy, rule.origin));
    }
    let port = format!("{}/{}", explanation.port, protocol_name(explanation.protocol));
    let by_port = policies.iter().find_map(|policy| {
        let rule =
            policy.rules.iter().find(|rule| matches!(rule.mismatch, Some(Mismatch::Port(_))))?;
        Some((policy, rule))
    });
    if let Some((policy, rule)) = by_port {
        return Some(format!(
            "add port {port} to rule {} of {} ({})",
            rule.index + 1,
            policy.policy,
            rule.origin
        ));
    }
    let policy = policies.first()?;
    let key = match report.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let selector = match (&peer.peer.labels, peer.address) {
        (Some(labels), _) => {
            let workloads = if labels.labels.0.is_empty() {
                "podSelector {}".to_owned()
            } else {
                format!("podSelector {}", labels.labels)
            };
            if labels.namespace == policy.policy.namespace {
                workloads
            } else {
                format!(
                    "namespaceSelector {}={} and {workloads}",
                    model::NAMESPACE_NAME_LABEL,
                    labels.namespace
                )
            }
        }
        (None, Some(address)) => format!("ipBlock {}", ipnet::IpNet::from(address)),
        (None, None) => "ipBlock 0.0.0.0/0".to_owned(),
    };
    Some(format!("add a `{key}` with {selector} to {}, port {port}", policy.policy))
}

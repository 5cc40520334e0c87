//! The one form in which the compiler knows policies, whatever kind the user wrote.
//!
//! Precedence: tier and priority, then deny before allow, then the longer port prefix, then the
//! more specific peer.

use ipnet::IpNet;
use model::{Labels, ObjectName, Origin, PortMatch, Selector};
use std::fmt;
use std::sync::Arc;

/// Of traffic, as the subject of a policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    pub const fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tiers are asked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Admin,
    Normal,
    /// Asked only where no rule group enforces default denial.
    Baseline,
}

/// In the order in which rules of one priority are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Deny,
    Allow,
    /// Leave the decision to the next tier.
    Pass,
}

/// What one policy says about one direction of its subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleGroup {
    pub policy: ObjectName,
    pub direction: Direction,
    pub subjects: WorkloadSelector,
    pub tier: Tier,
    /// Lower is asked first.
    pub priority: u32,
    /// Whatever no rule allows is denied to the subjects.
    pub enforces_default_deny: bool,
    pub rules: Vec<Rule>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    /// Empty means every peer.
    pub peers: Vec<PeerSelector>,
    /// Empty means every port of every protocol.
    pub ports: Vec<PortSelector>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerSelector {
    Workloads(WorkloadSelector),
    Block { block: IpNet, except: Vec<IpNet> },
    Entity(Entity),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadSelector {
    pub namespaces: NamespaceSelector,
    pub workloads: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceSelector {
    Name(Arc<str>),
    Labels(Selector),
}

impl WorkloadSelector {
    pub fn matches(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        self.namespaces.matches(namespace, namespace_labels) && self.workloads.matches(labels)
    }
}

impl NamespaceSelector {
    pub fn matches(&self, namespace: &str, labels: &Labels) -> bool {
        match self {
            NamespaceSelector::Name(name) => **name == *namespace,
            NamespaceSelector::Labels(selector) => selector.matches(labels),
        }
    }
}

/// Peers that are known by what they are, not by labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// One of `abi::identity::RESERVED`.
    Reserved(u32),
    /// Whatever has neither labels nor a reserved identity other than world's.
    World,
}

impl Entity {
    pub fn matches(self, identity: u32) -> bool {
        use abi::identity::{FIRST_LOCAL, WORLD, WORLD_IPV4, WORLD_IPV6};
        match self {
            Entity::Reserved(number) => identity == number,
            Entity::World => {
                matches!(identity, WORLD | WORLD_IPV4 | WORLD_IPV6) || identity >= FIRST_LOCAL
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSelector {
    /// IP protocol number; none is every protocol, and then the port must be any.
    pub protocol: Option<u8>,
    pub port: PortMatch,
}

impl fmt::Display for WorkloadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            NamespaceSelector::Name(_) => write!(f, "{}", self.workloads),
            NamespaceSelector::Labels(namespaces) => {
                write!(f, "{} in namespaces {}", self.workloads, namespaces)
            }
        }
    }
}

impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerSelector::Workloads(selector) => selector.fmt(f),
            PeerSelector::Block { block, except } => {
                write!(f, "{block}")?;
                for (position, net) in except.iter().enumerate() {
                    write!(f, "{}{net}", if position == 0 { " except " } else { ", " })?;
                }
                Ok(())
            }
            PeerSelector::Entity(Entity::World) => f.write_str("world"),
            PeerSelector::Entity(Entity::Reserved(number)) => {
                match abi::identity::reserved_name(*number) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "identity {number}"),
                }
            }
        }
    }
}

impl fmt::Display for PortSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            PortMatch::Any => f.write_str("any")?,
            PortMatch::Range(first, last) if first == last => write!(f, "{first}")?,
            PortMatch::Range(first, last) => write!(f, "{first}-{last}")?,
            PortMatch::Name(name) => f.write_str(name)?,
        }
        match self.protocol {
            Some(number) => write!(f, "/{}", protocol_name(number)),
            None => Ok(()),
        }
    }
}

/// `TCP`, or the number if nobody calls it anything.
pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        58 => "ICMPv6".to_owned(),
        _ => model::Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
            .map_or_else(|| format!("protocol {number}"), |protocol| protocol.name().to_owned()),
    }
}

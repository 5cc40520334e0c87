//! Why a connection is allowed or denied: every policy and rule that was asked, and its answer.

mod reason;
mod render;

use super::{Compiler, RuleRef};
use crate::peer::{HOST_PEER, Peer, PeerAttributes};
use crate::rule::{Direction, RuleGroup};
use abi::identity::{HOST, WORLD, reserved_name};
use abi::policy::{NO_RULE, rule_flags};
use model::{ObjectName, Origin};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// An end of a connection, as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    Workload(ObjectName),
    Address(IpAddr),
    /// The node itself.
    Host,
    /// Any address that nothing is known of.
    World,
}

/// `shop/web`, an address, `host` or `world`. A bare name is a workload of namespace `default`.
impl FromStr for Party {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Party::Address(address));
        }
        Ok(match (text, text.split_once('/')) {
            ("host", _) => Party::Host,
            ("world", _) => Party::World,
            (_, Some((namespace, name))) => Party::Workload(ObjectName::new(namespace, name)),
            (name, None) => Party::Workload(ObjectName::new("default", name)),
        })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Workload(name) => name.fmt(f),
            Party::Address(address) => address.fmt(f),
            Party::Host => f.write_str("host"),
            Party::World => f.write_str("world"),
        }
    }
}

/// The answer for one new connection. `Display` gives it as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub from: String,
    pub to: String,
    pub protocol: u8,
    pub port: u16,
    pub allowed: bool,
    pub egress: DirectionReport,
    pub ingress: DirectionReport,
    /// What to add to a policy, if the answer is a denial.
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionReport {
    pub direction: Direction,
    /// Whose policies these are.
    pub subject: String,
    pub state: DirectionState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectionState {
    /// Policy is not enforced for the subject here: it is no workload of this node.
    NotEnforced,
    /// Traffic between the node and its workloads is always allowed.
    NodeItself,
    /// No policy selects the subject.
    NotRestricted,
    Restricted {
        allowed: bool,
        /// The rule that decided; none if nothing allows it.
        decided_by: Option<RuleRef>,
        policies: Vec<PolicyReport>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    pub policy: ObjectName,
    pub origin: Origin,
    pub rules: Vec<RuleReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// From 0.
    pub index: u32,
    pub origin: Origin,
    /// `app=web`, or `anyone`; several are joined by `or`.
    pub peers: String,
    /// `80/TCP`, or empty for every port.
    pub ports: String,
    /// None if the rule matches, or why it does not.
    pub mismatch: Option<Mismatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Peer(String),
    Port(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    #[error("no workload `{0}` is known; `skep get workloads` lists them")]
    NoWorkload(ObjectName),
}

/// An end of the connection with everything that policies may ask about it.
struct End {
    /// Short, for reasons: `client`.
    short: String,
    long: String,
    peer: Peer,
    is_host: bool,
    /// Number of the subject, if policy is enforced.
    subject: Option<u32>,
    address: Option<IpAddr>,
}

impl DirectionReport {
    pub fn allowed(&self) -> bool {
        !matches!(self.state, DirectionState::Restricted { allowed: false, .. })
    }
}

impl Compiler {
    /// Why a new connection from one party to a port of another is allowed or denied.
    pub fn explain(
        &mut self,
        from: &Party,
        to: &Party,
        protocol: u8,
        port: u16,
    ) -> Result<Explanation, ExplainError> {
        self.settle();
        let (from_end, to_end) = (self.end(from)?, self.end(to)?);
        let egress = self.report(Direction::Egress, &from_end, &to_end, protocol, port);
        let ingress = self.report(Direction::Ingress, &to_end, &from_end, protocol, port);
        let mut explanation = Explanation {
            from: from_end.long.clone(),
            to: to_end.long.clone(),
            protocol,
            port,
            allowed: egress.allowed() && ingress.allowed(),
            egress,
            ingress,
            hint: None,
        };
        explanation.hint = reason::hint(&explanation, &from_end, &to_end);
        Ok(explanation)
    }

    fn end(&self, party: &Party) -> Result<End, ExplainError> {
        match party {
            Party::Workload(name) => {
                self.workload_end(name, None).ok_or_else(|| ExplainError::NoWorkload(name.clone()))
            }
            Party::Host => Ok(reserved_end(HOST)),
            Party::World => Ok(reserved_end(WORLD)),
            Party::Address(address) => Ok(self.address_end(address.to_canonical())),
        }
    }

    fn address_end(&self, address: IpAddr) -> End {
        let owner = self.addresses.owner(address);
        if let Some(end) = owner.and_then(|name| self.workload_end(name, Some(address))) {
            return end;
        }
        let info = self.addresses.longest_match(address);
        let mut end = reserved_end(info.identity);
        end.short = address.to_string();
        end.long = match reserved_name(info.identity) {
            Some(name) => format!("{address} ({name})"),
            None => address.to_string(),
        };
        if let Some(peer) = self.peers.find(info.peer) {
            end.peer = peer.clone();
        }
        end.is_host = info.peer == HOST_PEER;
        end.address = Some(address);
        end
    }

    fn workload_end(&self, name: &ObjectName, address: Option<IpAddr>) -> Option<End> {
        let endpoint = self.endpoints.get(name)?;
        let own = |address: &IpAddr| self.addresses.owner(*address) == Some(name);
        let address = address.or_else(|| endpoint.input.addresses.iter().copied().find(own));
        let info = address.and_then(|address| self.addresses.info(address));
        let peer = match info.and_then(|info| self.peers.find(info.peer)) {
            Some(peer) => peer.clone(),
            None => Peer {
                attributes: Arc::new(PeerAttributes {
                    identity: endpoint.identity,
                    blocks: Vec::new(),
                    ports: endpoint.input.ports.clone(),
                }),
                labels: self.identities.labels(endpoint.identity).cloned(),
                uses: 0,
            },
        };
        Some(End {
            short: name.name.as_ref().to_owned(),
            long: name.to_string(),
            peer,
            is_host: false,
            subject: endpoint.subject,
            address,
        })
    }

    fn report(
        &self,
        direction: Direction,
        subject: &End,
        peer: &End,
        protocol: u8,
        port: u16,
    ) -> DirectionReport {
        let state = self.state(direction, subject, peer, protocol, port);
        DirectionReport { direction, subject: subject.long.clone(), state }
    }

    fn state(
        &self,
        direction: Direction,
        subject: &End,
        peer: &End,
        protocol: u8,
        port: u16,
    ) -> DirectionState {
        let subject = match subject.subject.and_then(|number| self.subjects.find(number)) {
            Some(subject) => subject,
            None if subject.is_host => return DirectionState::NodeItself,
            None => return DirectionState::NotEnforced,
        };
        if peer.is_host {
            return DirectionState::NodeItself;
        }
        let named = match direction {
            Direction::Ingress => subject.ports(),
            Direction::Egress => peer.peer.attributes.ports.as_slice(),
        };
        let mut matching = Vec::new();
        let mut policies = Vec::new();
        let mut default_deny = false;
        for group in self.groups_of(&subject.labels, direction) {
            default_deny |= group.group.enforces_default_deny;
            let mut rules = Vec::new();
            for (index, rule) in group.group.rules.iter().enumerate() {
                let mut port_rules = Vec::new();
                if let Some(compiled) = self.rules.find(group.rules[index]) {
                    compiled.port_rules(named, &mut port_rules);
                }
                let port_matches =
                    port_rules.iter().any(|rule| rule.covers(Some(protocol), port, port));
                let mismatch = reason::peer_mismatch(&group.group, rule, peer)
                    .map(Mismatch::Peer)
                    .or_else(|| {
                        let text = || reason::port_mismatch(rule, named, protocol, port);
                        (!port_matches).then(|| Mismatch::Port(text()))
                    });
                if mismatch.is_none() {
                    matching.extend(port_rules);
                }
                rules.push(reason::rule_report(index as u32, rule, mismatch));
            }
            let RuleGroup { policy, origin, .. } = &group.group;
            policies.push(PolicyReport { policy: policy.clone(), origin: origin.clone(), rules });
        }
        if policies.is_empty() {
            return DirectionState::NotRestricted;
        }
        let rule = crate::port_set::verdict(&mut matching, default_deny, protocol, port);
        DirectionState::Restricted {
            allowed: rule.flags & rule_flags::DENY == 0,
            decided_by: (rule.id != NO_RULE).then(|| self.rule(rule.id).cloned()).flatten(),
            policies,
        }
    }
}

fn reserved_end(identity: u32) -> End {
    let name = reserved_name(identity).unwrap_or("world");
    let attributes = PeerAttributes { identity, blocks: Vec::new(), ports: Vec::new() };
    End {
        short: name.to_owned(),
        long: name.to_owned(),
        peer: Peer { attributes: Arc::new(attributes), labels: None, uses: 0 },
        is_host: identity == HOST,
        subject: None,
        address: None,
    }
}

//! The compiler: objects in, changes of tables out.
//!
//! Changes go through four stages, each with its own part: objects ([`inputs`](self)), addresses
//! and their peers (`addresses`), subjects and the rules that select them (`subjects`), rule sets
//! and port sets (`rule_sets`). `output` settles what is outstanding and collects what nothing
//! uses any more; until then old things stay, so that a change can be applied without a gap.

mod addresses;
pub mod explain;
mod inputs;
mod output;
mod rule_sets;
mod rules;
mod subjects;

use crate::blocks::{Blocks, canonical_address};
use crate::identity::{Identities, Identity, IdentityLabels};
use crate::lookup::Verdict;
use crate::peer::Peers;
use crate::record::{IdKind, Record, Remembered};
use crate::rule::{Direction, RuleGroup};
use crate::selector_cache::SelectorCache;
use addresses::Addresses;
use model::{Labels, NamedPort, NetworkPolicy, ObjectName, Origin};
use output::Fresh;
use rule_sets::RuleSets;
use rules::Rules;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use subjects::Subjects;

/// A workload, as far as policy is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInput {
    pub name: ObjectName,
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
    /// Whether this node enforces its policy; without it the endpoint is a peer only.
    pub enforced: bool,
}

/// One change of the objects that policy depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    SetPolicy(NetworkPolicy),
    RemovePolicy(ObjectName),
    SetEndpoint(EndpointInput),
    RemoveEndpoint(ObjectName),
    /// Labels of a namespace; `kubernetes.io/metadata.name` is added.
    SetNamespace(Arc<str>, Labels),
    RemoveNamespace(Arc<str>),
    /// Addresses of the node itself.
    SetHostAddresses(Vec<IpAddr>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "the change would need {needed} entries in map `{table}`, which holds {capacity}; it was \
         not applied and the rules before it stay in force"
    )]
    TooLarge { table: &'static str, needed: usize, capacity: usize },
    #[error("stored record `{key}` is not one of this version: {value:?}")]
    BadRecord { key: String, value: String },
}

/// The rule that an id in a table or an event stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    pub policy: ObjectName,
    pub direction: Direction,
    /// From 0.
    pub index: u32,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
struct Policy {
    source: NetworkPolicy,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    group: RuleGroup,
    /// Numbers of its rules.
    rules: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    input: EndpointInput,
    identity: u32,
    subject: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Compiler {
    namespaces: BTreeMap<Arc<str>, Labels>,
    endpoints: BTreeMap<ObjectName, Endpoint>,
    endpoints_by_namespace: HashMap<Arc<str>, BTreeSet<ObjectName>>,
    policies: BTreeMap<ObjectName, Policy>,
    policies_by_namespace: HashMap<Arc<str>, BTreeSet<ObjectName>>,
    /// Policies whose subjects may be in any namespace.
    wide_policies: BTreeSet<ObjectName>,
    identities: Identities,
    peers: Peers,
    blocks: Blocks,
    addresses: Addresses,
    selectors: SelectorCache,
    rules: Rules,
    subjects: Subjects,
    rule_sets: RuleSets,
    fresh: Fresh,
}

impl Compiler {
    pub fn new() -> Self {
        let mut compiler = Compiler::default();
        compiler.refresh_defaults();
        compiler
    }

    /// A compiler that gives the numbers that another one gave before.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Result<Self, PolicyError> {
        let mut compiler = Compiler::default();
        for record in records {
            match Remembered::parse(&record) {
                Some(Remembered::Workload(number, labels)) => {
                    compiler.identities.restore_workload(number, labels)
                }
                Some(Remembered::Block(number, block)) => {
                    compiler.identities.restore_block(number, block)
                }
                Some(Remembered::Peer(number, attributes)) => {
                    compiler.peers.restore(number, attributes)
                }
                Some(Remembered::Exception(kind, hash, id)) => {
                    compiler.content_ids(kind).restore_exception(hash, id)
                }
                None => {
                    let Record { key, value } = record;
                    return Err(PolicyError::BadRecord { key, value });
                }
            }
        }
        compiler.refresh_defaults();
        Ok(compiler)
    }

    fn content_ids(&mut self, kind: IdKind) -> &mut model::content_id::ContentIds {
        match kind {
            IdKind::Rule => &mut self.rules.ids,
            IdKind::RuleSet => &mut self.rule_sets.ids,
            IdKind::PortSet => &mut self.rule_sets.port_sets.ids,
        }
    }

    /// What a rule id in a table or an event stands for. Ids of removed policies are remembered
    /// for a while, since events about them may still be on their way.
    pub fn rule(&self, id: u32) -> Option<&RuleRef> {
        self.rules.reference(id)
    }

    /// How many ids [`rule`](Self::rule) knows.
    pub fn rule_count(&self) -> usize {
        self.rules.reference_count()
    }

    /// Ids of a policy's rules.
    pub fn rule_ids(&self, policy: &ObjectName) -> impl Iterator<Item = u32> {
        let groups = self.policies.get(policy).into_iter().flat_map(|policy| &policy.groups);
        let rules = groups.flat_map(|group| &group.rules);
        rules.filter_map(|number| self.rules.find(*number)).map(|rule| rule.id)
    }

    /// Rule sets in use, each shared by all subjects with the same policy.
    pub fn rule_set_count(&self) -> usize {
        self.rule_sets.sets.len()
    }

    pub fn identity(&self, number: u32) -> Option<Identity> {
        self.identities.find(number)
    }

    /// Numbers of label sets and CIDR blocks, in order; without the reserved ones.
    pub fn identities(&self) -> impl Iterator<Item = (u32, &Identity)> {
        self.identities.all()
    }

    /// The identity that the tables give an address.
    pub fn identity_of(&self, address: IpAddr) -> u32 {
        self.addresses.longest_match(canonical_address(address)).identity
    }

    /// The number of an endpoint's identity.
    pub fn endpoint_identity(&self, name: &ObjectName) -> Option<u32> {
        self.endpoints.get(name).map(|endpoint| endpoint.identity)
    }

    /// The verdict for a new connection between two addresses, looked up as the kernel does.
    pub fn verdict(&mut self, from: IpAddr, to: IpAddr, protocol: u8, port: u16) -> Verdict {
        self.settle();
        let (from, to) = (canonical_address(from), canonical_address(to));
        crate::lookup::verdict(self, from, to, protocol, port)
    }

    fn identity_labels(&self, namespace: &Arc<str>, labels: &Labels) -> IdentityLabels {
        let mut namespace_labels = self.namespaces.get(namespace).cloned().unwrap_or_default();
        namespace_labels
            .0
            .insert(model::NAMESPACE_NAME_LABEL.to_owned(), namespace.as_ref().to_owned());
        IdentityLabels { namespace: namespace.clone(), namespace_labels, labels: labels.clone() }
    }
}

impl crate::lookup::Tables for Compiler {
    fn peer(&self, address: IpAddr) -> abi::endpoint::AddressInfo {
        self.addresses.longest_match(address)
    }

    fn rule_set(&self, address: IpAddr, direction: Direction) -> Option<u32> {
        let name = self.addresses.owner(address)?;
        let subject = self.subjects.find(self.endpoints.get(name)?.subject?)?;
        Some(subject.rule_set(direction))
    }

    fn port_set(&self, rule_set: u32, peer: u32) -> Option<u32> {
        self.rule_sets.port_set(rule_set, peer)
    }

    fn rule(&self, port_set: u32, protocol: u8, port: u16) -> Option<abi::policy::Rule> {
        self.rule_sets.port_sets.lookup(port_set, protocol, port)
    }
}

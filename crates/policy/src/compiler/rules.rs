//! Rules with numbers of their own, so that rule sets can be compared quickly.

use super::{Compiler, RuleRef};
use crate::port_set::PortRule;
use crate::record::{IdKind, Remembered};
use crate::rule::{
    Action, Direction, NamespaceSelector, PeerSelector, PortSelector, Rule, RuleGroup, Tier,
};
use model::content_id::{ContentHash, ContentIds};
use model::{NamedPort, ObjectName, Operator, PortMatch, Selector};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Former rules whose ids are still explained.
const REMEMBERED: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    /// As in the kernel.
    pub id: u32,
    pub direction: Direction,
    tier: Tier,
    priority: u32,
    action: Action,
    ports: Vec<PortSelector>,
    /// Numbers in the selector cache; empty if the rule is open to every peer.
    pub selectors: Vec<u32>,
    /// Names of ports that it uses.
    pub port_names: BTreeSet<String>,
    /// Of everything that the verdict depends on, and of the id.
    pub hash: u128,
    /// A policy has it now; otherwise only rule sets that are going away.
    owned: bool,
    pub rule_sets: BTreeSet<u32>,
}

impl CompiledRule {
    pub fn is_open(&self) -> bool {
        self.selectors.is_empty()
    }

    /// Ports that it decides about; names are looked up in `named`.
    pub fn port_rules(&self, named: &[NamedPort], into: &mut Vec<PortRule>) {
        let whole = PortRule {
            tier: self.tier,
            priority: self.priority,
            action: self.action,
            id: self.id,
            protocol: None,
            first: 0,
            last: u16::MAX,
            specific: !self.is_open(),
        };
        if self.ports.is_empty() {
            into.push(whole);
        }
        for port in &self.ports {
            let rule = PortRule { protocol: port.protocol, ..whole };
            match &port.port {
                PortMatch::Any => into.push(rule),
                PortMatch::Range(first, last) => {
                    into.push(PortRule { first: *first, last: *last, ..rule })
                }
                PortMatch::Name(name) => {
                    let matching = named.iter().filter(|named| {
                        named.name == *name
                            && port.protocol.is_none_or(|p| p == named.protocol.number())
                    });
                    into.extend(matching.map(|named| PortRule {
                        protocol: Some(named.protocol.number()),
                        first: named.port,
                        last: named.port,
                        ..rule
                    }));
                }
            }
        }
    }
}

/// Where a rule stands: policy, direction, index.
type Position = (ObjectName, Direction, u32);

#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    rules: HashMap<u32, CompiledRule>,
    next: u32,
    pub ids: ContentIds,
    references: HashMap<u32, RuleRef>,
    /// Ids by what they stand for; kept while the reference is.
    positions: HashMap<Position, u32>,
    /// By id and hash of the content.
    numbers: HashMap<(u32, u128), u32>,
    /// How many compiled rules have the id.
    id_uses: HashMap<u32, u32>,
    former: VecDeque<u32>,
    /// Rules for egress, open to every peer, that name ports: each peer with such a port needs
    /// entries of its own.
    pub open_and_naming: BTreeSet<u32>,
}

impl Rules {
    pub fn find(&self, number: u32) -> Option<&CompiledRule> {
        self.rules.get(&number)
    }

    pub fn reference(&self, id: u32) -> Option<&RuleRef> {
        self.references.get(&id)
    }

    pub fn reference_count(&self) -> usize {
        self.references.len()
    }

    pub fn disown(&mut self, number: u32) {
        if let Some(rule) = self.rules.get_mut(&number) {
            rule.owned = false;
        }
    }

    pub fn add_rule_set(&mut self, number: u32, rule_set: u32) {
        if let Some(rule) = self.rules.get_mut(&number) {
            rule.rule_sets.insert(rule_set);
        }
    }

    pub fn remove_rule_set(&mut self, number: u32, rule_set: u32) {
        if let Some(rule) = self.rules.get_mut(&number) {
            rule.rule_sets.remove(&rule_set);
        }
    }

    /// Takes the rule out if neither a policy nor a rule set has it.
    pub fn take_unused(&mut self, number: u32) -> Option<CompiledRule> {
        let rule = self.rules.get(&number)?;
        if rule.owned || !rule.rule_sets.is_empty() {
            return None;
        }
        let rule = self.rules.remove(&number)?;
        self.open_and_naming.remove(&number);
        self.numbers.remove(&(rule.id, rule.hash));
        if let Some(uses) = self.id_uses.get_mut(&rule.id) {
            *uses -= 1;
            if *uses == 0 {
                self.id_uses.remove(&rule.id);
                self.former.push_back(rule.id);
            }
        }
        while self.former.len() > REMEMBERED {
            let Some(id) = self.former.pop_front() else { break };
            if !self.id_uses.contains_key(&id)
                && !self.former.contains(&id)
                && let Some(reference) = self.references.remove(&id)
            {
                self.ids.release(id);
                let RuleRef { policy, direction, index, .. } = reference;
                self.positions.remove(&(policy, direction, index));
            }
        }
        Some(rule)
    }
}

impl Compiler {
    /// The number of a rule that a policy has now. The same rule at the same place is the same
    /// number, even if it was replaced in between.
    pub(super) fn own_rule(&mut self, group: &RuleGroup, index: usize) -> u32 {
        let rule = &group.rules[index];
        let position = (group.policy.clone(), group.direction, index as u32);
        let id = self.rule_id(&position);
        let (policy, direction, index) = position;
        let origin = rule.origin.clone();
        self.rules.references.insert(id, RuleRef { policy, direction, index, origin });

        let hash = hash_rule(group, rule, id);
        if let Some(&number) = self.rules.numbers.get(&(id, hash))
            && let Some(rule) = self.rules.rules.get_mut(&number)
        {
            rule.owned = true;
            return number;
        }
        let number = self.rules.next;
        self.rules.next += 1;
        let peers = &self.peers;
        let selectors = rule.peers.iter().map(|peer| self.selectors.add(peer, number, peers));
        let selectors: BTreeSet<u32> = selectors.collect();
        let port_names = rule.ports.iter().filter_map(|port| match &port.port {
            PortMatch::Name(name) => Some(name.clone()),
            _ => None,
        });
        let compiled = CompiledRule {
            id,
            direction: group.direction,
            tier: group.tier,
            priority: group.priority,
            action: rule.action,
            ports: rule.ports.clone(),
            selectors: selectors.into_iter().collect(),
            port_names: port_names.collect(),
            hash,
            owned: true,
            rule_sets: BTreeSet::new(),
        };
        if compiled.is_open()
            && compiled.direction == Direction::Egress
            && !compiled.port_names.is_empty()
        {
            self.rules.open_and_naming.insert(number);
        }
        self.rules.rules.insert(number, compiled);
        self.rules.numbers.insert((id, hash), number);
        *self.rules.id_uses.entry(id).or_default() += 1;
        number
    }

    fn rule_id(&mut self, position: &Position) -> u32 {
        if let Some(&id) = self.rules.positions.get(position) {
            return id;
        }
        let hash = hash_position(position);
        let (id, exception) = self.rules.ids.allocate(hash);
        if exception {
            self.fresh.remember(Remembered::Exception(IdKind::Rule, hash, id));
        }
        self.rules.positions.insert(position.clone(), id);
        id
    }
}

fn hash_position((policy, direction, index): &Position) -> u128 {
    let mut hash = ContentHash::new("rule position");
    hash.text(&policy.namespace);
    hash.text(&policy.name);
    hash.text(direction.name());
    hash.word(u64::from(*index));
    hash.finish()
}

fn hash_rule(group: &RuleGroup, rule: &Rule, id: u32) -> u128 {
    let mut hash = ContentHash::new("rule");
    hash.word(u64::from(id));
    hash.word(group.tier as u64);
    hash.word(u64::from(group.priority));
    hash.word(rule.action as u64);
    hash.word(rule.peers.len() as u64);
    for peer in &rule.peers {
        match peer {
            PeerSelector::Workloads(selector) => {
                match &selector.namespaces {
                    NamespaceSelector::Name(name) => {
                        hash.word(1);
                        hash.text(name);
                    }
                    NamespaceSelector::Labels(selector) => {
                        hash.word(2);
                        hash_selector(&mut hash, selector);
                    }
                }
                hash_selector(&mut hash, &selector.workloads);
            }
            PeerSelector::Block { block, except } => {
                hash.word(3);
                hash.text(&block.to_string());
                hash.word(except.len() as u64);
                except.iter().for_each(|net| hash.text(&net.to_string()));
            }
            PeerSelector::Entity(entity) => {
                hash.word(4);
                hash.text(&PeerSelector::Entity(*entity).to_string());
            }
        }
    }
    hash.word(rule.ports.len() as u64);
    for port in &rule.ports {
        hash.word(port.protocol.map_or(256, u64::from));
        match &port.port {
            PortMatch::Any => hash.word(1),
            PortMatch::Range(first, last) => {
                hash.word(2);
                hash.word(u64::from(*first) << 16 | u64::from(*last));
            }
            PortMatch::Name(name) => {
                hash.word(3);
                hash.text(name);
            }
        }
    }
    hash.finish()
}

fn hash_selector(hash: &mut ContentHash, selector: &Selector) {
    hash.word(selector.requirements.len() as u64);
    for requirement in &selector.requirements {
        hash.text(&requirement.key);
        let (number, values): (u64, &[String]) = match &requirement.operator {
            Operator::In(values) => (1, values),
            Operator::NotIn(values) => (2, values),
            Operator::Exists => (3, &[]),
            Operator::DoesNotExist => (4, &[]),
        };
        hash.word(number);
        hash.word(values.len() as u64);
        values.iter().for_each(|value| hash.text(value));
    }
}

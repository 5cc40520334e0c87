//! Rule sets and port sets: entries of maps `peers` and `ports`.

use super::Compiler;
use super::rules::{CompiledRule, Rules};
use crate::peer::{Peer, Peers};
use crate::port_set::{PortEntry, flatten};
use crate::record::{IdKind, Remembered};
use crate::rule::Direction;
use crate::selector_cache::SelectorCache;
use abi::policy::{ANY_PEER, EMPTY_PORT_SET, PortKey, Rule};
use model::NamedPort;
use model::content_id::{ContentHash, ContentIds};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a rule set is: the same content is the same rule set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleSetKey {
    pub direction: Direction,
    pub default_deny: bool,
    /// Numbers, in order of policy and position.
    pub rules: Vec<u32>,
    /// The subject's named ports, if rules for ingress name any.
    pub ports: Vec<NamedPort>,
}

#[derive(Clone, Debug)]
pub(super) struct RuleSet {
    pub key: Arc<RuleSetKey>,
    /// Rules for every peer.
    open: Vec<u32>,
    /// Port set of peers that have none of their own.
    pub any: u32,
    pub peers: HashMap<u32, u32>,
    /// Subjects and directions that have it.
    pub uses: u32,
    /// The kernel has it.
    pub published: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RuleSets {
    pub sets: HashMap<u32, RuleSet>,
    numbers: HashMap<Arc<RuleSetKey>, u32>,
    pub ids: ContentIds,
    pub port_sets: PortSets,
    /// Entries of all sets, those for any peer included.
    pub entries: usize,
}

#[derive(Clone, Debug)]
pub(super) struct PortSet {
    pub entries: Arc<[PortEntry]>,
    uses: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PortSets {
    pub sets: HashMap<u32, PortSet>,
    numbers: HashMap<Arc<[PortEntry]>, u32>,
    pub ids: ContentIds,
    pub entries: usize,
}

impl PortSets {
    pub fn lookup(&self, id: u32, protocol: u8, port: u16) -> Option<Rule> {
        let entries = &self.sets.get(&id)?.entries;
        let matching = entries.iter().filter(|entry| match entry.prefix_len {
            PortKey::PORT_SET_BITS => true,
            PortKey::PROTOCOL_BITS => entry.protocol == protocol,
            bits => {
                let shift = PortKey::EXACT_BITS - bits;
                entry.protocol == protocol && entry.port >> shift == port >> shift
            }
        });
        matching.max_by_key(|entry| entry.prefix_len).map(PortEntry::value)
    }

    fn release(&mut self, id: u32, unused: &mut BTreeSet<u32>) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.uses -= 1;
            if set.uses == 0 {
                unused.insert(id);
            }
        }
    }

    pub fn take_unused(&mut self, id: u32) -> Option<PortSet> {
        if self.sets.get(&id)?.uses > 0 {
            return None;
        }
        let set = self.sets.remove(&id)?;
        self.numbers.remove(&set.entries);
        self.ids.release(id);
        self.entries -= set.entries.len();
        Some(set)
    }
}

impl RuleSets {
    pub fn port_set(&self, rule_set: u32, peer: u32) -> Option<u32> {
        let set = self.sets.get(&rule_set)?;
        match set.peers.get(&peer) {
            Some(&port_set) => Some(port_set),
            None => (set.any != EMPTY_PORT_SET).then_some(set.any),
        }
    }

    /// Takes a rule set out; gives its entries as (peer, port set).
    pub fn remove(&mut self, id: u32, unused: &mut BTreeSet<u32>) -> Option<RuleSet> {
        let set = self.sets.remove(&id)?;
        self.numbers.remove(&set.key);
        self.ids.release(id);
        for port_set in set.peers.values() {
            self.port_sets.release(*port_set, unused);
        }
        self.port_sets.release(set.any, unused);
        self.entries -= set.peers.len() + usize::from(set.any != EMPTY_PORT_SET);
        Some(set)
    }

    /// Takes a peer out of all rule sets; gives those that had it.
    pub fn remove_peer(&mut self, peer: u32, unused: &mut BTreeSet<u32>) -> Vec<u32> {
        let mut had = Vec::new();
        for (id, set) in &mut self.sets {
            if let Some(port_set) = set.peers.remove(&peer) {
                self.entries -= 1;
                self.port_sets.release(port_set, unused);
                had.push(*id);
            }
        }
        had
    }
}

impl Compiler {
    /// Finds or compiles the rule set, and counts one use of it.
    pub(super) fn use_rule_set(&mut self, key: RuleSetKey) -> u32 {
        if let Some(&id) = self.rule_sets.numbers.get(&key) {
            if let Some(set) = self.rule_sets.sets.get_mut(&id) {
                set.uses += 1;
            }
            return id;
        }
        let hash = self.hash_rule_set(&key);
        let (id, exception) = self.rule_sets.ids.allocate(hash);
        if exception {
            self.fresh.remember(Remembered::Exception(IdKind::RuleSet, hash, id));
        }
        let key = Arc::new(key);
        for rule in &key.rules {
            self.rules.add_rule_set(*rule, id);
        }
        let is_open = |rule: &u32| self.rules.find(*rule).is_some_and(CompiledRule::is_open);
        let open: Vec<u32> = key.rules.iter().copied().filter(is_open).collect();
        let entries = self.entries_for(&key, &open, None, &[]);
        let any = self.use_port_set(entries);
        let set = RuleSet { key, open, any, peers: HashMap::new(), uses: 1, published: false };
        self.rule_sets.entries += usize::from(any != EMPTY_PORT_SET);
        let peers = self.compile_peers(&set);
        self.fresh.peer_entries.extend(peers.keys().map(|peer| (id, *peer)));
        if any != EMPTY_PORT_SET {
            self.fresh.peer_entries.push((id, ANY_PEER));
        }
        self.rule_sets.entries += peers.len();
        self.rule_sets.numbers.insert(set.key.clone(), id);
        self.rule_sets.sets.insert(id, RuleSet { peers, ..set });
        id
    }

    fn compile_peers(&mut self, set: &RuleSet) -> HashMap<u32, u32> {
        let applying = rules_by_peer(set, &self.rules, &self.selectors, &self.peers);
        // Peers with the same rules have the same port set, unless rules ask for their ports.
        let by_ports = asks_peer_ports(&set.key, &self.rules);
        let mut known: HashMap<(Vec<u32>, Vec<NamedPort>), u32> = HashMap::new();
        let mut peers = HashMap::with_capacity(applying.len());
        for (number, rules) in applying {
            let Some(peer) = self.peers.find(number) else { continue };
            let ports = if by_ports { peer.attributes.ports.clone() } else { Vec::new() };
            let cache_key = (rules, ports);
            let port_set = match known.get(&cache_key) {
                Some(&id) => self.use_port_set_again(id),
                None => {
                    let peer = peer.clone();
                    let entries = self.entries_for(&set.key, &set.open, Some(&peer), &cache_key.0);
                    let id = self.use_port_set(entries);
                    known.insert(cache_key, id);
                    id
                }
            };
            if port_set == set.any {
                self.rule_sets.port_sets.release(port_set, &mut self.fresh.unused_port_sets);
            } else {
                peers.insert(number, port_set);
            }
        }
        peers
    }

    /// Gives a newly live peer its entries in the rule sets that there are.
    pub(super) fn peer_born(&mut self, number: u32) {
        let Some(peer) = self.peers.find(number).cloned() else { return };
        let mut rules = self.selectors.peer_born(number, &peer);
        rules.extend(self.rules_naming(&peer));
        let mut by_rule_set: HashMap<u32, Vec<u32>> = HashMap::new();
        for rule in rules {
            let Some(compiled) = self.rules.find(rule) else { continue };
            for id in &compiled.rule_sets {
                by_rule_set.entry(*id).or_default().push(rule);
            }
        }
        for (id, applying) in by_rule_set {
            let Some(set) = self.rule_sets.sets.get(&id) else { continue };
            let (key, open, any) = (set.key.clone(), set.open.clone(), set.any);
            let closed: Vec<u32> =
                applying.into_iter().filter(|rule| !open.contains(rule)).collect();
            let entries = self.entries_for(&key, &open, Some(&peer), &closed);
            let port_set = self.use_port_set(entries);
            if port_set == any {
                self.rule_sets.port_sets.release(port_set, &mut self.fresh.unused_port_sets);
            } else if let Some(set) = self.rule_sets.sets.get_mut(&id) {
                set.peers.insert(number, port_set);
                self.rule_sets.entries += 1;
                self.fresh.peer_entries.push((id, number));
            }
        }
    }

    /// Open rules for egress that name a port which the peer has.
    fn rules_naming(&self, peer: &Peer) -> Vec<u32> {
        if peer.attributes.ports.is_empty() {
            return Vec::new();
        }
        let names = |number: &u32| {
            self.rules.find(*number).is_some_and(|rule| {
                peer.attributes.ports.iter().any(|port| rule.port_names.contains(&port.name))
            })
        };
        self.rules.open_and_naming.iter().copied().filter(names).collect()
    }

    /// What a peer (or, without one, any peer) is allowed.
    fn entries_for(
        &self,
        key: &RuleSetKey,
        open: &[u32],
        peer: Option<&Peer>,
        closed: &[u32],
    ) -> Vec<PortEntry> {
        let named = match (key.direction, peer) {
            (Direction::Ingress, _) => key.ports.as_slice(),
            (Direction::Egress, Some(peer)) => peer.attributes.ports.as_slice(),
            (Direction::Egress, None) => &[],
        };
        let mut rules = Vec::new();
        for number in open.iter().chain(closed) {
            if let Some(rule) = self.rules.find(*number) {
                rule.port_rules(named, &mut rules);
            }
        }
        flatten(&mut rules, key.default_deny)
    }

    fn use_port_set(&mut self, entries: Vec<PortEntry>) -> u32 {
        if entries.is_empty() {
            return EMPTY_PORT_SET;
        }
        if let Some(&id) = self.rule_sets.port_sets.numbers.get(entries.as_slice()) {
            return self.use_port_set_again(id);
        }
        let mut hash = ContentHash::new("port set");
        for entry in &entries {
            hash.word(u64::from(entry.prefix_len) << 32 | u64::from(entry.rule));
            hash.word(
                u64::from(entry.flags) << 32
                    | u64::from(entry.protocol) << 16
                    | u64::from(entry.port),
            );
        }
        let hash = hash.finish();
        let sets = &mut self.rule_sets.port_sets;
        let (id, exception) = sets.ids.allocate(hash);
        if exception {
            self.fresh.remember(Remembered::Exception(IdKind::PortSet, hash, id));
        }
        let entries: Arc<[PortEntry]> = entries.into();
        sets.entries += entries.len();
        sets.numbers.insert(entries.clone(), id);
        sets.sets.insert(id, PortSet { entries, uses: 1 });
        self.fresh.port_sets.insert(id);
        id
    }

    fn use_port_set_again(&mut self, id: u32) -> u32 {
        if let Some(set) = self.rule_sets.port_sets.sets.get_mut(&id) {
            set.uses += 1;
        }
        id
    }

    fn hash_rule_set(&self, key: &RuleSetKey) -> u128 {
        let mut hash = ContentHash::new("rule set");
        hash.text(key.direction.name());
        hash.word(u64::from(key.default_deny));
        hash.word(key.rules.len() as u64);
        for rule in &key.rules {
            hash.hash(self.rules.find(*rule).map_or(0, |rule| rule.hash));
        }
        for port in &key.ports {
            hash.text(&port.name);
            hash.word(u64::from(port.protocol.number()) << 16 | u64::from(port.port));
        }
        hash.finish()
    }
}

fn asks_peer_ports(key: &RuleSetKey, rules: &Rules) -> bool {
    key.direction == Direction::Egress
        && key.rules.iter().filter_map(|rule| rules.find(*rule)).any(|r| !r.port_names.is_empty())
}

/// The rules that name each peer. A peer without any is missing, except if an open rule asks for
/// a port name that it has.
fn rules_by_peer(
    set: &RuleSet,
    rules: &Rules,
    selectors: &SelectorCache,
    peers: &Peers,
) -> HashMap<u32, Vec<u32>> {
    let mut by_peer: HashMap<u32, Vec<u32>> = HashMap::new();
    for &number in &set.key.rules {
        let Some(rule) = rules.find(number) else { continue };
        for selector in rule.selectors.iter().filter_map(|selector| selectors.find(*selector)) {
            for &peer in &selector.peers {
                let applying = by_peer.entry(peer).or_default();
                if applying.last() != Some(&number) {
                    applying.push(number);
                }
            }
        }
        if rule.is_open() && set.key.direction == Direction::Egress {
            for name in &rule.port_names {
                for &peer in peers.with_port_name(name).into_iter().flatten() {
                    by_peer.entry(peer).or_default();
                }
            }
        }
    }
    by_peer
}

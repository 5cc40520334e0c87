//! Changes out: settle what is outstanding, publish it, and collect what nothing uses any more.

use super::rule_sets::RuleSetKey;
use super::{Change, Compiler, PolicyError};
use crate::changes::{Capacity, Changes, EndpointPolicy, Sizes, Tables};
use crate::record::{Remembered, identity_key, peer_key};
use crate::rule::Direction;
use abi::endpoint::UNRESTRICTED;
use abi::policy::{ANY_PEER, EMPTY_PORT_SET, PeerKey};
use ipnet::IpNet;
use model::ObjectName;
use std::collections::{BTreeMap, BTreeSet};

/// What has come and what may have to go since changes were last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Fresh {
    records: Vec<Remembered>,
    /// Peers that became live.
    pub peers: BTreeSet<u32>,
    pub released_peers: BTreeSet<u32>,
    pub disowned_rules: BTreeSet<u32>,
    pub port_sets: BTreeSet<u32>,
    pub unused_port_sets: BTreeSet<u32>,
    /// (rule set, peer)
    pub peer_entries: Vec<(u32, u32)>,
    pub endpoints: BTreeSet<ObjectName>,
    released_rule_sets: BTreeSet<u32>,
    /// Blocks that policies have stopped naming. Rule sets that are on their way out still ask for
    /// them, so they leave with the change after.
    pub stale_blocks: BTreeSet<IpNet>,
    leaving_blocks: BTreeSet<IpNet>,
    /// What the kernel has of endpoints.
    published: BTreeMap<ObjectName, EndpointPolicy>,
}

impl Fresh {
    pub fn remember(&mut self, remembered: Remembered) {
        self.records.push(remembered);
    }
}

impl Compiler {
    /// Makes a change unless its tables would not fit; then everything stays as it was.
    ///
    /// What only takes something away is never refused.
    pub fn apply(&mut self, change: Change, capacity: &Capacity) -> Result<(), PolicyError> {
        let removal = matches!(
            change,
            Change::RemovePolicy(_) | Change::RemoveEndpoint(_) | Change::RemoveNamespace(_)
        );
        let before = self.sizes();
        let inverse = self.inverse(&change);
        self.change(change);
        let after = self.sizes();
        let Some(refusal) = too_large(before, after, capacity).filter(|_| !removal) else {
            return Ok(());
        };
        self.take_back([inverse]);
        Err(refusal)
    }

    /// Makes many changes; of those that don't fit each is refused for itself.
    ///
    /// Rule sets are compiled once for all of them, not once per change: an endpoint that thousands
    /// of policies select would have its rule set compiled, and held, in thousands of versions.
    pub fn apply_all(
        &mut self,
        changes: Vec<Change>,
        capacity: &Capacity,
    ) -> Vec<Result<(), PolicyError>> {
        let before = self.sizes();
        let mut inverses = Vec::with_capacity(changes.len());
        for change in &changes {
            inverses.push(self.inverse(change));
            self.change(change.clone());
        }
        let after = self.sizes();
        if too_large(before, after, capacity).is_none() {
            return changes.iter().map(|_| Ok(())).collect();
        }
        self.take_back(inverses.into_iter().rev());
        changes.into_iter().map(|change| self.apply(change, capacity)).collect()
    }

    /// Undoes changes that the kernel has seen nothing of.
    fn take_back(&mut self, inverses: impl IntoIterator<Item = Change>) {
        for inverse in inverses {
            self.change(inverse);
        }
        // Nor has it seen blocks that only those named.
        let stale = std::mem::take(&mut self.fresh.stale_blocks);
        self.drop_blocks(stale);
        self.settle();
        self.collect(true);
    }

    /// Entries that the tables need while the outstanding changes are applied.
    pub fn sizes(&mut self) -> Sizes {
        self.settle();
        let leaving =
            self.addresses.before.iter().filter(|(key, before)| {
                before.is_some() && !self.addresses.entries.contains_key(*key)
            });
        Sizes {
            addresses: self.addresses.entries.len() + leaving.count(),
            peers: self.rule_sets.entries,
            ports: self.rule_sets.port_sets.entries,
        }
    }

    /// What to change in the kernel since the last call (all of it, the first time).
    ///
    /// Entries of CIDR blocks that policies have stopped naming are removed one call later.
    pub fn take_changes(&mut self) -> Changes {
        self.settle();
        let mut changes = Changes::default();
        self.publish(&mut changes);
        let collected = self.collect(false);
        changes.remove_peers = collected.remove_peers;
        changes.remove_ports = collected.remove_ports;
        changes.forget = collected.forget;
        self.fresh.leaving_blocks = std::mem::take(&mut self.fresh.stale_blocks);
        changes
    }

    fn drop_blocks(&mut self, blocks: BTreeSet<IpNet>) {
        for block in blocks {
            if self.blocks.drop_stale(block) {
                self.refresh_inside(block);
            }
        }
    }

    /// Everything that the kernel should hold after the outstanding changes, for an agent that
    /// adopts what it finds.
    pub fn tables(&mut self) -> Tables {
        self.settle();
        let mut tables = Tables { addresses: self.addresses.entries.clone(), ..Tables::default() };
        for (&rule_set, set) in self.rule_sets.sets.iter().filter(|(_, set)| set.uses > 0) {
            for (&peer, &port_set) in &set.peers {
                tables.peers.insert(PeerKey { rule_set, peer }, port_set);
            }
            if set.any != EMPTY_PORT_SET {
                tables.peers.insert(PeerKey { rule_set, peer: ANY_PEER }, set.any);
            }
        }
        let used: BTreeSet<u32> = tables.peers.values().copied().collect();
        for id in used {
            if let Some(set) = self.rule_sets.port_sets.sets.get(&id) {
                tables.ports.extend(set.entries.iter().map(|entry| (entry.key(id), entry.value())));
            }
        }
        let names: Vec<ObjectName> = self.endpoints.keys().cloned().collect();
        for name in names {
            if let Some(policy) = self.endpoint(&name) {
                tables.endpoints.insert(name, policy);
            }
        }
        tables
    }

    /// An enforced endpoint's part of map `endpoints`.
    pub fn endpoint(&mut self, name: &ObjectName) -> Option<EndpointPolicy> {
        self.settle();
        let endpoint = self.endpoints.get(name)?;
        let subject = self.subjects.find(endpoint.subject?)?;
        let peers = endpoint.input.addresses.iter().filter_map(|address| {
            let info = self.addresses.info(*address)?;
            (self.addresses.owner(*address) == Some(name)).then_some((*address, info.peer))
        });
        Some(EndpointPolicy {
            identity: endpoint.identity,
            peers: peers.collect(),
            ingress: subject.ingress,
            egress: subject.egress,
        })
    }

    /// What the changes taken so far say of an endpoint. [`endpoint`](Self::endpoint) is ahead of
    /// it where blocks are still to leave.
    pub fn published(&self, name: &ObjectName) -> Option<EndpointPolicy> {
        self.fresh.published.get(name).cloned()
    }

    /// Lets go of numbers that nothing has used since they were restored or last used. To be
    /// called when all objects are known, and then once in a while.
    pub fn forget_unused(&mut self) -> Vec<String> {
        let mut forgotten = Vec::new();
        for (number, attributes) in self.peers.idle_numbers() {
            self.peers.forget_number(&attributes);
            forgotten.push(peer_key(number));
        }
        let mut used: BTreeSet<u32> =
            self.peers.live().map(|(_, peer)| peer.attributes.identity).collect();
        used.extend(self.endpoints.values().map(|endpoint| endpoint.identity));
        let unused: Vec<u32> =
            self.identities.all().map(|(number, _)| number).filter(|n| !used.contains(n)).collect();
        for number in unused {
            self.identities.forget(number);
            forgotten.push(identity_key(number));
        }
        forgotten
    }

    /// Lets go of blocks that the change before has stopped using, and gives every subject the rule
    /// sets that its policies ask for.
    pub(super) fn settle(&mut self) {
        let leaving = std::mem::take(&mut self.fresh.leaving_blocks);
        self.drop_blocks(leaving);
        for number in self.subjects.take_dirty() {
            for direction in Direction::ALL {
                let id = match self.rule_set_key(number, direction) {
                    Some(key) => self.use_rule_set(key),
                    None => UNRESTRICTED,
                };
                let Some(subject) = self.subjects.find_mut(number) else { continue };
                let field = match direction {
                    Direction::Ingress => &mut subject.ingress,
                    Direction::Egress => &mut subject.egress,
                };
                let old = std::mem::replace(field, id);
                if old != id {
                    self.fresh.endpoints.extend(subject.endpoints.iter().cloned());
                }
                self.release_rule_set(old);
            }
        }
        for id in std::mem::take(&mut self.subjects.released) {
            self.release_rule_set(id);
        }
    }

    fn release_rule_set(&mut self, id: u32) {
        if let Some(set) = self.rule_sets.sets.get_mut(&id) {
            set.uses -= 1;
            if set.uses == 0 {
                self.fresh.released_rule_sets.insert(id);
            }
        }
    }

    /// The rules for a direction of a subject; none if no policy restricts it.
    fn rule_set_key(&self, subject: u32, direction: Direction) -> Option<RuleSetKey> {
        let subject = self.subjects.find(subject)?;
        let labels = &subject.labels;
        let mut key =
            RuleSetKey { direction, default_deny: false, rules: Vec::new(), ports: Vec::new() };
        let mut selected = false;
        for group in self.groups_of(labels, direction) {
            selected = true;
            key.default_deny |= group.group.enforces_default_deny;
            key.rules.extend(&group.rules);
        }
        let names_ports =
            |rule: &u32| self.rules.find(*rule).is_some_and(|rule| !rule.port_names.is_empty());
        if direction == Direction::Ingress && key.rules.iter().any(names_ports) {
            key.ports = subject.ports().to_vec();
        }
        selected.then_some(key)
    }

    /// Rule groups that select a label set, in order of the policies' names.
    pub(super) fn groups_of<'a>(
        &'a self,
        labels: &'a crate::identity::IdentityLabels,
        direction: Direction,
    ) -> impl Iterator<Item = &'a super::Group> {
        let own = self.policies_by_namespace.get(&labels.namespace).into_iter().flatten();
        let names: BTreeSet<&ObjectName> = own.chain(&self.wide_policies).collect();
        names
            .into_iter()
            .filter_map(|name| self.policies.get(name))
            .flat_map(|policy| &policy.groups)
            .filter(move |group| {
                group.group.direction == direction
                    && group.group.subjects.matches(
                        &labels.namespace,
                        &labels.namespace_labels,
                        &labels.labels,
                    )
            })
    }

    fn publish(&mut self, changes: &mut Changes) {
        for remembered in std::mem::take(&mut self.fresh.records) {
            let current = match &remembered {
                Remembered::Peer(number, _) => self.peers.find(*number).is_some(),
                Remembered::Workload(number, _) | Remembered::Block(number, _) => {
                    self.identities.find(*number).is_some()
                }
                Remembered::Exception(..) => true,
            };
            if current {
                changes.remember.push(remembered.record());
            }
        }
        for id in std::mem::take(&mut self.fresh.port_sets) {
            if let Some(set) = self.rule_sets.port_sets.sets.get(&id) {
                let entries = set.entries.iter();
                changes.add_ports.extend(entries.map(|entry| (entry.key(id), entry.value())));
            }
        }
        for (rule_set, peer) in std::mem::take(&mut self.fresh.peer_entries) {
            let Some(set) = self.rule_sets.sets.get_mut(&rule_set) else { continue };
            set.published = true;
            let port_set =
                if peer == ANY_PEER { Some(set.any) } else { set.peers.get(&peer).copied() };
            changes.add_peers.extend(port_set.map(|id| (PeerKey { rule_set, peer }, id)));
        }
        for set in self.rule_sets.sets.values_mut() {
            set.published = true;
        }
        self.fresh.peers.clear();
        for (key, before) in std::mem::take(&mut self.addresses.before) {
            match self.addresses.entries.get(&key).copied() {
                Some(info) if Some(info) != before => changes.set_addresses.push((key, info)),
                None if before.is_some() => changes.remove_addresses.push(key),
                _ => {}
            }
        }
        for name in std::mem::take(&mut self.fresh.endpoints) {
            match self.endpoint(&name) {
                Some(policy) => {
                    if self.fresh.published.get(&name) != Some(&policy) {
                        self.fresh.published.insert(name.clone(), policy.clone());
                        changes.set_endpoints.push((name, policy));
                    }
                }
                None => {
                    if self.fresh.published.remove(&name).is_some() {
                        changes.remove_endpoints.push(name);
                    }
                }
            }
        }
    }

    /// Takes out what nothing uses: with `only_fresh`, as far as the kernel never saw it.
    fn collect(&mut self, only_fresh: bool) -> Changes {
        let mut changes = Changes::default();
        let mut unused_port_sets = std::mem::take(&mut self.fresh.unused_port_sets);
        let mut keep = BTreeSet::new();
        for id in std::mem::take(&mut self.fresh.released_rule_sets) {
            let Some(set) = self.rule_sets.sets.get(&id) else { continue };
            if set.uses > 0 {
                continue;
            }
            if only_fresh && set.published {
                keep.insert(id);
                continue;
            }
            let Some(set) = self.rule_sets.remove(id, &mut unused_port_sets) else { continue };
            let key = |peer| PeerKey { rule_set: id, peer };
            changes.remove_peers.extend(set.peers.keys().map(|peer| key(*peer)));
            if set.any != EMPTY_PORT_SET {
                changes.remove_peers.push(key(ANY_PEER));
            }
            for rule in &set.key.rules {
                self.rules.remove_rule_set(*rule, id);
                self.fresh.disowned_rules.insert(*rule);
            }
        }
        self.fresh.released_rule_sets = keep;

        for number in std::mem::take(&mut self.fresh.disowned_rules) {
            match self.rules.take_unused(number) {
                Some(rule) => {
                    for selector in rule.selectors {
                        self.selectors.remove(selector, number);
                    }
                }
                // A rule set that is on its way out will ask again.
                None => continue,
            }
        }

        let mut keep = BTreeSet::new();
        for number in std::mem::take(&mut self.fresh.released_peers) {
            if !self.peers.is_unused(number) {
                continue;
            }
            if only_fresh && !self.fresh.peers.contains(&number) {
                keep.insert(number);
                continue;
            }
            let had = self.rule_sets.remove_peer(number, &mut unused_port_sets);
            let keys = had.into_iter().map(|rule_set| PeerKey { rule_set, peer: number });
            changes.remove_peers.extend(keys);
            if let Some(peer) = self.peers.find(number) {
                self.selectors.peer_died(number, peer);
            }
            self.peers.bury(number);
            changes.forget.push(peer_key(number));
        }
        self.fresh.released_peers = keep;

        for id in unused_port_sets {
            if let Some(set) = self.rule_sets.port_sets.take_unused(id) {
                changes.remove_ports.extend(set.entries.iter().map(|entry| entry.key(id)));
            }
        }
        changes
    }
}

/// The first table that would hold more than before and more than it can.
fn too_large(before: Sizes, after: Sizes, capacity: &Capacity) -> Option<PolicyError> {
    let tables = [
        ("addresses", before.addresses, after.addresses, capacity.addresses),
        ("peers", before.peers, after.peers, capacity.peers),
        ("ports", before.ports, after.ports, capacity.ports),
    ];
    let (table, _, needed, capacity) = tables
        .into_iter()
        .find(|(_, before, after, capacity)| after > capacity && after > before)?;
    Some(PolicyError::TooLarge { table, needed, capacity })
}

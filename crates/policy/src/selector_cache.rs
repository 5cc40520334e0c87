//! Selectors of rules, each once, with the peers that match.

use crate::label_index::LabelIndex;
use crate::peer::{Peer, Peers, remove_from};
use crate::rule::{NamespaceSelector, PeerSelector, WorkloadSelector};
use ipnet::IpNet;
use model::{Operator, Selector};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct CachedSelector {
    content: Arc<PeerSelector>,
    /// Live peers that match.
    pub peers: BTreeSet<u32>,
    /// Rules that use it, as numbers of the compiler.
    pub rules: BTreeSet<u32>,
}

/// What a peer must have for a selector to be worth asking.
#[derive(Clone, Copy, Debug)]
enum Anchor<'a> {
    Label(&'a str, &'a str),
    Namespace(&'a Arc<str>),
    NamespaceLabel(&'a str, &'a str),
    Block(IpNet),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SelectorCache {
    selectors: HashMap<u32, CachedSelector>,
    numbers: HashMap<Arc<PeerSelector>, u32>,
    next: u32,
    /// Selectors by what they are anchored at.
    labels: LabelIndex,
    namespaces: HashMap<Arc<str>, BTreeSet<u32>>,
    namespace_labels: LabelIndex,
    blocks: HashMap<IpNet, BTreeSet<u32>>,
    /// Selectors that any peer could match.
    free: BTreeSet<u32>,
}

impl SelectorCache {
    /// Counts `rule` as a user; finds the matching peers if the selector is new.
    pub fn add(&mut self, content: &PeerSelector, rule: u32, peers: &Peers) -> u32 {
        if let Some(&number) = self.numbers.get(content) {
            if let Some(selector) = self.selectors.get_mut(&number) {
                selector.rules.insert(rule);
            }
            return number;
        }
        let number = self.next;
        self.next += 1;
        let content = Arc::new(content.clone());
        match anchors(&content) {
            Some(anchors) => {
                for anchor in anchors {
                    self.insert(anchor, number);
                }
            }
            None => drop(self.free.insert(number)),
        }
        let matching = matching_peers(&content, peers);
        let rules = BTreeSet::from([rule]);
        self.numbers.insert(content.clone(), number);
        self.selectors.insert(number, CachedSelector { content, peers: matching, rules });
        number
    }

    pub fn remove(&mut self, number: u32, rule: u32) {
        let Some(selector) = self.selectors.get_mut(&number) else { return };
        selector.rules.remove(&rule);
        if !selector.rules.is_empty() {
            return;
        }
        let content = selector.content.clone();
        for anchor in anchors(&content).into_iter().flatten() {
            match anchor {
                Anchor::Label(key, value) => self.labels.remove_label(key, value, number),
                Anchor::NamespaceLabel(key, value) => {
                    self.namespace_labels.remove_label(key, value, number)
                }
                Anchor::Namespace(name) => remove_from(&mut self.namespaces, name, number),
                Anchor::Block(block) => remove_from(&mut self.blocks, &block, number),
            }
        }
        self.free.remove(&number);
        self.numbers.remove(&content);
        self.selectors.remove(&number);
    }

    pub fn find(&self, number: u32) -> Option<&CachedSelector> {
        self.selectors.get(&number)
    }

    /// Notes a newly live peer; gives the rules that it matches.
    pub fn peer_born(&mut self, number: u32, peer: &Peer) -> BTreeSet<u32> {
        let mut rules = BTreeSet::new();
        for selector in self.worth_asking(peer) {
            let Some(selector) = self.selectors.get_mut(&selector) else { continue };
            if matches(&selector.content, peer) {
                selector.peers.insert(number);
                rules.extend(&selector.rules);
            }
        }
        rules
    }

    pub fn peer_died(&mut self, number: u32, peer: &Peer) {
        for selector in self.worth_asking(peer) {
            if let Some(selector) = self.selectors.get_mut(&selector) {
                selector.peers.remove(&number);
            }
        }
    }

    fn insert(&mut self, anchor: Anchor<'_>, number: u32) {
        match anchor {
            Anchor::Label(key, value) => self.labels.insert_label(key, value, number),
            Anchor::NamespaceLabel(key, value) => {
                self.namespace_labels.insert_label(key, value, number)
            }
            Anchor::Namespace(name) => {
                self.namespaces.entry(name.clone()).or_default().insert(number);
            }
            Anchor::Block(block) => {
                self.blocks.entry(block).or_default().insert(number);
            }
        }
    }

    fn worth_asking(&self, peer: &Peer) -> BTreeSet<u32> {
        let mut numbers = self.free.clone();
        if let Some(labels) = &peer.labels {
            numbers.extend(self.labels.with_any(&labels.labels));
            numbers.extend(self.namespace_labels.with_any(&labels.namespace_labels));
            numbers.extend(self.namespaces.get(&labels.namespace).into_iter().flatten());
        }
        for block in &peer.attributes.blocks {
            numbers.extend(self.blocks.get(block).into_iter().flatten());
        }
        numbers
    }
}

pub(crate) fn matches(selector: &PeerSelector, peer: &Peer) -> bool {
    match selector {
        PeerSelector::Workloads(selector) => peer.labels.as_ref().is_some_and(|labels| {
            selector.matches(&labels.namespace, &labels.namespace_labels, &labels.labels)
        }),
        PeerSelector::Block { block, except } => {
            let blocks = &peer.attributes.blocks;
            blocks.contains(block) && !except.iter().any(|net| blocks.contains(net))
        }
        PeerSelector::Entity(entity) => entity.matches(peer.attributes.identity),
    }
}

fn anchors(selector: &PeerSelector) -> Option<Vec<Anchor<'_>>> {
    match selector {
        PeerSelector::Workloads(WorkloadSelector { namespaces, workloads }) => {
            if let Some((key, values)) = required_values(workloads) {
                return Some(values.iter().map(|value| Anchor::Label(key, value)).collect());
            }
            match namespaces {
                NamespaceSelector::Name(name) => Some(vec![Anchor::Namespace(name)]),
                NamespaceSelector::Labels(selector) => {
                    let (key, values) = required_values(selector)?;
                    let anchors = values.iter().map(|value| Anchor::NamespaceLabel(key, value));
                    Some(anchors.collect())
                }
            }
        }
        PeerSelector::Block { block, .. } => Some(vec![Anchor::Block(*block)]),
        PeerSelector::Entity(_) => None,
    }
}

fn required_values(selector: &Selector) -> Option<(&String, &Vec<String>)> {
    selector.requirements.iter().find_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((&requirement.key, values)),
        _ => None,
    })
}

fn matching_peers(selector: &PeerSelector, peers: &Peers) -> BTreeSet<u32> {
    let check = |number: &u32| peers.find(*number).is_some_and(|peer| matches(selector, peer));
    match selector {
        PeerSelector::Workloads(WorkloadSelector { namespaces, workloads }) => {
            let by_label = peers.labels().candidates(workloads);
            let (in_namespace, by_namespace_label) = match namespaces {
                NamespaceSelector::Name(name) => (Some(peers.in_namespace(name)), None),
                NamespaceSelector::Labels(selector) => {
                    (None, peers.namespace_labels().candidates(selector))
                }
            };
            let label_count = by_label.as_ref().map_or(usize::MAX, |candidates| candidates.len());
            let namespace_count =
                by_namespace_label.as_ref().map_or(usize::MAX, |candidates| candidates.len());
            if let Some(numbers) = in_namespace
                && numbers.map_or(0, BTreeSet::len) <= label_count
            {
                return numbers.into_iter().flatten().copied().filter(check).collect();
            }
            match (by_label, by_namespace_label) {
                (Some(candidates), _) if label_count <= namespace_count => {
                    candidates.iter().filter(check).collect()
                }
                (_, Some(candidates)) => candidates.iter().filter(check).collect(),
                _ if workloads.requirements.is_empty()
                    && *namespaces == NamespaceSelector::Labels(Selector::everything()) =>
                {
                    peers.workloads().clone()
                }
                _ => peers.workloads().iter().copied().filter(check).collect(),
            }
        }
        PeerSelector::Block { block, .. } => {
            peers.in_block(block).into_iter().flatten().copied().filter(check).collect()
        }
        PeerSelector::Entity(_) => peers.live().map(|(number, _)| number).filter(check).collect(),
    }
}

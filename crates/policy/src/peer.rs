//! Peers: an identity refined by everything else that policies can tell apart about an address.

use crate::identity::IdentityLabels;
use crate::label_index::LabelIndex;
use abi::identity::{HOST, WORLD};
use ipnet::IpNet;
use model::NamedPort;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Peer of the node itself; it is in no block, for no policy applies to it.
pub const HOST_PEER: u32 = 1;
/// Peer of every address that nothing is known of.
pub const WORLD_PEER: u32 = 2;
pub const FIRST_INTERNED: u32 = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerAttributes {
    pub identity: u32,
    /// Blocks that policies name and that contain the address; sorted.
    pub blocks: Vec<IpNet>,
    /// Named ports; sorted.
    pub ports: Vec<NamedPort>,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub attributes: Arc<PeerAttributes>,
    pub labels: Option<Arc<IdentityLabels>>,
    /// Entries of `addresses` that have it.
    pub uses: u32,
}

/// Numbers of peers, and the live ones by what selectors ask for.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    numbers: HashMap<Arc<PeerAttributes>, u32>,
    live: BTreeMap<u32, Peer>,
    next: u32,
    labels: LabelIndex,
    namespace_labels: LabelIndex,
    namespaces: HashMap<Arc<str>, BTreeSet<u32>>,
    blocks: HashMap<IpNet, BTreeSet<u32>>,
    port_names: HashMap<String, BTreeSet<u32>>,
    workloads: BTreeSet<u32>,
}

impl Default for Peers {
    fn default() -> Self {
        let mut peers = Peers {
            numbers: HashMap::new(),
            live: BTreeMap::new(),
            next: FIRST_INTERNED,
            labels: LabelIndex::default(),
            namespace_labels: LabelIndex::default(),
            namespaces: HashMap::new(),
            blocks: HashMap::new(),
            port_names: HashMap::new(),
            workloads: BTreeSet::new(),
        };
        for (number, identity) in [(HOST_PEER, HOST), (WORLD_PEER, WORLD)] {
            let attributes = PeerAttributes { identity, blocks: Vec::new(), ports: Vec::new() };
            peers.restore(number, Arc::new(attributes.clone()));
            peers.use_one(attributes, None);
        }
        peers
    }
}

pub(crate) struct Used {
    pub number: u32,
    /// It was not live before.
    pub born: bool,
    /// It never had a number before.
    pub numbered: bool,
}

impl Peers {
    pub fn restore(&mut self, number: u32, attributes: Arc<PeerAttributes>) {
        self.numbers.insert(attributes, number);
        self.next = self.next.max(number + 1).max(FIRST_INTERNED);
    }

    pub fn use_one(
        &mut self,
        attributes: PeerAttributes,
        labels: Option<&Arc<IdentityLabels>>,
    ) -> Used {
        if let Some((attributes, &number)) = self.numbers.get_key_value(&attributes) {
            let attributes = attributes.clone();
            let born = self.live_again(number, attributes, labels);
            return Used { number, born, numbered: false };
        }
        let number = self.next;
        self.next += 1;
        let attributes = Arc::new(attributes);
        self.numbers.insert(attributes.clone(), number);
        let born = self.live_again(number, attributes, labels);
        Used { number, born, numbered: true }
    }

    fn live_again(
        &mut self,
        number: u32,
        attributes: Arc<PeerAttributes>,
        labels: Option<&Arc<IdentityLabels>>,
    ) -> bool {
        if let Some(peer) = self.live.get_mut(&number) {
            peer.uses += 1;
            return false;
        }
        if let Some(labels) = labels {
            self.labels.insert(&labels.labels, number);
            self.namespace_labels.insert(&labels.namespace_labels, number);
            self.namespaces.entry(labels.namespace.clone()).or_default().insert(number);
            self.workloads.insert(number);
        }
        for block in &attributes.blocks {
            self.blocks.entry(*block).or_default().insert(number);
        }
        for port in &attributes.ports {
            self.port_names.entry(port.name.clone()).or_default().insert(number);
        }
        self.live.insert(number, Peer { attributes, labels: labels.cloned(), uses: 1 });
        true
    }

    /// The peer stays live until [`bury`](Self::bury), used or not.
    pub fn release(&mut self, number: u32) {
        if let Some(peer) = self.live.get_mut(&number) {
            peer.uses -= 1;
        }
    }

    pub fn is_unused(&self, number: u32) -> bool {
        self.live.get(&number).is_some_and(|peer| peer.uses == 0)
    }

    /// Forgets an unused peer and its number.
    pub fn bury(&mut self, number: u32) {
        let Some(peer) = self.live.remove(&number) else { return };
        self.numbers.remove(&peer.attributes);
        if let Some(labels) = &peer.labels {
            self.labels.remove(&labels.labels, number);
            self.namespace_labels.remove(&labels.namespace_labels, number);
            remove_from(&mut self.namespaces, &labels.namespace, number);
            self.workloads.remove(&number);
        }
        for block in &peer.attributes.blocks {
            remove_from(&mut self.blocks, block, number);
        }
        for port in &peer.attributes.ports {
            remove_from(&mut self.port_names, &port.name, number);
        }
    }

    /// Numbers that were restored and that nothing uses.
    pub fn idle_numbers(&self) -> Vec<(u32, Arc<PeerAttributes>)> {
        let idle = self.numbers.iter().filter(|(_, number)| !self.live.contains_key(number));
        idle.map(|(attributes, number)| (*number, attributes.clone())).collect()
    }

    pub fn forget_number(&mut self, attributes: &PeerAttributes) {
        self.numbers.remove(attributes);
    }

    pub fn find(&self, number: u32) -> Option<&Peer> {
        self.live.get(&number)
    }

    pub fn live(&self) -> impl Iterator<Item = (u32, &Peer)> {
        self.live.iter().map(|(number, peer)| (*number, peer))
    }

    pub fn labels(&self) -> &LabelIndex {
        &self.labels
    }

    pub fn namespace_labels(&self) -> &LabelIndex {
        &self.namespace_labels
    }

    pub fn in_namespace(&self, namespace: &str) -> Option<&BTreeSet<u32>> {
        self.namespaces.get(namespace)
    }

    pub fn in_block(&self, block: &IpNet) -> Option<&BTreeSet<u32>> {
        self.blocks.get(block)
    }

    pub fn with_port_name(&self, name: &str) -> Option<&BTreeSet<u32>> {
        self.port_names.get(name)
    }

    pub fn workloads(&self) -> &BTreeSet<u32> {
        &self.workloads
    }
}

/// Takes a number out of one of many sets.
pub(crate) fn remove_from<K, Q>(map: &mut HashMap<K, BTreeSet<u32>>, key: &Q, number: u32)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(numbers) = map.get_mut(key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            map.remove(key);
        }
    }
}

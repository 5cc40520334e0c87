//! Which peer every address has: entries of map `addresses`.

use super::Compiler;
use crate::blocks::{address_key, everything_v4, everything_v6};
use crate::peer::PeerAttributes;
use crate::record::Remembered;
use abi::endpoint::{AddressInfo, AddressKey};
use abi::identity::{HOST, WORLD};
use ipnet::IpNet;
use model::ObjectName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    pub entries: HashMap<AddressKey, AddressInfo>,
    /// What the kernel had of the entries that have changed since.
    pub before: HashMap<AddressKey, Option<AddressInfo>>,
    /// Endpoints that say an address is theirs; the first by name has it.
    claims: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
    hosts: BTreeSet<IpAddr>,
}

impl Addresses {
    pub fn owner(&self, address: IpAddr) -> Option<&ObjectName> {
        if self.hosts.contains(&address) {
            return None;
        }
        self.claims.get(&address)?.first()
    }

    pub fn info(&self, address: IpAddr) -> Option<AddressInfo> {
        self.entries.get(&address_key(IpNet::from(address))).copied()
    }

    pub fn claim(&mut self, address: IpAddr, name: &ObjectName) {
        self.claims.entry(address).or_default().insert(name.clone());
    }

    pub fn disclaim(&mut self, address: IpAddr, name: &ObjectName) {
        if let Some(names) = self.claims.get_mut(&address) {
            names.remove(name);
            if names.is_empty() {
                self.claims.remove(&address);
            }
        }
    }

    pub fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &ObjectName> {
        self.claims.get(&address).into_iter().flatten()
    }

    pub fn hosts(&self) -> &BTreeSet<IpAddr> {
        &self.hosts
    }

    pub fn replace_hosts(&mut self, hosts: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        std::mem::replace(&mut self.hosts, hosts)
    }

    pub fn longest_match(&self, address: IpAddr) -> AddressInfo {
        let longest = IpNet::from(address).prefix_len();
        (0..=longest)
            .rev()
            .filter_map(|length| IpNet::new(address, length).ok())
            .find_map(|net| self.entries.get(&address_key(net.trunc())))
            .copied()
            .unwrap_or(AddressInfo { identity: WORLD, peer: crate::peer::WORLD_PEER })
    }
}

impl Compiler {
    pub(super) fn refresh_defaults(&mut self) {
        self.refresh(everything_v4());
        self.refresh(everything_v6());
    }

    /// A block was named for the first time, or is named no longer.
    pub(super) fn refresh_inside(&mut self, block: IpNet) {
        let mut nets = self.blocks.inside(block);
        let addresses = self.addresses.claims.range(block.network()..=block.broadcast());
        nets.extend(addresses.map(|(address, _)| IpNet::from(*address)));
        nets.push(block);
        for net in nets {
            self.refresh(net);
        }
    }

    /// Makes the entry of an address or a block what it should be.
    pub(super) fn refresh(&mut self, net: IpNet) {
        let key = address_key(net);
        let old = self.addresses.entries.get(&key).copied();
        let new = self.use_peer_of(net);
        if let Some(old) = old {
            self.peers.release(old.peer);
            self.fresh.released_peers.insert(old.peer);
        }
        if old == new {
            return;
        }
        self.addresses.before.entry(key).or_insert(old);
        match new {
            Some(info) => self.addresses.entries.insert(key, info),
            None => self.addresses.entries.remove(&key),
        };
        if net.prefix_len() == net.max_prefix_len() {
            // Only what is enforced here is published.
            let enforced = |name: &&ObjectName| {
                self.endpoints.get(*name).is_some_and(|endpoint| endpoint.subject.is_some())
            };
            let names = self.addresses.claimants(net.network()).filter(enforced);
            self.fresh.endpoints.extend(names.cloned());
        }
    }

    fn use_peer_of(&mut self, net: IpNet) -> Option<AddressInfo> {
        let single = net.prefix_len() == net.max_prefix_len();
        let mut labels = None;
        let attributes = if single && self.addresses.hosts.contains(&net.network()) {
            PeerAttributes { identity: HOST, blocks: Vec::new(), ports: Vec::new() }
        } else if let Some(name) = self.addresses.owner(net.network()).filter(|_| single)
            && let Some(endpoint) = self.endpoints.get(name)
        {
            labels = self.identities.labels(endpoint.identity).cloned();
            let mut ports = endpoint.input.ports.clone();
            ports.sort();
            ports.dedup();
            PeerAttributes {
                identity: endpoint.identity,
                blocks: self.blocks.containing(net),
                ports,
            }
        } else if net.prefix_len() == 0 {
            let blocks = self.blocks.containing(net);
            PeerAttributes { identity: WORLD, blocks, ports: Vec::new() }
        } else if self.blocks.contains(net) {
            let (identity, new) = self.identities.block(net);
            if new {
                self.fresh.remember(Remembered::Block(identity, net));
            }
            PeerAttributes { identity, blocks: self.blocks.containing(net), ports: Vec::new() }
        } else {
            return None;
        };
        let identity = attributes.identity;
        let used = self.peers.use_one(attributes, labels.as_ref());
        if used.numbered
            && let Some(peer) = self.peers.find(used.number)
        {
            let attributes = peer.attributes.clone();
            self.fresh.remember(Remembered::Peer(used.number, attributes));
        }
        if used.born {
            self.fresh.peers.insert(used.number);
            self.peer_born(used.number);
        }
        Some(AddressInfo { identity, peer: used.number })
    }
}

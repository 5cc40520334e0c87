//! The tables of a node's endpoints, policies and services.

use std::collections::{BTreeMap, HashMap};

use abi::endpoint::{AddressInfo, AddressKey, Endpoint};
use abi::policy::{PeerKey, PortKey, Rule};
use abi::service::{Backend, MemberKey, Present, RingBlock, Service, ServiceKey, SourceRangeKey};
use abi::state::State;
use abi::{Address, maps};

use crate::{Difference, Maps, Row};

/// Entries of one table to set, and keys to remove.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a, K, V> {
    pub set: &'a [(K, V)],
    pub remove: &'a [K],
}

impl<'a, K, V> Change<'a, K, V> {
    pub fn new(set: &'a [(K, V)], remove: &'a [K]) -> Self {
        Self { set, remove }
    }
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    pub ports: Change<'a, PortKey, Rule>,
    pub peers: Change<'a, PeerKey, u32>,
    pub backends: Change<'a, u32, Backend>,
    /// What the array holds beyond the rings in use means nothing, so nothing is removed.
    pub ring: &'a [(u32, RingBlock)],
    pub members: Change<'a, MemberKey, Present>,
    pub source_ranges: Change<'a, SourceRangeKey, Present>,
    pub addresses: Change<'a, AddressKey, AddressInfo>,
    pub endpoints: Change<'a, Address, Endpoint>,
    pub services: Change<'a, ServiceKey, Service>,
    /// With another epoch, if verdicts may be others.
    pub state: Option<&'a State>,
}

/// Between any two writes a packet meets either the old or the new state: what is new is there
/// before anything leads to it, and what is old goes after nothing does.
pub fn write<M: Maps>(to: &M, changes: &Changes<'_>) -> Result<(), M::Error> {
    to.insert_all(maps::PORTS, changes.ports.set)?;
    to.insert_all(maps::PEERS, changes.peers.set)?;
    to.insert_all(maps::BACKENDS, changes.backends.set)?;
    to.insert_all(maps::RING, changes.ring)?;
    to.insert_all(maps::MEMBERS, changes.members.set)?;
    to.insert_all(maps::SOURCE_RANGES, changes.source_ranges.set)?;
    // A new peer is known before a rule set that only knows the new one.
    to.insert_all(maps::ADDRESSES, changes.addresses.set)?;
    to.insert_all(maps::ENDPOINTS, changes.endpoints.set)?;
    to.insert_all(maps::SERVICES, changes.services.set)?;

    to.remove_all(maps::SERVICES, changes.services.remove)?;
    to.remove_all(maps::ADDRESSES, changes.addresses.remove)?;
    to.remove_all(maps::ENDPOINTS, changes.endpoints.remove)?;
    if let Some(state) = changes.state {
        to.insert_all(maps::STATE, &[(0u32, *state)])?;
    }
    to.remove_all(maps::PEERS, changes.peers.remove)?;
    to.remove_all(maps::PORTS, changes.ports.remove)?;
    to.remove_all(maps::MEMBERS, changes.members.remove)?;
    to.remove_all(maps::SOURCE_RANGES, changes.source_ranges.remove)?;
    to.remove_all(maps::BACKENDS, changes.backends.remove)
}

/// What maps hold against what they should hold, table by table.
#[derive(Debug)]
pub struct Differences {
    pub ports: Difference<PortKey, Rule>,
    pub peers: Difference<PeerKey, u32>,
    pub backends: Difference<u32, Backend>,
    pub ring: Difference<u32, RingBlock>,
    pub members: Difference<MemberKey, Present>,
    pub source_ranges: Difference<SourceRangeKey, Present>,
    pub addresses: Difference<AddressKey, AddressInfo>,
    pub endpoints: Difference<Address, Endpoint>,
    pub services: Difference<ServiceKey, Service>,
}

impl Differences {
    /// Reads the maps.
    pub fn find<M: Maps>(
        held: &M,
        policy: policy::Tables,
        services: services::Tables,
        endpoints: HashMap<Address, Endpoint>,
    ) -> Result<Self, M::Error> {
        let members: BTreeMap<MemberKey, Present> =
            services.members.into_iter().map(|key| (key, 1)).collect();
        let source_ranges: HashMap<SourceRangeKey, Present> =
            services.source_ranges.into_iter().map(|key| (key, 1)).collect();
        Ok(Self {
            ports: find(held, maps::PORTS, policy.ports)?,
            peers: find(held, maps::PEERS, policy.peers)?,
            backends: find(held, maps::BACKENDS, services.backends)?,
            ring: find(held, maps::RING, services.ring)?,
            members: find(held, maps::MEMBERS, members)?,
            source_ranges: find(held, maps::SOURCE_RANGES, source_ranges)?,
            addresses: find(held, maps::ADDRESSES, policy.addresses)?,
            endpoints: find(held, maps::ENDPOINTS, endpoints)?,
            services: find(held, maps::SERVICES, services.services)?,
        })
    }

    /// What brings the maps to what they should hold.
    pub fn changes<'a>(&'a self, state: Option<&'a State>) -> Changes<'a> {
        Changes {
            ports: self.ports.change(),
            peers: self.peers.change(),
            backends: self.backends.change(),
            ring: &self.ring.set,
            members: self.members.change(),
            source_ranges: self.source_ranges.change(),
            addresses: self.addresses.change(),
            endpoints: self.endpoints.change(),
            services: self.services.change(),
            state,
        }
    }
}

fn find<M: Maps, K: Row + Eq + std::hash::Hash, V: Row + PartialEq>(
    held: &M,
    map: &'static str,
    wanted: impl IntoIterator<Item = (K, V)>,
) -> Result<Difference<K, V>, M::Error> {
    Ok(Difference::between(held.entries(map)?, wanted))
}

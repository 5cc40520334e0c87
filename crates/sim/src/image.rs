//! What the node's maps hold, as bytes: the same for every engine.

use std::collections::BTreeMap;

use abi::endpoint::{Endpoint as Row, flags};
use abi::state::{State, Timeouts, state_flags};
use abi::{Address, maps};
use zerocopy::{Immutable, IntoBytes};

use crate::Error;
use crate::node::Endpoint;

/// Keys with their values.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Entries of each map that an agent fills, by the map's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub maps: BTreeMap<&'static str, Entries>,
}

impl Image {
    /// As the agent's first commit leaves the maps.
    pub fn compile(
        endpoints: &[Endpoint],
        policy: &mut policy::Compiler,
        services: &services::Compiler,
    ) -> Self {
        let mut image = Self::default();
        let tables = policy.tables();
        image.put(maps::ADDRESSES, tables.addresses);
        image.put(maps::PEERS, tables.peers);
        image.put(maps::PORTS, tables.ports);
        let rows = endpoints.iter().filter_map(|endpoint| {
            let policy = tables.endpoints.get(&endpoint.name)?;
            let row = |peer: u32| Row {
                id: endpoint.id,
                ifindex: endpoint.ifindex,
                identity: policy.identity,
                peer,
                ingress: policy.ingress,
                egress: policy.egress,
                workload_mac: endpoint.workload_mac,
                host_mac: endpoint.host_mac,
                flags: flags::REDIRECT_PEER,
            };
            let addresses = endpoint.addresses.iter().filter_map(|address| {
                Some((Address::from(*address), row(*policy.peers.get(address)?)))
            });
            Some(addresses.collect::<Vec<_>>())
        });
        image.put(maps::ENDPOINTS, rows.flatten());
        let tables = services.tables();
        image.put(maps::SERVICES, tables.services);
        image.put(maps::RING, tables.ring);
        image.put(maps::BACKENDS, tables.backends);
        image.put(maps::MEMBERS, tables.members.into_iter().map(|key| (key, 1)));
        image.put(maps::SOURCE_RANGES, tables.source_ranges.into_iter().map(|key| (key, 1)));
        let state = State {
            abi_version: abi::ABI_VERSION,
            policy_epoch: 1,
            flags: state_flags::REDIRECT_PEER,
            // Every event is to be seen.
            flow_events_per_second: 0,
            drop_events_per_second: 0,
            timeouts: Timeouts::DEFAULT,
            zero: 0,
        };
        image.put(maps::STATE, [(0u32, state)]);
        image
    }

    fn put<K, V>(&mut self, map: &'static str, entries: impl IntoIterator<Item = (K, V)>)
    where
        K: IntoBytes + Immutable,
        V: IntoBytes + Immutable,
    {
        let bytes = |(key, value): (K, V)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let mut entries: Vec<_> = entries.into_iter().map(bytes).collect();
        entries.sort();
        self.maps.insert(map, entries);
    }

    pub(crate) fn fill(&self, instance: &bpf_vm::Instance) -> Result<(), Error> {
        for (name, entries) in &self.maps {
            let map = instance.map(name).ok_or(Error::NoMap(name))?;
            for (key, value) in entries {
                map.update(key, value, 0).map_err(|source| Error::Map { map: name, source })?;
            }
        }
        Ok(())
    }
}

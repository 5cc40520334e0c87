//! The kernel's maps, as changes leave them.

use abi::Address;
use abi::endpoint::{AddressInfo, AddressKey, UNRESTRICTED};
use abi::policy::{ANY_PEER, PeerKey, PortKey, Rule, rule_flags};
use model::ObjectName;
use policy::{Changes, EndpointPolicy, Tables};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Default)]
pub struct Kernel {
    pub tables: Tables,
    pub records: BTreeMap<String, String>,
}

/// One write of a change.
pub enum Write {
    AddPort(PortKey, Rule),
    AddPeer(PeerKey, u32),
    SetAddress(AddressKey, AddressInfo),
    SetEndpoint(ObjectName, EndpointPolicy),
    RemoveEndpoint(ObjectName),
    RemoveAddress(AddressKey),
    RemovePeer(PeerKey),
    RemovePort(PortKey),
}

/// The writes of a change in order.
pub fn writes(changes: &Changes) -> Vec<Write> {
    let c = changes.clone();
    let mut writes = Vec::new();
    writes.extend(c.add_ports.into_iter().map(|(key, value)| Write::AddPort(key, value)));
    writes.extend(c.add_peers.into_iter().map(|(key, value)| Write::AddPeer(key, value)));
    writes.extend(c.set_addresses.into_iter().map(|(key, value)| Write::SetAddress(key, value)));
    writes.extend(c.set_endpoints.into_iter().map(|(key, value)| Write::SetEndpoint(key, value)));
    writes.extend(c.remove_endpoints.into_iter().map(Write::RemoveEndpoint));
    writes.extend(c.remove_addresses.into_iter().map(Write::RemoveAddress));
    writes.extend(c.remove_peers.into_iter().map(Write::RemovePeer));
    writes.extend(c.remove_ports.into_iter().map(Write::RemovePort));
    writes
}

impl Kernel {
    pub fn apply(&mut self, changes: &Changes) {
        for record in &changes.remember {
            self.records.insert(record.key.clone(), record.value.clone());
        }
        for write in writes(changes) {
            self.write(write);
        }
        for key in &changes.forget {
            self.records.remove(key);
        }
    }

    pub fn write(&mut self, write: Write) {
        let tables = &mut self.tables;
        match write {
            Write::AddPort(key, value) => {
                let old = tables.ports.insert(key, value);
                assert!(old.is_none_or(|old| old == value), "port entry rewritten: {key:?}");
            }
            Write::AddPeer(key, value) => {
                let old = tables.peers.insert(key, value);
                assert!(old.is_none_or(|old| old == value), "peer entry rewritten: {key:?}");
            }
            Write::SetAddress(key, value) => drop(tables.addresses.insert(key, value)),
            Write::SetEndpoint(key, value) => drop(tables.endpoints.insert(key, value)),
            Write::RemoveEndpoint(key) => assert!(tables.endpoints.remove(&key).is_some()),
            Write::RemoveAddress(key) => assert!(tables.addresses.remove(&key).is_some()),
            Write::RemovePeer(key) => assert!(tables.peers.remove(&key).is_some(), "{key:?}"),
            Write::RemovePort(key) => assert!(tables.ports.remove(&key).is_some(), "{key:?}"),
        }
    }

    pub fn allows(&self, from: IpAddr, to: IpAddr, protocol: u8, port: u16) -> bool {
        self.one_way(from, to, false, protocol, port)
            && self.one_way(to, from, true, protocol, port)
    }

    pub fn one_way(
        &self,
        subject: IpAddr,
        peer: IpAddr,
        ingress: bool,
        protocol: u8,
        port: u16,
    ) -> bool {
        let Some(endpoint) =
            self.tables.endpoints.values().find(|endpoint| endpoint.peers.contains_key(&subject))
        else {
            return true;
        };
        let rule_set = if ingress { endpoint.ingress } else { endpoint.egress };
        let peer = self.address(peer);
        if rule_set == UNRESTRICTED || peer.identity == abi::identity::HOST {
            return true;
        }
        let port_set = self
            .tables
            .peers
            .get(&PeerKey { rule_set, peer: peer.peer })
            .or_else(|| self.tables.peers.get(&PeerKey { rule_set, peer: ANY_PEER }));
        let Some(&port_set) = port_set else { return false };
        self.rule(port_set, protocol, port).is_some_and(|rule| rule.flags & rule_flags::DENY == 0)
    }

    fn address(&self, address: IpAddr) -> AddressInfo {
        let address = u128::from_be_bytes(Address::from(address).octets());
        (0..=128u32)
            .rev()
            .find_map(|prefix_len| {
                let mask = u128::MAX.checked_shl(128 - prefix_len).unwrap_or(0);
                let address = Address::from_v6((address & mask).to_be_bytes());
                self.tables.addresses.get(&AddressKey { prefix_len, address })
            })
            .copied()
            .expect("every address has an entry")
    }

    fn rule(&self, port_set: u32, protocol: u8, port: u16) -> Option<Rule> {
        (0..=16u32)
            .rev()
            .map(|bits| {
                let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
                PortKey {
                    prefix_len: PortKey::PROTOCOL_BITS + bits,
                    port_set,
                    protocol,
                    zero: 0,
                    port: abi::Port::new(port & mask),
                }
            })
            .chain([PortKey {
                prefix_len: PortKey::PORT_SET_BITS,
                port_set,
                protocol: 0,
                zero: 0,
                port: abi::Port::NONE,
            }])
            .find_map(|key| self.tables.ports.get(&key))
            .copied()
    }
}

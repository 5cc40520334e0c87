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
    /// Map `endpoints`: rule sets for ingress and egress by address.
    rows: BTreeMap<IpAddr, (u32, u32)>,
    pub records: BTreeMap<String, String>,
}

/// One write of a change.
pub enum Write {
    AddPort(PortKey, Rule),
    AddPeer(PeerKey, u32),
    SetAddress(AddressKey, AddressInfo),
    SetRow(IpAddr, (u32, u32)),
    RemoveRow(IpAddr),
    RemoveAddress(AddressKey),
    RemovePeer(PeerKey),
    RemovePort(PortKey),
}

impl Kernel {
    pub fn apply(&mut self, changes: &Changes) {
        for record in &changes.remember {
            self.records.insert(record.key.clone(), record.value.clone());
        }
        for write in self.writes(changes) {
            self.write(write);
        }
        for key in &changes.forget {
            self.records.remove(key);
        }
    }

    /// The writes of a change in order. What the change says of endpoints is noted at once; it
    /// takes effect row by row.
    pub fn writes(&mut self, changes: &Changes) -> Vec<Write> {
        let c = changes.clone();
        let endpoints: &mut BTreeMap<ObjectName, EndpointPolicy> = &mut self.tables.endpoints;
        endpoints.extend(c.set_endpoints);
        for name in &c.remove_endpoints {
            assert!(endpoints.remove(name).is_some());
        }
        let rows: BTreeMap<IpAddr, (u32, u32)> = endpoints
            .values()
            .flat_map(|e| e.peers.keys().map(|address| (*address, (e.ingress, e.egress))))
            .collect();
        let gone: Vec<IpAddr> =
            self.rows.keys().filter(|address| !rows.contains_key(address)).copied().collect();

        let mut writes = Vec::new();
        writes.extend(c.add_ports.into_iter().map(|(key, value)| Write::AddPort(key, value)));
        writes.extend(c.add_peers.into_iter().map(|(key, value)| Write::AddPeer(key, value)));
        writes
            .extend(c.set_addresses.into_iter().map(|(key, value)| Write::SetAddress(key, value)));
        writes.extend(rows.into_iter().map(|(address, row)| Write::SetRow(address, row)));
        writes.extend(gone.into_iter().map(Write::RemoveRow));
        writes.extend(c.remove_addresses.into_iter().map(Write::RemoveAddress));
        writes.extend(c.remove_peers.into_iter().map(Write::RemovePeer));
        writes.extend(c.remove_ports.into_iter().map(Write::RemovePort));
        writes
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
            Write::SetRow(address, row) => drop(self.rows.insert(address, row)),
            Write::RemoveRow(address) => assert!(self.rows.remove(&address).is_some()),
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
        let Some(&(to, from)) = self.rows.get(&subject) else { return true };
        let rule_set = if ingress { to } else { from };
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

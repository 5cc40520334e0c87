//! From the manifest's words to the values of single map entries.

use super::ring;
use abi::balancer::{
    Backend as BackendRow, Mac, Settings, backend_flags, decapsulate, frontend_flags,
    settings_flags,
};
use abi::{Address, Port};
use model::load_balancer::{
    DeliveryMode, Edge, HashAlgorithm, HashOn, Keep, Masquerade, NextHop, Vip,
};
use std::net::IpAddr;

/// What makes a backend this one: it keeps its number as long as these stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    pub address: IpAddr,
    /// For `nat`.
    pub port: Option<u16>,
    pub delivery: DeliveryMode,
    pub local: bool,
}

impl BackendKey {
    pub fn of(vip: &Vip, backend: &model::load_balancer::Backend) -> Self {
        BackendKey {
            address: backend.address,
            port: backend.port,
            delivery: vip.delivery,
            local: backend.local,
        }
    }

    /// One that no VIP may have: of a server id, a source route, a mark.
    pub fn plain(edge: &Edge, address: IpAddr) -> Self {
        BackendKey { address, port: None, delivery: edge.delivery.mode, local: false }
    }

    /// What an earlier agent meant by a row; `None` if it is empty.
    pub fn of_row(row: &BackendRow) -> Option<Self> {
        if row.address.is_none() {
            return None;
        }
        Some(BackendKey {
            address: row.address.into(),
            port: (row.port != Port::NONE).then(|| row.port.number()),
            delivery: match row.flags & backend_flags::DELIVERY {
                backend_flags::GUE => DeliveryMode::Gue,
                backend_flags::GENEVE => DeliveryMode::Geneve,
                backend_flags::NAT => DeliveryMode::Nat,
                _ => DeliveryMode::Ipip,
            },
            local: row.flags & backend_flags::LOCAL != 0,
        })
    }

    pub fn row(&self, edge: &Edge, down: bool) -> BackendRow {
        let delivery = &edge.delivery;
        let masquerade = delivery.masquerade.as_ref();
        let v6 = self.address.is_ipv6();
        let mut flags = match self.delivery {
            DeliveryMode::Ipip => backend_flags::IPIP,
            DeliveryMode::Gue => backend_flags::GUE,
            DeliveryMode::Geneve => backend_flags::GENEVE,
            DeliveryMode::Nat => backend_flags::NAT,
        };
        let source = match self.delivery {
            DeliveryMode::Nat => masquerade_source(masquerade, v6),
            _ => outer_source(edge, v6),
        };
        for (bit, on) in [
            (backend_flags::V6, v6),
            (backend_flags::LOCAL, self.local),
            (backend_flags::DOWN, down),
            (backend_flags::FIB, edge.next_hop == NextHop::Fib),
            (
                backend_flags::MASQUERADE,
                self.delivery == DeliveryMode::Nat && source != Address::NONE,
            ),
        ] {
            flags |= if on { bit } else { 0 };
        }
        BackendRow {
            address: self.address.into(),
            source,
            flags,
            ifindex: 0,
            mac: NO_MAC,
            source_mac: NO_MAC,
            port: self.port.map_or(Port::NONE, Port::new),
            zero: 0,
            vni: match self.delivery {
                DeliveryMode::Geneve => delivery.geneve_vni,
                _ => 0,
            },
            zero2: 0,
        }
    }
}

const NO_MAC: Mac = Mac([0; 3]);

/// The value of an unused backend number.
pub const NO_BACKEND: BackendRow = BackendRow {
    address: Address::NONE,
    source: Address::NONE,
    flags: 0,
    ifindex: 0,
    mac: NO_MAC,
    source_mac: NO_MAC,
    port: Port::NONE,
    zero: 0,
    vni: 0,
    zero2: 0,
};

fn outer_source(edge: &Edge, v6: bool) -> Address {
    let source = match v6 {
        true => edge.delivery.source_v6.map(IpAddr::from),
        false => edge.delivery.source_v4.map(IpAddr::from),
    };
    source.map_or(Address::NONE, Address::from)
}

fn masquerade_source(masquerade: Option<&Masquerade>, v6: bool) -> Address {
    let source = masquerade.and_then(|masquerade| match v6 {
        true => masquerade.v6.map(IpAddr::from),
        false => masquerade.v4.map(IpAddr::from),
    });
    source.map_or(Address::NONE, Address::from)
}

pub fn frontend_bits(edge: &Edge, vip: &Vip) -> u32 {
    let katran = edge.hashing.algorithm != HashAlgorithm::Skep;
    let all_ports = vip.ports.is_empty();
    [
        (frontend_flags::NO_SOURCE_PORT, vip.hash_on == HashOn::NoSourcePort),
        (frontend_flags::DESTINATION_PORT_ONLY, vip.hash_on == HashOn::DestinationPort),
        // Katran hashes port 0 for such VIPs.
        (frontend_flags::HASH_ALL_PORTS, all_ports && !katran),
        (frontend_flags::QUIC, vip.quic),
        (frontend_flags::TCP_SERVER_ID, vip.tcp_server_id),
        (frontend_flags::UDP_STABLE_ROUTING, vip.udp_stable_routing),
        (frontend_flags::UDP_MIGRATION, vip.udp_flow_migration),
        (frontend_flags::SOURCE_ROUTING, vip.source_routing && !edge.source_routes.is_empty()),
        (frontend_flags::LOCAL, vip.backends.iter().any(|backend| backend.local)),
        (frontend_flags::KATRAN_HASH, katran),
        (frontend_flags::KEEP_ALL, vip.keep == Keep::All),
        (frontend_flags::KEEP_MOVED, vip.keep == Keep::Moved),
        (frontend_flags::LIMITED, vip.new_flows_per_second.is_some()),
    ]
    .into_iter()
    .fold(0, |bits, (bit, on)| if on { bits | bit } else { bits })
}

/// Seed of our own flow hash. Balancers that share VIPs must have the same.
pub const SEED: u32 = 0x5ceb_0001;
/// Katran forgets UDP flows after so long without a packet.
const UDP_TIMEOUT_NS: u64 = 30_000_000_000;
const ETHERNET: u32 = 14;

/// What the whole program needs to know; interface and MAC of health checks are the datapath's to
/// add.
pub fn settings<'v>(
    edge: &Edge,
    mut vips: impl Iterator<Item = &'v Vip>,
    ranges: bool,
    prefixes: bool,
) -> Settings {
    let delivery = &edge.delivery;
    let katran = edge.hashing.algorithm != HashAlgorithm::Skep;
    let decapsulation = edge.decapsulation.as_ref();
    let nat = vips.any(|vip| vip.delivery == DeliveryMode::Nat);
    let flags = [
        (settings_flags::RANGES, ranges),
        (settings_flags::PREFIXES, prefixes),
        (settings_flags::DECAPSULATE_IPIP, decapsulation.is_some_and(|it| it.ipip)),
        (settings_flags::DECAPSULATE_GUE, decapsulation.is_some_and(|it| it.gue)),
        (
            settings_flags::DECAPSULATE_STRICT,
            decapsulation.is_some_and(|it| it.strict_destination || !it.destinations.is_empty()),
        ),
        (settings_flags::SEND_TOO_BIG, !delivery.drop_too_big),
        (settings_flags::KATRAN, katran),
        (settings_flags::COPY_TOS, true),
        (settings_flags::NAT, nat),
    ]
    .into_iter()
    .fold(0, |bits, (bit, on)| if on { bits | bit } else { bits });
    let either = |v6: bool| match outer_source(edge, v6) {
        Address::NONE => masquerade_source(delivery.masquerade.as_ref(), v6),
        source => source,
    };
    let ports = delivery.masquerade.as_ref().map_or(Masquerade::PORTS, |it| it.ports);
    let local_mac = edge.probes.as_ref().and_then(|probes| probes.local_mac);
    Settings {
        flags,
        max_frame: u32::from(delivery.client_mtu) + ETHERNET,
        source_v4: either(false),
        source_v6: either(true),
        router_mac: match edge.next_hop {
            NextHop::Mac(mac) => mac.into(),
            NextHop::Fib => NO_MAC,
        },
        local_mac: local_mac.map_or(NO_MAC, Mac::from),
        check_ifindex: 0,
        gue_port: Port::new(delivery.gue_port),
        geneve_port: Port::new(delivery.geneve_port),
        nat_first_port: ports.first,
        nat_last_port: ports.last,
        seed: SEED,
        ipip_source_v4: u16::from_ne_bytes([172, 16]),
        zero: 0,
        ipip_source_v6: [u32::from_ne_bytes([1, 0, 0, 0]), 0, 0],
        // Whoever writes them keeps count.
        generation: 0,
        zero_too: 0,
        max_sent: u32::from(delivery.mtu) + ETHERNET,
        udp_timeout_ns: UDP_TIMEOUT_NS,
    }
}

/// Outer destinations that are decapsulated, and what becomes of the inner packets.
pub fn decapsulated(edge: &Edge) -> impl Iterator<Item = (Address, u32)> {
    edge.decapsulation.iter().flat_map(|it| {
        let balanced = it.destinations.iter().map(|one| (*one, decapsulate::BALANCE));
        let answers = it.egress.iter().map(|one| (*one, decapsulate::EGRESS));
        balanced.chain(answers).map(|(address, what)| (Address::from(address), what))
    })
}

/// Slots of a VIP's ring.
pub fn ring_len(edge: &Edge, backends: usize) -> u32 {
    edge.hashing.ring_size.unwrap_or(match edge.hashing.algorithm {
        HashAlgorithm::Skep => ring::size(backends),
        _ => HashAlgorithm::KATRAN_RING,
    })
}

//! `vips[]` and `backends[]`.

use super::values::{each, flag, number, optional, port_range};
use super::{delivery_mode, health, keep};
use crate::manifest::network_policy::cidr;
use crate::manifest::node::{Node, Place, Scalar, Value};
use crate::manifest::reader::{Fields, Reader};
use crate::manifest::selector::{one_of, unicast};
use ipnet::IpNet;
use model::Protocol;
use model::load_balancer::{
    Backend, BackendState, Delivery, DeliveryMode, HashOn, Keep, PortRange, Vip,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a VIP gets that doesn't say itself.
pub struct Defaults {
    pub delivery: Delivery,
    pub keep: Keep,
    pub has_zone: bool,
    /// The next hop is a MAC address.
    pub has_mac: bool,
}

/// Slots of a ring have 2 bytes.
const MOST_BACKENDS: usize = 4096;

pub fn all(reader: &mut Reader, node: Option<&Node>, defaults: &Defaults) -> Option<Vec<Vip>> {
    let vips = each(reader, node, "vips", |reader, node| {
        let (vip, backends) = vip(reader, node, defaults)?;
        Some((vip, node.place, backends))
    })?;
    let mut seen = BTreeSet::new();
    for (vip, place, _) in &vips {
        let overlap = ranges(vip).find(|range| {
            let before = seen.range(..=(vip.protocol, vip.block, range.last, u16::MAX)).next_back();
            before.is_some_and(|(protocol, block, _, last)| {
                (*protocol, *block) == (vip.protocol, vip.block) && *last >= range.first
            })
        });
        if let Some(range) = overlap {
            reader
                .error(place.to_owned(), format_args!("{} is given twice", title(vip, range)))
                .help("a packet can only be of one VIP; ranges must not overlap");
        }
        seen.extend(ranges(vip).map(|range| (vip.protocol, vip.block, range.first, range.last)));
    }
    let is_address = |block: &IpNet| block.prefix_len() == block.max_prefix_len();
    let addresses: BTreeSet<IpAddr> =
        vips.iter().map(|(vip, ..)| vip.block).filter(is_address).map(|it| it.addr()).collect();
    for (vip, _, places) in &vips {
        for (backend, place) in vip.backends.iter().zip(places) {
            // One on this host may have the VIP as its address.
            if addresses.contains(&backend.address) && !backend.local {
                let message = format_args!("backend {} is a VIP of this balancer", backend.address);
                reader
                    .error(*place, message)
                    .help("what is sent there comes back here; give the server's own address");
            }
        }
    }
    Some(vips.into_iter().map(|(vip, ..)| vip).collect())
}

fn ranges(vip: &Vip) -> impl Iterator<Item = PortRange> {
    let all = vip.ports.is_empty().then_some(PortRange { first: 0, last: 0 });
    vip.ports.iter().copied().chain(all)
}

fn title(vip: &Vip, range: PortRange) -> String {
    let ports = match (range.first, range.last) {
        (0, _) => "all ports".to_owned(),
        (first, last) if first == last => format!("port {first}"),
        (first, last) => format!("ports {first}-{last}"),
    };
    format!("{} {} {ports}", vip.protocol, vip.block)
}

/// With the places of its backends.
fn vip(reader: &mut Reader, node: &Node, defaults: &Defaults) -> Option<(Vip, Vec<Place>)> {
    let mut fields = reader.fields(node, "vips[]")?;
    let block = fields.required(reader, "address").and_then(|node| block(reader, node));
    let ports = fields.required(reader, "ports").and_then(|node| ports(reader, node));
    if let (Some(block), Some(ports)) = (block, &ports) {
        check_block_ports(reader, node, block, ports);
    }
    let protocol = match fields.optional("protocol") {
        Some(node) => match one_of(reader, node, "protocol", &["TCP", "UDP"]) {
            Some("UDP") => Some(Protocol::Udp),
            Some(_) => Some(Protocol::Tcp),
            None => None,
        },
        None => Some(Protocol::Tcp),
    };
    let delivery = match fields.optional("delivery") {
        Some(node) => delivery_mode(reader, node, "delivery"),
        None => Some(defaults.delivery.mode),
    };
    let keep = match fields.optional("flows") {
        Some(node) => keep(reader, node, "flows"),
        None => Some(defaults.keep),
    };
    let hash_on = optional(reader, fields.optional("hashOn"), |reader, node| {
        let known = ["flow", "noSourcePort", "destinationPort"];
        Some(match one_of(reader, node, "hashOn", &known)? {
            "noSourcePort" => HashOn::NoSourcePort,
            "destinationPort" => HashOn::DestinationPort,
            _ => HashOn::Flow,
        })
    });
    let quic = only_for(reader, &mut fields, "quic", Protocol::Udp, protocol);
    let tcp_server_id = only_for(reader, &mut fields, "tcpServerId", Protocol::Tcp, protocol);
    let stable = only_for(reader, &mut fields, "udpStableRouting", Protocol::Udp, protocol);
    let migration = only_for(reader, &mut fields, "udpFlowMigration", Protocol::Udp, protocol);
    let source_routing = flag(reader, &mut fields, "sourceRouting");
    let zone_node = fields.optional("preferZone");
    let prefer_zone = zone_node.map_or(Some(false), |node| reader.flag(node, "preferZone"));
    if let (Some(true), Some(node), false) = (prefer_zone, zone_node, defaults.has_zone) {
        reader
            .error(node.place, "`preferZone` without a zone of this balancer")
            .help("give `zone` beside `vips`");
    }
    let new_flows = match fields.optional("newFlowsPerSecond") {
        Some(node) => number(reader, node, "newFlowsPerSecond", 1..=1_000_000_000)
            .map(|limit| Some(limit as u32)),
        None => Some(None),
    };
    let has_port = ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let health_check = match fields.optional("healthCheck") {
        Some(node) => health::read(reader, node, has_port, defaults.has_mac).map(Some),
        None => Some(None),
    };
    let backends_node = fields.required(reader, "backends");
    let backends = each(reader, backends_node, "backends", |reader, node| {
        Some((backend(reader, node, block, delivery, defaults)?, node.place))
    });
    let (backends, places): (Option<Vec<Backend>>, Vec<Place>) = match backends {
        Some(backends) => {
            let (backends, places) = backends.into_iter().unzip();
            (Some(backends), places)
        }
        None => (None, Vec::new()),
    };
    if let Some(node) = backends_node {
        check_backends(reader, node, backends.as_deref().unwrap_or_default());
    }
    fields.finish(reader);
    backends_node?;
    let vip = Vip {
        block: block?,
        ports: ports?,
        protocol: protocol?,
        delivery: delivery?,
        keep: keep?,
        hash_on: hash_on?,
        quic: quic?,
        tcp_server_id: tcp_server_id?,
        udp_stable_routing: stable?,
        udp_flow_migration: migration?,
        source_routing: source_routing?,
        prefer_zone: prefer_zone?,
        new_flows_per_second: new_flows?,
        health_check: health_check?,
        backends: backends?,
        line: reader.origin(node.place).line,
    };
    Some((vip, places))
}

/// An address, or a block of them.
fn block(reader: &mut Reader, node: &Node) -> Option<IpNet> {
    match node.scalar() {
        Some(Scalar::Text(text)) if text.contains('/') => cidr(reader, node, "address"),
        _ => unicast(reader, node, "address").map(IpNet::from),
    }
}

/// `all`, a port, a range, or a list of ports and ranges. Empty means all.
fn ports(reader: &mut Reader, node: &Node) -> Option<Vec<PortRange>> {
    if node.scalar() == Some(Scalar::Text("all")) {
        return Some(Vec::new());
    }
    let Value::Sequence(items) = &node.value else {
        return port_range(reader, node, "ports").map(|range| vec![range]);
    };
    if items.is_empty() {
        reader.error(node.place, "`ports` is an empty list").help("write ports: all for all ports");
        return None;
    }
    let mut ranges =
        each(reader, Some(node), "ports", |reader, node| port_range(reader, node, "ports[]"))?;
    ranges.sort_unstable();
    if let Some([one, next]) =
        ranges.array_windows().find(|[one, next]: &&[PortRange; 2]| one.last >= next.first)
    {
        reader.error(
            node.place,
            format_args!("port {} is given twice, up to {}", next.first, one.last),
        );
        return None;
    }
    Some(ranges)
}

/// Each port of a block of addresses is an entry of its own.
fn check_block_ports(reader: &mut Reader, node: &Node, block: IpNet, ports: &[PortRange]) {
    const MOST: u32 = 1024;
    let count: u32 = ports.iter().map(|range| u32::from(range.last - range.first) + 1).sum();
    if block.prefix_len() < block.max_prefix_len() && count > MOST {
        reader
            .error(node.place, format_args!("a block of addresses takes {MOST} ports at most"))
            .label(format_args!("these are {count}"))
            .help("write ports: all");
    }
}

fn only_for(
    reader: &mut Reader,
    fields: &mut Fields,
    name: &'static str,
    wanted: Protocol,
    protocol: Option<Protocol>,
) -> Option<bool> {
    let Some(node) = fields.optional(name) else { return Some(false) };
    let on = reader.flag(node, name)?;
    if on && protocol.is_some_and(|protocol| protocol != wanted) {
        reader.error(node.place, format_args!("`{name}` is for {wanted} only"));
        return None;
    }
    Some(on)
}

fn backend(
    reader: &mut Reader,
    node: &Node,
    vip: Option<IpNet>,
    delivery: Option<DeliveryMode>,
    defaults: &Defaults,
) -> Option<Backend> {
    let mut fields = reader.fields(node, "backends[]")?;
    let address_node = fields.required(reader, "address");
    let address = address_node.and_then(|node| unicast(reader, node, "address"));
    let port = match fields.optional("port") {
        Some(node) => {
            let port = reader.port(node, "port");
            if delivery.is_some_and(|mode| mode != DeliveryMode::Nat) {
                reader
                    .error(node.place, "`port` of a backend is for delivery `nat` only")
                    .label("encapsulated packets keep the VIP's port");
            }
            port.map(Some)
        }
        None => Some(None),
    };
    let weight = match fields.optional("weight") {
        Some(node) => number(reader, node, "weight", 0..=65_535).map(|weight| weight as u32),
        None => Some(1),
    };
    let zone = match fields.optional("zone") {
        Some(node) => reader.text(node, "zone").map(|zone| Some(zone.to_owned())),
        None => Some(None),
    };
    let state = optional(reader, fields.optional("state"), |reader, node| {
        let known = ["active", "draining", "down", "standby"];
        Some(match one_of(reader, node, "state", &known)? {
            "draining" => BackendState::Draining,
            "down" => BackendState::Down,
            "standby" => BackendState::Standby,
            _ => BackendState::Active,
        })
    });
    let priority_node = fields.optional("priority");
    let priority = match priority_node {
        Some(node) => number(reader, node, "priority", 0..=1000).map(|priority| priority as u32),
        None => Some(0),
    };
    if let (Some(node), Some(state)) = (priority_node, state)
        && state != BackendState::Standby
    {
        reader.error(node.place, "`priority` is for backends with `state: standby`");
    }
    let local = flag(reader, &mut fields, "local");
    let forget_flows = flag(reader, &mut fields, "forgetFlows");
    fields.finish(reader);
    if let (Some(vip), Some(address), Some(delivery), Some(node)) =
        (vip, address, delivery, address_node)
    {
        check_family(reader, node, vip, address, delivery, &defaults.delivery);
    }
    Some(Backend {
        address: address?,
        port: port?,
        weight: weight?,
        zone: zone?,
        state: state?,
        priority: priority?,
        local: local?,
        forget_flows: forget_flows?,
        line: reader.origin(node.place).line,
    })
}

fn check_family(
    reader: &mut Reader,
    node: &Node,
    vip: IpNet,
    backend: IpAddr,
    mode: DeliveryMode,
    delivery: &Delivery,
) {
    let vip_v4 = vip.addr().is_ipv4();
    if vip_v4 == backend.is_ipv4() {
        return;
    }
    if mode != DeliveryMode::Nat {
        if !vip_v4 {
            reader
                .error(node.place, format_args!("{backend} cannot serve the IPv6 VIP {vip}"))
                .label("IPv6 packets are not encapsulated in IPv4");
        }
        return;
    }
    let masquerade = delivery.masquerade.as_ref();
    let has = masquerade.is_some_and(|masquerade| match backend.is_ipv4() {
        true => masquerade.v4.is_some(),
        false => masquerade.v6.is_some(),
    });
    if !has {
        let family = if backend.is_ipv4() { "ipv4" } else { "ipv6" };
        reader
            .error(node.place, format_args!("{backend} has another family than {vip}"))
            .help(format_args!("give delivery.masquerade.{family}: backends answer to it"));
    }
}

fn check_backends(reader: &mut Reader, node: &Node, backends: &[Backend]) {
    let mut seen = BTreeSet::new();
    for backend in backends {
        if !seen.insert((backend.address, backend.port)) {
            reader.error(node.place, format_args!("backend {} is given twice", backend.address));
        }
    }
    if backends.len() > MOST_BACKENDS {
        reader.error(node.place, format_args!("more than {MOST_BACKENDS} backends of one VIP"));
    }
}

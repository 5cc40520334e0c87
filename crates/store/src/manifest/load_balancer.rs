//! LoadBalancer, `skep.dev/v1`: virtual addresses at the edge and how packets get to their
//! backends. docs/loadbalancer.md describes every field.

mod health;
mod values;
mod vip;

use super::metadata::{Metadata, well_formed};
use super::network_policy::cidr;
use super::node::{Node, Scalar};
use super::reader::{Fields, Reader};
use super::selector::{one_of, unicast};
use super::syntax;
use model::LoadBalancer;
use model::load_balancer::{
    AttachMode, Decapsulation, DecapsulationHook, Delivery, DeliveryMode, Edge, EdgeInterface,
    FlowKeeping, HashAlgorithm, Hashing, Keep, Masquerade, NextHop, ProbeEncapsulation, ProbeMark,
    ServerId, SourceRoute,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use values::{each, flag, mac, number, optional, port_range};

pub fn read(
    reader: &mut Reader,
    metadata: Option<Metadata>,
    object: &mut Fields,
) -> Option<LoadBalancer> {
    let spec = object.required(reader, "spec")?;
    let mut fields = reader.fields(spec, "spec")?;
    let interfaces = each(reader, fields.optional("interfaces"), "interfaces", interface);
    let next_hop = optional(reader, fields.optional("nextHop"), next_hop);
    let delivery = optional(reader, fields.optional("delivery"), delivery);
    let hashing = optional(reader, fields.optional("hashing"), hashing);
    let flows = optional(reader, fields.optional("flows"), flow_keeping);
    let server_ids = each(reader, fields.optional("serverIds"), "serverIds", server_id);
    let source_routes = each(reader, fields.optional("sourceRoutes"), "sourceRoutes", source_route);
    let decapsulation_node = fields.optional("decapsulation");
    let decapsulation = match decapsulation_node {
        Some(node) => decapsulation(reader, node).map(Some),
        None => Some(None),
    };
    let probes = match fields.optional("probes") {
        Some(node) => probes(reader, node).map(Some),
        None => Some(None),
    };
    let zone = match fields.optional("zone") {
        Some(node) => reader.text(node, "zone").map(|zone| Some(zone.to_owned())),
        None => Some(None),
    };
    let defaults = vip::Defaults {
        delivery: delivery.clone().unwrap_or_default(),
        keep: flows.clone().unwrap_or_default().keep,
        has_zone: !matches!(zone, Some(None)),
        has_mac: !matches!(next_hop, Some(NextHop::Fib)),
    };
    let vips_node = match decapsulation_node {
        // A host that only decapsulates has no VIP.
        Some(_) => fields.optional("vips"),
        None => fields.required(reader, "vips"),
    };
    let vips = vip::all(reader, vips_node, &defaults);
    fields.finish(reader);
    let (server_ids, source_routes) = (server_ids?, source_routes?);
    twice(reader, spec, "server id", server_ids.iter().map(|server| server.id));
    twice(reader, spec, "source route", source_routes.iter().map(|route| route.source));
    let metadata = metadata?;
    Some(LoadBalancer {
        name: metadata.name,
        edge: Edge {
            interfaces: interfaces?,
            next_hop: next_hop?,
            delivery: delivery?,
            hashing: hashing?,
            flows: flows?,
            server_ids,
            source_routes,
            decapsulation: decapsulation?,
            probes: probes?,
            zone: zone?,
        },
        vips: vips?,
        origin: metadata.origin,
    })
}

fn twice<T: Ord + std::fmt::Display>(
    reader: &mut Reader,
    node: &Node,
    what: &str,
    all: impl Iterator<Item = T>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for one in all {
        if let Some(again) = seen.replace(one) {
            reader.error(node.place, format_args!("{what} {again} is given twice"));
        }
    }
}

fn interface(reader: &mut Reader, node: &Node) -> Option<EdgeInterface> {
    let mut fields = reader.fields(node, "interfaces[]")?;
    let name = fields.required(reader, "name").and_then(|node| interface_name(reader, node));
    let attach = optional(reader, fields.optional("attach"), |reader, node| {
        Some(match one_of(reader, node, "attach", &["auto", "native", "generic", "tc"])? {
            "native" => AttachMode::Native,
            "generic" => AttachMode::Generic,
            "tc" => AttachMode::Tc,
            _ => AttachMode::Auto,
        })
    });
    fields.finish(reader);
    Some(EdgeInterface { name: name?, attach: attach? })
}

fn interface_name(reader: &mut Reader, node: &Node) -> Option<String> {
    let name = reader.text(node, "name")?;
    well_formed(reader, node, "interface name", syntax::interface(name))?;
    Some(name.to_owned())
}

/// `fib`, or a MAC address.
fn next_hop(reader: &mut Reader, node: &Node) -> Option<NextHop> {
    match node.scalar() {
        Some(Scalar::Text("fib")) => Some(NextHop::Fib),
        _ => mac(reader, node, "nextHop").map(NextHop::Mac),
    }
}

pub(super) const DELIVERIES: [&str; 4] = ["ipip", "gue", "geneve", "nat"];

fn delivery_mode(reader: &mut Reader, node: &Node, name: &str) -> Option<DeliveryMode> {
    Some(match one_of(reader, node, name, &DELIVERIES)? {
        "gue" => DeliveryMode::Gue,
        "geneve" => DeliveryMode::Geneve,
        "nat" => DeliveryMode::Nat,
        _ => DeliveryMode::Ipip,
    })
}

fn delivery(reader: &mut Reader, node: &Node) -> Option<Delivery> {
    let mut fields = reader.fields(node, "delivery")?;
    let mode = optional(reader, fields.optional("mode"), |reader, node| {
        delivery_mode(reader, node, "mode")
    });
    let mut port = |reader: &mut Reader, name: &'static str, default: u16| {
        fields.optional(name).map_or(Some(default), |node| reader.port(node, name))
    };
    let gue_port = port(reader, "guePort", Delivery::GUE_PORT);
    let geneve_port = port(reader, "genevePort", Delivery::GENEVE_PORT);
    let mut size = |reader: &mut Reader, name: &'static str| match fields.optional(name) {
        // IPv6 needs links of 1280 bytes at least (RFC 8200, section 5).
        Some(node) => number(reader, node, name, 1280..=9216).map(|size| size as u16),
        None => Some(Delivery::MTU),
    };
    let mtu = size(reader, "mtu");
    let client_mtu = size(reader, "clientMtu");
    let too_big = optional(reader, fields.optional("tooBig"), |reader, node| {
        Some(one_of(reader, node, "tooBig", &["answer", "drop"])? == "drop")
    });
    let geneve_vni = match fields.optional("geneveVni") {
        Some(node) => number(reader, node, "geneveVni", 0..=0xff_ffff).map(|vni| vni as u32),
        None => Some(0),
    };
    let sources = match fields.optional("sources") {
        Some(node) => {
            reader.fields(node, "sources").and_then(|fields| both_families(reader, fields))
        }
        None => Some((None, None)),
    };
    let masquerade = match fields.optional("masquerade") {
        Some(node) => masquerade(reader, node).map(Some),
        None => Some(None),
    };
    fields.finish(reader);
    let (source_v4, source_v6) = sources?;
    Some(Delivery {
        mode: mode?,
        gue_port: gue_port?,
        geneve_port: geneve_port?,
        geneve_vni: geneve_vni?,
        mtu: mtu?,
        client_mtu: client_mtu?,
        drop_too_big: too_big?,
        source_v4,
        source_v6,
        masquerade: masquerade?,
    })
}

/// Fields `ipv4` and `ipv6`; nothing else may be left in `fields`.
fn both_families(
    reader: &mut Reader,
    mut fields: Fields,
) -> Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let read = family(reader, &mut fields);
    fields.finish(reader);
    read
}

fn family(
    reader: &mut Reader,
    fields: &mut Fields,
) -> Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let v4 = match fields.optional("ipv4") {
        None => Some(None),
        Some(node) => match unicast(reader, node, "ipv4") {
            Some(IpAddr::V4(v4)) => Some(Some(v4)),
            Some(IpAddr::V6(_)) => {
                reader.error(node.place, "`ipv4` is an IPv6 address");
                None
            }
            None => None,
        },
    };
    let v6 = match fields.optional("ipv6") {
        None => Some(None),
        Some(node) => match unicast(reader, node, "ipv6") {
            Some(IpAddr::V6(v6)) => Some(Some(v6)),
            Some(IpAddr::V4(_)) => {
                reader.error(node.place, "`ipv6` is an IPv4 address");
                None
            }
            None => None,
        },
    };
    Some((v4?, v6?))
}

fn masquerade(reader: &mut Reader, node: &Node) -> Option<Masquerade> {
    let mut fields = reader.fields(node, "masquerade")?;
    let ports = match fields.optional("ports") {
        Some(node) => port_range(reader, node, "ports"),
        None => Some(Masquerade::PORTS),
    };
    let addresses = family(reader, &mut fields);
    fields.finish(reader);
    let (v4, v6) = addresses?;
    if v4.is_none() && v6.is_none() {
        reader
            .error(node.place, "`masquerade` has no address")
            .help("give ipv4, ipv6 or both: addresses of this host that backends answer to");
        return None;
    }
    Some(Masquerade { v4, v6, ports: ports? })
}

fn hashing(reader: &mut Reader, node: &Node) -> Option<Hashing> {
    let mut fields = reader.fields(node, "hashing")?;
    let algorithm = match fields.optional("algorithm") {
        Some(node) => one_of(reader, node, "algorithm", &["skep", "katran"]),
        None => Some("skep"),
    };
    let version_node = fields.optional("version");
    let version = match version_node {
        Some(node) => one_of(reader, node, "version", &["V1", "V2"]),
        None => Some("V2"),
    };
    let ring_size = match fields.optional("ringSize") {
        Some(node) => ring_size(reader, node).map(Some),
        None => Some(None),
    };
    let slots = match fields.optional("slots") {
        Some(node) => number(reader, node, "slots", 4_096..=1 << 30).map(|slots| slots as u32),
        None => Some(Hashing::SLOTS),
    };
    fields.finish(reader);
    let algorithm = match (algorithm?, version?) {
        ("katran", "V1") => HashAlgorithm::KatranV1,
        ("katran", _) => HashAlgorithm::KatranV2,
        _ => {
            if let Some(node) = version_node {
                reader
                    .error(node.place, "`version` is of Katran's rings")
                    .help("write algorithm: katran beside it, or remove it");
            }
            HashAlgorithm::Skep
        }
    };
    Some(Hashing { algorithm, ring_size: ring_size?, slots: slots? })
}

/// Every step of a backend's walk must go through the whole ring.
fn ring_size(reader: &mut Reader, node: &Node) -> Option<u32> {
    let size = number(reader, node, "ringSize", 3..=1_048_573)? as u32;
    let composite = (2..).take_while(|d| d * d <= size).any(|d| size.is_multiple_of(d));
    if composite {
        reader
            .error(node.place, format_args!("`ringSize` {size} is not a prime number"))
            .help("usual sizes: 4093, 16381, 65521, 65537, 262139");
        return None;
    }
    Some(size)
}

pub(super) const KEEPS: [&str; 3] = ["moved", "all", "none"];

fn keep(reader: &mut Reader, node: &Node, name: &str) -> Option<Keep> {
    Some(match one_of(reader, node, name, &KEEPS)? {
        "all" => Keep::All,
        "none" => Keep::None,
        _ => Keep::Moved,
    })
}

fn flow_keeping(reader: &mut Reader, node: &Node) -> Option<FlowKeeping> {
    let mut fields = reader.fields(node, "flows")?;
    let keep = optional(reader, fields.optional("keep"), |reader, node| keep(reader, node, "keep"));
    let table = match fields.optional("table") {
        Some(node) => number(reader, node, "table", 1..=1 << 28).map(|size| size as u32),
        None => Some(FlowKeeping::TABLE),
    };
    let idle = match fields.optional("idle") {
        Some(node) => values::duration(reader, node, "idle"),
        None => Some(FlowKeeping::IDLE),
    };
    fields.finish(reader);
    Some(FlowKeeping { keep: keep?, table: table?, idle: idle? })
}

/// Ids have 24 bits in connection ids of version 2 and 32 in those of version 3; the datapath's
/// table holds 24.
fn server_id(reader: &mut Reader, node: &Node) -> Option<ServerId> {
    let mut fields = reader.fields(node, "serverIds[]")?;
    let id = fields
        .required(reader, "id")
        .and_then(|node| number(reader, node, "id", 1..=0xff_ffff))
        .map(|id| id as u32);
    let backend = backend_address(reader, &mut fields);
    fields.finish(reader);
    Some(ServerId { id: id?, backend: backend? })
}

fn backend_address(reader: &mut Reader, fields: &mut Fields) -> Option<IpAddr> {
    fields.required(reader, "backend").and_then(|node| unicast(reader, node, "backend"))
}

fn source_route(reader: &mut Reader, node: &Node) -> Option<SourceRoute> {
    let mut fields = reader.fields(node, "sourceRoutes[]")?;
    let source = fields.required(reader, "source").and_then(|node| cidr(reader, node, "source"));
    let backend = backend_address(reader, &mut fields);
    fields.finish(reader);
    Some(SourceRoute { source: source?, backend: backend? })
}

fn decapsulation(reader: &mut Reader, node: &Node) -> Option<Decapsulation> {
    let mut fields = reader.fields(node, "decapsulation")?;
    let ipip = flag(reader, &mut fields, "ipip");
    let gue = flag(reader, &mut fields, "gue");
    let mut addresses = |reader: &mut Reader, name: &'static str| {
        each(reader, fields.optional(name), name, |reader, node| unicast(reader, node, name))
    };
    let destinations = addresses(reader, "destinations");
    let egress = addresses(reader, "egress");
    let strict = flag(reader, &mut fields, "strictDestination");
    let hook = optional(reader, fields.optional("at"), |reader, node| {
        Some(match one_of(reader, node, "at", &["xdp", "tc"])? {
            "tc" => DecapsulationHook::Tc,
            _ => DecapsulationHook::Xdp,
        })
    });
    fields.finish(reader);
    let (ipip, gue) = (ipip?, gue?);
    if !ipip && !gue {
        reader
            .error(node.place, "`decapsulation` takes nothing out")
            .help("write ipip: true, gue: true (its port is delivery.guePort), or both");
        return None;
    }
    Some(Decapsulation {
        ipip,
        gue,
        destinations: destinations?,
        egress: egress?,
        strict_destination: strict?,
        hook: hook?,
    })
}

fn probes(reader: &mut Reader, node: &Node) -> Option<ProbeEncapsulation> {
    let mut fields = reader.fields(node, "probes")?;
    let interface = match fields.optional("interface") {
        Some(node) => interface_name(reader, node).map(Some),
        None => Some(None),
    };
    let local_mac = match fields.optional("localMac") {
        Some(node) => mac(reader, node, "localMac").map(Some),
        None => Some(None),
    };
    let marks_node = fields.required(reader, "marks");
    let marks = each(reader, marks_node, "marks", |reader, node| {
        let mut fields = reader.fields(node, "marks[]")?;
        let mark = fields
            .required(reader, "mark")
            .and_then(|node| number(reader, node, "mark", 1..=u32::MAX.into()))
            .map(|mark| mark as u32);
        let backend = backend_address(reader, &mut fields);
        fields.finish(reader);
        Some(ProbeMark { mark: mark?, backend: backend? })
    });
    fields.finish(reader);
    marks_node?;
    let marks = marks?;
    twice(reader, node, "mark", marks.iter().map(|mark| mark.mark));
    Some(ProbeEncapsulation { interface: interface?, local_mac: local_mac?, marks })
}

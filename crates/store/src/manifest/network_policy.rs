//! NetworkPolicy, `networking.k8s.io/v1`, with the defaults of its documentation.

use super::metadata::Metadata;
use super::node::Node;
use super::reader::{Fields, Reader};
use super::selector::{one_of, port_name, protocol, selector, shorten};
use ipnet::IpNet;
use model::{NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule, PortMatch, Selector};
use std::net::IpAddr;

pub fn read(
    reader: &mut Reader,
    metadata: Option<Metadata>,
    object: &mut Fields,
) -> Option<NetworkPolicy> {
    let spec = object.required(reader, "spec")?;
    let mut fields = reader.fields(spec, "spec")?;
    let subjects = match fields.optional("podSelector") {
        Some(node) => selector(reader, node, "podSelector"),
        None => Some(Selector::everything()),
    };
    let ingress_node = fields.optional("ingress");
    let egress_node = fields.optional("egress");
    let ingress = rules(reader, ingress_node, "ingress", "from");
    let egress = rules(reader, egress_node, "egress", "to");
    let types = fields.optional("policyTypes");
    let types = Types::read(reader, types, ingress_node, egress_node);
    fields.finish(reader);
    let (metadata, types) = (metadata?, types?);
    Some(NetworkPolicy {
        name: metadata.name,
        subjects: subjects?,
        ingress: types.ingress.then_some(ingress?),
        egress: types.egress.then_some(egress?),
        origin: metadata.origin,
    })
}

struct Types {
    ingress: bool,
    egress: bool,
}

impl Types {
    fn read(
        reader: &mut Reader,
        node: Option<&Node>,
        ingress: Option<&Node>,
        egress: Option<&Node>,
    ) -> Option<Types> {
        let has_rules = |node: Option<&Node>| {
            node.is_some_and(|node| matches!(&node.value, super::node::Value::Sequence(items) if !items.is_empty()))
        };
        let named = match node {
            Some(node) => reader.items(node, "policyTypes")?,
            None => &[],
        };
        if named.is_empty() {
            let types = Types { ingress: true, egress: has_rules(egress) };
            if let Some(node) = egress.filter(|_| !types.egress) {
                reader
                    .warn(node.place, "an empty `egress` without `policyTypes` restricts nothing")
                    .help("to deny all egress, add policyTypes: [Egress]");
            }
            return Some(types);
        }
        let mut types = Types { ingress: false, egress: false };
        for item in named {
            match one_of(reader, item, "policyTypes", &["Ingress", "Egress"])? {
                "Ingress" => types.ingress = true,
                _ => types.egress = true,
            }
        }
        for (applies, rules, field, name) in [
            (types.ingress, ingress, "ingress", "Ingress"),
            (types.egress, egress, "egress", "Egress"),
        ] {
            if let Some(node) = rules.filter(|_| !applies && has_rules(rules)) {
                reader
                    .warn(node.place, format_args!("these `{field}` rules have no effect"))
                    .help(format_args!("add {name} to policyTypes, or remove the rules"));
            }
        }
        Some(types)
    }
}

fn rules(
    reader: &mut Reader,
    node: Option<&Node>,
    name: &str,
    peers_field: &'static str,
) -> Option<Vec<PolicyRule>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let items = reader.items(node, name)?;
    let rules: Vec<_> = items.iter().map(|item| rule(reader, item, name, peers_field)).collect();
    rules.into_iter().collect()
}

fn rule(
    reader: &mut Reader,
    node: &Node,
    name: &str,
    peers_field: &'static str,
) -> Option<PolicyRule> {
    let mut fields = reader.fields(node, name)?;
    let peers = list(reader, fields.optional(peers_field), peers_field, peer);
    let ports = list(reader, fields.optional("ports"), "ports", port);
    let other = if peers_field == "from" { "to" } else { "from" };
    if let Some(entry) = fields.entry(other) {
        reader
            .error(entry.key_place, format_args!("`{other}` does not belong in `{name}`"))
            .label(format_args!("`{name}` rules have `{peers_field}`"));
    }
    fields.finish(reader);
    Some(PolicyRule { peers: peers?, ports: ports?, origin: reader.origin(node.place) })
}

fn list<T>(
    reader: &mut Reader,
    node: Option<&Node>,
    name: &str,
    read: fn(&mut Reader, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let items: Vec<_> = reader.items(node, name)?.iter().map(|item| read(reader, item)).collect();
    items.into_iter().collect()
}

fn peer(reader: &mut Reader, node: &Node) -> Option<PolicyPeer> {
    let mut fields = reader.fields(node, "peer")?;
    let workloads = fields.optional("podSelector");
    let namespaces = fields.optional("namespaceSelector");
    let block = fields.optional("ipBlock");
    let before = reader.diagnostics.len();
    fields.finish(reader);
    if let Some(node) = block {
        if workloads.or(namespaces).is_some() {
            reader
                .error(node.place, "`ipBlock` cannot stand beside a selector in one peer")
                .help("make them two peers: they are alternatives");
            return None;
        }
        return ip_block(reader, node);
    }
    if workloads.or(namespaces).is_none() {
        // A misspelt selector was reported already.
        if reader.diagnostics.len() == before {
            reader
                .error(node.place, "a peer needs `podSelector`, `namespaceSelector` or `ipBlock`")
                .help("to select every peer, leave `from` or `to` out");
        }
        return None;
    }
    let namespaces = namespaces.map(|node| selector(reader, node, "namespaceSelector"));
    let workloads = match workloads {
        Some(node) => selector(reader, node, "podSelector"),
        None => Some(Selector::everything()),
    };
    let namespaces = match namespaces {
        Some(read) => Some(read?),
        None => None,
    };
    Some(PolicyPeer::Workloads { namespaces, workloads: workloads? })
}

fn ip_block(reader: &mut Reader, node: &Node) -> Option<PolicyPeer> {
    let mut fields = reader.fields(node, "ipBlock")?;
    let block = fields.required(reader, "cidr").and_then(|node| cidr(reader, node, "cidr"));
    let mut except = Vec::new();
    if let Some(node) = fields.optional("except") {
        for item in reader.items(node, "except").unwrap_or_default() {
            let Some(hole) = cidr(reader, item, "except") else { continue };
            let Some(block) = block else { continue };
            if !block.contains(&hole) {
                reader
                    .error(item.place, format_args!("{hole} is not inside {block}"))
                    .label("`except` takes addresses out of `cidr`");
            } else if block == hole {
                reader
                    .error(item.place, format_args!("{hole} is the whole of `cidr`"))
                    .label("nothing would be left");
            }
            except.push(hole);
        }
    }
    fields.finish(reader);
    Some(PolicyPeer::Block { block: block?, except })
}

pub fn cidr(reader: &mut Reader, node: &Node, name: &str) -> Option<IpNet> {
    let text = reader.text(node, name)?;
    let Some(net) = parse_cidr(text) else {
        let draft = reader
            .error(node.place, format_args!("`{}` is not an address block (CIDR)", shorten(text)));
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => draft.help(format_args!("for this one address write {text}/32")),
            Ok(IpAddr::V6(_)) => draft.help(format_args!("for this one address write {text}/128")),
            Err(_) => draft.help("write it like 10.0.0.0/8 or fd00::/8"),
        };
        return None;
    };
    if let IpAddr::V6(address) = net.addr()
        && address.to_ipv4_mapped().is_some()
    {
        reader
            .error(node.place, "IPv4 addresses in the form of IPv6 addresses")
            .help("write the block as an IPv4 block");
        return None;
    }
    let whole = net.trunc();
    if whole != net {
        reader
            .warn(node.place, format_args!("{net} has bits set behind its prefix"))
            .label(format_args!("read as {whole}"));
    }
    Some(whole)
}

/// Stricter than `IpNet`, which takes an octet of 010 for 10 where others take it for 8.
fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()
}

fn port(reader: &mut Reader, node: &Node) -> Option<PolicyPort> {
    let mut fields = reader.fields(node, "ports[]")?;
    let protocol = protocol(reader, &mut fields);
    let port_node = fields.optional("port");
    let end_node = fields.optional("endPort");
    let port = match port_node {
        None => Some(PortMatch::Any),
        Some(node) if node.is_text() => port_name(reader, node, "port").map(PortMatch::Name),
        Some(node) => reader.port(node, "port").map(|port| PortMatch::Range(port, port)),
    };
    let port = match end_node {
        None => port,
        Some(node) => match (port, reader.port(node, "endPort")) {
            (Some(PortMatch::Range(first, _)), Some(last)) if last < first => {
                reader.error(node.place, format_args!("`endPort` {last} is below `port` {first}"));
                None
            }
            (Some(PortMatch::Range(first, _)), Some(last)) => Some(PortMatch::Range(first, last)),
            (Some(PortMatch::Name(_)), _) => {
                reader.error(node.place, "`endPort` cannot stand beside a named port");
                None
            }
            (Some(PortMatch::Any), _) => {
                reader.error(node.place, "`endPort` needs a `port` where the range begins");
                None
            }
            _ => None,
        },
    };
    fields.finish(reader);
    Some(PolicyPort { protocol: protocol?, port: port? })
}

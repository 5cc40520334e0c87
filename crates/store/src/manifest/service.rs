//! Service, `v1`.

pub mod annotations;
mod traffic;

use super::metadata::{Metadata, labels, well_formed};
use super::node::{Node, Scalar, Value};
use super::reader::{Fields, Reader};
use super::selector::{address, one_of, port_name, protocol};
use super::syntax;
use crate::diagnostic::Severity;
use model::{Service, ServicePort, TargetPort};
use std::net::IpAddr;

/// Right in any manifest, and without a meaning for one node.
const WITHOUT_EFFECT: [&str; 4] =
    ["allocateLoadBalancerNodePorts", "ipFamilies", "ipFamilyPolicy", "loadBalancerClass"];

/// Labels by which Kubernetes gives a service to somebody else than the node's proxy.
const OTHERS: [&str; 2] =
    ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/// `None` after an error, and for a service that Skep leaves alone.
pub fn read(
    reader: &mut Reader,
    metadata: Option<Metadata>,
    object: &mut Fields,
) -> Option<Service> {
    let spec = object.required(reader, "spec")?;
    let mut fields = reader.fields(spec, "spec")?;
    let kind = fields.optional("type");
    let kind_name = match kind {
        Some(node) => one_of(
            reader,
            node,
            "type",
            &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
        )?,
        None => "ClusterIP",
    };
    if let ("ExternalName", Some(node)) = (kind_name, kind) {
        reader
            .report(Severity::Note, node.place, "a Service of type ExternalName is left alone")
            .label("it is an alias in DNS, which Skep doesn't serve");
        return None;
    }
    let selector = match fields.optional("selector") {
        Some(node) => labels(reader, node, "selector").map(Some),
        None => Some(None),
    };
    // An empty selector picks nothing, as if it were left out.
    let selector = selector.map(|labels| labels.filter(|labels| !labels.0.is_empty()));
    let addresses = cluster_ips(reader, &mut fields);
    let headless = matches!(&addresses, Some(Addresses::Headless));
    let mut ports = ports(reader, &mut fields, headless);
    if kind_name == "ClusterIP" {
        for port in ports.iter_mut().flatten() {
            port.node_port = None;
        }
    }
    let traffic = traffic::read(reader, kind_name, &mut fields, object.optional("status"));
    if let Some(ports) = &ports {
        traffic::check_node_ports(reader, kind, kind_name, ports);
    }
    fields.ignore(&WITHOUT_EFFECT);
    fields.ignore(&["externalName"]);
    fields.finish(reader);
    let metadata = metadata?;
    if let Some(label) = OTHERS.iter().find(|label| metadata.labels.value(label).is_some()) {
        reader
            .report(
                Severity::Note,
                metadata.name_place,
                format_args!("Service {} is left alone", metadata.name),
            )
            .label(format_args!("its label `{label}` says that another proxy serves it"));
        return None;
    }
    let algorithm = annotations::algorithm(reader, &metadata);
    let forwarding = annotations::forwarding(reader, &metadata);
    let answers = annotations::answers(reader, &metadata);
    let cluster_ips = match addresses? {
        Addresses::Headless => Vec::new(),
        Addresses::Fixed(addresses) => addresses,
        Addresses::Missing => {
            reader
                .warn(spec.place, format_args!("Service {} has no `clusterIP`", metadata.name))
                .label("treated as headless: Skep doesn't choose service addresses yet")
                .help("give it a clusterIP, or write clusterIP: None");
            Vec::new()
        }
    };
    let mut traffic = traffic?;
    let (mut cluster_ips, mut ports) = (cluster_ips, ports?);
    if let Some(answers) = answers? {
        if !answers.contains(&"ClusterIP") {
            cluster_ips.clear();
        }
        if !answers.contains(&"NodePort") {
            ports.iter_mut().for_each(|port| port.node_port = None);
        }
        if !answers.contains(&"LoadBalancer") {
            traffic.load_balancer_ips.clear();
        }
        if !answers.contains(&"ExternalIPs") {
            traffic.external_ips.clear();
        }
    }
    Some(Service {
        name: metadata.name,
        cluster_ips,
        selector: selector?,
        ports,
        algorithm: algorithm?,
        forwarding,
        external_ips: traffic.external_ips,
        load_balancer_ips: traffic.load_balancer_ips,
        source_ranges: traffic.source_ranges,
        internal_traffic: traffic.internal,
        external_traffic: traffic.external,
        distribution: traffic.distribution,
        affinity: traffic.affinity,
        publish_not_ready: traffic.publish_not_ready,
        health_check_port: traffic.health_check_port,
        origin: metadata.origin,
    })
}

enum Addresses {
    Headless,
    Missing,
    Fixed(Vec<IpAddr>),
}

fn cluster_ips(reader: &mut Reader, fields: &mut Fields) -> Option<Addresses> {
    let single = fields.optional("clusterIP");
    let list = fields.optional("clusterIPs");
    let nodes = match list {
        Some(node) => reader.items(node, "clusterIPs")?,
        None => single.map(std::slice::from_ref).unwrap_or_default(),
    };
    let is = |node: &Node, text: &str| node.scalar() == Some(Scalar::Text(text));
    if let (Some(single), Some(first)) = (single, nodes.first())
        && let (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) =
            (&single.value, &first.value)
        && a != b
    {
        reader
            .error(single.place, "`clusterIP` is not the first of `clusterIPs`")
            .help("make them equal, or remove one of the two fields");
        return None;
    }
    match nodes {
        [] => return Some(Addresses::Missing),
        [node] if is(node, "None") => return Some(Addresses::Headless),
        [node] if is(node, "") => return Some(Addresses::Missing),
        _ => {}
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for node in nodes {
        let address = address(reader, node, "clusterIP")?;
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            reader.error(node.place, format_args!("{address} cannot be a `clusterIP`"));
            return None;
        }
        if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            reader
                .error(node.place, "`clusterIPs` has two addresses of one family")
                .help("give at most one IPv4 and one IPv6 address");
            return None;
        }
        addresses.push(address);
    }
    Some(Addresses::Fixed(addresses))
}

fn ports(reader: &mut Reader, fields: &mut Fields, headless: bool) -> Option<Vec<ServicePort>> {
    let node = match headless {
        true => fields.optional("ports"),
        false => Some(fields.required(reader, "ports")?),
    };
    let Some(node) = node else { return Some(Vec::new()) };
    let items = reader.items(node, "ports")?;
    if items.is_empty() && !headless {
        reader.error(node.place, "a Service needs at least one port");
        return None;
    }
    let mut ports: Vec<ServicePort> = Vec::new();
    let mut right = true;
    for item in items {
        let Some(port) = port(reader, item, items.len() > 1) else {
            right = false;
            continue;
        };
        if ports.iter().any(|other| (other.port, other.protocol) == (port.port, port.protocol)) {
            reader.error(
                item.place,
                format_args!("port {}/{} is given twice", port.port, port.protocol),
            );
        }
        if ports.iter().any(|other| other.name == port.name) && !port.name.is_empty() {
            reader.error(item.place, format_args!("port name `{}` is given twice", port.name));
        }
        ports.push(port);
    }
    right.then_some(ports)
}

fn port(reader: &mut Reader, node: &Node, several: bool) -> Option<ServicePort> {
    let mut fields = reader.fields(node, "ports[]")?;
    let name = match fields.optional("name") {
        Some(node) => reader.text(node, "name").and_then(|name| {
            let form = if name.is_empty() { Ok(()) } else { syntax::label(name) };
            well_formed(reader, node, "port name", form)?;
            Some(name.to_owned())
        }),
        None => Some(String::new()),
    };
    if several && name.as_deref() == Some("") {
        reader
            .error(node.place, "a Service with several ports needs a `name` for each")
            .label("this one has none");
    }
    let protocol = protocol(reader, &mut fields);
    let port = fields.required(reader, "port").and_then(|node| reader.port(node, "port"));
    let target = match fields.optional("targetPort") {
        None => port.map(TargetPort::Number),
        // Kubernetes takes both for "not given".
        Some(node)
            if matches!(node.scalar(), Some(Scalar::Integer(Some(0)) | Scalar::Text(""))) =>
        {
            port.map(TargetPort::Number)
        }
        Some(node) if node.is_text() => port_name(reader, node, "targetPort").map(TargetPort::Name),
        Some(node) => reader.port(node, "targetPort").map(TargetPort::Number),
    };
    let node_port = match fields.optional("nodePort") {
        Some(node) if node.scalar() == Some(Scalar::Integer(Some(0))) => Some(None),
        Some(node) => reader.port(node, "nodePort").map(Some),
        None => Some(None),
    };
    fields.ignore(&["appProtocol"]);
    fields.finish(reader);
    Some(ServicePort {
        name: name?,
        protocol: protocol?,
        port: port?,
        target: target?,
        node_port: node_port?,
    })
}

//! How a Service is reached besides its cluster IPs, and which backends its traffic gets.

use crate::manifest::network_policy::cidr;
use crate::manifest::node::{Node, Scalar};
use crate::manifest::reader::{Fields, Reader};
use crate::manifest::selector::{one_of, unicast};
use ipnet::IpNet;
use model::{Distribution, ServicePort, TrafficPolicy};
use std::net::IpAddr;

/// The fields of `spec` and `status` that say so.
pub struct Traffic {
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    pub source_ranges: Vec<IpNet>,
    pub internal: TrafficPolicy,
    pub external: TrafficPolicy,
    pub distribution: Distribution,
    pub affinity: Option<u32>,
    pub publish_not_ready: bool,
    pub health_check_port: Option<u16>,
}

/// Kubernetes' default for `sessionAffinityConfig`: three hours.
const AFFINITY_S: u32 = 10_800;

/// Reads every field, so that all that is wrong is told at once; `None` after an error.
pub fn read(
    reader: &mut Reader,
    kind: &str,
    fields: &mut Fields,
    status: Option<&Node>,
) -> Option<Traffic> {
    let external_ips = addresses(reader, fields, "externalIPs");
    let mut balancers = match fields.optional("loadBalancerIP") {
        Some(node) if node.scalar() == Some(Scalar::Text("")) => Some(Vec::new()),
        Some(node) => unicast(reader, node, "loadBalancerIP").map(|address| vec![address]),
        None => Some(Vec::new()),
    };
    if let Some(found) = status.and_then(|status| ingress(reader, status))
        && let Some(balancers) = &mut balancers
    {
        let new: Vec<_> = found.into_iter().filter(|found| !balancers.contains(found)).collect();
        balancers.extend(new);
    }
    let source_ranges = match fields.optional("loadBalancerSourceRanges") {
        Some(node) => reader.items(node, "loadBalancerSourceRanges").and_then(|items| {
            items.iter().map(|node| cidr(reader, node, "loadBalancerSourceRanges[]")).collect()
        }),
        None => Some(Vec::new()),
    };
    let internal = policy(reader, fields, "internalTrafficPolicy");
    let external = policy(reader, fields, "externalTrafficPolicy");
    let distribution = distribution(reader, fields);
    let affinity = affinity(reader, fields);
    let publish_not_ready = match fields.optional("publishNotReadyAddresses") {
        Some(node) => reader.flag(node, "publishNotReadyAddresses"),
        None => Some(false),
    };
    let health_check_port = match fields.optional("healthCheckNodePort") {
        Some(node) if node.scalar() == Some(Scalar::Integer(Some(0))) => Some(None),
        Some(node) => reader.port(node, "healthCheckNodePort").map(Some),
        None => Some(None),
    };
    let balanced = kind == "LoadBalancer";
    let external = external?;
    Some(Traffic {
        external_ips: external_ips?,
        load_balancer_ips: balancers?.into_iter().filter(|_| balanced).collect(),
        source_ranges: source_ranges?,
        internal: internal?,
        external,
        distribution: distribution?,
        affinity: affinity?,
        publish_not_ready: publish_not_ready?,
        health_check_port: health_check_port?
            .filter(|_| balanced && external == TrafficPolicy::Local),
    })
}

/// Node ports mean something to the kinds that are served on nodes.
pub fn check_node_ports(
    reader: &mut Reader,
    kind: Option<&Node>,
    name: &str,
    ports: &[ServicePort],
) {
    if let ("NodePort", Some(node)) = (name, kind)
        && ports.iter().all(|port| port.node_port.is_none())
    {
        reader
            .warn(node.place, "a Service of type NodePort without a `nodePort`")
            .label("its cluster IP is served, nothing else: Skep doesn't choose node ports")
            .help("give its ports a nodePort, usually of 30000 to 32767");
    }
}

fn addresses(reader: &mut Reader, fields: &mut Fields, name: &'static str) -> Option<Vec<IpAddr>> {
    let Some(node) = fields.optional(name) else { return Some(Vec::new()) };
    let items = reader.items(node, name)?;
    items.iter().map(|node| unicast(reader, node, name)).collect()
}

/// The addresses in `status.loadBalancer` that nodes are to answer: those of a balancer that is a
/// proxy answer by themselves.
fn ingress(reader: &mut Reader, status: &Node) -> Option<Vec<IpAddr>> {
    let mut status = reader.fields(status, "status")?;
    let balancer = status.optional("loadBalancer")?;
    let mut balancer = reader.fields(balancer, "loadBalancer")?;
    let items = balancer.optional("ingress")?;
    let mut found = Vec::new();
    for item in reader.items(items, "ingress")? {
        let mut fields = reader.fields(item, "ingress[]")?;
        let proxy = match fields.optional("ipMode") {
            Some(node) => one_of(reader, node, "ipMode", &["VIP", "Proxy"])? == "Proxy",
            None => false,
        };
        if let Some(node) = fields.optional("ip")
            && let Some(address) = unicast(reader, node, "ip")
            && !proxy
        {
            found.push(address);
        }
    }
    Some(found)
}

fn policy(reader: &mut Reader, fields: &mut Fields, name: &'static str) -> Option<TrafficPolicy> {
    let Some(node) = fields.optional(name) else { return Some(TrafficPolicy::Cluster) };
    Some(match one_of(reader, node, name, &["Cluster", "Local"])? {
        "Local" => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    })
}

fn distribution(reader: &mut Reader, fields: &mut Fields) -> Option<Distribution> {
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    let Some(node) = fields.optional("trafficDistribution") else {
        return Some(Distribution::Even);
    };
    Some(match one_of(reader, node, "trafficDistribution", &known)? {
        "PreferSameNode" => Distribution::SameNode,
        _ => Distribution::SameZone,
    })
}

fn affinity(reader: &mut Reader, fields: &mut Fields) -> Option<Option<u32>> {
    let by_client = match fields.optional("sessionAffinity") {
        Some(node) => one_of(reader, node, "sessionAffinity", &["None", "ClientIP"]),
        None => Some("None"),
    };
    let mut timeout = AFFINITY_S;
    if let Some(node) = fields.optional("sessionAffinityConfig") {
        let mut config = reader.fields(node, "sessionAffinityConfig")?;
        if let Some(node) = config.optional("clientIP") {
            let mut client = reader.fields(node, "clientIP")?;
            if let Some(node) = client.optional("timeoutSeconds") {
                timeout = seconds(reader, node)?;
            }
            client.finish(reader);
        }
        config.finish(reader);
    }
    Some((by_client? == "ClientIP").then_some(timeout))
}

/// Kubernetes takes at most a day.
fn seconds(reader: &mut Reader, node: &Node) -> Option<u32> {
    match node.scalar() {
        Some(Scalar::Integer(Some(seconds @ 1..=86_400))) => u32::try_from(seconds).ok(),
        _ => {
            reader
                .error(node.place, "`timeoutSeconds` is not a time")
                .label("give whole seconds, 1 to 86400");
            None
        }
    }
}

//! Where a service answers, and which of its backends traffic gets there.
//!
//! | front-end | traffic of workloads | traffic from outside |
//! |---|---|---|
//! | cluster IP | as `internalTrafficPolicy` says | none |
//! | external IP, load balancer's IP, node port | all backends | as `externalTrafficPolicy` says |
//! | host port | its workload | its workload |
//!
//! Among the backends that this allows, those are taken that are ready; if there are none, those
//! that end but still serve (Kubernetes 1.28, "ProxyTerminatingEndpoints"). Of these, the ones of
//! this node or zone are preferred if the service asks for it or the EndpointSlices give hints.

use super::join::{Candidate, Joined};
use super::{front_end_key, host_ports};
use crate::backends::BackendKey;
use abi::service::{ServiceKey, scope, service_flags};
use model::{Distribution, Forwarding, Service, ServicePort, TrafficPolicy};
use std::net::IpAddr;

/// The node, as far as services are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInput {
    pub name: String,
    pub zone: Option<String>,
    /// Where it answers to node ports.
    pub addresses: Vec<IpAddr>,
    /// For services that don't say themselves.
    pub forwarding: Forwarding,
}

/// What makes a service answer at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEndKind {
    ClusterIp,
    ExternalIp,
    LoadBalancer,
    NodePort,
    HostPort,
}

/// A front-end that a service asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub key: ServiceKey,
    pub address: IpAddr,
    pub port: u16,
    pub kind: FrontEndKind,
    policy: TrafficPolicy,
    /// Bits of [`service_flags`] that it has for where it is.
    pub flags: u32,
}

/// All front-ends of one port of a service.
pub(crate) fn wanted<'a>(
    service: &'a Service,
    port: &'a ServicePort,
    node: &'a NodeInput,
) -> impl Iterator<Item = Wanted> + 'a {
    let ranges = match service.source_ranges.is_empty() {
        true => 0,
        false => service_flags::SOURCE_RANGES,
    };
    let at = move |address: &IpAddr, number: u16, kind, asked, policy| {
        let key = ServiceKey { scope: asked, ..front_end_key(*address, number, port.protocol) };
        let local = if policy == TrafficPolicy::Local { service_flags::LOCAL } else { 0 };
        let ranges = if kind == FrontEndKind::LoadBalancer { ranges } else { 0 };
        let forwarding = service.forwarding.unwrap_or(node.forwarding);
        let direct = asked == scope::OUTSIDE
            && policy == TrafficPolicy::Cluster
            && forwarding.returns_directly(port.protocol);
        let direct = if direct { service_flags::DIRECT_RETURN } else { 0 };
        let flags = local | ranges | direct;
        Wanted { key, address: *address, port: number, kind, policy, flags }
    };
    let both = move |address: &IpAddr, number: u16, kind| {
        [
            at(address, number, kind, scope::INSIDE, TrafficPolicy::Cluster),
            at(address, number, kind, scope::OUTSIDE, service.external_traffic),
        ]
    };
    let cluster = service.cluster_ips.iter().map(move |address| {
        at(address, port.port, FrontEndKind::ClusterIp, scope::INSIDE, service.internal_traffic)
    });
    let everywhere = move |addresses: &'a [IpAddr], kind| {
        addresses.iter().flat_map(move |address| both(address, port.port, kind))
    };
    let (external, on_node) = match host_ports::workload(&service.name) {
        Some(_) => (FrontEndKind::HostPort, FrontEndKind::HostPort),
        None => (FrontEndKind::ExternalIp, FrontEndKind::NodePort),
    };
    let external = everywhere(&service.external_ips, external);
    let balanced = everywhere(&service.load_balancer_ips, FrontEndKind::LoadBalancer);
    let on_node = port.node_port.into_iter().flat_map(move |number| {
        node.addresses.iter().flat_map(move |address| both(address, number, on_node))
    });
    cluster.chain(external).chain(balanced).chain(on_node)
}

/// The backends of a front-end.
pub(crate) fn choose(
    service: &Service,
    wanted: &Wanted,
    joined: &Joined,
    node: &NodeInput,
) -> Vec<BackendKey> {
    let is_v4 = wanted.address.to_canonical().is_ipv4();
    let allowed =
        |candidate: &Candidate| wanted.policy == TrafficPolicy::Cluster || candidate.is_local(node);
    let of_family: Vec<(&BackendKey, &Candidate)> = joined
        .iter()
        .filter(|(key, candidate)| key.address.is_ipv4() == is_v4 && allowed(candidate))
        .collect();
    let ready: Vec<_> = of_family.iter().copied().filter(|(_, it)| it.ready).collect();
    let usable = if ready.is_empty() { of_family } else { ready };
    let close = match wanted.policy {
        TrafficPolicy::Local => usable,
        TrafficPolicy::Cluster => prefer(service.distribution, usable, node),
    };
    close.into_iter().map(|(key, _)| *key).collect()
}

type Candidates<'a> = Vec<(&'a BackendKey, &'a Candidate)>;

/// The backends that are close, or all if none is.
fn prefer<'a>(
    distribution: Distribution,
    usable: Candidates<'a>,
    node: &NodeInput,
) -> Candidates<'a> {
    let narrowed = |which: &dyn Fn(&Candidate) -> bool| -> Option<Candidates<'a>> {
        let found: Candidates<'a> =
            usable.iter().copied().filter(|(_, candidate)| which(candidate)).collect();
        (!found.is_empty()).then_some(found)
    };
    let same_zone = |candidate: &Candidate| {
        candidate.is_local(node) || candidate.zone.is_some() && candidate.zone == node.zone
    };
    // Hints count only if every backend has one: otherwise they are being changed.
    let hinted = usable.iter().all(|(_, candidate)| !candidate.for_zones.is_empty());
    let for_zone = |candidate: &Candidate| {
        hinted && node.zone.as_ref().is_some_and(|zone| candidate.for_zones.contains(zone))
    };
    let on_node = |candidate: &Candidate| {
        candidate.is_local(node) || candidate.for_nodes.contains(&node.name)
    };
    let found = match distribution {
        Distribution::Even => narrowed(&for_zone),
        Distribution::SameZone => narrowed(&for_zone).or_else(|| narrowed(&same_zone)),
        Distribution::SameNode => {
            narrowed(&on_node).or_else(|| narrowed(&for_zone)).or_else(|| narrowed(&same_zone))
        }
    };
    found.unwrap_or(usable)
}

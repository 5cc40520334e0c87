//! Ways of a packet that the published truth tables don't have: IPv6, the node itself, hairpins,
//! fragments and ICMP errors.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use testkit::gate::Feature;
use testkit::manifest::{labels, network_policy, service};
use testkit::node::{NODE_V4, NODE_V6};
use testkit::probe::{Probe, Target, Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, require_kernel, require_root};

const WINDOW: Duration = Duration::from_millis(400);
/// For what must come: a busy machine may lose packets.
const PATIENCE: Duration = Duration::from_secs(10);

fn node() -> Node {
    Node::start(Binaries::built().unwrap()).unwrap()
}

fn plan<'a>(name: &'a str, ports: &'a [u16]) -> Plan<'a> {
    Plan { namespace: "shop", name, ports, sockets: true }
}

/// The same with its packets translated, not its sockets.
fn bare<'a>(name: &'a str, ports: &'a [u16]) -> Plan<'a> {
    Plan { sockets: false, ..plan(name, ports) }
}

fn answered(probe: &mut Probe, targets: &[Target], by: &str) {
    for (target, outcome) in targets.iter().zip(probe.probe(targets, PATIENCE).unwrap()) {
        let expect = Verdict::Answered(by.into());
        assert_eq!(outcome.verdict, expect, "{} ► {target:?}", probe.name());
    }
}

fn silent(probe: &mut Probe, targets: &[Target]) {
    for (target, outcome) in targets.iter().zip(probe.probe(targets, WINDOW).unwrap()) {
        assert_eq!(outcome.verdict, Verdict::Silent, "{} ► {target:?}", probe.name());
    }
}

fn on_node(addresses: [IpAddr; 2], transport: Transport, port: u16) -> [Target; 2] {
    addresses.map(|address| Target::new(transport, address, port))
}

#[test]
fn policy_holds_for_both_families() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    policy_holds(&node());
}

/// Packets that pass through the host's stack, as on kernels that can't hand them over directly.
#[test]
fn the_way_through_the_host_is_the_same() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start_with(Binaries::built().unwrap(), &["--no-redirect"]).unwrap();
    policy_holds(&node);
    let status = node.skep().json(&["status"]).unwrap();
    assert_eq!(status["traffic"]["redirected_packets"].as_u64().unwrap_or(0), 0, "{status}");
    services_and_fragments(&node);
}

fn policy_holds(node: &Node) {
    let ports = [80, 81];
    let plans = [plan("client", &ports), plan("web", &ports), plan("other", &ports)];
    let [mut client, mut web, mut other] = Pod::apply(node, plans).unwrap();
    for pod in [&mut client, &mut other] {
        answered(&mut pod.probe, &web.tcp(80), "shop/web");
        answered(&mut pod.probe, &web.udp(81), "shop/web");
    }

    let by_label = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
            "ports": [{"protocol": "TCP", "port": 80}],
        }],
    });
    node.skep().apply(&[network_policy(("shop", "web"), by_label)]).unwrap();
    answered(&mut client.probe, &web.tcp(80), "shop/web");
    silent(&mut client.probe, &web.tcp(81));
    silent(&mut client.probe, &web.udp(80));
    silent(&mut other.probe, &web.tcp(80));
    answered(&mut web.probe, &other.tcp(80), "shop/other");

    let by_block = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{
            "from": [
                {"ipBlock": {"cidr": "fd00:244::/64", "except": [format!("{}/128", client.v6)]}},
                {"ipBlock": {"cidr": format!("{}/32", client.v4)}},
            ],
            "ports": [{"protocol": "UDP", "port": 80, "endPort": 90}],
        }],
    });
    node.skep().apply(&[network_policy(("shop", "web"), by_block)]).unwrap();
    answered(&mut client.probe, &web.udp(81)[..1], "shop/web");
    silent(&mut client.probe, &web.udp(81)[1..]);
    silent(&mut other.probe, &web.udp(80)[..1]);
    answered(&mut other.probe, &web.udp(80)[1..], "shop/web");
    silent(&mut client.probe, &web.tcp(80));
}

#[test]
fn the_node_is_never_restricted() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = node();
    let [mut web, mut other] =
        Pod::apply(&node, [plan("web", &[80]), plan("other", &[80])]).unwrap();
    let nothing = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    node.skep().apply(&[network_policy(("shop", "nothing"), nothing)]).unwrap();

    let mut host = Probe::start(&node.binaries().probe, node.place(), "node").unwrap();
    host.serve(Transport::Tcp, 9000).unwrap();
    host.serve(Transport::Udp, 9000).unwrap();
    silent(&mut other.probe, &web.tcp(80));
    silent(&mut other.probe, &web.udp(80));
    answered(&mut host, &web.tcp(80), "shop/web");
    answered(&mut host, &web.udp(80), "shop/web");
    let addresses = [IpAddr::from(NODE_V4), IpAddr::from(NODE_V6)];
    answered(&mut web.probe, &on_node(addresses, Transport::Tcp, 9000), "node");
    answered(&mut web.probe, &on_node(addresses, Transport::Udp, 9000), "node");
}

#[test]
fn hairpin() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = node();
    let plans = [plan("web", &[8080]), bare("cache", &[8080])];
    let [mut web, mut cache] = Pod::apply(&node, plans).unwrap();
    for (pod, last) in [(&mut web, 10), (&mut cache, 11)] {
        let name = pod.workload.name.clone();
        let addresses: [IpAddr; 2] = [
            format!("10.96.0.{last}").parse().unwrap(),
            format!("fd00:96::{last}").parse().unwrap(),
        ];
        let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
        let selector = labels([("app", &name)]);
        let service = service(("shop", &name), &selector, &addresses, &ports);
        node.skep().apply(&[service]).unwrap();
        let full_name = pod.workload.full_name();
        for transport in [Transport::Tcp, Transport::Udp] {
            answered(&mut pod.probe, &on_node(addresses, transport, 80), &full_name);
        }
    }
}

#[test]
fn fragments_share_the_verdict() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    services_and_fragments(&node());
}

fn services_and_fragments(node: &Node) {
    let of = |plan| Plan { namespace: "large", ..plan };
    let plans = [of(bare("client", &[])), of(plan("web", &[80, 81]))];
    let [mut client, web] = Pod::apply(node, plans).unwrap();
    let addresses: [IpAddr; 2] = ["10.96.0.10".parse().unwrap(), "fd00:96::10".parse().unwrap()];
    let ports = [("udp", "UDP", 53, 80)];
    let web_label = labels([("app", "web")]);
    let only_80 = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"ports": [{"protocol": "UDP", "port": 80}]}],
    });
    node.skep()
        .apply(&[
            service(("large", "web"), &web_label, &addresses, &ports),
            network_policy(("large", "web"), only_80),
        ])
        .unwrap();
    let large =
        |targets: [Target; 2]| targets.map(|target| Target { extra_bytes: 4_000, ..target });
    answered(&mut client.probe, &large(web.udp(80)), "large/web");
    silent(&mut client.probe, &large(web.udp(81)));
    let through_service = on_node(addresses, Transport::Udp, 53);
    answered(&mut client.probe, &large(through_service), "large/web");
}

/// The backend says that nobody serves the port; the client must hear it of the service's address
/// that it sent to, or its socket doesn't know what it is about.
#[test]
fn errors_come_back_through_translation() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = node();
    let plans = [bare("client", &[]), plan("web", &[80])];
    let [mut client, web] = Pod::apply(&node, plans).unwrap();
    let addresses: [IpAddr; 2] = ["10.96.0.10".parse().unwrap(), "fd00:96::10".parse().unwrap()];
    let ports = [("udp", "UDP", 53, 5353)];
    let selector = labels([("app", "web")]);
    node.skep().apply(&[service(("shop", "web"), &selector, &addresses, &ports)]).unwrap();
    let direct = web.udp(5353);
    let translated = on_node(addresses, Transport::Udp, 53);
    for target in direct.iter().chain(&translated) {
        let outcome = client.probe.probe_one(target, PATIENCE).unwrap();
        assert_eq!(outcome.verdict, Verdict::Refused, "{target:?}");
    }
}

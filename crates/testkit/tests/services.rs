//! Services: how load spreads, and what programs see.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::manifest::{labels, service};
use testkit::probe::{Outcome, Target, Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, require_kernel, require_root};

const PATIENCE: Duration = Duration::from_secs(10);
const ASKED: usize = 400;

fn plan<'a>(name: &'a str, ports: &'a [u16], sockets: bool) -> Plan<'a> {
    Plan { namespace: "shop", name, ports, sockets }
}

fn addresses() -> [IpAddr; 2] {
    ["10.96.0.10".parse().unwrap(), "fd00:96::10".parse().unwrap()]
}

fn web_service(algorithm: &str) -> Value {
    let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
    let mut service = service(("shop", "web"), &labels([("app", "web")]), &addresses(), &ports);
    service["metadata"]["annotations"] = json!({"skep.dev/lb-algorithm": algorithm});
    service
}

/// Who answered how often; panics on anything that isn't an answer.
fn answers(outcomes: &[Outcome]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        match &outcome.verdict {
            Verdict::Answered(name) => *counts.entry(name.as_str()).or_default() += 1,
            other => panic!("{other}"),
        }
    }
    counts
}

#[test]
fn load_spreads() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let [mut client, mut bare, _web_1, _web_2] = Pod::apply(
        &node,
        [
            plan("client", &[], true),
            plan("bare", &[], false),
            plan("web-1", &[8080], true),
            plan("web-2", &[8080], true),
        ],
    )
    .unwrap();
    for algorithm in ["random", "maglev"] {
        node.skep().apply(&[web_service(algorithm)]).unwrap();
        for pod in [&mut client, &mut bare] {
            for transport in [Transport::Tcp, Transport::Udp] {
                for address in addresses() {
                    let targets = vec![Target::new(transport, address, 80); ASKED];
                    let outcomes = pod.probe.probe(&targets, PATIENCE).unwrap();
                    let counts = answers(&outcomes);
                    let who = pod.probe.name();
                    let what = format!("{who} ► {transport} {address} {algorithm}: {counts:?}");
                    // Binomial with n = 400, p = 1/2: six standard deviations are 60.
                    let even = counts.values().all(|count| (140..=260).contains(count));
                    assert!(counts.len() == 2 && even, "{what}");
                }
            }
        }
    }
}

/// With sockets translated, getpeername(2) and recvfrom(2) must not show the backend.
#[test]
fn translated_sockets_show_the_service() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let plans = [plan("client", &[], true), plan("web", &[8080], true)];
    let [mut client, _web] = Pod::apply(&node, plans).unwrap();
    node.skep().apply(&[web_service("random")]).unwrap();
    for address in addresses() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let target = Target::new(transport, address, 80);
            let outcome = client.probe.probe_one(&target, PATIENCE).unwrap();
            assert_eq!(answers(std::slice::from_ref(&outcome)).len(), 1);
            assert_eq!(outcome.peer, Some(target.socket_address()), "{transport}");
        }
        let target = Target { unconnected: true, ..Target::new(Transport::Udp, address, 80) };
        let outcome = client.probe.probe_one(&target, PATIENCE).unwrap();
        assert_eq!(outcome.verdict, Verdict::Answered("shop/web".into()), "{address}");
    }
    let status = node.skep().json(&["status"]).unwrap();
    let translated = |key: &str| status["traffic"][key].as_u64().unwrap_or(0);
    assert!(translated("socket_translated") >= 6, "{}", status["traffic"]);
    assert_eq!(translated("packet_translated"), 0, "no packet needs it: {}", status["traffic"]);
}

/// A backend that goes is no longer asked; one that comes is.
#[test]
fn backends_come_and_go() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let plans = [plan("client", &[], true), plan("web-1", &[8080], true)];
    let [mut client, web_1] = Pod::apply(&node, plans).unwrap();
    node.skep().apply(&[web_service("maglev")]).unwrap();
    let targets = vec![Target::new(Transport::Tcp, addresses()[0], 80); 50];
    let mut counts = || {
        let outcomes = client.probe.probe(&targets, PATIENCE).unwrap();
        answers(&outcomes).into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    };
    let only = |name: &str| BTreeMap::from([(name.to_owned(), 50)]);
    assert_eq!(counts(), only("shop/web-1"));
    let [_web_2] = Pod::apply(&node, [plan("web-2", &[8080], true)]).unwrap();
    let both: BTreeMap<String, usize> = counts();
    assert_eq!(both.len(), 2, "{both:?}");
    node.skep().delete(std::slice::from_ref(&web_1.manifest)).unwrap();
    assert_eq!(counts(), only("shop/web-2"));
}

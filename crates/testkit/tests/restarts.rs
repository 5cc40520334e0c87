//! The agent is killed again and again; the node goes on.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::manifest::{labels, network_policy, service};
use testkit::probe::{Target, Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, require_kernel, require_root};

const TIMES: usize = 20;
const PACE: Duration = Duration::from_millis(5);
const WINDOW: Duration = Duration::from_millis(150);

fn web_service(last: usize) -> Value {
    let address: IpAddr = format!("10.96.0.{last}").parse().unwrap();
    let name = format!("web-{last}");
    let ports = [("http", "TCP", 80, 8080)];
    service(("shop", &name), &labels([("app", "web")]), &[address], &ports)
}

/// Lets the client in, and others that change; never the intruder.
fn policy(turn: usize) -> Value {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
             "ports": [{"protocol": "TCP", "port": 8080}]},
            {"from": [{"podSelector": {"matchLabels": {"app": format!("guest-{turn}")}}}]},
        ],
    });
    network_policy(("shop", "web"), spec)
}

#[test]
fn killed_twenty_times() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut node = Node::start(Binaries::built().unwrap()).unwrap();
    let plan = |name, sockets| Plan { namespace: "shop", name, ports: &[8080], sockets };
    let [mut client, mut bare, web, mut intruder] = Pod::apply(
        &node,
        // Named so that both are app=client: one translated at the socket, one in packets.
        [
            plan("client-1", true),
            plan("client-2", false),
            plan("web", true),
            plan("intruder", true),
        ],
    )
    .unwrap();
    let skep = node.skep();
    skep.apply(&[web_service(10), policy(0)]).unwrap();
    let through_service = Target::new(Transport::Tcp, "10.96.0.10".parse().unwrap(), 80);
    client.probe.begin_steady(&through_service, PACE).unwrap();
    bare.probe.begin_steady(&through_service, PACE).unwrap();
    let forbidden: Vec<Target> = web.tcp(8080).into_iter().chain(web.udp(8080)).collect();
    let mut check_intruder = |when: &str, turn: usize| {
        for outcome in intruder.probe.probe(&forbidden, WINDOW).unwrap() {
            assert_eq!(outcome.verdict, Verdict::Silent, "{when} {turn}");
        }
    };

    for turn in 1..=TIMES {
        // In the middle of a change: the answer is not waited for.
        let manifest = testkit::manifest::stream(&[policy(turn), web_service(10 + turn)]);
        let asking = std::thread::spawn({
            let skep = skep.clone();
            move || skep.with_stream("apply", &manifest)
        });
        sleep(Duration::from_millis(turn as u64 % 8));
        node.kill_agent().unwrap();
        // It may have been in time, or not.
        let _ = asking.join().unwrap();
        check_intruder("without the agent", turn);
        node.start_agent().unwrap();
        check_intruder("after the start", turn);
        skep.apply(&[policy(turn), web_service(10 + turn)]).unwrap();
        if turn > 1 {
            skep.delete(&[web_service(9 + turn)]).ok();
            skep.apply(&[web_service(10)]).unwrap();
        }
        check_intruder("after a change", turn);
    }

    for pod in [&mut client, &mut bare] {
        let report = pod.probe.steady().unwrap();
        assert_eq!(report.broken, None, "{}: {report:?}", pod.probe.name());
        assert_eq!(report.failures, Vec::<String>::new(), "{}: {report:?}", pod.probe.name());
        assert!(report.exchanges > 500 && report.connections > 500, "{report:?}");
        assert!(report.longest_gap_ms < 1_000, "a packet was lost: {report:?}");
    }
}

/// An orderly restart changes nothing that is there.
#[test]
fn stopped_and_started() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut node = Node::start(Binaries::built().unwrap()).unwrap();
    let plan = |name| Plan { namespace: "shop", name, ports: &[8080], sockets: true };
    let [mut client, web] = Pod::apply(&node, [plan("client"), plan("web")]).unwrap();
    let skep = node.skep();
    skep.apply(&[policy(0), web_service(10)]).unwrap();
    let endpoints = skep.json(&["endpoint", "list"]).unwrap();
    node.stop_agent().unwrap();
    let outcomes = client.probe.probe(&web.tcp(8080), Duration::from_secs(4)).unwrap();
    for outcome in outcomes {
        assert_eq!(outcome.verdict, Verdict::Answered("shop/web".into()));
    }
    node.start_agent().unwrap();
    let again = skep.json(&["endpoint", "list"]).unwrap();
    assert_eq!(again, endpoints, "numbers, identities, addresses and interfaces stay");
}

/// A second agent on the same node refuses, and doesn't disturb the first.
#[test]
fn one_agent_a_node() {
    require_root!();
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let folder = node.folder();
    let mut command = node.place().command(&node.binaries().skepd);
    command.arg("--state-dir").arg(folder.join("state"));
    command.arg("--run-dir").arg(folder.join("run"));
    command.arg("--manifests").arg(node.manifests()).arg("--bpffs").arg(node.bpffs());
    let output = node.place().output(&mut command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&node.agent_pid().unwrap().to_string()), "names the other: {said}");
    node.skep().json(&["status"]).unwrap();
}

//! Processes of the node that belong to no workload.

use super::world::{
    ASKED, EVERYBODY, NODE_PORT, PATIENCE, balanced, check, cluster, external, plan, web, world,
};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;
use testkit::gate::Feature;
use testkit::manifest::{labels, service};
use testkit::probe::{Probe, Target, Transport, Verdict, names};
use testkit::{Binaries, Node, Pod, require_kernel, require_root};

/// A cgroup with that of the node's processes and those of workloads in it, as the root has both.
fn above(node: &Node) -> String {
    node.place().cgroup.parent().unwrap().display().to_string()
}

/// Its cgroup is known once the node is there.
fn restart_with_host_cgroup(node: &mut Node) {
    let cgroup = above(node);
    node.stop_agent().unwrap();
    node.add_arguments(&["--host-cgroup", &cgroup]);
    node.start_agent().unwrap();
}

#[test]
fn they_reach_services() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    world.apply(web(|_| {}), &world.everybody());
    restart_with_host_cgroup(&mut world.node);
    let router = world.client.0.router;
    let mut process =
        Probe::start(&world.node.binaries().probe, world.node.place(), "process").unwrap();
    let places = [(cluster(), 80), (external(), 80), (balanced(), 80), (router, NODE_PORT)];
    for (addresses, port) in places {
        check(&mut process, addresses, port, EVERYBODY);
    }
    // What was asked for is what is told, and to workloads as ever: their programs come first.
    for probe in [&mut process, &mut world.inside.probe] {
        for transport in [Transport::Tcp, Transport::Udp] {
            let target = Target::new(transport, cluster()[0], 80);
            let outcome = probe.probe_one(&target, PATIENCE).unwrap();
            assert!(matches!(outcome.verdict, Verdict::Answered(_)), "{outcome:?}");
            assert_eq!(outcome.peer, Some(target.socket_address()), "{}", probe.name());
        }
        let target = Target { unconnected: true, ..Target::new(Transport::Udp, cluster()[0], 80) };
        let outcome = probe.probe_one(&target, PATIENCE).unwrap();
        assert!(matches!(outcome.verdict, Verdict::Answered(_)), "{outcome:?}");
    }
    // A machine beside the node is in the cgroup too, and none of the node's processes.
    let target = Target::new(Transport::Tcp, cluster()[0], 80);
    let outcome = world.client.1.probe_one(&target, Duration::from_millis(400)).unwrap();
    assert!(!matches!(outcome.verdict, Verdict::Answered(_)), "{outcome:?}");
}

/// The node's own resolver keeps its socket for years.
#[test]
fn their_sockets_to_a_backend_that_has_left_are_closed() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut node = Node::start(Binaries::built().unwrap()).unwrap();
    restart_with_host_cgroup(&mut node);
    let [web_1, web_2] =
        Pod::apply(&node, [plan("web-1", &[8080]), plan("web-2", &[8080])]).unwrap();
    let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
    let web = service(("shop", "web"), &labels([("app", "web")]), &cluster(), &ports);
    node.skep().apply(&[web]).unwrap();

    let place = node.place();
    let mut command = place.command("socat");
    command.args(["STDIO", &format!("UDP4:{}:80", cluster()[0])]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut socat = place.spawn(&mut command).unwrap();
    let mut ask = socat.stdin.take().unwrap();
    let mut answers = BufReader::new(socat.stdout.take().unwrap());
    ask.write_all(b"who\n").unwrap();
    let mut first = String::new();
    answers.read_line(&mut first).unwrap();
    assert!(first.contains("shop/web-"), "{first}");

    let (goes, stays) = match first.contains("web-1") {
        true => (web_1, web_2),
        false => (web_2, web_1),
    };
    let name = goes.workload.name.clone();
    node.skep().run(["delete", "workload", &name, "-n", "shop"]).unwrap();
    drop(goes);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(socat.wait_with_output()));
    let output = receiver.recv_timeout(PATIENCE).expect("the socket is still open").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("connection abort"), "{said}");
    let mut again = Probe::start(&node.binaries().probe, place, "again").unwrap();
    let targets = vec![Target::new(Transport::Udp, cluster()[0], 80); ASKED];
    let found = names(&again.probe(&targets, PATIENCE).unwrap());
    assert_eq!(found, BTreeSet::from([stays.probe.name().to_owned()]));
}

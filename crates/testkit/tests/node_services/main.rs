//! Services reached from outside the node, and what each field of a Service changes: a client and
//! a server on links of their own, workloads, and servers in the node's own network.

mod flows;
mod health;
mod host;
mod metrics;
mod semantics;
mod world;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::manifest::{labels, service};
use testkit::probe::{Probe, Target, Transport, Verdict, names};
use testkit::{Binaries, Node, Plan, Pod, require_kernel, require_root};

use world::{
    ASKED, EVERYBODY, NODE_PORT, PATIENCE, WINDOW, balanced, check, cluster, external, plan,
    slices, web, world,
};

#[test]
fn every_kind_of_address_and_of_backend() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let router = world.client.0.router;
    world.apply(web(|_| {}), &world.everybody());
    let client = &mut world.client.1;
    for (addresses, port) in [(external(), 80), (balanced(), 80), (router, NODE_PORT)] {
        check(client, addresses, port, EVERYBODY);
    }
    // Cluster IPs are for the inside only.
    let refused = Target::new(Transport::Tcp, cluster()[0], 80);
    let outcome = client.probe_one(&refused, WINDOW).unwrap();
    assert!(!matches!(outcome.verdict, Verdict::Answered(_)), "{}", outcome.verdict);
    let inside = &mut world.inside.probe;
    let node = [testkit::node::NODE_V4.into(), testkit::node::NODE_V6.into()];
    for (addresses, port) in [
        (cluster(), 80),
        (external(), 80),
        (balanced(), 80),
        (router, NODE_PORT),
        (node, NODE_PORT),
    ] {
        check(inside, addresses, port, EVERYBODY);
    }
    let services = world.node.skep().json(&["service", "list"]).unwrap();
    let kinds: BTreeSet<&str> =
        services.as_array().unwrap().iter().filter_map(|it| it["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["ClusterIP", "ExternalIP", "LoadBalancer", "NodePort"]));
}

/// One port of a client reaches one backend by several services and directly, all at once.
#[test]
fn one_client_port_by_several_services() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    // Sockets that are translated can't have one port for one backend twice: packets can.
    let packets = Plan { sockets: false, ..plan("packets", &[]) };
    let [mut inside] = Pod::apply(&world.node, [packets]).unwrap();
    let everybody = world.everybody();
    for backend in everybody {
        let expected: BTreeSet<String> = match backend.udp {
            true if backend.node == "elsewhere" => ["far".to_owned()].into(),
            true => ["shop/web".to_owned()].into(),
            false => ["own".to_owned()].into(),
        };
        let transports = match backend.udp {
            true => vec![Transport::Tcp, Transport::Udp],
            false => vec![Transport::Tcp],
        };
        let direct = backend.addresses;
        world.apply(web(|_| {}), &[backend]);
        let router = world.client.0.router;
        for (probe, source_port) in [(&mut world.client.1, 4000), (&mut inside.probe, 4001)] {
            for transport in &transports {
                for family in [0, 1] {
                    let mut targets = [(external(), 80), (balanced(), 80), (router, NODE_PORT)]
                        .map(|(address, port)| Target::new(*transport, address[family], port))
                        .to_vec();
                    targets.push(Target::new(*transport, direct[family], 8080));
                    for target in &mut targets {
                        target.source_port = source_port;
                    }
                    let outcomes = probe.probe(&targets, PATIENCE).unwrap();
                    assert_eq!(names(&outcomes), expected, "{} ► {targets:?}", probe.name());
                }
            }
        }
    }
}

#[test]
fn local_traffic_stays_on_the_node_and_shows_the_client() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let everybody = world.everybody();
    let local = |service: &mut Value| {
        service["spec"]["externalTrafficPolicy"] = json!("Local");
        service["spec"]["internalTrafficPolicy"] = json!("Local");
    };
    world.apply(web(local), &everybody);
    let on_node = &["shop/web", "own"];
    check(&mut world.client.1, balanced(), 80, on_node);
    check(&mut world.inside.probe, cluster(), 80, on_node);
    // From inside, an external address is the cluster's business.
    check(&mut world.inside.probe, balanced(), 80, EVERYBODY);
    let flows = world.node.skep().run(["observe", "--last", "5000", "-o", "json"]).unwrap();
    let client = world.client.0.addresses[0].to_string();
    let seen = flows.lines().any(|line| {
        let flow: Value = serde_json::from_str(line).unwrap();
        flow["ip"]["source"] == client && flow["destination"]["workload"] == "web"
    });
    assert!(seen, "no flow of {client} to the workload in\n{flows}");

    let far = world.everybody().remove(1);
    world.apply(web(local), &[far]);
    let target = Target::new(Transport::Tcp, balanced()[0], 80);
    let outcome = world.client.1.probe_one(&target, WINDOW).unwrap();
    assert_eq!(outcome.verdict, Verdict::Silent);
}

#[test]
fn only_admitted_sources_come_by_the_load_balancer() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let everybody = world.everybody();
    let ranges =
        |ranges: Value| web(|service| service["spec"]["loadBalancerSourceRanges"] = ranges);
    world.apply(ranges(json!(["198.18.1.0/24", "2001:2:0:1::/64"])), &everybody);
    check(&mut world.client.1, balanced(), 80, EVERYBODY);
    world.apply(ranges(json!(["192.0.2.0/24"])), &everybody);
    for address in balanced() {
        let target = Target::new(Transport::Tcp, address, 80);
        let outcome = world.client.1.probe_one(&target, WINDOW).unwrap();
        assert_eq!(outcome.verdict, Verdict::Silent, "{address}");
    }
    // The ranges are the load balancer's alone.
    check(&mut world.client.1, external(), 80, EVERYBODY);
}

#[test]
fn a_client_keeps_its_backend() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let everybody = world.everybody();
    let sticky = web(|service| {
        service["spec"]["sessionAffinity"] = json!("ClientIP");
        service["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 600}});
    });
    world.apply(sticky, &everybody);
    for address in balanced() {
        for probe in [&mut world.client.1, &mut world.inside.probe] {
            let targets = vec![Target::new(Transport::Tcp, address, 80); ASKED];
            let found = names(&probe.probe(&targets, PATIENCE).unwrap());
            // Each of the many may have begun before the first was remembered.
            let again = names(&probe.probe(&targets, PATIENCE).unwrap());
            assert_eq!(again.len(), 1, "{} ► {address}: {found:?}, then {again:?}", probe.name());
        }
    }
}

/// A resolver's client keeps its socket for years.
#[test]
fn sockets_to_a_backend_that_has_left_are_closed() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    let plans = [plan("client", &[]), plan("web-1", &[8080]), plan("web-2", &[8080])];
    let [client, web_1, web_2] = Pod::apply(&node, plans).unwrap();
    let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
    let web = service(("shop", "web"), &labels([("app", "web")]), &cluster(), &ports);
    node.skep().apply(&[web]).unwrap();

    let place = &client.workload.place;
    let address = format!("UDP4:{}:80", cluster()[0]);
    let mut command = place.command("socat");
    command.args(["STDIO", &address]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut socat = place.spawn(command.stderr(Stdio::piped())).unwrap();
    let mut ask = socat.stdin.take().unwrap();
    let mut answers = BufReader::new(socat.stdout.take().unwrap());
    let mut answer = || {
        ask.write_all(b"who\n").unwrap();
        let (mut name, mut echo) = (String::new(), String::new());
        answers.read_line(&mut name).unwrap();
        answers.read_line(&mut echo).unwrap();
        assert_eq!(echo, "who\n");
        name
    };
    let first = answer();
    assert!(first.contains("shop/web-"), "{first}");
    assert_eq!(answer(), first);

    // Its backend goes; so does a TCP connection to it, held by another process.
    let mut held = Probe::start(&node.binaries().probe, place, "held").unwrap();
    let target = Target::new(Transport::Tcp, cluster()[0], 80);
    held.begin_steady(&target, Duration::from_millis(20)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let (goes, stays) = match first.contains("web-1") {
        true => (web_1, web_2),
        false => (web_2, web_1),
    };
    let name = goes.workload.name.clone();
    node.skep().run(["delete", "workload", &name, "-n", "shop"]).unwrap();
    drop(goes);
    let output = {
        // The client notices without sending anything.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(socat.wait_with_output()));
        receiver.recv_timeout(PATIENCE).expect("the socket is still open").unwrap()
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("connection abort"), "{said}");
    let mut again = Probe::start(&node.binaries().probe, place, "again").unwrap();
    let targets = vec![Target::new(Transport::Udp, cluster()[0], 80); ASKED];
    let found = names(&again.probe(&targets, PATIENCE).unwrap());
    assert_eq!(found, BTreeSet::from([stays.probe.name().to_owned()]));
}

#[test]
fn a_connection_past_the_service_is_left_alone() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let far = world.everybody().remove(1);
    world.apply(web(|_| {}), &[far]);
    let through = Target::new(Transport::Tcp, cluster()[0], 80);
    let past = Target::new(Transport::Tcp, world.far.0.addresses[0], 8080);
    let client = &mut world.inside.probe;
    let opened = client.begin_hold(&[through, past], Duration::from_millis(20)).unwrap();
    assert!(opened.iter().all(|held| held.backend == "far"), "{opened:?}");
    for slice in slices(&[]) {
        world.node.skep().apply(&[slice]).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    let before = loop {
        let held = world.inside.probe.held().unwrap();
        if held[0].broken.is_some() {
            break held;
        }
        assert!(Instant::now() < deadline, "still open: {held:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    loop {
        let held = world.inside.probe.held().unwrap();
        assert_eq!(held[1].broken, None);
        if held[1].exchanges > before[1].exchanges + 5 {
            break;
        }
        assert!(Instant::now() < deadline, "goes on no more: {held:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

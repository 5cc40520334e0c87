//! What Kubernetes says of services, one meaning a test, with real sockets.

use super::world::{
    ASKED, NODE_PORT, PATIENCE, WINDOW, World, balanced, check, cluster, diagnostics, plan, slice,
    web, world, world_with,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use testkit::gate::Feature;
use testkit::manifest::{labels, service};
use testkit::probe::{Probe, Target, Transport, Verdict, names};
use testkit::{Binaries, Neighbour, Node, Plan, Pod, require_kernel, require_root};

/// Ports of `web` by number.
fn numbers() -> Value {
    json!([
        {"name": "tcp", "protocol": "TCP", "port": 8080},
        {"name": "udp", "protocol": "UDP", "port": 8080},
    ])
}

/// Endpoints of both families from addresses and what else is to be said of each.
fn apply(world: &World, service: Value, endpoints: &[([IpAddr; 2], Value)]) {
    let mut documents = vec![service];
    for family in [0, 1] {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(addresses, more)| {
                let mut endpoint = more.clone();
                endpoint["addresses"] = json!([addresses[family]]);
                endpoint
            })
            .collect();
        documents.push(slice("web", &endpoints, numbers()));
    }
    world.node.skep().apply(&documents).unwrap();
}

/// As [`check`], from outside by the load balancer's address and from inside by the cluster IP.
#[track_caller]
fn check_both(world: &mut World, expected: &[&str]) {
    check(&mut world.client.1, balanced(), 80, expected);
    check(&mut world.inside.probe, cluster(), 80, expected);
}

#[test]
fn host_ports() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let router = world.client.0.router;
    let node = [testkit::node::NODE_V4.into(), testkit::node::NODE_V6.into()];
    let mut manifest = world.pod.manifest.clone();
    manifest["spec"]["ports"] = json!([
        {"name": "http", "port": 8080, "hostPort": 8443},
        {"port": 8080, "protocol": "UDP", "hostPort": 8443},
        {"port": 8080, "hostPort": 8444, "hostIP": router[0]},
        {"port": 8080, "protocol": "UDP", "hostPort": 8444, "hostIP": router[0]},
    ]);
    world.node.skep().apply(&[manifest]).unwrap();
    let only = &["shop/web"];
    check(&mut world.client.1, router, 8443, only);
    check(&mut world.far.1, world.far.0.router, 8443, only);
    for addresses in [router, node] {
        check(&mut world.inside.probe, addresses, 8443, only);
        check(&mut world.pod.probe, addresses, 8443, only);
    }
    check(&mut world.client.1, [router[0]; 2], 8444, only);
    let elsewhere = Target::new(Transport::Tcp, world.far.0.router[0], 8444);
    let outcome = world.far.1.probe_one(&elsewhere, WINDOW).unwrap();
    assert_eq!(outcome.verdict, Verdict::Refused);

    let services = world.node.skep().json(&["service", "list"]).unwrap();
    let services = services.as_array().unwrap();
    assert!(services.iter().all(|it| it["kind"] == "HostPort"), "{services:?}");
    // The workload sees who asks.
    let flows = world.node.skep().run(["observe", "--last", "5000", "-o", "json"]).unwrap();
    let client = world.client.0.addresses[0].to_string();
    let seen = flows.lines().any(|line| {
        let flow: Value = serde_json::from_str(line).unwrap();
        flow["ip"]["source"] == client && flow["destination"]["workload"] == "web"
    });
    assert!(seen, "no flow of {client} to the workload in\n{flows}");

    // A second one with the same port is told, and the first keeps it.
    let mut manifest = world.inside.manifest.clone();
    manifest["spec"]["ports"] = json!([{"port": 8080, "hostPort": 8443}]);
    world.node.skep().apply(&[manifest.clone()]).unwrap();
    let told = "belongs to host port of workload shop/web";
    assert!(diagnostics(&world.node).contains(told), "{}", diagnostics(&world.node));
    check(&mut world.client.1, router, 8443, only);
    manifest["spec"]["ports"] = json!([]);
    world.node.skep().apply(&[manifest, world.pod.manifest.clone()]).unwrap();
    assert_eq!(diagnostics(&world.node), "");
    let gone = Target::new(Transport::Tcp, router[0], 8443);
    let outcome = world.client.1.probe_one(&gone, WINDOW).unwrap();
    assert_eq!(outcome.verdict, Verdict::Refused);
}

#[test]
fn what_is_not_the_nodes_is_left_alone() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let [address, _] = cluster();
    let of = |name: &str, spec: Value| {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": name}, "spec": spec})
    };
    let mut meshed = of("meshed", json!({"clusterIP": address, "ports": [{"port": 80}]}));
    meshed["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "mesh"});
    let documents = [
        of("alias", json!({"type": "ExternalName", "externalName": "example.com"})),
        of(
            "headless",
            json!({"clusterIP": "None", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 8080}]}),
        ),
        meshed,
    ];
    world.node.skep().apply(&documents).unwrap();
    let services = world.node.skep().json(&["service", "list"]).unwrap();
    let services = services.as_array().unwrap();
    // A headless service has backends to be told of, and no address.
    assert_eq!(services.len(), 1, "{services:?}");
    assert_eq!(services[0]["name"], "headless");
    assert_eq!(services[0]["backends"].as_array().unwrap().len(), 2, "{services:?}");
    let target = Target::new(Transport::Tcp, address, 80);
    let outcome = world.inside.probe.probe_one(&target, WINDOW).unwrap();
    assert!(!matches!(outcome.verdict, Verdict::Answered(_)), "{}", outcome.verdict);
    check(&mut world.inside.probe, world.pod.addresses(), 8080, &["shop/web"]);
}

#[test]
fn conditions_of_endpoints() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    let (here, far) = (world.pod.addresses(), world.far.0.addresses);
    let on_node = json!({"nodeName": world.node.name()});
    let with = |conditions: Value| {
        let mut endpoint = on_node.clone();
        endpoint["conditions"] = conditions;
        endpoint
    };
    let ending = with(json!({"ready": false, "serving": true, "terminating": true}));
    let ended = with(json!({"ready": false, "serving": false, "terminating": true}));
    let starting = with(json!({"ready": false}));
    let ready = json!({});

    apply(&world, web(|_| {}), &[(here, with(json!({"ready": true}))), (far, ready.clone())]);
    check_both(&mut world, &["shop/web", "far"]);
    // One that ends gets nothing new while others are ready.
    apply(&world, web(|_| {}), &[(here, ending.clone()), (far, ready.clone())]);
    check_both(&mut world, &["far"]);
    // With none ready, those that end but serve will do; what has ended won't.
    apply(&world, web(|_| {}), &[(here, ending.clone()), (far, ended)]);
    check_both(&mut world, &["shop/web"]);
    // Also on this node alone, for traffic that stays there.
    let local = |service: &mut Value| service["spec"]["externalTrafficPolicy"] = json!("Local");
    apply(&world, web(local), &[(here, ending), (far, ready.clone())]);
    // At a port that wasn't asked before: a UDP flow from the same port stays with its backend.
    check(&mut world.client.1, world.client.0.router, NODE_PORT, &["shop/web"]);
    check(&mut world.inside.probe, cluster(), 80, &["far"]);
    // Not ready yet: none, unless the service publishes those too.
    apply(&world, web(|_| {}), &[(here, starting.clone()), (far, ready.clone())]);
    check_both(&mut world, &["far"]);
    let publish = |service: &mut Value| service["spec"]["publishNotReadyAddresses"] = json!(true);
    apply(&world, web(publish), &[(here, starting.clone()), (far, ready)]);
    check_both(&mut world, &["shop/web", "far"]);
    apply(&world, web(|_| {}), &[(here, starting)]);
    for (probe, address) in
        [(&mut world.client.1, balanced()[0]), (&mut world.inside.probe, cluster()[0])]
    {
        let target = Target::new(Transport::Tcp, address, 80);
        let outcome = probe.probe_one(&target, WINDOW).unwrap();
        assert_eq!(outcome.verdict, Verdict::Silent, "{}", probe.name());
    }
}

#[test]
fn zones_and_hints() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world_with(&["--zone", "east"]);
    let (here, far) = (world.pod.addresses(), world.far.0.addresses);
    // Only by these slices is the pod known to the service: it could be anywhere.
    let with = |zone: &str, for_zones: &[&str]| {
        let hints: Vec<Value> = for_zones.iter().map(|it| json!({"name": it})).collect();
        match hints.is_empty() {
            true => json!({"zone": zone, "nodeName": "elsewhere"}),
            false => json!({"zone": zone, "nodeName": "elsewhere", "hints": {"forZones": hints}}),
        }
    };
    let both = &["shop/web", "far"];
    let distribution = |name: &'static str| {
        move |service: &mut Value| service["spec"]["trafficDistribution"] = json!(name)
    };
    apply(&world, web(|_| {}), &[(here, with("west", &[])), (far, with("east", &[]))]);
    check_both(&mut world, both);
    // Hints say whose an endpoint is, whatever its own zone, if all have them.
    let hinted = [(here, with("west", &["east"])), (far, with("east", &["west"]))];
    apply(&world, web(|_| {}), &hinted);
    check_both(&mut world, &["shop/web"]);
    apply(&world, web(|_| {}), &[(here, with("west", &["east"])), (far, with("east", &[]))]);
    check_both(&mut world, both);
    // Nobody's hints name this zone.
    let others = [(here, with("west", &["west"])), (far, with("east", &["north"]))];
    apply(&world, web(|_| {}), &others);
    check_both(&mut world, both);
    for name in ["PreferClose", "PreferSameZone"] {
        let zones = [(here, with("west", &[])), (far, with("east", &[]))];
        apply(&world, web(distribution(name)), &zones);
        check_both(&mut world, &["far"]);
    }
    let mut on_node = with("west", &[]);
    on_node["nodeName"] = json!(world.node.name());
    let nodes = [(here, on_node), (far, with("east", &[]))];
    apply(&world, web(distribution("PreferSameNode")), &nodes);
    check_both(&mut world, &["shop/web"]);
    let away = [(here, with("west", &[])), (far, with("north", &[]))];
    apply(&world, web(distribution("PreferSameNode")), &away);
    check_both(&mut world, both);
}

/// After the timeout a client is anybody again, until then it has its backend.
#[test]
fn affinity_expires() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    const TIMEOUT: Duration = Duration::from_secs(1);
    let mut world = world();
    let sticky = |service: &mut Value| {
        service["spec"]["sessionAffinity"] = json!("ClientIP");
        service["spec"]["sessionAffinityConfig"] =
            json!({"clientIP": {"timeoutSeconds": TIMEOUT.as_secs()}});
    };
    let (here, far) = (world.pod.addresses(), world.far.0.addresses);
    apply(&world, web(sticky), &[(here, json!({})), (far, json!({}))]);
    let targets = [
        Target::new(Transport::Tcp, balanced()[0], 80),
        Target::new(Transport::Tcp, cluster()[0], 80),
    ];
    let mut probes = [&mut world.client.1, &mut world.inside.probe];
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    let mut ask = |found: &mut [BTreeSet<String>; 2]| {
        for ((probe, target), found) in probes.iter_mut().zip(&targets).zip(found) {
            let asked = Instant::now();
            let outcome = probe.probe_one(target, PATIENCE).unwrap();
            let Verdict::Answered(name) = outcome.verdict else { panic!("{}", outcome.verdict) };
            let again = names(&[probe.probe_one(target, PATIENCE).unwrap()]);
            if asked.elapsed() < TIMEOUT {
                assert_eq!(again, BTreeSet::from([name.clone()]), "{}", probe.name());
            }
            found.insert(name);
        }
    };
    // Of two backends each draw has even odds: 20 alike come once in half a million.
    for _ in 0..20 {
        ask(&mut found);
        if found.iter().all(|names| names.len() == 2) {
            return;
        }
        std::thread::sleep(TIMEOUT + Duration::from_millis(200));
    }
    panic!("always the same: {found:?}");
}

#[test]
fn target_ports_by_name_differ_between_backends() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let binaries = Binaries::built().unwrap();
    let node = Node::start_with(binaries, &["--devices", "out1"]).unwrap();
    let neighbour = Neighbour::connect(&node, "client", 1).unwrap();
    let mut client = Probe::start(&binaries.probe, &neighbour.machine.place, "client").unwrap();
    let plans = [plan("web-1", &[8081]), plan("web-2", &[8082]), plan("inside", &[])];
    let [web_1, web_2, mut inside] = Pod::apply(&node, plans).unwrap();
    let mut documents = Vec::new();
    for (pod, port) in [(&web_1, 8081), (&web_2, 8082)] {
        let mut manifest = pod.manifest.clone();
        manifest["spec"]["ports"] = json!([
            {"name": "http", "port": port},
            {"name": "http", "port": port, "protocol": "UDP"},
        ]);
        documents.push(manifest);
    }
    documents.push(web(|service| {
        service["spec"]["selector"] = json!({"app": "web"});
        for port in service["spec"]["ports"].as_array_mut().unwrap() {
            port["targetPort"] = json!("http");
        }
    }));
    node.skep().apply(&documents).unwrap();
    check(&mut inside.probe, cluster(), 80, &["shop/web-1", "shop/web-2"]);
    check(&mut client, balanced(), 80, &["shop/web-1", "shop/web-2"]);
}

/// The kernel here has no SCTP sockets: what arrives is seen by a raw one.
#[test]
fn sctp() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    const PORT: u16 = 9899;
    let mut world = world();
    let service = web(|service| {
        service["spec"]["ports"] =
            json!([{"name": "sctp", "protocol": "SCTP", "port": PORT, "targetPort": PORT}]);
    });
    let mut documents = vec![service];
    for family in [0, 1] {
        let endpoints = [world.pod.addresses(), world.far.0.addresses]
            .map(|it| json!({"addresses": [it[family]]}));
        let ports = json!([{"name": "sctp", "protocol": "SCTP", "port": PORT}]);
        documents.push(slice("web", &endpoints, ports));
    }
    world.node.skep().apply(&documents).unwrap();
    world.pod.probe.arrivals().unwrap();
    world.far.1.arrivals().unwrap();
    let mut tag = 0;
    for (probe, addresses) in
        [(&mut world.client.1, balanced()), (&mut world.inside.probe, cluster())]
    {
        for address in addresses {
            let targets: Vec<Target> = (0..ASKED as u32)
                .map(|number| Target {
                    tag: tag + number + 1,
                    ..Target::new(Transport::Sctp, address, PORT)
                })
                .collect();
            let sent: BTreeSet<u32> = targets.iter().map(|target| target.tag).collect();
            tag += ASKED as u32;
            for outcome in probe.probe(&targets, PATIENCE).unwrap() {
                assert_eq!(outcome.verdict, Verdict::Sent);
            }
            let mut arrived = [BTreeSet::new(), BTreeSet::new()];
            let deadline = Instant::now() + PATIENCE;
            while arrived.iter().map(BTreeSet::len).sum::<usize>() < sent.len() {
                assert!(Instant::now() < deadline, "{address}: {arrived:?} of {sent:?}");
                for (probe, arrived) in
                    [&mut world.pod.probe, &mut world.far.1].into_iter().zip(&mut arrived)
                {
                    let new = probe.arrivals().unwrap();
                    arrived.extend(new.iter().filter(|it| it.port == PORT).map(|it| it.tag));
                }
            }
            assert!(arrived.iter().all(|tags| !tags.is_empty()), "{address}: {arrived:?}");
            assert_eq!(&arrived[0] | &arrived[1], sent, "{address}");
        }
    }
}

/// Whether its sockets are translated or its packets.
#[test]
fn a_backend_reaches_its_own_service() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let node = Node::start(Binaries::built().unwrap()).unwrap();
    for (name, sockets) in [("own", true), ("bare", false)] {
        let plan = Plan { namespace: "shop", name, ports: &[8080], sockets };
        let [mut pod] = Pod::apply(&node, [plan]).unwrap();
        let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
        let service = service(("shop", "web"), &labels([("app", name)]), &cluster(), &ports);
        node.skep().apply(&[service]).unwrap();
        check(&mut pod.probe, cluster(), 80, &[&format!("shop/{name}")]);
    }
}

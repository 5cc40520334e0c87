//! Two nodes: a client sends to the first, whose backend is on the second, which has a link of its own
//! to the client and no other way to it. Direct return, masquerading, node ports of both, and known flows
//! by XDP.

mod acceleration;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::ends::{End, connect};
use testkit::gate::Feature;
use testkit::manifest::{endpoint_slice, labels, service};
use testkit::node::{POOL_V4, POOL_V6};
use testkit::probe::{Held, Probe, Target, Transport, Verdict};
use testkit::{Binaries, Neighbour, Node, Plan, Pod, require_kernel, require_root};

const PATIENCE: Duration = Duration::from_secs(4);
const ASKED: usize = 40;
const NODE_PORT: u16 = 30_080;

fn of_both(v4: &str, v6: &str) -> [IpAddr; 2] {
    [v4.parse().unwrap(), v6.parse().unwrap()]
}

fn vips() -> [[IpAddr; 2]; 2] {
    [of_both("203.0.113.1", "2001:db8:f::1"), of_both("203.0.113.2", "2001:db8:f::2")]
}

/// Addresses of the second node and of the client on the link between them.
fn link_to_second() -> [[IpAddr; 2]; 2] {
    [of_both("198.18.3.1", "2001:2:0:3::1"), of_both("198.18.3.2", "2001:2:0:3::2")]
}

struct World {
    client: Probe,
    address: [IpAddr; 2],
    first: Node,
    second: Node,
    near: Pod,
    away: Pod,
    machine: Neighbour,
}

/// Pool of the second node; the first has the usual ones.
const POOL: [&str; 2] = ["10.244.1.0/24", "fd00:244:1::/64"];

fn world(arguments: &[&str]) -> World {
    let binaries = Binaries::built().unwrap();
    let start = |own: &[&str]| Node::start_with(binaries, &[own, arguments].concat()).unwrap();
    let first = start(&["--devices", "out1,out2"]);
    let second = start(&["--devices", "out2,out3", "--pool-v4", POOL[0], "--pool-v6", POOL[1]]);
    let machine = Neighbour::connect(&first, "client", 1).unwrap();
    let end = |node: &Node, interface, addresses| {
        let netns = node.place().netns.clone();
        (netns, interface, addresses)
    };
    let [at_second, on_link] = link_to_second();
    let ends = [
        end(&first, "out2", of_both("198.18.2.1", "2001:2:0:2::1")),
        end(&second, "out2", of_both("198.18.2.2", "2001:2:0:2::2")),
        end(&second, "out3", at_second),
    ];
    let alone = |address: IpAddr| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        format!("{address}/{length}")
    };
    let [near, far, other] = ends.each_ref().map(|(netns, interface, addresses)| End {
        netns,
        interface,
        addresses: *addresses,
        beyond: &[],
    });
    // What a node masquerades is answered at its address.
    let [a, b] = machine.router.map(alone);
    let to_first = [POOL_V4, POOL_V6, &a, &b];
    let [a, b] = at_second.map(alone);
    let to_second = [POOL[0], POOL[1], &a, &b];
    connect(End { beyond: &to_second, ..near }, End { beyond: &to_first, ..far }).unwrap();
    let netns = &machine.machine.place.netns;
    let client = End { netns, interface: "eth1", addresses: on_link, beyond: &[] };
    let to_client = machine.addresses.map(alone);
    let beyond = &to_client.each_ref().map(String::as_str);
    connect(End { beyond, ..other }, client).unwrap();
    let plan = |name| Plan { namespace: "shop", name, ports: &[8080], sockets: true };
    let [near] = Pod::apply(&first, [plan("near")]).unwrap();
    let [away] = Pod::apply(&second, [plan("away")]).unwrap();
    let client = Probe::start(&binaries.probe, &machine.machine.place, "client").unwrap();
    let address = machine.addresses;
    World { client, address, first, second, near, away, machine }
}

fn slice(family: &str, which: usize, endpoints: &[(&Pod, &Node)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(pod, node)| json!({"addresses": [pod.addresses()[which]], "nodeName": node.name()}))
        .collect();
    let ports = json!([
        {"name": "tcp", "protocol": "TCP", "port": 8080},
        {"name": "udp", "protocol": "UDP", "port": 8080},
    ]);
    endpoint_slice(("shop", "web"), "web", family, &endpoints, ports)
}

impl World {
    /// The service on both nodes, with backends on both or on the second only.
    fn apply(&self, near: bool, change: impl FnOnce(&mut Value)) {
        let mut endpoints = vec![(&self.away, &self.second)];
        if near {
            endpoints.push((&self.near, &self.first));
        }
        let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
        let cluster = of_both("10.96.0.10", "fd00:96::10");
        let mut web = service(("shop", "web"), &labels([]), &cluster, &ports);
        web["spec"]["type"] = json!("NodePort");
        web["spec"]["externalIPs"] = json!(vips().concat());
        for port in web["spec"]["ports"].as_array_mut().unwrap() {
            port["nodePort"] = json!(NODE_PORT);
        }
        change(&mut web);
        let documents = [web, slice("IPv4", 0, &endpoints), slice("IPv6", 1, &endpoints)];
        for node in [&self.first, &self.second] {
            node.skep().apply(&documents).unwrap();
        }
    }

    #[track_caller]
    fn check(&mut self, targets: &[Target], expected: &[&str]) {
        let found: BTreeSet<String> = self
            .client
            .probe(targets, PATIENCE)
            .unwrap()
            .iter()
            .map(|outcome| match &outcome.verdict {
                Verdict::Answered(name) => name.clone(),
                other => other.to_string(),
            })
            .collect();
        let expected = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, expected, "{:?}", targets[0]);
    }

    /// Whether the second node has seen the client's own address at its workload, by a transport.
    fn shows_client(&self, protocol: &str) -> bool {
        self.shows(self.address[0], protocol)
    }

    fn shows(&self, source: IpAddr, protocol: &str) -> bool {
        let flows = self.second.skep().run(["observe", "--last", "5000", "-o", "json"]).unwrap();
        flows.lines().any(|line| {
            let flow: Value = serde_json::from_str(line).unwrap();
            flow["ip"]["source"] == source.to_string()
                && flow["destination"]["workload"] == "away"
                && !flow["l4"][protocol].is_null()
        })
    }
}

fn everything_answers(dispatch: &str) {
    let mut world = world(&["--lb-mode", "dsr", "--dsr-dispatch", dispatch]);
    world.apply(true, |_| {});
    for transport in [Transport::Tcp, Transport::Udp] {
        let vips = vips().concat().into_iter().map(|vip| (vip, 80));
        let own = world.machine.router.map(|address| (address, NODE_PORT));
        for (address, port) in vips.chain(own) {
            let targets = vec![Target::new(transport, address, port); ASKED];
            world.check(&targets, &["shop/near", "shop/away"]);
        }
    }
    assert!(world.shows_client("tcp") && world.shows_client("udp"));
    // One port by both services to the one backend.
    world.apply(false, |_| {});
    for transport in [Transport::Tcp, Transport::Udp] {
        for family in [0, 1] {
            let target = |vip: [IpAddr; 2]| {
                let target = Target::new(transport, vip[family], 80);
                Target { source_port: 4000, ..target }
            };
            world.check(&vips().map(target), &["shop/away"]);
        }
    }
    // What doesn't fit is lost, but the client is told, and sends fragments from then on.
    for address in vips()[0] {
        let target = Target::new(Transport::Udp, address, 80);
        // A packet of 1498 bytes, with headers and the 16 bytes that are there anyway.
        let extra_bytes = 1498 - 16 - if address.is_ipv4() { 28 } else { 48 };
        // None that a flow to the other backend has had.
        let target = Target { extra_bytes, source_port: 4001, ..target };
        let _told = world.client.probe_one(&target, Duration::from_millis(300)).unwrap();
        world.check(&[target], &["shop/away"]);
    }
}

#[test]
fn by_ipip() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    everything_answers("ipip");
}

#[test]
fn by_geneve() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    everything_answers("geneve");
}

#[test]
fn by_option() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    everything_answers("option");
}

/// The service's own word counts before the node's, and `hybrid` is for TCP.
#[test]
fn by_annotation() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(&[]);
    for (mode, tcp, udp) in [("snat", false, false), ("hybrid", true, false), ("dsr", true, true)] {
        world.apply(false, |web| {
            web["metadata"]["annotations"] = json!({"skep.dev/lb-mode": mode});
        });
        for transport in [Transport::Tcp, Transport::Udp] {
            let targets = vec![Target::new(transport, vips()[0][0], 80); ASKED];
            world.check(&targets, &["shop/away"]);
        }
        assert_eq!((world.shows_client("tcp"), world.shows_client("udp")), (tcp, udp), "{mode}");
    }
}

/// Each node answers at its own addresses: with everybody's backends, masquerading what goes to the
/// other node, or with its own only.
#[test]
fn node_ports_of_two_nodes() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(&[]);
    let at_first = world.machine.router;
    let [at_second, on_link] = link_to_second();
    let transports = [Transport::Tcp, Transport::Udp];
    // A flow of UDP keeps the backend that it has had: each time other ports ask.
    let mut asked = 1u16;
    let mut ask = |world: &mut World, at: [IpAddr; 2], expected: &[&str]| {
        asked += 1;
        for (transport, address) in
            transports.into_iter().flat_map(|it| at.map(|address| (it, address)))
        {
            let target = Target::new(transport, address, NODE_PORT);
            let targets: Vec<Target> = (0..ASKED as u16)
                .map(|n| match transport {
                    Transport::Udp => Target { source_port: asked * 1000 + n, ..target.clone() },
                    _ => target.clone(),
                })
                .collect();
            world.check(&targets, expected);
        }
    };
    world.apply(true, |_| {});
    for at in [at_first, at_second] {
        ask(&mut world, at, &["shop/near", "shop/away"]);
    }
    // What came by the first node is that node's to the second.
    assert!(!world.shows_client("tcp") && !world.shows_client("udp"));
    let local = |web: &mut Value| web["spec"]["externalTrafficPolicy"] = json!("Local");
    world.apply(true, local);
    ask(&mut world, at_first, &["shop/near"]);
    ask(&mut world, at_second, &["shop/away"]);
    for (address, protocol) in
        on_link.into_iter().flat_map(|address| [(address, "tcp"), (address, "udp")])
    {
        assert!(world.shows(address, protocol), "{address} {protocol}");
    }
    // Nobody on the first node.
    world.apply(false, local);
    for transport in transports {
        for address in at_first {
            let target = Target::new(transport, address, NODE_PORT);
            let found = world.client.probe_one(&target, Duration::from_millis(300)).unwrap();
            assert!(!matches!(found.verdict, Verdict::Answered(_)), "{found:?}");
        }
    }
    ask(&mut world, at_second, &["shop/away"]);
}

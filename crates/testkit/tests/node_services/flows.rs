//! No flow breaks but those to backends that are dead, and no new one goes to a backend that has
//! left: from outside, from workloads with translated sockets, and from one without.

use super::world::{PATIENCE, balanced, cluster, plan, slice, web};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;
use testkit::gate::Feature;
use testkit::probe::{Held, Probe, Target, Transport, names};
use testkit::{Binaries, Neighbour, Node, Plan, Pod, eventually, require_kernel, require_root};

const INTERVAL: Duration = Duration::from_millis(150);
/// New connections of each client after each change.
const FRESH: usize = 60;
/// Of each: 200 in all.
const HELD: [usize; 3] = [100, 60, 40];

/// Ports of the machine elsewhere: each is a backend. Its first server has one of them, the others
/// have ten each; with the pods they are a hundred.
const FIRST_PORT: u16 = 9000;
const SERVERS: u16 = 10;

fn ports_of(server: u16) -> Range<u16> {
    match server {
        0 => FIRST_PORT..FIRST_PORT + 1,
        _ => FIRST_PORT + server * 10..FIRST_PORT + server * 10 + 10,
    }
}

fn slices_of(server: u16, far: [IpAddr; 2]) -> Vec<Value> {
    let of = |port: u16, address: IpAddr| {
        let ports = json!([{"name": "tcp", "protocol": "TCP", "port": port}]);
        slice(&format!("far-{port}"), &[json!({"addresses": [address]})], ports)
    };
    ports_of(server).flat_map(|port| far.map(|address| of(port, address))).collect()
}

fn conditions(name: &str, addresses: [IpAddr; 2], conditions: Value) -> Vec<Value> {
    let ports = json!([{"name": "tcp", "protocol": "TCP", "port": 8080}]);
    let of = |address: IpAddr| {
        let endpoint = json!({"addresses": [address], "conditions": conditions});
        slice(name, &[endpoint], ports.clone())
    };
    addresses.map(of).to_vec()
}

struct Client {
    probe: Probe,
    addresses: [IpAddr; 2],
}

impl Client {
    fn targets(&self, count: usize) -> Vec<Target> {
        (0..count).map(|n| Target::new(Transport::Tcp, self.addresses[n % 2], 80)).collect()
    }
}

struct Flows {
    clients: Vec<Client>,
    /// Their connections may break.
    dead: BTreeSet<String>,
    /// No new connection may go there.
    left: BTreeSet<String>,
}

impl Flows {
    fn held(&mut self) -> Vec<Held> {
        self.clients.iter_mut().flat_map(|client| client.probe.held().unwrap()).collect()
    }

    /// Every connection to who lives goes on, and new ones go where they should.
    #[track_caller]
    fn check(&mut self, after: &str) {
        for client in &mut self.clients {
            let targets = client.targets(FRESH);
            let found = names(&client.probe.probe(&targets, PATIENCE).unwrap());
            let wrong: Vec<_> = found.intersection(&self.left).collect();
            assert!(wrong.is_empty(), "{after}: {} came to {wrong:?}", client.probe.name());
            let answered = |name: &String| name.starts_with("shop/") || name.starts_with("far-");
            let unanswered: Vec<_> = found.iter().filter(|name| !answered(name)).collect();
            assert!(unanswered.is_empty(), "{after}: {} found {found:?}", client.probe.name());
        }
        let before = self.held();
        let dead = self.dead.clone();
        let mut now = Vec::new();
        eventually(&format!("connections go on after {after}"), || {
            now = self.held();
            let goes_on = |(before, now): (&Held, &Held)| {
                dead.contains(&now.backend)
                    || now.broken.is_some()
                    || now.exchanges >= before.exchanges + 2
            };
            before.iter().zip(&now).all(goes_on)
        });
        let broken: Vec<_> = now
            .iter()
            .filter(|held| held.broken.is_some() && !dead.contains(&held.backend))
            .collect();
        assert!(broken.is_empty(), "after {after}, {} are broken: {broken:#?}", broken.len());
    }
}

#[test]
fn only_flows_of_dead_backends_break() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let binaries = Binaries::built().unwrap();
    let mut node = Node::start_with(binaries, &["--devices", "out1,out2"]).unwrap();
    let outside = Neighbour::connect(&node, "client", 1).unwrap();
    let far = Neighbour::connect(&node, "far", 2).unwrap();
    let client = Probe::start(&binaries.probe, &outside.machine.place, "client").unwrap();
    let mut servers = Vec::new();
    for server in 0..SERVERS {
        let name = format!("far-{server}");
        let mut probe = Probe::start(&binaries.probe, &far.machine.place, &name).unwrap();
        for port in ports_of(server) {
            probe.serve(Transport::Tcp, port).unwrap();
        }
        servers.push(probe);
    }
    let webs: Vec<String> = (1..=9).map(|number| format!("web-{number}")).collect();
    let plan_of = |at: usize| plan(&webs[at], &[8080]);
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let mut keep = |made: Vec<Pod>| {
        pods.extend(made.into_iter().map(|pod| (pod.workload.name.clone(), pod)));
    };
    keep(Pod::apply(&node, [0, 1, 2, 3, 4, 5, 6].map(plan_of)).unwrap().into());
    let bare = Plan { namespace: "shop", name: "bare", ports: &[], sockets: false };
    let [inside, bare] = Pod::apply(&node, [plan("inside", &[]), bare]).unwrap();
    let mut documents: Vec<Value> =
        (0..SERVERS).flat_map(|server| slices_of(server, far.addresses)).collect();
    documents.push(web(|service| service["spec"]["selector"] = json!({"app": "web"})));
    node.skep().apply(&documents).unwrap();

    let mut flows = Flows {
        clients: vec![
            Client { probe: client, addresses: balanced() },
            Client { probe: inside.probe, addresses: cluster() },
            Client { probe: bare.probe, addresses: cluster() },
        ],
        dead: BTreeSet::new(),
        left: BTreeSet::new(),
    };
    for (client, count) in flows.clients.iter_mut().zip(HELD) {
        let targets = client.targets(count);
        let held = client.probe.begin_hold(&targets, INTERVAL).unwrap();
        let broken: Vec<_> = held.iter().filter(|held| held.broken.is_some()).collect();
        assert!(broken.is_empty(), "{}: {broken:?}", client.probe.name());
    }
    let backends: BTreeSet<String> = flows.held().into_iter().map(|held| held.backend).collect();
    assert!(backends.len() > 10, "{backends:?}");
    flows.check("the beginning");

    keep(Pod::apply(&node, [7, 8].map(plan_of)).unwrap().into());
    flows.check("two more");

    let ending = json!({"ready": false, "serving": true, "terminating": true});
    node.skep().apply(&conditions("web-1", pods["web-1"].addresses(), ending)).unwrap();
    flows.left.insert("shop/web-1".to_owned());
    flows.check("one that ends");

    // One of a hundred, then ten.
    for server in [0, 1] {
        node.skep().delete(&slices_of(server, far.addresses)).unwrap();
        flows.left.insert(format!("far-{server}"));
        flows.check("removals");
    }

    for _ in 0..5 {
        let not_ready = json!({"ready": false});
        node.skep().apply(&conditions("web-2", pods["web-2"].addresses(), not_ready)).unwrap();
        node.skep().delete(&slices_of(2, far.addresses)).unwrap();
        let mut back = conditions("web-2", pods["web-2"].addresses(), json!({"ready": true}));
        back.extend(slices_of(2, far.addresses));
        node.skep().apply(&back).unwrap();
    }
    flows.check("flapping");

    node.stop_agent().unwrap();
    flows.check("the agent's end");
    node.start_agent().unwrap();
    flows.check("the agent's start");
    node.kill_agent().unwrap();
    node.start_agent().unwrap();
    flows.check("the agent's death and start");

    // Dead: removed with its workload, its process gone.
    let gone = pods.remove("web-3").unwrap();
    node.skep().run(["delete", "workload", "web-3", "-n", "shop"]).unwrap();
    drop(gone);
    flows.dead.insert("shop/web-3".to_owned());
    flows.left.insert("shop/web-3".to_owned());
    flows.check("a death");

    // And all that left, but lives, is back.
    let mut back = conditions("web-1", pods["web-1"].addresses(), json!({"ready": true}));
    back.extend((0..SERVERS).flat_map(|server| slices_of(server, far.addresses)));
    node.skep().apply(&back).unwrap();
    flows.left = flows.dead.clone();
    flows.check("everybody's return");
}

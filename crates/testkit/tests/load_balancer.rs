//! The edge balancer with real sockets: a client, a balancer and its backends, each in a namespace
//! of its own. Backends take packets out of IPIP with a skepd of their own, and answer the client
//! directly.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use host::Netlink;
use ipnet::IpNet;
use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::probe::{Outcome, Probe, Target, Transport, Verdict};
use testkit::{Binaries, Neighbour, Node, Skep, eventually, require_kernel, require_root};

/// Programs have to be loaded until then, on a machine that may be doing much else.
const PATIENCE: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_millis(500);
const ASKED: usize = 60;
const PORT: u16 = 8080;
/// Room for rings that the manifest asks for.
const RING_BLOCKS: u64 = 100;

fn vips() -> [IpAddr; 2] {
    ["203.0.113.10".parse().unwrap(), "2001:db8:1::10".parse().unwrap()]
}

/// A server behind the balancer: it has the VIPs, and a skepd that decapsulates.
struct Backend {
    neighbour: Neighbour,
    probe: Option<Probe>,
    agent: Child,
}

impl Backend {
    fn start(node: &Node, name: &str, link: u8) -> Self {
        let neighbour = Neighbour::connect(node, name, link).unwrap();
        let place = &neighbour.machine.place;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            const LOOPBACK: u32 = 1;
            let netlink = Netlink::connect(&place.netns).unwrap();
            netlink.set_link_up(LOOPBACK).await.unwrap();
            for vip in vips() {
                netlink.ensure_address(LOOPBACK, IpNet::from(vip)).await.unwrap();
            }
        });
        let folder = node.folder().join(name);
        fs::create_dir_all(folder.join("manifests")).unwrap();
        let manifest = json!({
            "apiVersion": "skep.dev/v1",
            "kind": "LoadBalancer",
            "metadata": {"name": "behind"},
            "spec": {
                "interfaces": [{"name": "eth0", "attach": "generic"}],
                "decapsulation": {"ipip": true},
            },
        });
        fs::write(folder.join("manifests/behind.json"), manifest.to_string()).unwrap();
        let log = fs::File::create(folder.join("skepd.log")).unwrap();
        let mut command = place.command(&node.binaries().skepd);
        command
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--run-dir")
            .arg(folder.join("run"))
            .arg("--manifests")
            .arg(folder.join("manifests"))
            .arg("--bpffs")
            .arg(node.bpffs().join(name))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let agent = place.spawn(&mut command).unwrap();
        let mut probe = Probe::start(&node.binaries().probe, place, name).unwrap();
        probe.serve(Transport::Tcp, PORT).unwrap();
        probe.serve(Transport::Udp, PORT).unwrap();
        let backend = Backend { neighbour, probe: Some(probe), agent };
        let skep =
            Skep { binary: node.binaries().skep.clone(), socket: folder.join("run/skepd.sock") };
        skep.wait_for_balancer().unwrap();
        backend
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

struct World {
    client: (Neighbour, Probe),
    backends: Vec<Backend>,
    node: Node,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl World {
    fn new(backends: usize) -> Self {
        let binaries = Binaries::built().unwrap();
        let node = Node::start(binaries).unwrap();
        let client = Neighbour::connect(&node, "client", 1).unwrap();
        let probe = Probe::start(&binaries.probe, &client.machine.place, "client").unwrap();
        let backends = (0..backends)
            .map(|number| Backend::start(&node, NAMES[number], number as u8 + 2))
            .collect();
        let mut world = World { client: (client, probe), backends, node };
        world.learn_neighbours();
        world
    }

    /// The kernel answers for a neighbour only once it knows it.
    fn learn_neighbours(&mut self) {
        for backend in &self.backends {
            let targets: Vec<Target> = backend
                .neighbour
                .addresses
                .map(|address| Target::new(Transport::Tcp, address, PORT))
                .into();
            for outcome in self.client.1.probe(&targets, PATIENCE).unwrap() {
                assert!(matches!(outcome.verdict, Verdict::Answered(_)), "{}", outcome.verdict);
            }
        }
    }

    /// The balancer's manifest: `change` sees each backend as (its number, its manifest).
    fn manifest(&self, change: impl Fn(usize, &mut Value), vip: Value) -> Value {
        let vips: Vec<Value> = vips()
            .into_iter()
            .enumerate()
            .flat_map(|(family, address)| {
                ["TCP", "UDP"].map(|protocol| (family, address, protocol))
            })
            .map(|(family, address, protocol)| {
                let backends: Vec<Value> = self
                    .backends
                    .iter()
                    .enumerate()
                    .map(|(number, backend)| {
                        let address = backend.neighbour.addresses[family];
                        let mut manifest = json!({"address": address});
                        change(number, &mut manifest);
                        manifest
                    })
                    .filter(|manifest| !manifest.is_null())
                    .collect();
                let mut one = json!({
                    "address": address,
                    "ports": PORT,
                    "protocol": protocol,
                    "backends": backends,
                });
                for (name, value) in vip.as_object().unwrap() {
                    one[name] = value.clone();
                }
                one
            })
            .collect();
        json!({
            "apiVersion": "skep.dev/v1",
            "kind": "LoadBalancer",
            "metadata": {"name": "edge"},
            "spec": {
                "interfaces": [{"name": self.client.0.interface, "attach": "generic"}],
                "hashing": {"slots": RING_BLOCKS * 512},
                "vips": vips,
            },
        })
    }

    fn apply(&self, manifest: Value) {
        self.node.skep().apply(&[manifest]).unwrap();
        self.node.skep().wait_for_balancer().unwrap();
    }

    fn ask(&mut self, transport: Transport, address: IpAddr, window: Duration) -> Vec<Outcome> {
        let targets = vec![Target::new(transport, address, PORT); ASKED];
        self.client.1.probe(&targets, window).unwrap()
    }

    /// Who answers how often, over both families. Probes answer datagrams from the address that
    /// the route gives, which isn't the VIP: so this is TCP alone.
    fn answers(&mut self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for vip in vips() {
            for outcome in self.ask(Transport::Tcp, vip, PATIENCE) {
                let Verdict::Answered(name) = &outcome.verdict else {
                    let status = self.node.skep().run(["lb", "status"]).unwrap();
                    panic!("{vip}: {}\n{status}", outcome.verdict);
                };
                *counts.entry(name.clone()).or_default() += 1;
            }
        }
        counts
    }

    fn lb(&self, arguments: &[&str]) -> String {
        let all = ["lb"].iter().chain(arguments);
        self.node.skep().run(all).unwrap()
    }
}

fn as_is(_: usize, _: &mut Value) {}

#[test]
fn connections_are_spread_and_foretold() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(3);
    world.apply(world.manifest(as_is, json!({})));
    let counts = world.answers();
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|count| *count > ASKED / 3), "{counts:?}");

    // What `which` says is what happens.
    for vip in vips() {
        for outcome in world.ask(Transport::Tcp, vip, PATIENCE).into_iter().take(8) {
            let (source, destination) = (outcome.local.unwrap(), outcome.peer.unwrap());
            let (source, destination) = (source.to_string(), destination.to_string());
            let said = world.lb(&["which", "--src", &source, "--dst", &destination]);
            let Verdict::Answered(name) = &outcome.verdict else { panic!("{}", outcome.verdict) };
            let number = NAMES.iter().position(|known| known == name).unwrap();
            let family = usize::from(vip.is_ipv6());
            let address = world.backends[number].neighbour.addresses[family].to_string();
            assert!(said.starts_with(&format!("{address} ")), "{name}: {said}");
        }
    }

    // Weights: three quarters, one quarter, nothing.
    let weights = |number: usize, backend: &mut Value| backend["weight"] = json!([3, 1, 0][number]);
    world.apply(world.manifest(weights, json!({})));
    let counts = world.answers();
    assert!(!counts.contains_key("three"), "{counts:?}");
    assert!(counts["one"] > 2 * counts["two"], "{counts:?}");
    let list = world.lb(&["list"]);
    assert!(list.contains("2 of 3"), "{list}");

    let status = world.node.skep().json(&["lb", "status"]).unwrap();
    let mut tables = status[0]["tables"].as_array().unwrap().iter();
    let rings = tables.find(|table| table["name"] == "ring blocks").unwrap();
    assert_eq!(rings["capacity"], json!(RING_BLOCKS), "{rings}");
}

#[test]
fn a_connection_stays_through_drains_and_restarts() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(2);
    world.apply(world.manifest(as_is, json!({})));
    // Several, so that each backend has some.
    let mut steady = Vec::new();
    for number in 0..12 {
        let place = &world.client.0.machine.place;
        let name = format!("steady{number}");
        let mut probe = Probe::start(&world.node.binaries().probe, place, &name).unwrap();
        let target = Target::new(Transport::Tcp, vips()[number % 2], PORT);
        probe.begin_steady(&target, Duration::from_millis(20)).unwrap();
        steady.push(probe);
    }
    sleep(Duration::from_millis(300));
    let two = world.backends[1].neighbour.addresses;
    for address in two {
        let said = world.lb(&["drain", &address.to_string()]);
        assert!(said.contains("gets no new flows of 2 VIPs"), "{said}");
    }
    let counts = world.answers();
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["one"], "{counts:?}");
    world.node.kill_agent().unwrap();
    assert_eq!(world.answers().keys().collect::<Vec<_>>(), ["one"]);
    world.node.start_agent().unwrap();
    // Drained it stays, over the restart.
    assert_eq!(world.answers().keys().collect::<Vec<_>>(), ["one"]);
    for address in two {
        world.lb(&["drain", &address.to_string(), "--undo"]);
    }
    assert_eq!(world.answers().len(), 2);
    for probe in &mut steady {
        let report = probe.steady().unwrap();
        assert_eq!(report.broken, None, "{}", world.lb(&["describe"]));
    }
    let history = world.lb(&["history"]);
    assert!(history.contains("undrained"), "{history}");
}

#[test]
fn without_a_backend_traffic_stops_for_a_reason_that_is_counted() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(1);
    world.apply(world.manifest(as_is, json!({})));
    world.answers();
    world.apply(world.manifest(|_, backend| *backend = Value::Null, json!({})));
    for outcome in world.ask(Transport::Tcp, vips()[0], WINDOW) {
        assert_eq!(outcome.verdict, Verdict::Silent);
    }
    let metrics = world.lb(&["metrics"]);
    let dropped = metrics.lines().find_map(|line| {
        line.strip_prefix("skep_lb_vip_no_backend_total{vip=\"tcp 203.0.113.10:8080\"} ")
    });
    let dropped: usize = dropped.unwrap().parse().unwrap();
    assert!(dropped >= ASKED, "{metrics}");
}

#[test]
fn the_sick_get_nothing_and_the_recovered_do() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(2);
    let check = json!({"healthCheck": {
        "tcp": {"port": PORT},
        "interval": "50ms",
        "timeout": "200ms",
        "unhealthyAfter": 2,
        "healthyAfter": 2,
    }});
    world.apply(world.manifest(as_is, check));
    assert_eq!(world.answers().len(), 2);
    drop(world.backends[1].probe.take());
    let wait = |world: &World, kind: &str| {
        let is_so = |address: IpAddr| {
            let history = world.lb(&["history", &address.to_string()]);
            history.lines().last().is_some_and(|line| line.contains(&format!(" {kind} ")))
        };
        eventually(kind, || world.backends[1].neighbour.addresses.into_iter().all(is_so));
    };
    wait(&world, "unhealthy");
    assert_eq!(world.answers().keys().collect::<Vec<_>>(), ["one"]);
    let described = world.lb(&["describe", "tcp 203.0.113.10"]);
    assert!(described.contains("dead: health check fails"), "{described}");

    let place = world.backends[1].neighbour.machine.place.clone();
    let mut probe = Probe::start(&world.node.binaries().probe, &place, "two").unwrap();
    probe.serve(Transport::Tcp, PORT).unwrap();
    probe.serve(Transport::Udp, PORT).unwrap();
    world.backends[1].probe = Some(probe);
    wait(&world, "healthy");
    assert_eq!(world.answers().len(), 2);
}

/// The file that `skep lb capture` has written with these arguments while connections are made, until
/// it ends by itself.
fn captured(world: &mut World, arguments: &[&str]) -> (String, String) {
    let file = world.node.folder().join("captured.pcapng");
    let log = fs::File::create(world.node.folder().join("capture.log")).unwrap();
    let mut child = world
        .node
        .skep()
        .command()
        .args(["lb", "capture", "-w"])
        .arg(&file)
        .args(arguments)
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + 4 * PATIENCE;
    let status = loop {
        world.answers();
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("nothing captured with {arguments:?}");
        }
    };
    let said = fs::read_to_string(world.node.folder().join("capture.log")).unwrap();
    assert!(status.success(), "{arguments:?}: {said}");
    (String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned(), said)
}

#[test]
fn packets_are_captured_with_what_became_of_them() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(2);
    world.apply(world.manifest(as_is, json!({})));
    let one = world.backends[0].neighbour.addresses[0].to_string();
    let two = world.backends[1].neighbour.addresses[0].to_string();

    let (file, said) = captured(&mut world, &["--backend", &one, "--new-flows", "--count", "4"]);
    assert!(said.contains("4 packets captured"), "{said}");
    let comment = format!("tcp 203.0.113.10:8080: sent to {one} (XDP_REDIRECT), new flow");
    // As they came, and as they left.
    assert_eq!(file.matches(&comment).count(), 8, "{file}");
    assert!(!file.contains(&two), "{file}");
    assert!(file.contains(" out"), "{file}");

    // The usual program is back, and another capture may begin. No such client is there.
    let nobody = ["--client", "198.51.100.0/24", "--duration", "200ms"];
    let (_, said) = captured(&mut world, &nobody);
    assert!(said.contains("0 packets captured"), "{said}");

    world.apply(world.manifest(|_, backend| *backend = Value::Null, json!({})));
    let file = world.node.folder().join("dropped.pcapng");
    let mut command = world.node.skep().command();
    command.args(["lb", "capture", "--reason", "no-backend", "--count", "3", "-w"]).arg(&file);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + 4 * PATIENCE;
    while child.try_wait().unwrap().is_none() {
        world.ask(Transport::Tcp, vips()[0], WINDOW);
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no drop was captured");
        }
    }
    let file = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
    let comment = "tcp 203.0.113.10:8080: dropped, new flow, no-backend";
    assert_eq!(file.matches(comment).count(), 3, "{file}");
}

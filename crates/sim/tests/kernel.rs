//! The simulator against the running kernel: the same objects with the same tables, and every
//! packet of a session through both. Verdicts and bytes must be the same.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use bpf_kernel::{Loader, Object, TestRun, privilege};
use bpf_vm::Engine;
use datapath::KernelMaps;
use model::{Algorithm, Model};
use nix::sched::{CloneFlags, unshare};
use sim::scenario::{Scenario, answer};
use sim::{Fate, From, Node, Outside, Place, Settings, Step, capture};

/// The shop; its services choose backends by hash, since chance is another in each engine.
fn shop() -> Model {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop.yaml");
    let parsed = store::manifest::parse("shop.yaml", &std::fs::read_to_string(file).unwrap());
    let mut model = Model::default();
    for object in parsed.into_objects() {
        model.put(object);
    }
    for service in model.services.values_mut() {
        Arc::make_mut(service).algorithm = Algorithm::Maglev;
    }
    model
}

/// The node's object in the kernel, with the simulator's tables, in a network namespace with
/// interfaces of the same numbers. `None`, with a printed reason, where that can't be had.
fn kernel(node: &mut Node) -> Option<Object> {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: needs root");
        return None;
    }
    if let Err(error) = privilege::check() {
        println!("skipped: {error}");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
    let ip = |line: String| {
        let done = Command::new("ip").args(line.split(' ')).status().expect("ip");
        assert!(done.success(), "ip {line}");
    };
    let endpoints = node.endpoints().iter().map(|endpoint| endpoint.ifindex);
    for index in endpoints.chain(node.devices().iter().map(|device| device.ifindex)) {
        let peer = index + 1000;
        ip(format!("link add e{index} index {index} type veth peer name p{index} index {peer}"));
        ip(format!("link set e{index} up"));
        ip(format!("link set p{index} up"));
    }
    for endpoint in node.endpoints() {
        for address in &endpoint.addresses {
            ip(format!("route add {address} dev e{}", endpoint.ifindex));
        }
    }
    for device in node.devices() {
        for address in &device.addresses {
            let no_check = if address.addr().is_ipv6() { " nodad" } else { "" };
            ip(format!("addr add {address} dev e{}{no_check}", device.ifindex));
        }
    }
    // Routes out, for what the programs ask about.
    let out = node.devices()[0].ifindex;
    ip(format!("route add default dev e{out}"));
    ip(format!("-6 route add default dev e{out}"));
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/conf/all/forwarding");
        std::fs::write(path, "1").expect("this namespace forwards");
    }
    let object = Loader::new("endpoint").load(objects::ENDPOINT).expect("the kernel takes it");
    node.fill(&KernelMaps(&object)).expect("the kernel's maps take the rows");
    Some(object)
}

fn ifindex(node: &Node, step: &Step) -> u32 {
    match step.place {
        Place::Endpoint(endpoint) => node.endpoints()[endpoint].ifindex,
        Place::Device(device) => node.devices()[device].ifindex,
    }
}

/// `struct __sk_buff` up to `ifindex` (include/uapi/linux/bpf.h).
fn context(node: &Node, step: &Step) -> Vec<u8> {
    let mut context = vec![0; 192];
    let mut set = |at: usize, word: u32| context[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    set(8, step.mark);
    set(40, ifindex(node, step));
    context
}

fn is_cut(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() < 14 + 20,
        Some([0x86, 0xdd]) => frame.len() < 14 + 40,
        _ => frame.len() < 14 + 1,
    }
}

/// Sends packets through both; how many runs were compared.
fn compare(node: &mut Node, kernel: &Object, packets: Vec<(From, Vec<u8>)>) -> usize {
    let mut runs = 0;
    for (number, (from, frame)) in packets.into_iter().enumerate() {
        let way = node.send(from, &frame).unwrap();
        for step in &way.steps {
            let input = TestRun { data: &step.before, context: &context(node, step), repeat: 1 };
            let result = match kernel.program(step.program).unwrap().test_run(input) {
                Ok(result) => result,
                // The kernel's test run takes no packet that is cut off in its IP header.
                Err(error) if error.errno() == Some(22) && is_cut(&step.before) => continue,
                Err(error) => panic!("packet {number}: {error}: {:02x?}", step.before),
            };
            assert_eq!(
                (result.action as i32, &result.data),
                (step.action, &step.after),
                "packet {number}: {} of {:?}",
                step.program,
                step.place
            );
            runs += 1;
        }
    }
    runs
}

/// Conversations of everybody with everybody, as the simulator has them.
fn conversations(node: &Node) -> Vec<(From, Vec<u8>)> {
    let mut node_of_words = Node::new(&shop(), &Settings::default()).unwrap();
    let mut text = "packets:\n".to_owned();
    let names = ["shop/client", "shop/web-1", "shop/web-2", "shop/cache", "203.0.113.9"];
    for (number, from) in names.iter().enumerate() {
        for to in names.iter().chain(&["service:shop/web"]).filter(|to| *to != from) {
            for ipv6 in [false, true] {
                if ipv6 && (from.contains('.') || to.contains('.') || to.contains(':')) {
                    continue;
                }
                for rest in [
                    "port: 80, flags: SYN",
                    "port: 6379, flags: SYN",
                    "port: 80, flags: ACK, payload: GET",
                    "port: 53, protocol: udp, payload: question",
                    "protocol: icmp",
                    "port: 80, flags: 'FIN,ACK'",
                ] {
                    let port = 41_000 + number;
                    text += &format!(
                        "- {{from: {from}, to: '{to}', ipv6: {ipv6}, source_port: {port}, {rest}}}\n"
                    );
                }
            }
        }
    }
    let scenario = Scenario::parse(&text).unwrap();
    let mut packets = Vec::new();
    for (number, packet) in scenario.packets.iter().enumerate() {
        for (from, frame) in packet.frames(node, number).unwrap() {
            let way = node_of_words.send(from, &frame).unwrap();
            packets.push((from, frame));
            if let Fate::Delivered(to) = way.fate
                && let Some(back) = answer(&way.frame)
            {
                node_of_words.send(From::Endpoint(to), &back).unwrap();
                packets.push((From::Endpoint(to), back));
            }
        }
    }
    packets
}

#[test]
fn the_kernels_verdict_and_bytes_for_every_packet() {
    for engine in [Engine::Interpreter, Engine::Jit] {
        let mut node = Node::new(&shop(), &Settings { engine, ..Settings::default() }).unwrap();
        let Some(kernel) = kernel(&mut node) else { return };
        let mut packets = conversations(&node);
        // Packets that no sender should send: changed at every byte of the headers.
        let broken: Vec<(From, Vec<u8>)> = packets
            .iter()
            .step_by(7)
            .enumerate()
            .flat_map(|(number, (from, frame))| {
                let mut changed = frame.clone();
                let at = 12 + number % 42.min(frame.len().saturating_sub(12)).max(1);
                changed[at] ^= 1 << (number % 8);
                let cut = frame[..14 + number % (frame.len() - 14)].to_vec();
                [(*from, changed), (*from, cut)]
            })
            .collect();
        packets.extend(broken);
        let count = packets.len();
        let runs = compare(&mut node, &kernel, packets);
        println!("{engine:?}: {count} packets, {runs} runs of programs, none different");
        assert!(count > 300 && runs > 300);
    }
}

/// A session of the demo, recorded where its workloads send (`tcpdump -Q out` in each of their
/// namespaces).
#[test]
fn a_recorded_session_of_the_demo() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo.pcapng");
    let frames = capture::read(&std::fs::read(file).unwrap()).unwrap();
    let mut settings = Settings::default();
    // The capture says who had which address.
    for frame in &frames {
        let Some(headers) = sim::headers(&frame.bytes) else { continue };
        let name = model::ObjectName::new("shop", frame.interface.as_str());
        let known = settings.addresses.entry(name).or_insert_with(Vec::new);
        let is_own = match headers.source {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_unspecified(),
        };
        if is_own && !known.contains(&headers.source) {
            known.push(headers.source);
        }
    }
    let mut node = Node::new(&shop(), &settings).unwrap();
    let packets: Vec<(From, Vec<u8>)> = frames
        .into_iter()
        .filter_map(|frame| {
            let sender = node.endpoints().iter().position(|e| *e.name.name == *frame.interface)?;
            Some((From::Endpoint(sender), frame.bytes))
        })
        .collect();
    assert!(packets.len() > 100, "{} packets", packets.len());
    let Some(kernel) = kernel(&mut node) else { return };
    let count = packets.len();
    let runs = compare(&mut node, &kernel, packets);
    println!("{count} packets, {runs} runs of programs, none different");
}

/// A shop that is open to the outside: a node port, an external address, one backend here and one
/// elsewhere, one in the node's own network.
const OPEN: &str = "
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec:
  type: NodePort
  clusterIPs: [10.96.0.20, 'fd00:96::20']
  ipFamilyPolicy: PreferDualStack
  externalIPs: [198.51.100.80]
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 80, nodePort: 30080}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.21
  ports:
  - {name: dns, port: 53, protocol: UDP, nodePort: 30053}
  - {name: http, port: 80, nodePort: 30081}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: far-1
  namespace: shop
  labels: {kubernetes.io/service-name: far}
addressType: IPv4
ports:
- {name: dns, port: 5353, protocol: UDP}
- {name: http, port: 8080}
endpoints:
- addresses: [203.0.113.77]
- addresses: [192.0.2.1]
";

fn open_shop() -> Model {
    let mut model = shop();
    let parsed = store::manifest::parse("open.yaml", OPEN);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    for object in parsed.into_objects() {
        model.put(object);
    }
    for service in model.services.values_mut() {
        Arc::make_mut(service).algorithm = Algorithm::Maglev;
    }
    model
}

fn open_settings(engine: Engine) -> Settings {
    let device = |name: &str, addresses: [&str; 2]| Outside {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let devices = vec![
        device("eth0", ["192.0.2.1/24", "2001:db8:1::1/64"]),
        device("eth1", ["198.51.100.1/24", "2001:db8:2::1/64"]),
    ];
    Settings { engine, devices, ..Settings::default() }
}

/// Everything that a scenario's packets and their answers become.
fn dialogue(text: &str, node: &mut Node) -> Vec<(From, Vec<u8>)> {
    let scenario = Scenario::parse(text).unwrap();
    let mut packets = Vec::new();
    for (number, packet) in scenario.packets.iter().enumerate() {
        for (from, frame) in packet.frames(node, number).unwrap() {
            let mut next = Some((from, frame));
            // There and back, by whoever gets it.
            for _ in 0..2 {
                let Some((from, frame)) = next.take() else { break };
                let way = node.send(from, &frame).unwrap();
                packets.push((from, frame));
                let receiver = match way.fate {
                    Fate::Delivered(to) => From::Endpoint(to),
                    Fate::Left(device) => From::Device(device),
                    Fate::Host => From::Host,
                    _ => break,
                };
                next = answer(&way.frame).map(|back| (receiver, back));
            }
        }
    }
    packets
}

#[test]
fn services_from_outside_as_the_kernel_has_them() {
    let mut text = "packets:\n".to_owned();
    for (number, client) in ["192.0.2.9", "198.51.100.9", "203.0.113.9"].iter().enumerate() {
        for (to, port, protocol) in [
            ("192.0.2.1", 30080, "tcp"),
            ("198.51.100.1", 30080, "tcp"),
            ("198.51.100.80", 80, "tcp"),
            ("192.0.2.1", 30081, "tcp"),
            ("192.0.2.1", 30053, "udp"),
            ("192.0.2.1", 22, "tcp"),
            ("10.96.0.20", 80, "tcp"),
        ] {
            for round in 0..4 {
                let port_of_client = 42_000 + 10 * number + round;
                text += &format!(
                    "- {{from: {client}, to: {to}, port: {port}, protocol: {protocol}, \
                     source_port: {port_of_client}, payload: hello}}\n"
                );
            }
        }
    }
    for to in ["2001:db8:1::1", "2001:db8:2::1"] {
        text += &format!(
            "- {{from: '2001:db8:3::9', to: '{to}', port: 30080, ipv6: true, count: 3}}\n"
        );
    }
    for engine in [Engine::Interpreter, Engine::Jit] {
        let model = open_shop();
        let mut first = Node::new(&model, &open_settings(engine)).unwrap();
        let packets = dialogue(&text, &mut first);
        let mut node = Node::new(&model, &open_settings(engine)).unwrap();
        let Some(kernel) = kernel(&mut node) else { return };
        let count = packets.len();
        let runs = compare(&mut node, &kernel, packets);
        println!("{engine:?}: {count} packets, {runs} runs of programs, none different");
        assert!(runs > 120, "{runs} runs");
    }
}

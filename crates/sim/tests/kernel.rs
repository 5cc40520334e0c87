//! The simulator against the running kernel: the same objects with the same tables, and every
//! packet of a session through both. Verdicts and bytes must be the same.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use bpf_kernel::{Loader, Object, TestRun, privilege};
use bpf_vm::Engine;
use model::{Algorithm, Model};
use nix::sched::{CloneFlags, unshare};
use sim::scenario::{Scenario, answer};
use sim::{Fate, From, Node, Settings, Step, capture};

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
fn kernel(node: &Node) -> Option<Object> {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: needs root");
        return None;
    }
    if let Err(error) = privilege::check() {
        println!("skipped: {error}");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
    for endpoint in node.endpoints() {
        let (index, peer) = (endpoint.ifindex, endpoint.ifindex + 1000);
        let line =
            format!("link add e{index} index {index} type veth peer name p{index} index {peer}");
        let done = Command::new("ip").args(line.split(' ')).status().expect("ip");
        assert!(done.success(), "ip {line}");
    }
    let object = Loader::new("endpoint").load(objects::ENDPOINT).expect("the kernel takes it");
    for (name, entries) in &node.image().maps {
        let map = object.map(name).unwrap();
        for (key, value) in entries {
            map.set(key, value).unwrap();
        }
    }
    Some(object)
}

/// `struct __sk_buff` up to `ifindex` (include/uapi/linux/bpf.h).
fn context(node: &Node, step: &Step) -> Vec<u8> {
    let mut context = vec![0; 192];
    let mut set = |at: usize, word: u32| context[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    set(8, step.mark);
    set(40, node.endpoints()[step.endpoint].ifindex);
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
                "packet {number}: {} of {}",
                step.program,
                node.endpoints()[step.endpoint].name
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
        let Some(kernel) = kernel(&node) else { return };
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
    let Some(kernel) = kernel(&node) else { return };
    let count = packets.len();
    let runs = compare(&mut node, &kernel, packets);
    println!("{count} packets, {runs} runs of programs, none different");
}

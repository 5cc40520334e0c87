//! The programs on a workload's interface, with the tables of the example shop.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bpf_kernel::{Loader, TestRun};
use bpf_vm::Packet;
use bpf_vm::context::Skb;
use datapath::KernelMaps;
use model::{Algorithm, Model};
use nix::sched::{CloneFlags, unshare};
use sim::{Node, Settings, VmMaps};
use wire::build::Frame;
use wire::transport::tcp_flags::{ACK, PSH, SYN};

use super::{ROUNDS, Row, answer, kernels_answer, program, repeated, runtime};

/// Fewer than the packet's time to live.
const REPEAT: u32 = 200;
const TTL: u8 = 255;

/// `linux/pkt_cls.h`
const REDIRECT: u32 = 7;
const PASS: u32 = u32::MAX;

struct Case {
    name: &'static str,
    program: &'static str,
    mark: u32,
    endpoint: usize,
    frame: Vec<u8>,
    action: u32,
}

pub fn rows() -> Result<Vec<Row>> {
    let mut node = Node::new(&shop()?, &Settings::default())?;
    namespace(&node)?;
    let kernel = Loader::new("endpoint").load(objects::ENDPOINT)?;
    let ours = runtime().load(&bpf_object::Object::parse(objects::ENDPOINT)?)?;
    node.fill(&KernelMaps(&kernel))?;
    node.fill(&VmMaps(&ours))?;
    let mut rows = Vec::new();
    for case in cases(&node)? {
        let ifindex = node.endpoints()[case.endpoint].ifindex;
        let context = Skb { ifindex, ingress_ifindex: ifindex, mark: case.mark, ..Skb::default() };
        let mut runs = program(&ours, case.program)?.skb_runs(&context)?;
        // `struct __sk_buff` up to `ifindex` (include/uapi/linux/bpf.h).
        let mut bytes = [0; 192];
        bytes[8..12].copy_from_slice(&case.mark.to_ne_bytes());
        bytes[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let run = TestRun { data: &case.frame, context: &bytes, repeat: REPEAT };
        let program = kernel.program(case.program)?;
        let (theirs, answer) = (kernels_answer(program, run)?, answer(&mut runs, &case.frame)?);
        ensure!(theirs == answer, "{}: {answer:?}, the kernel {theirs:?}", case.name);
        ensure!(answer.action == case.action, "{}: {answer:?}", case.name);
        if case.name.is_empty() {
            continue;
        }
        let mut packet = Packet::new(&case.frame)?;
        let mut row = Row { name: case.name, ours: f64::MAX, kernel: f64::MAX };
        for _ in 0..ROUNDS {
            // Each finds the processor's caches as it has left them.
            for _ in 0..8 {
                let time = repeated(&mut runs, &mut packet, &case.frame, REPEAT)?;
                row.ours = row.ours.min(time);
            }
            for _ in 0..8 {
                let time = program.test_run(run)?.duration.as_nanos() as f64;
                row.kernel = row.kernel.min(time);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Those without a name come before others, so that their flows are known.
fn cases(node: &Node) -> Result<Vec<Case>> {
    let endpoint = |name: &str| {
        let found = node.endpoints().iter().position(|endpoint| &*endpoint.name.name == name);
        found.with_context(|| format!("no workload {name}"))
    };
    let (client, server) = (endpoint("client")?, endpoint("web-1")?);
    let address = |endpoint: usize, v6: bool| -> Result<IpAddr> {
        let addresses = &node.endpoints()[endpoint].addresses;
        addresses.iter().copied().find(|a| a.is_ipv6() == v6).context("an address of each kind")
    };
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let (from, to) = (address(client, v6)?, address(server, v6)?);
        let tcp = |back: bool, flags: u8| {
            let (from, to) = if back { (to, from) } else { (from, to) };
            let (source, destination) = if back { (80, 3_000) } else { (3_000, 80) };
            let frame = Frame::between(from, to).ttl(TTL).tcp(source, destination, flags);
            frame.payload(&[0x55; 64]).build()
        };
        let case = |name, program, mark, endpoint, frame, action| Case {
            name,
            program,
            mark,
            endpoint,
            frame,
            action,
        };
        let data = ACK | PSH;
        let named = |v4: &'static str, v6_name: &'static str| if v6 { v6_name } else { v4 };
        cases.extend([
            case("", "from_endpoint", 0, client, tcp(false, SYN), REDIRECT),
            case("", "from_endpoint", 0, server, tcp(true, SYN | ACK), REDIRECT),
            case(
                named("to_endpoint, decided before", "to_endpoint, decided before, IPv6"),
                "to_endpoint",
                abi::state::MARK_DECIDED,
                server,
                tcp(false, data),
                PASS,
            ),
            case(
                named("from_endpoint, known flow", "from_endpoint, known flow, IPv6"),
                "from_endpoint",
                0,
                client,
                tcp(false, data),
                REDIRECT,
            ),
            case(
                named("from_endpoint, its reply", "from_endpoint, its reply, IPv6"),
                "from_endpoint",
                0,
                server,
                tcp(true, data),
                REDIRECT,
            ),
        ]);
    }
    Ok(cases)
}

/// The shop; its services choose backends by hash, since chance is another in each engine.
fn shop() -> Result<Model> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");
    let parsed = store::manifest::parse("shop.yaml", &std::fs::read_to_string(file)?);
    let mut model = Model::default();
    for object in parsed.into_objects() {
        model.put(object);
    }
    for service in model.services.values_mut() {
        Arc::make_mut(service).algorithm = Algorithm::Maglev;
    }
    Ok(model)
}

/// Interfaces of the numbers that the node's tables name, in a network namespace of this process.
fn namespace(node: &Node) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("no network namespace of our own")?;
    for endpoint in node.endpoints() {
        let (index, peer) = (endpoint.ifindex, endpoint.ifindex + 1000);
        let line =
            format!("link add e{index} index {index} type veth peer name p{index} index {peer}");
        let done = Command::new("ip").args(line.split(' ')).status().context("cannot run ip")?;
        ensure!(done.success(), "ip {line} failed");
    }
    Ok(())
}

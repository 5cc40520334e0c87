//! The agent with much to do: memory, time from `skep apply` to effective, time to start.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testkit::manifest::{labels, network_policy, stream};
use testkit::{Binaries, Node, Skep};

use crate::figures::{median, print};
use crate::rules::{NAMESPACE, service_of, slice};

const SERVICES: usize = 10_000;
const BACKENDS: usize = 10;
const POLICIES: usize = 1_000;
/// Kinds of workloads that policies select, a workload of each.
const APPS: usize = 20;
const CHANGES: usize = 15;

/// The objects of the change of each turn.
type Changed<'a> = &'a dyn Fn(usize) -> Vec<Value>;

pub fn run() -> Result<()> {
    let mut node = Node::start(Binaries::built()?)?;
    let skep = node.skep();
    let mut rows = vec![vec![
        format!("{SERVICES} services x {BACKENDS} backends, {POLICIES} policies"),
        "figure".to_owned(),
    ]];
    let mut row = |name: &str, figure: String| rows.push(vec![format!("  {name}"), figure]);
    row("memory, empty", memory(&node)?);

    let mut documents = Vec::new();
    for number in 0..APPS {
        let name = format!("app-{number}");
        let workload = node.workload(NAMESPACE, &name)?;
        documents.push(workload.manifest(&labels([("app", &name)]), &[], &[]));
    }
    skep.with_stream("apply", &stream(&documents))?;
    row("memory, with workloads", memory(&node)?);

    documents = (0..SERVICES).flat_map(service).collect();
    documents.extend((0..POLICIES).map(|number| policy(number, 8080)));
    let started = Instant::now();
    skep.with_stream("apply", &stream(&documents))?;
    row("apply everything at once", milliseconds(started.elapsed()));
    drop(documents);
    row("memory, with everything", memory(&node)?);

    for (name, change) in [
        ("one policy's port", &(|turn: usize| vec![policy(7, 9000 + turn as u16)]) as Changed<'_>),
        ("one service's backends", &|turn| vec![slice_of(4_711, turn)]),
        ("one new service with backends", &|turn| service(SERVICES + turn).to_vec()),
    ] {
        let (effective, wall) = changes(&skep, change)?;
        row(&format!("{name}: effective (agent)"), milliseconds(effective));
        row(&format!("{name}: `skep apply`, wall clock"), milliseconds(wall));
    }
    row("memory, after changes", memory(&node)?);

    node.stop_agent()?;
    let started = Instant::now();
    node.start_agent()?;
    row("start that takes everything over", milliseconds(started.elapsed()));
    row("memory, after that start", memory(&node)?);
    let (effective, _) = changes(&skep, &|turn| vec![policy(7, 9100 + turn as u16)])?;
    row("one policy's port after that start: effective", milliseconds(effective));
    print(&rows);
    println!("medians of {CHANGES} changes; {}", super::datapath::load());
    Ok(())
}

/// Medians of what the agent says of itself, and of the whole command.
fn changes(skep: &Skep, change: Changed<'_>) -> Result<(Duration, Duration)> {
    let (mut effective, mut wall) = (Vec::new(), Vec::new());
    for turn in 0..CHANGES {
        let file = std::env::temp_dir().join(format!("skep-bench-{}.json", std::process::id()));
        fs::write(&file, stream(&change(turn)))?;
        let started = Instant::now();
        let path = file.to_string_lossy().into_owned();
        let answer = skep.run(["apply", "-f", &path]);
        wall.push(started.elapsed().as_secs_f64());
        fs::remove_file(&file)?;
        effective.push(seconds(&answer?)?);
    }
    Ok((Duration::from_secs_f64(median(&effective)), Duration::from_secs_f64(median(&wall))))
}

/// What stands behind `effective after` in the answer of `skep apply`.
fn seconds(answer: &str) -> Result<f64> {
    let span = || {
        let (number, unit) = answer.split_once("effective after ")?.1.trim().split_once(' ')?;
        let scale = match unit {
            "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * scale)
    };
    span().with_context(|| format!("no time in {answer}"))
}

fn service(number: usize) -> [Value; 2] {
    let [.., high, low] = (number as u32).to_be_bytes();
    let ports = json!([{"name": "web", "port": 80, "targetPort": 8080}]);
    let service = service_of(&name(number), Ipv4Addr::new(10, 97, high, low), ports, None);
    [service, slice_of(number, 0)]
}

/// Backends of a service; `turn` makes them others.
fn slice_of(number: usize, turn: usize) -> Value {
    let backends: Vec<Ipv4Addr> = (0..BACKENDS)
        .map(|backend| {
            let address = (number * BACKENDS + backend + turn * 1_000_000) as u32;
            Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + address)
        })
        .collect();
    slice(&name(number), &backends)
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

/// Selects one kind of workload and lets another and a block of addresses in.
fn policy(number: usize, port: u16) -> Value {
    let app = |number: usize| labels([("app", &format!("app-{}", number % APPS))]);
    let [.., high, low] = (number as u32).to_be_bytes();
    network_policy(
        (NAMESPACE, &format!("policy-{number}")),
        json!({
            "podSelector": {"matchLabels": app(number)},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [
                    {"podSelector": {"matchLabels": app(number / APPS)}},
                    {"ipBlock": {"cidr": format!("172.{}.{low}.0/24", 16 + high)}},
                ],
                "ports": [{"port": port}],
            }],
        }),
    )
}

/// What of the agent is in memory.
fn memory(node: &Node) -> Result<String> {
    let pid = node.agent_pid().context("no agent runs")?;
    // Freed memory goes back to the kernel some time later.
    std::thread::sleep(Duration::from_secs(1));
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<f64> =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.map(|kib| kib / 1024.0).context("/proc/PID/status")
    };
    Ok(format!("{:.1} MiB (most {:.1})", of("VmRSS:")?, of("VmHWM:")?))
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

//! 5,000 identities and 250 policies that all select one endpoint and name 100 identities each:
//! `cargo bench -p policy`. One thread; the median of several runs.
//!
//! "grouped": policies name the same groups of workloads, so few port sets differ. "scattered":
//! every identity is named by its own mix of policies, so nearly every peer has its own.

use model::{
    Labels, NetworkPolicy, ObjectName, Origin, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
    Protocol, Selector,
};
use policy::{Capacity, Change, Compiler, EndpointInput};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const IDENTITIES: u32 = 5_000;
const POLICIES: u32 = 250;
const POLICIES_PER_IDENTITY: u32 = 5;
const RUNS: usize = 7;

#[derive(Clone, Copy)]
enum Shape {
    Grouped,
    Scattered,
}

fn main() {
    println!("{IDENTITIES} identities x {POLICIES} policies, one thread, median of {RUNS} runs");
    for (name, shape) in [("grouped", Shape::Grouped), ("scattered", Shape::Scattered)] {
        let mut load = Vec::new();
        let mut endpoint = Vec::new();
        let mut shared = Vec::new();
        let mut identity = Vec::new();
        let mut policy = Vec::new();
        let mut text = String::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            let mut compiler = loaded(shape);
            let changes = compiler.take_changes();
            load.push(started.elapsed());
            let entries = changes.add_peers.len() + changes.add_ports.len();
            drop(changes);

            // One policy more that selects only this endpoint: nothing of the other's can be used.
            let own = network_policy("own", [("role", "server-2")], "p-0", 1);
            compiler.set_policy(&own);
            compiler.take_changes();
            endpoint.push(timed(|| {
                compiler.set_endpoint(server("server-2", 1));
                compiler.take_changes();
            }));
            shared.push(timed(|| {
                compiler.set_endpoint(server("server-2", 2));
                compiler.take_changes();
            }));

            const MORE: u32 = 200;
            let inputs: Vec<_> =
                (0..MORE).map(|number| workload(shape, IDENTITIES + number)).collect();
            identity.push(
                timed(|| {
                    for input in inputs {
                        compiler.set_endpoint(input);
                        std::hint::black_box(compiler.take_changes());
                    }
                }) / MORE,
            );

            let changed = network_policy("p-7", [("server", "yes")], "p-8", 7);
            policy.push(timed(|| {
                let change = Change::SetPolicy(changed);
                compiler.apply(change, &Capacity::default()).expect("it fits");
                std::hint::black_box(compiler.take_changes());
            }));
            let sizes = compiler.sizes();
            text = format!(
                "{entries} entries for one endpoint; now {} peers, {} ports, {} addresses",
                sizes.peers, sizes.ports, sizes.addresses
            );
        }
        println!("\n{name}: {text}");
        report("load everything, one endpoint compiled", load, Some("120 ms"));
        report("one endpoint more, all 250 policies", endpoint, Some("15 ms"));
        report("one endpoint more, same rule sets", shared, None);
        report("one identity more", identity, Some("50 µs"));
        report("one policy changed (checked, both endpoints)", policy, None);
    }
    enforced_everywhere();
}

/// All identities are endpoints of this node, in 50 groups that policies select.
fn enforced_everywhere() {
    let mut load = Vec::new();
    let mut change = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let mut compiler = Compiler::new();
        for number in 0..IDENTITIES {
            let input = workload(Shape::Grouped, number);
            compiler.set_endpoint(EndpointInput { enforced: true, ..input });
        }
        for number in 0..POLICIES {
            let subjects = format!("p-{}", number % POLICIES);
            let name = format!("p-{number}");
            let peers = format!("p-{}", (number + 1) % POLICIES);
            let policy = network_policy(&name, [(subjects.as_str(), "yes")], &peers, number);
            compiler.set_policy(&policy);
        }
        compiler.take_changes();
        load.push(started.elapsed());
        let policy = network_policy("p-7", [("p-7", "yes")], "p-9", 7);
        change.push(timed(|| {
            compiler.apply(Change::SetPolicy(policy), &Capacity::default()).expect("it fits");
            std::hint::black_box(compiler.take_changes());
        }));
    }
    println!("\nevery identity an endpoint of this node, each policy selects 100 of them");
    report("load everything, all endpoints compiled", load, None);
    report("one policy changed (checked)", change, None);
}

fn report(what: &str, mut times: Vec<Duration>, target: Option<&str>) {
    times.sort();
    let median = times[times.len() / 2];
    let target = target.map(|target| format!("  (target {target})")).unwrap_or_default();
    println!("  {what:<46} {:>10.1} µs{target}", median.as_secs_f64() * 1e6);
}

fn timed(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

fn loaded(shape: Shape) -> Compiler {
    let mut compiler = Compiler::new();
    compiler.set_endpoint(server("server-1", 0));
    for number in 0..IDENTITIES {
        compiler.set_endpoint(workload(shape, number));
    }
    for number in 0..POLICIES {
        let name = format!("p-{number}");
        compiler.set_policy(&network_policy(&name, [("server", "yes")], &name, number));
    }
    compiler
}

fn server(role: &str, number: u8) -> EndpointInput {
    EndpointInput {
        name: ObjectName::new("bench", format!("{role}-{number}")),
        labels: Labels::from_iter([("server", "yes"), ("role", role)]),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 255, 0, number))],
        ports: Vec::new(),
        enforced: true,
    }
}

/// A workload with labels of its own, named by five policies.
fn workload(shape: Shape, number: u32) -> EndpointInput {
    let mut labels = Labels::from_iter([
        ("app.kubernetes.io/name", format!("app-{number}")),
        ("app.kubernetes.io/version", "1.2.3".to_owned()),
        ("pod-template-hash", format!("{number:08x}")),
    ]);
    for which in 0..POLICIES_PER_IDENTITY {
        let policy = match shape {
            Shape::Grouped => {
                number % (POLICIES / POLICIES_PER_IDENTITY) * POLICIES_PER_IDENTITY + which
            }
            // Steps that share no factor with the number of policies mix them well.
            Shape::Scattered => (number * 7919 + which * (1 + number % 49) * 37) % POLICIES,
        };
        labels.0.insert(format!("p-{policy}"), "yes".to_owned());
    }
    let [_, _, high, low] = number.to_be_bytes();
    EndpointInput {
        name: ObjectName::new("bench", format!("workload-{number}")),
        labels,
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, high, low))],
        ports: Vec::new(),
        enforced: false,
    }
}

fn network_policy<const N: usize>(
    name: &str,
    subjects: [(&str, &str); N],
    peers: &str,
    number: u32,
) -> NetworkPolicy {
    let port = 1000 + number as u16;
    let peers = Selector::labels(&Labels::from_iter([(peers, "yes")]));
    let origin = Origin::new("bench.yaml", number, 1);
    let rule = PolicyRule {
        peers: vec![PolicyPeer::Workloads { namespaces: None, workloads: peers }],
        ports: vec![PolicyPort { protocol: Protocol::Tcp, port: PortMatch::Range(port, port) }],
        origin: origin.clone(),
    };
    NetworkPolicy {
        name: ObjectName::new("bench", name),
        subjects: Selector::labels(&Labels::from_iter(subjects)),
        ingress: Some(vec![rule]),
        egress: None,
        origin,
    }
}

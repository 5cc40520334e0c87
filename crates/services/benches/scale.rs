//! 10,000 services of 10 backends: `cargo bench -p services`. One thread; the median of several
//! runs.

use model::{
    Algorithm, EndpointSlice, ObjectName, Origin, Protocol, Service, ServicePort, SliceEndpoint,
    SlicePort, TargetPort,
};
use services::Compiler;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 10;
const RUNS: usize = 5;

fn main() {
    println!("{SERVICES} services x {BACKENDS} backends, one thread, median of {RUNS} runs");
    for algorithm in [Algorithm::Random, Algorithm::Maglev] {
        // A Maglev ring of 10 backends takes 32 blocks; a tenth of the services fits the map.
        let services = if algorithm == Algorithm::Maglev { SERVICES / 10 } else { SERVICES };
        let (mut load, mut change) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let objects: Vec<_> =
                (0..services).map(|n| (service(n, algorithm), slice(n, BACKENDS))).collect();
            let started = Instant::now();
            let mut compiler = Compiler::default();
            for (service, slice) in &objects {
                compiler.set_service(service);
                compiler.set_endpoint_slice(slice);
            }
            compiler.take_changes();
            load.push(started.elapsed());

            let fewer = slice(services / 2, BACKENDS - 1);
            let started = Instant::now();
            compiler.set_endpoint_slice(&fewer);
            let changes = compiler.take_changes();
            change.push(started.elapsed());
            assert_eq!((changes.set_services.len(), changes.remove_backends.len()), (1, 1));
            assert!(compiler.problems().is_empty());
        }
        println!("\n{algorithm:?}, {services} services");
        report("load everything", load, "1 s");
        report("one service changed", change, "1 ms");
    }
}

fn report(what: &str, mut times: Vec<Duration>, target: &str) {
    times.sort();
    let median = times[times.len() / 2].as_secs_f64() * 1e6;
    println!("  {what:<24} {median:>10.1} µs  (target {target})");
}

fn service(number: u32, algorithm: Algorithm) -> Service {
    let [_, _, high, low] = number.to_be_bytes();
    Service {
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::new(10, 96, high, low))],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Number(8080),
            node_port: None,
        }],
        algorithm,
        ..Service::new(
            ObjectName::new("bench", format!("service-{number}")),
            Origin::new("bench.yaml", number, 1),
        )
    }
}

fn slice(number: u32, backends: u32) -> EndpointSlice {
    let endpoints = (0..backends).map(|which| {
        let [_, a, b, c] = (number * BACKENDS + which).to_be_bytes();
        SliceEndpoint::ready(IpAddr::V4(Ipv4Addr::new(10, a, b, c)))
    });
    EndpointSlice {
        name: ObjectName::new("bench", format!("service-{number}-abc")),
        service: Some(format!("service-{number}")),
        endpoints: endpoints.collect(),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        origin: Origin::new("bench.yaml", number, 1),
    }
}

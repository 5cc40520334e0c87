//! Pod to pod on one node: Skep, a bare veth pair routed by the host, and nftables, in turns.

mod arm;
pub mod programs;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use testkit::Binaries;

use crate::figures::{best, median, print, ratio};
use crate::rules::Form;
use crate::traffic;
use arm::{Arm, Path};

#[derive(Debug)]
pub struct Options {
    pub rounds: usize,
    /// How long each measurement takes.
    pub window: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { rounds: 9, window: Duration::from_millis(500) }
    }
}

/// What is measured over each path.
struct Measure {
    name: &'static str,
    unit: &'static str,
    scale: f64,
    /// Arguments of the client: kind, port, connections.
    traffic: (&'static str, u16, usize),
}

const MEASURES: [Measure; 4] = [
    Measure {
        name: "throughput, 1 connection",
        unit: "Gbit/s",
        scale: 8e-9,
        traffic: ("bulk", traffic::BULK, 1),
    },
    Measure {
        name: "requests, 1 connection",
        unit: "1000/s",
        scale: 1e-3,
        traffic: ("exchange", traffic::EXCHANGE, 1),
    },
    Measure {
        name: "requests, 16 connections",
        unit: "1000/s",
        scale: 1e-3,
        traffic: ("exchange", traffic::EXCHANGES, 16),
    },
    Measure {
        name: "new connections",
        unit: "1000/s",
        scale: 1e-3,
        traffic: ("connect", traffic::CONNECT, 1),
    },
];

const COUNTS: [usize; 3] = [1, 100, 10_000];

pub fn run(options: &Options) -> Result<()> {
    let binaries = Binaries::built()?;
    let mut arms = vec![Arm::bare(binaries)?, Arm::skep(binaries, 0)?];
    for count in COUNTS {
        arms.push(Arm::skep(binaries, count)?);
    }
    for count in COUNTS {
        arms.push(Arm::nftables(binaries, count, Form::Chain)?);
        arms.push(Arm::nftables(binaries, count, Form::Map)?);
    }
    let ways: Vec<(&Arm, Path)> =
        arms.iter().flat_map(|arm| arm.paths().iter().map(move |path| (arm, *path))).collect();

    let mut values: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("round {} of {}, {}", round + 1, options.rounds, load());
        for (number, measure) in MEASURES.iter().enumerate() {
            for position in 0..ways.len() {
                // Each round begins elsewhere, so that no arm is always the first.
                let way = (position + round) % ways.len();
                let (arm, path) = ways[way];
                let value = arm.measure(path, measure.traffic, options.window)?;
                values.entry((number, way)).or_default().push(value * measure.scale);
            }
        }
    }
    for (number, measure) in MEASURES.iter().enumerate() {
        let of = |way| values.get(&(number, way)).map_or(&[][..], Vec::as_slice);
        let baseline = of(0);
        let header = ["median", "best", "of bare", "best of bare"].map(str::to_owned);
        let title = format!("{} ({})", measure.name, measure.unit);
        let mut rows = vec![[vec![title], header.to_vec()].concat()];
        for (way, (arm, path)) in ways.iter().enumerate() {
            let own = of(way);
            rows.push(vec![
                format!("  {}{}", arm.name(), path.suffix()),
                format!("{:.2}", median(own)),
                format!("{:.2}", best(own)),
                format!("{:.3}", ratio(own, baseline)),
                format!("{:.3}", best(own) / best(baseline)),
            ]);
        }
        print(&rows);
        println!();
    }
    println!("{} rounds of {:?} each, in turns; {}", options.rounds, options.window, load());
    drop(ways);
    drop(arms);
    programs::run()
}

/// How busy the machine is: figures of a busy one are worth less.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = text.split(' ').take(2).collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("load average {} on {cpus} CPUs", load.join(" "))
}

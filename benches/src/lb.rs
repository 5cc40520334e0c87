//! What the balancer costs per packet.
//!
//! A repeated test run would encapsulate its own output again. So each run begins with a small
//! program that cuts the packet back to what it was, writes its Ethernet header, gives it the client
//! and the VIP of one of many flows at random, and tail-calls the program under test. What that
//! program costs by itself is measured with a program under test that returns at once, and taken off.

mod wrapper;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use datapath::testbench::{Program, TestBench};
use model::load_balancer::{Backend, DeliveryMode, Edge, FlowKeeping, Keep, NextHop, Vip};
use model::{LoadBalancer, ObjectName, Origin};

use crate::figures::print;
pub use wrapper::{Traffic, Wrapper, program, returns};

/// Rounds of each measurement: the quickest counts, since whatever else runs only adds.
const ROUNDS: usize = 7;
const REPEAT: u32 = 1_000_000;
/// Backends of every VIP.
const BACKENDS: u8 = 100;

/// One row of the table.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    traffic: Traffic,
    delivery: DeliveryMode,
}

const fn tcp(name: &'static str, flows: u32, vips: u32) -> Case {
    Case { name, traffic: Traffic::tcp(flows, vips), delivery: DeliveryMode::Ipip }
}

const CASES: &[Case] = &[
    tcp("tcp4 IPIP, 1 flow", 1, 1),
    tcp("tcp4 IPIP, 1k flows", 1_000, 1),
    tcp("tcp4 IPIP, 100k flows", 100_000, 1),
    tcp("tcp4 IPIP, 1M flows", 1_000_000, 1),
    tcp("tcp4 IPIP, 100k flows, 60 VIPs", 100_000, 60),
    tcp("tcp4 IPIP, 1M flows, 60 VIPs", 1_000_000, 60),
    Case {
        name: "tcp6 IPIP, 100k flows",
        traffic: Traffic { v6: true, ..Traffic::tcp(100_000, 1) },
        delivery: DeliveryMode::Ipip,
    },
    Case {
        name: "tcp4 IPIP, new flows (SYN)",
        traffic: Traffic { syn: true, ..Traffic::tcp(u32::MAX, 1) },
        delivery: DeliveryMode::Ipip,
    },
    Case {
        name: "tcp4 GUE, 100k flows",
        traffic: Traffic::tcp(100_000, 1),
        delivery: DeliveryMode::Gue,
    },
    Case {
        name: "not a VIP",
        traffic: Traffic { elsewhere: true, ..Traffic::tcp(100_000, 1) },
        delivery: DeliveryMode::Ipip,
    },
];

const KEEPS: [(&str, Keep); 3] = [("moved", Keep::Moved), ("all", Keep::All), ("none", Keep::None)];

pub fn run() -> Result<()> {
    let mut rows =
        vec![["ns a packet", "moved", "all", "none", "all / moved"].map(str::to_owned).to_vec()];
    let mut benches = BTreeMap::new();
    for case in CASES {
        let mut costs = Vec::new();
        for (index, (_, keep)) in KEEPS.into_iter().enumerate() {
            let key = (index, case.delivery);
            if let Entry::Vacant(entry) = benches.entry(key) {
                entry.insert(bench(keep, case.delivery, None)?);
            }
            costs.push(cost(&benches[&key], case, keep)?);
        }
        let mut row = vec![format!("  {}", case.name)];
        row.extend(costs.iter().map(|cost| format!("{cost:.0}")));
        row.push(format!("{:.1}", costs[1] / costs[0].max(1.0)));
        rows.push(row);
    }
    print(&rows);
    println!("{BACKENDS} backends; minima of {ROUNDS} rounds of {REPEAT} packets; {}", load());
    live(&benches)
}

/// Frames over a veth pair, on one CPU, beside a program that sends them back at once.
fn live(benches: &BTreeMap<(usize, DeliveryMode), TestBench>) -> Result<()> {
    const FLOWS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
    let kind = benches[&(0, DeliveryMode::Ipip)].program()?.kind();
    let veth = wrapper::Veth::make(kind)?;
    let floor = wrapper::floor(kind)?;
    let mut rows = vec![
        [
            "Mpps over veth, one CPU",
            "moved",
            "all",
            "none",
            "floor",
            "bare XDP_TX",
            "floor / bare",
            "moved / bare",
            "moved / floor",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for flows in FLOWS {
        let traffic = Traffic::tcp(flows, 1);
        let mut programs = Vec::new();
        for index in 0..KEEPS.len() {
            programs.push(Some(benches[&(index, DeliveryMode::Ipip)].program()?));
        }
        programs.extend([Some(&floor), None]);
        // In turn, so that what else the machine does meets all alike.
        let mut best = vec![f64::MAX; programs.len()];
        for _ in 0..ROUNDS {
            for (best, program) in best.iter_mut().zip(&programs) {
                *best = best.min(veth.run(&traffic, *program, REPEAT)?);
            }
        }
        let rates: Vec<f64> = best.iter().map(|best| 1e3 / best).collect();
        let mut row = vec![format!("  {flows} flows")];
        row.extend(rates.iter().map(|rate| format!("{rate:.2}")));
        row.push(format!("{:.2}", rates[3] / rates[4]));
        row.push(format!("{:.2}", rates[0] / rates[4]));
        row.push(format!("{:.2}", rates[0] / rates[3]));
        rows.push(row);
    }
    print(&rows);
    Ok(())
}

pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", load.split(' ').next().unwrap_or("unknown"))
}

/// Nanoseconds per packet.
fn cost(bench: &TestBench, case: &Case, keep: Keep) -> Result<f64> {
    let wrapper = Wrapper::make(&case.traffic, Some(bench.program()?))?;
    let bare = Wrapper::make(&case.traffic, None)?;
    if keep == Keep::All && !case.traffic.syn {
        // Every flow is known before it is measured.
        wrapper.run(case.traffic.flows.min(2_000_000).saturating_mul(4).max(1_000))?;
    }
    let (mut with, mut without) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        with = with.min(wrapper.run(REPEAT)?);
        without = without.min(bare.run(REPEAT)?);
    }
    Ok((with - without).max(0.0))
}

/// Twice the flows of the largest case, since the table's lists are per CPU.
const TABLE: u32 = 2_500_000;

/// The balancer with [`balancer`]'s configuration, and a table for so many flows.
pub fn bench(keep: Keep, delivery: DeliveryMode, flows: Option<u32>) -> Result<TestBench> {
    let flows = flows.unwrap_or(if keep == Keep::All { TABLE } else { 1_024 });
    let mut bench = TestBench::load(Program::Balance, flows, None)?;
    bench
        .apply([Arc::new(balancer(keep, delivery)?)], 0)
        .map_err(anyhow::Error::msg)
        .context("the configuration is refused")?;
    Ok(bench)
}

pub fn balancer(keep: Keep, delivery: DeliveryMode) -> Result<LoadBalancer> {
    let backends = |v6: bool| -> Result<Vec<Backend>> {
        let backend = |last: u8| -> Result<Backend> {
            let address = match v6 {
                true => format!("fd00::{last:x}").parse()?,
                false => format!("10.0.0.{last}").parse()?,
            };
            Ok(Backend::at(address))
        };
        (1..=BACKENDS).map(backend).collect()
    };
    let vip = |address: String, v6: bool| -> Result<Vip> {
        let address: IpAddr = address.parse()?;
        Ok(Vip { delivery, keep, ..Vip::tcp(address, 80, backends(v6)?) })
    };
    let mut vips = vec![vip("fd01::1".to_owned(), true)?];
    for last in 1..=60 {
        // Each VIP leaves out another backend, so that no two share a ring.
        let mut one = vip(format!("10.200.1.{last}"), false)?;
        one.backends.remove(last as usize);
        vips.push(one);
    }
    let mut edge = Edge {
        next_hop: NextHop::Mac([0, 0, 0xde, 0xad, 0xbe, 0xaf]),
        flows: FlowKeeping { keep, ..FlowKeeping::default() },
        ..Edge::default()
    };
    edge.delivery.mode = delivery;
    edge.delivery.source_v4 = Some("10.0.13.37".parse()?);
    edge.delivery.source_v6 = Some("fd02::1".parse()?);
    Ok(LoadBalancer {
        name: ObjectName::new("", "bench"),
        edge,
        vips,
        origin: Origin::new("bench", 0, 0),
    })
}

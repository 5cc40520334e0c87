//! Quality of the edge balancer's rings, and what a change of many VIPs costs:
//! `cargo bench -p services --bench rings`.

use model::load_balancer::{Backend, Edge, Vip};
use model::{LoadBalancer, ObjectName, Origin};
use services::balancer::ring::{self, Member};
use services::balancer::{Capacity, Compiler};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    println!(
        "{:>8} {:>8} {:>10} {:>12} {:>14} {:>14} {:>12}",
        "backends", "slots", "imbalance", "1:10 error", "extra, leave", "extra, join", "build ms"
    );
    for count in [10, 100, 1_000, 4_000] {
        quality(count);
    }
    for (vips, backends) in [(1, 100), (500, 100), (500, 1_000)] {
        change(vips, backends, 0);
    }
    change(500, 100, 1);
}

fn members(count: usize, weight: impl Fn(usize) -> u32) -> Vec<Member> {
    let member = |index: usize| Member {
        number: index as u16 + 1,
        address: Ipv4Addr::from_bits(0x0a00_0001 + index as u32).into(),
        port: 0,
        weight: weight(index),
    };
    (0..count).map(member).collect()
}

fn shares(ring: &[u16], count: usize) -> Vec<u32> {
    let mut shares = vec![0; count];
    for owner in ring {
        shares[*owner as usize - 1] += 1;
    }
    shares
}

fn quality(count: usize) {
    let size = ring::size(count);
    let all = members(count, |_| 1);
    let started = Instant::now();
    let ring = ring::weighted(&all, size);
    let build = started.elapsed();
    let ideal = f64::from(size) / count as f64;
    let largest = shares(&ring, count).into_iter().max().unwrap_or(0);
    let imbalance = f64::from(largest) / ideal - 1.0;

    // Half of the backends with weight 1, half with 10: how far the groups are from 1:10.
    let uneven = members(count, |index| if index % 2 == 0 { 1 } else { 10 });
    let owned = shares(&ring::weighted(&uneven, size), count);
    let group = |rest: usize| -> u32 { owned.iter().skip(rest).step_by(2).sum() };
    let error = (f64::from(group(1)) / f64::from(group(0)) / 10.0 - 1.0).abs();

    let extra = |before: &[u16], after: &[u16], one: u16| {
        let moved = before.iter().zip(after).filter(|(b, a)| b != a && **b != one && **a != one);
        100.0 * moved.count() as f64 / f64::from(size)
    };
    let last = count as u16;
    let without = ring::weighted(&all[..count - 1], size);
    println!(
        "{count:>8} {size:>8} {:>9.2}% {:>11.3}% {:>13.2}% {:>13.2}% {:>12.2}",
        imbalance * 100.0,
        error * 100.0,
        extra(&ring, &without, last),
        extra(&without, &ring, last),
        build.as_secs_f64() * 1000.0
    );
}

/// A backend leaves all VIPs. Of `own` backends each VIP has others than the next, so that none share
/// a ring.
fn change(vips: u16, backends: u32, own: u32) {
    let balancer = |backends: u32| {
        let backend = |index: u32| Backend::at(Ipv4Addr::from_bits(0x0a00_0001 + index).into());
        let vip = |port: u16| {
            let address = IpAddr::from([203, 0, 113, 1]);
            let others = 1_000 + u32::from(port) * own..1_000 + (u32::from(port) + 1) * own;
            let all = (0..backends - own).chain(others);
            Vip::tcp(address, port, all.map(backend).collect())
        };
        Arc::new(LoadBalancer {
            name: ObjectName::new("default", "edge"),
            edge: Edge::default(),
            vips: (1000..1000 + vips).map(vip).collect(),
            origin: Origin::new("bench", 1, 1),
        })
    };
    // Room for a ring of each VIP and the one before.
    let mut compiler = Compiler::new(Capacity { rings: 1 << 16, ..Capacity::default() });
    compiler.set(balancer(backends));
    compiler.compile(1).expect("it fits");
    compiler.set(balancer(backends - 1));
    let started = Instant::now();
    let changes = compiler.compile(2).expect("it fits");
    println!(
        "a backend of {backends} leaves {vips} VIPs: compiled in {:.1} ms; {} front-ends, {} blocks \
         to write",
        started.elapsed().as_secs_f64() * 1000.0,
        changes.front_ends.set.len(),
        changes.rings.len()
    );
}

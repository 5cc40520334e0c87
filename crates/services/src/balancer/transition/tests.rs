//! Flows against a plain model of the datapath: none breaks whose backend lives.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const WINDOW: u64 = 60;

/// What `dataplane` does with a packet, said once more and slowly.
struct Balancer {
    rings: Rings,
    table: BTreeMap<u32, u16>,
}

impl Balancer {
    fn packet(&mut self, flow: u32, opens: bool, now: u64, down: &BTreeSet<u16>) -> u16 {
        let at = |ring: &[u16]| ring[flow as usize % ring.len()];
        let slot = at(&self.rings.current);
        let owner = slot & slot::BACKEND;
        if slot & slot::MOVED == 0 {
            return owner;
        }
        if !opens
            && let Some(backend) = self.table.get(&flow)
            && !down.contains(backend)
        {
            return *backend;
        }
        if now >= self.rings.window_end_ns {
            // A SYN of a flow that is remembered from an earlier life.
            if opens && let Some(backend) = self.table.get_mut(&flow) {
                *backend = owner;
            }
            return owner;
        }
        let previous = if opens { 0 } else { at(&self.rings.previous) };
        let backend = if previous == 0 || down.contains(&previous) { owner } else { previous };
        self.table.insert(flow, backend);
        backend
    }
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }
}

#[test]
fn no_flow_of_a_living_backend_breaks() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let mut members: BTreeSet<u16> = (1..=8).collect();
        let mut down = BTreeSet::new();
        let ring = |members: &BTreeSet<u16>, size: usize| -> Vec<u16> {
            let members: Vec<u16> = members.iter().copied().collect();
            (0..size).map(|slot| members[slot * 7919 % members.len()]).collect()
        };
        let mut size = 61;
        let mut balancer =
            Balancer { rings: Rings::steady(ring(&members, size)), table: BTreeMap::new() };
        let mut flows: BTreeMap<u32, u16> = BTreeMap::new();
        let mut now = 0;
        for _ in 0..120 {
            now += 1 + numbers.next(25);
            match numbers.next(6) {
                0 | 1 if members.len() > 3 => {
                    let leaves = *members.iter().nth(numbers.next(3) as usize).unwrap();
                    members.remove(&leaves);
                    if numbers.next(3) == 0 {
                        down.insert(leaves);
                        flows.retain(|_, backend| *backend != leaves);
                    }
                }
                2 | 3 => {
                    let comes = 1 + numbers.next(12) as u16;
                    down.remove(&comes);
                    members.insert(comes);
                }
                4 if numbers.next(4) == 0 => size = if size == 61 { 127 } else { 61 },
                _ => {}
            }
            let owners = ring(&members, size);
            balancer.rings =
                balancer.rings.change(owners, now, WINDOW, |backend| !down.contains(&backend));
            for _ in 0..20 {
                let flow = numbers.next(10_000) as u32;
                let backend = balancer.packet(flow, true, now, &down);
                assert!(members.contains(&backend), "a new flow goes to a member");
                flows.insert(flow, backend);
            }
            // Every flow speaks within every window: it is never idle for long.
            for (flow, backend) in &flows {
                let now_at = balancer.packet(*flow, false, now, &down);
                assert_eq!(now_at, *backend, "seed {seed}, flow {flow} at {now}");
            }
            // What is forgotten must not come to mind when the slot moves again.
            balancer.table.retain(|flow, _| flows.contains_key(flow));
            let size = balancer.rings.current.len();
            let in_use: BTreeSet<usize> =
                balancer.table.keys().map(|flow| *flow as usize % size).collect();
            balancer.rings.settle(now, |slot| in_use.contains(&slot));
            while flows.len() > 300 {
                let nth = numbers.next(flows.len() as u64) as usize;
                let ends = *flows.keys().nth(nth).unwrap();
                flows.remove(&ends);
            }
        }
    }
}

#[test]
fn a_change_and_back_needs_nothing_in_the_end() {
    let ring = |owner: u16| vec![owner; 4];
    let start = Rings::steady(ring(1));
    let there = start.change(ring(2), 100, WINDOW, |_| true);
    assert_eq!((there.moved(), there.previous.as_slice()), (4, ring(1).as_slice()));
    let back = there.change(ring(1), 110, WINDOW, |_| true);
    assert_eq!((back.moved(), back.window_end_ns), (4, 170));
    let mut settled = back.clone();
    assert!(!settled.settle(169, |_| false), "the window is open");
    assert!(settled.settle(170, |_| false));
    assert_eq!(settled, start);
}

#[test]
fn a_dead_backend_leaves_nothing_to_remember() {
    let next = Rings::steady(vec![1, 2, 1]).change(vec![3, 2, 2], 5, WINDOW, |it| it != 1);
    assert_eq!(next, Rings::steady(vec![3, 2, 2]));
}

//! 100,000 flows through changes of 100 backends: none breaks whose backend lives.

use super::*;
use std::collections::BTreeSet;

const FLOWS: usize = 100_000;
const STEP_NS: u64 = 20_000_000_000;

/// The program over the maps of one VIP, said plainly.
struct Program {
    table: HashMap<u32, u16>,
}

impl Program {
    /// `hash` stands for the flow: two flows with one hash would be one.
    fn packet(&mut self, world: &World, front_end: &FrontEnd, hash: u32, opens: bool) -> u16 {
        let at = |first: u32, len: u32| {
            world.maps.slot(first, ((u64::from(hash) * u64::from(len)) >> 32) as u32)
        };
        let word = at(front_end.ring, front_end.ring_len);
        let owner = word & slot::BACKEND;
        if word & slot::MOVED == 0 {
            return owner;
        }
        let is_up = |number: u16| {
            let row = world.maps.rows.backends.get(&number.into());
            row.is_some_and(|row| row.flags & backend_flags::DOWN == 0)
        };
        if let Some(known) = self.table.get_mut(&hash) {
            if opens || !is_up(*known) {
                *known = owner;
            }
            return *known;
        }
        if world.now >= front_end.window_end_ns {
            return owner;
        }
        let previous = match opens || front_end.previous_len == 0 {
            true => 0,
            false => at(front_end.previous, front_end.previous_len) & slot::BACKEND,
        };
        let number = if previous != 0 && is_up(previous) { previous } else { owner };
        self.table.insert(hash, number);
        number
    }
}

struct Run {
    world: World,
    program: Program,
    backends: Vec<Backend>,
    /// Address of the backend that each flow began with.
    flows: HashMap<u32, std::net::IpAddr>,
    next: u32,
    /// Flows that lost a backend that lives.
    broken: usize,
}

impl Run {
    fn new() -> Self {
        let mut run = Run {
            world: World::new(),
            program: Program { table: HashMap::new() },
            backends: backends(100),
            flows: HashMap::new(),
            next: 1,
            broken: 0,
        };
        run.apply();
        run
    }

    fn apply(&mut self) {
        self.world.set(vec![vip("10.0.0.1", 80, self.backends.clone())]);
    }

    fn address(&self, number: u16) -> Option<std::net::IpAddr> {
        self.world.compiler.backend_of_number(number.into()).map(|key| key.address)
    }

    /// New flows, and a packet of every old one.
    fn traffic(&mut self, new: usize) {
        let front_end = self.world.maps.front_end(80);
        for _ in 0..new {
            // A full-period sequence: no hash comes twice.
            self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = self.program.packet(&self.world, &front_end, self.next, true);
            let address = self.address(number).expect("a new flow has a backend");
            self.flows.insert(self.next, address);
        }
        let living: BTreeSet<std::net::IpAddr> = self
            .backends
            .iter()
            .filter(|backend| backend.state != BackendState::Down)
            .map(|backend| backend.address)
            .collect();
        let names: HashMap<u16, std::net::IpAddr> =
            (1..300).filter_map(|number| Some((number, self.address(number)?))).collect();
        let mut flows = std::mem::take(&mut self.flows);
        for (flow, began) in &mut flows {
            let number = self.program.packet(&self.world, &front_end, *flow, false);
            let now = names.get(&number).copied();
            if now != Some(*began) {
                self.broken += usize::from(living.contains(began));
                *began = now.expect("a flow has a backend");
            }
        }
        self.flows = flows;
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Backend>)) {
        self.world.now += STEP_NS;
        change(&mut self.backends);
        self.apply();
        self.traffic(FLOWS / 20);
    }
}

fn set(backends: &mut [Backend], which: std::ops::Range<usize>, state: BackendState) {
    for backend in &mut backends[which] {
        backend.state = state;
    }
}

#[test]
fn only_flows_of_dead_backends_break() {
    let mut run = Run::new();
    run.traffic(FLOWS);
    for count in [1, 10] {
        // Draining and back, within the life of every flow.
        run.change(|all| set(all, 0..count, BackendState::Draining));
        run.change(|all| set(all, 20..20 + count, BackendState::Draining));
        run.change(|all| set(all, 0..count, BackendState::Active));
        // Flapping.
        for _ in 0..3 {
            run.change(|all| set(all, 40..40 + count, BackendState::Down));
            run.change(|all| set(all, 40..40 + count, BackendState::Active));
        }
        run.change(|all| set(all, 20..20 + count, BackendState::Active));
        // Gone, and new ones.
        run.change(|all| drop(all.drain(60..60 + count)));
        run.change(|all| {
            all.extend((0..count).map(|last| backend(&format!("10.2.{count}.{last}"))));
        });
        // The agent starts anew, in the middle of a window.
        let held =
            Adopted { rows: run.world.maps.rows.clone(), rings: run.world.maps.rings.clone() };
        run.world.compiler = Compiler::new(Capacity::default());
        run.world.compiler.begin_from(held);
        run.change(|_| {});
        run.change(|all| set(all, 70..70 + count, BackendState::Draining));
        run.change(|all| set(all, 70..70 + count, BackendState::Active));
    }
    assert!(run.flows.len() > 2 * FLOWS);
    assert_eq!(run.broken, 0);
}

/// It has the same manifest and none of the memory.
#[test]
fn a_second_balancer_takes_over_steady_flows() {
    let mut first = Run::new();
    first.traffic(FLOWS);
    let mut second = Run::new();
    second.flows = first.flows;
    second.traffic(FLOWS / 20);
    assert_eq!(second.broken, 0);
    // And goes on from there by itself.
    second.change(|all| set(all, 0..10, BackendState::Draining));
    second.change(|all| set(all, 0..10, BackendState::Active));
    assert_eq!(second.broken, 0);
}

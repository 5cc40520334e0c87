//! Objects in, table entries out.

use super::*;
use abi::balancer::{FrontEnd, RING_BLOCK, RingBlock, backend_flags, slot};
use model::load_balancer::*;
use model::{LoadBalancer, ObjectName, Origin};
use std::collections::HashMap;
use std::sync::Arc;

mod flows;

pub fn backend(address: &str) -> Backend {
    Backend::at(address.parse().unwrap())
}

pub fn vip(address: &str, port: u16, backends: Vec<Backend>) -> Vip {
    Vip::tcp(address.parse::<std::net::IpAddr>().unwrap(), port, backends)
}

fn balancer(name: &str, vips: Vec<Vip>) -> Arc<LoadBalancer> {
    let name = ObjectName::new("default", name);
    Arc::new(LoadBalancer { name, edge: Edge::default(), vips, origin: Origin::new("m", 1, 1) })
}

fn backends(count: u8) -> Vec<Backend> {
    (1..=count).map(|last| backend(&format!("10.1.0.{last}"))).collect()
}

/// Maps as the kernel would hold them.
#[derive(Default)]
struct Maps {
    rows: Rows,
    rings: HashMap<u32, RingBlock>,
}

impl Maps {
    fn apply(&mut self, changes: &Changes) {
        fn change<K: Copy + Eq + std::hash::Hash, V: Copy>(
            map: &mut HashMap<K, V>,
            change: &Change<K, V>,
        ) {
            map.extend(change.set.iter().copied());
            for key in &change.remove {
                map.remove(key);
            }
        }
        self.rings.extend(changes.rings.iter().copied());
        change(&mut self.rows.backends, &changes.backends);
        change(&mut self.rows.server_ids, &changes.server_ids);
        change(&mut self.rows.sources, &changes.sources);
        change(&mut self.rows.down, &changes.down);
        change(&mut self.rows.checks, &changes.checks);
        change(&mut self.rows.decapsulate, &changes.decapsulate);
        change(&mut self.rows.front_ends, &changes.front_ends);
        change(&mut self.rows.ranges, &changes.ranges);
        change(&mut self.rows.prefixes, &changes.prefixes);
        self.rows.settings = changes.settings.or(self.rows.settings);
    }

    fn front_end(&self, port: u16) -> FrontEnd {
        let mut all = self.rows.front_ends.iter();
        *all.find(|(key, _)| key.port.number() == port).expect("a front-end").1
    }

    fn slot(&self, first: u32, index: u32) -> u16 {
        let at = (first + index) as usize;
        self.rings[&((at / RING_BLOCK) as u32)].slots[at % RING_BLOCK]
    }

    fn ring(&self, port: u16) -> Vec<u16> {
        let front_end = self.front_end(port);
        (0..front_end.ring_len).map(|index| self.slot(front_end.ring, index)).collect()
    }

    fn owners(&self, port: u16) -> Vec<u16> {
        self.ring(port).into_iter().map(|word| word & slot::BACKEND).collect()
    }
}

struct World {
    compiler: Compiler,
    maps: Maps,
    now: u64,
}

impl World {
    fn new() -> Self {
        World { compiler: Compiler::new(Capacity::default()), maps: Maps::default(), now: 1 }
    }

    fn compile(&mut self) -> Changes {
        let changes = self.compiler.compile(self.now).unwrap();
        self.maps.apply(&changes);
        changes
    }

    fn set(&mut self, vips: Vec<Vip>) -> Changes {
        self.compiler.set(balancer("edge", vips));
        self.compile()
    }
}

#[test]
fn vips_with_the_same_backends_share_a_ring() {
    let mut world = World::new();
    let vips = |count| (0..500).map(|port| vip("10.0.0.1", 1000 + port, backends(count))).collect();
    let changes = world.set(vips(10));
    // And one for echo requests to the address.
    assert_eq!(changes.front_ends.set.len(), 501);
    assert_eq!(changes.rings.len(), 4093usize.div_ceil(RING_BLOCK));
    assert_eq!(changes.backends.set.len(), 10);
    assert!(world.compile().is_empty());
    // One backend less for all: one new ring, and one of previous owners.
    let changes = world.set(vips(9));
    assert_eq!(changes.front_ends.set.len(), 500);
    assert_eq!(changes.rings.len(), 2 * 4093usize.div_ceil(RING_BLOCK));
    assert_eq!(changes.backends.remove, [10]);
}

#[test]
fn a_removed_backend_leaves_no_previous_owner_and_a_draining_one_does() {
    let mut world = World::new();
    let mut all = backends(3);
    world.set(vec![vip("10.0.0.1", 80, all.clone())]);
    let before = world.maps.owners(80);
    all[2].state = BackendState::Draining;
    world.set(vec![vip("10.0.0.1", 80, all.clone())]);
    let front_end = world.maps.front_end(80);
    assert_eq!(front_end.previous_len, front_end.ring_len);
    assert!(front_end.window_end_ns > world.now);
    for (index, owner) in before.iter().enumerate() {
        if *owner == 3 {
            assert_ne!(world.maps.ring(80)[index] & slot::MOVED, 0);
            assert_eq!(world.maps.slot(front_end.previous, index as u32), 3);
        }
    }
    assert!(!world.maps.owners(80).contains(&3));
    // Now it dies: its flows have nowhere to stay.
    all[2].state = BackendState::Down;
    let changes = world.set(vec![vip("10.0.0.1", 80, all)]);
    let down = changes.backends.set.iter().find(|(number, _)| *number == 3).unwrap().1;
    assert_ne!(down.flags & backend_flags::DOWN, 0);
    let front_end = world.maps.front_end(80);
    let previous: Vec<u16> = (0..front_end.previous_len)
        .map(|index| world.maps.slot(front_end.previous, index))
        .collect();
    assert!(!previous.contains(&3));
}

/// A backend may be dead for one VIP and serve another.
#[test]
fn the_dead_of_one_vip_keep_none_of_its_flows() {
    let mut world = World::new();
    let mut one = backends(1);
    let other = vip("10.0.0.2", 81, backends(1));
    world.set(vec![vip("10.0.0.1", 80, one.clone()), other.clone()]);
    one[0].state = BackendState::Down;
    world.set(vec![vip("10.0.0.1", 80, one), other]);
    assert_eq!(world.maps.front_end(80).ring_len, 0);
    assert!(world.maps.owners(81).iter().all(|owner| *owner == 1));
}

#[test]
fn the_last_backend_may_drain() {
    let mut world = World::new();
    let mut one = backends(1);
    world.set(vec![vip("10.0.0.1", 80, one.clone())]);
    one[0].state = BackendState::Draining;
    world.set(vec![vip("10.0.0.1", 80, one)]);
    let front_end = world.maps.front_end(80);
    assert!(world.maps.ring(80).iter().all(|word| *word == slot::MOVED));
    assert_eq!(world.maps.slot(front_end.previous, 0), 1);
    // And without any backend there is no ring.
    world.set(vec![vip("10.0.0.1", 80, Vec::new())]);
    assert_eq!(world.maps.front_end(80).ring_len, 0);
}

#[test]
fn a_restart_changes_nothing() {
    let mut world = World::new();
    let objects = || {
        let mut gone = backends(7);
        gone[0].state = BackendState::Draining;
        vec![vip("10.0.0.1", 80, gone), vip("10.0.0.1", 81, backends(4))]
    };
    world.set(vec![vip("10.0.0.1", 81, backends(4)), vip("10.0.0.1", 80, backends(7))]);
    world.now += 5;
    world.set(objects());
    let adopted = Adopted { rows: world.maps.rows.clone(), rings: world.maps.rings.clone() };
    let mut again = Compiler::new(Capacity::default());
    again.begin_from(adopted);
    again.set(balancer("edge", objects()));
    let changes = again.compile(world.now + 10).unwrap();
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(changes.reset_vips, []);
    assert_eq!(again.used(), world.compiler.used());
}

#[test]
fn two_balancers_agree() {
    let mut one = World::new();
    one.set(vec![vip("10.0.0.1", 80, backends(12))]);
    one.set(vec![vip("10.0.0.1", 80, backends(8))]);
    let mut other = World::new();
    let mut reversed = backends(8);
    reversed.reverse();
    other.set(vec![vip("10.0.0.1", 80, reversed)]);
    let addresses = |world: &World| -> Vec<std::net::IpAddr> {
        let of = |number: &u16| world.compiler.backend_of_number((*number).into()).unwrap().address;
        world.maps.owners(80).iter().map(of).collect()
    };
    // Sizes are the same below 32 backends, so these rings can be compared slot by slot.
    assert_eq!(addresses(&one), addresses(&other));
}

#[test]
fn health_moves_slots_and_slow_start_gives_them_back() {
    let checked = HealthCheck {
        probe: Probe::Tcp { port: None },
        interval: HealthCheck::INTERVAL,
        timeout: HealthCheck::TIMEOUT,
        healthy_after: 1,
        unhealthy_after: 1,
        slow_start: std::time::Duration::from_secs(1),
        through_encapsulation: false,
    };
    let mut world = World::new();
    let mut one = vip("10.0.0.1", 80, backends(4));
    one.health_check = Some(checked);
    world.set(vec![one]);
    let count = |world: &World| world.maps.owners(80).iter().filter(|it| **it == 2).count();
    let full = count(&world);
    let targets = world.compiler.check_targets();
    assert_eq!(targets.len(), 4);
    let target = targets.iter().find(|it| it.address.to_string() == "10.1.0.2").unwrap();
    assert_eq!(target.port, 80);
    assert!(world.compiler.set_health(target, Health { healthy: false, share: FULL }));
    world.compile();
    assert_eq!(count(&world), 0);
    world.compiler.set_health(target, Health { healthy: true, share: 250 });
    world.compile();
    let quarter = count(&world);
    assert!(quarter > full / 6 && quarter < full / 2, "{quarter} of {full}");
    world.compiler.set_health(target, Health { healthy: true, share: FULL });
    world.compile();
    assert_eq!(count(&world), full);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let capacity = Capacity { backends: 4, ..Capacity::default() };
    let mut compiler = Compiler::new(capacity);
    compiler.set(balancer("edge", vec![vip("10.0.0.1", 80, backends(3))]));
    compiler.compile(1).unwrap();
    compiler.set(balancer("edge", vec![vip("10.0.0.1", 80, backends(4))]));
    assert_eq!(
        compiler.compile(2).unwrap_err(),
        Refusal::Full { what: "backend numbers", capacity: 3 }
    );
    compiler.set(balancer("edge", vec![vip("10.0.0.1", 80, backends(3))]));
    assert!(compiler.compile(3).unwrap().is_empty());
}

#[test]
fn objects_that_do_not_agree_are_told() {
    let mut compiler = Compiler::new(Capacity::default());
    compiler.set(balancer("a", vec![vip("10.0.0.1", 80, backends(1))]));
    compiler.set(balancer("b", vec![vip("10.0.0.1", 80, backends(2))]));
    let mut other = balancer("c", vec![vip("10.0.0.1", 81, backends(2))]);
    Arc::make_mut(&mut other).edge.delivery.mtu = 9000;
    compiler.set(other);
    compiler.set(balancer("d", vec![vip("10.0.0.1", 82, backends(2))]));
    // Nobody who is in force has it.
    compiler.set(balancer("e", vec![vip("10.0.0.1", 81, backends(2))]));
    let conflicts: Vec<String> = compiler
        .conflicts()
        .into_iter()
        .map(|it| format!("{}: {}", it.object, it.message))
        .collect();
    assert_eq!(
        conflicts,
        [
            "default/b: LoadBalancer default/a has tcp 10.0.0.1:80 already",
            "default/c: it doesn't agree with LoadBalancer default/a (m:1) on what holds for the \
             whole node (all of `spec` but `vips`)",
        ]
    );
    assert_eq!(compiler.views().len(), 3);
}

#[test]
fn ranges_of_two_objects_must_not_overlap() {
    let ports = |first, last| {
        let mut vip = vip("10.0.0.1", 1, backends(1));
        vip.ports = vec![PortRange { first, last }];
        vip
    };
    let check = |first, last, refused: bool| {
        let mut compiler = Compiler::new(Capacity::default());
        compiler.set(balancer("a", vec![ports(8000, 8100), ports(9000, 9000)]));
        compiler.set(balancer("b", vec![ports(first, last)]));
        assert_eq!(!compiler.conflicts().is_empty(), refused, "{first}-{last}");
    };
    check(8050, 8060, true);
    check(7000, 8000, true);
    check(8100, 9500, true);
    check(1, 65535, true);
    check(9000, 9000, true);
    check(7000, 7999, false);
    check(8101, 8999, false);
    check(9001, 9001, false);
    // All the others.
    let mut compiler = Compiler::new(Capacity::default());
    let mut all = vip("10.0.0.1", 1, backends(1));
    all.ports = Vec::new();
    compiler.set(balancer("a", vec![ports(80, 80)]));
    compiler.set(balancer("b", vec![all.clone()]));
    assert!(compiler.conflicts().is_empty());
    compiler.set(balancer("c", vec![all]));
    assert_eq!(compiler.conflicts().len(), 1);
}

#[test]
fn settled_slots_are_forgotten() {
    let mut world = World::new();
    world.set(vec![vip("10.0.0.1", 80, backends(3))]);
    let mut drained = backends(3);
    drained[0].state = BackendState::Draining;
    world.set(vec![vip("10.0.0.1", 80, drained)]);
    let end = world.maps.front_end(80).window_end_ns;
    assert!(world.compiler.unsettled(end - 1).is_empty());
    assert_eq!(world.compiler.unsettled(end), [(1, 4093)]);
    let moved =
        |world: &World| world.maps.ring(80).iter().filter(|word| **word & slot::MOVED != 0).count();
    let before = moved(&world);
    let some: Vec<usize> = world
        .maps
        .ring(80)
        .iter()
        .enumerate()
        .filter(|(_, word)| **word & slot::MOVED != 0)
        .map(|(index, _)| index)
        .take(2)
        .collect();
    let changes = world.compiler.settle(end, |_, slot| some.contains(&slot)).unwrap();
    world.maps.apply(&changes);
    assert!(before > 2);
    assert_eq!(moved(&world), 2);
    let changes = world.compiler.settle(end, |_, _| false).unwrap();
    world.maps.apply(&changes);
    assert_eq!((moved(&world), world.maps.front_end(80).previous_len), (0, 0));
    let blocks = 4093usize.div_ceil(RING_BLOCK) as u32;
    assert_eq!(world.compiler.used().ring_blocks, blocks);
}

#[test]
fn removing_everything_leaves_nothing() {
    let mut world = World::new();
    world.set(vec![vip("10.0.0.1", 80, backends(3))]);
    world.compiler.remove(&ObjectName::new("default", "edge"));
    let changes = world.compile();
    assert_eq!((changes.front_ends.remove.len(), changes.backends.remove.len()), (2, 3));
    assert_eq!(world.compiler.used(), Used::default());
}

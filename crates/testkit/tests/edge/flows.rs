//! No connection breaks but those to backends that are dead, and no new one goes to a backend that
//! has left.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::probe::{Held, Target, Transport, names};
use testkit::{eventually, require_kernel, require_root};

use super::world::{PATIENCE, PORT, World, name, vips};

const BACKENDS: usize = 100;
const HELD: usize = 200;
/// New connections after each change.
const FRESH: usize = 100;
const INTERVAL: Duration = Duration::from_millis(150);

struct Flows {
    world: World,
    /// Not in the manifest.
    absent: BTreeSet<usize>,
    draining: BTreeSet<usize>,
    down: BTreeSet<usize>,
    /// Were absent or down at some time, so that their connections may have broken.
    dead: BTreeSet<String>,
}

impl Flows {
    fn targets(count: usize) -> Vec<Target> {
        (0..count).map(|n| Target::new(Transport::Tcp, vips()[n % 2], PORT)).collect()
    }

    fn apply(&mut self) {
        self.dead.extend(self.absent.iter().chain(&self.down).map(|number| name(*number)));
        let (absent, draining, down) = (&self.absent, &self.draining, &self.down);
        let mut manifest = self.world.manifest(|number| match number {
            _ if absent.contains(&number) => Value::Null,
            _ if down.contains(&number) => json!({"state": "down"}),
            _ if draining.contains(&number) => json!({"state": "draining"}),
            _ => json!({}),
        });
        // No connection here is silent for so long.
        manifest["spec"]["flows"] = json!({"idle": "5m"});
        self.world.apply(&manifest);
    }

    fn held(&mut self) -> Vec<Held> {
        self.world.client.1.held().unwrap()
    }

    /// Every connection to who lives goes on, and new ones go where they should.
    #[track_caller]
    fn check(&mut self, after: &str) {
        let left = self.absent.iter().chain(&self.draining).chain(&self.down);
        let left: BTreeSet<String> = left.map(|number| name(*number)).collect();
        let found = names(&self.world.client.1.probe(&Self::targets(FRESH), PATIENCE).unwrap());
        let wrong: Vec<_> = found.intersection(&left).collect();
        assert!(wrong.is_empty(), "after {after}, new connections came to {wrong:?}");
        let unanswered: Vec<_> = found.iter().filter(|it| !it.starts_with("backend-")).collect();
        assert!(unanswered.is_empty(), "after {after}: {unanswered:?}");

        let before = self.held();
        let mut now = Vec::new();
        eventually(&format!("connections go on after {after}"), || {
            now = self.held();
            let goes_on = |(before, now): (&Held, &Held)| {
                self.dead.contains(&now.backend)
                    || now.broken.is_some()
                    || now.exchanges >= before.exchanges + 2
            };
            before.iter().zip(&now).all(goes_on)
        });
        let broken: Vec<_> = now
            .iter()
            .filter(|held| held.broken.is_some() && !self.dead.contains(&held.backend))
            .collect();
        assert!(broken.is_empty(), "after {after}, {} are broken: {broken:#?}", broken.len());
    }

    /// The same change several times, there and back.
    fn flap(&mut self, which: fn(&mut Self) -> &mut BTreeSet<usize>, backends: Range<usize>) {
        for _ in 0..5 {
            which(self).extend(backends.clone());
            self.apply();
            which(self).retain(|number| !backends.contains(number));
            self.apply();
        }
    }
}

#[test]
fn only_flows_of_dead_backends_break() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = World::new(2, BACKENDS);
    world.have_vips();
    let none = BTreeSet::new;
    let mut flows =
        Flows { world, absent: none(), draining: none(), down: none(), dead: BTreeSet::new() };
    // Eleven are to come; nobody has a connection that could break yet.
    flows.absent = (89..BACKENDS).collect();
    flows.apply();
    flows.dead.clear();
    let held = flows.world.client.1.begin_hold(&Flows::targets(HELD), INTERVAL).unwrap();
    let broken: Vec<_> = held.iter().filter(|held| held.broken.is_some()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let backends: BTreeSet<&String> = held.iter().map(|held| &held.backend).collect();
    assert!(backends.len() > 50, "{backends:?}");
    flows.check("the beginning");

    // The other one has the same file and has never seen these connections.
    flows.world.lead(1);
    flows.check("a second balancer's taking over");
    flows.world.lead(0);
    flows.check("the first one's return");

    flows.absent.remove(&89);
    flows.apply();
    flows.check("one more");
    flows.absent.clear();
    flows.apply();
    flows.check("ten more");

    for (these, how) in [(0..1, "draining one"), (0..10, "draining ten")] {
        flows.draining.extend(these);
        flows.apply();
        flows.check(how);
    }
    // Both have seen the same changes.
    flows.world.lead(1);
    flows.check("taking over from one that drains");

    flows.flap(|flows| &mut flows.draining, 10..11);
    flows.check("flapping one");
    flows.flap(|flows| &mut flows.draining, 11..21);
    flows.check("flapping ten");
    flows.world.lead(0);
    flows.check("taking over after a lot of changes");

    flows.world.balancers[0].node.stop_agent().unwrap();
    flows.check("the agent's end");
    flows.world.balancers[0].node.start_agent().unwrap();
    flows.check("the agent's start");
    flows.world.balancers[0].node.kill_agent().unwrap();
    flows.world.balancers[0].node.start_agent().unwrap();
    flows.check("the agent's death and start");
    flows.draining.clear();
    flows.apply();
    flows.check("a change after the restart");

    // From here on some are dead, and the others are none the wiser.
    for (these, how) in [(20..21, "removing one"), (20..30, "removing ten")] {
        flows.absent.extend(these);
        flows.apply();
        flows.check(how);
    }
    flows.flap(|flows| &mut flows.down, 30..31);
    flows.check("one that goes down and comes back");
    flows.flap(|flows| &mut flows.absent, 31..41);
    flows.check("ten that come and go");
    for number in 41..43 {
        flows.world.backends[number].probe = None;
        flows.absent.insert(number);
    }
    flows.apply();
    flows.check("two deaths");
    flows.world.lead(1);
    flows.check("taking over after deaths");
    flows.absent.retain(|number| (41..43).contains(number));
    flows.apply();
    flows.check("everybody's return");

    let held = flows.held();
    let intact = held.iter().filter(|held| held.broken.is_none()).count();
    let of_dead = held.iter().filter(|held| flows.dead.contains(&held.backend)).count();
    eprintln!("{intact} of {HELD} connections intact, {of_dead} were of backends that died");
    assert!(intact >= HELD - of_dead, "{held:?}");
}

//! Each way of delivery: a client exchanges bytes with servers, over TCP and UDP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::gate::Feature;
use testkit::probe::{Outcome, Target, Transport, Verdict, names};
use testkit::{eventually, require_kernel, require_root};

use super::world::{PATIENCE, PORT, World, name, vips};

const ASKED: usize = 24;
const V4: usize = 0;
const V6: usize = 1;
/// Of VIPs whose backends have addresses of the other family.
const OTHER_PORT: u16 = PORT + 1;

/// A VIP's family and its backends'.
type Way = (usize, usize);

fn port((vip, backend): Way) -> u16 {
    if vip == backend { PORT } else { OTHER_PORT }
}

/// A manifest with a VIP for each way, of these backends, over TCP and UDP.
fn manifest(world: &World, delivery: &Value, ways: &[Way], backends: &[usize]) -> Value {
    let mut manifest = world.manifest(|_| Value::Null);
    let mut all = Vec::new();
    for way in ways {
        let address = |number: &usize| world.backends[*number].neighbour.addresses[way.1];
        let backends: Vec<Value> =
            backends.iter().map(|number| json!({"address": address(number)})).collect();
        for protocol in ["TCP", "UDP"] {
            all.push(json!({
                "address": vips()[way.0],
                "ports": port(*way),
                "protocol": protocol,
                "backends": backends,
            }));
        }
    }
    manifest["spec"]["delivery"] = delivery.clone();
    manifest["spec"]["vips"] = json!(all);
    manifest
}

fn world(backends: usize) -> World {
    let mut world = World::new(1, backends);
    for backend in &mut world.backends {
        backend.probe.as_mut().unwrap().serve(Transport::Tcp, OTHER_PORT).unwrap();
    }
    world
}

/// Backends that take VIPs for their own.
fn behind_encapsulation(backends: usize) -> World {
    let mut world = world(backends);
    world.have_vips();
    for backend in &mut world.backends {
        for vip in vips() {
            for port in [PORT, OTHER_PORT] {
                let address = SocketAddr::new(vip, port);
                backend.probe.as_mut().unwrap().serve_at(address).unwrap();
            }
        }
    }
    world
}

/// Both backends answer, and connections that stay open carry bytes there and back.
#[track_caller]
fn check(world: &mut World, what: &str, ways: &[Way]) {
    let everybody: BTreeSet<String> = (0..world.backends.len()).map(name).collect();
    for way in ways {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut target = Target::new(transport, vips()[way.0], port(*way));
            target.extra_bytes = 1000;
            let outcomes = world.client.1.probe(&vec![target; ASKED], PATIENCE).unwrap();
            assert_eq!(names(&outcomes), everybody, "{what} {way:?} {transport}");
        }
    }
    let targets: Vec<Target> = ways
        .iter()
        .flat_map(|way| vec![Target::new(Transport::Tcp, vips()[way.0], port(*way)); 4])
        .collect();
    let pause = Duration::from_millis(20);
    world.client.1.begin_hold(&targets, pause).unwrap();
    eventually(&format!("connections carry bytes over {what}"), || {
        let held = world.client.1.held().unwrap();
        let broken: Vec<_> = held.iter().filter(|held| held.broken.is_some()).collect();
        assert!(broken.is_empty(), "{what}: {broken:?}");
        held.iter().all(|held| held.exchanges >= 5)
    });
}

#[test]
fn encapsulated() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = behind_encapsulation(2);
    let [v4, v6] = world.balancers[0].link.addresses;
    // IPv4 in IPv6 too.
    let ways = [(V4, V4), (V6, V6), (V4, V6)];
    for mode in ["ipip", "gue", "geneve"] {
        let delivery = json!({"mode": mode, "sources": {"ipv4": v4, "ipv6": v6}});
        world.apply(&manifest(&world, &delivery, &ways, &[0, 1]));
        check(&mut world, mode, &ways);
    }
}

#[test]
fn translated() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(2);
    for backend in &mut world.backends {
        for address in backend.neighbour.addresses {
            for port in [PORT, OTHER_PORT] {
                let address = SocketAddr::new(address, port);
                backend.probe.as_mut().unwrap().serve_at(address).unwrap();
            }
        }
    }
    let [v4, v6] = world.balancers[0].link.addresses;
    let delivery = json!({"mode": "nat", "masquerade": {"ipv4": v4, "ipv6": v6}});
    // NAT46 and NAT64 are the last two.
    let ways = [(V4, V4), (V6, V6), (V4, V6), (V6, V4)];
    world.apply(&manifest(&world, &delivery, &ways, &[0, 1]));
    check(&mut world, "nat", &ways);

    // A backend that asks the VIP and is given itself.
    world.apply(&manifest(&world, &delivery, &ways, &[0]));
    let own = world.backends[0].probe.as_mut().unwrap();
    for way in ways {
        for transport in [Transport::Tcp, Transport::Udp] {
            let target = Target::new(transport, vips()[way.0], port(way));
            let outcomes: Vec<Outcome> = own.probe(&vec![target; 4], PATIENCE).unwrap();
            for outcome in outcomes {
                let expected = Verdict::Answered(name(0));
                assert_eq!(outcome.verdict, expected, "hairpin {way:?} {transport}");
            }
        }
    }
}

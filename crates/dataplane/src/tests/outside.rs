//! Services reached from outside the node: its own interface 5 leads there, 6 to other nodes.

use super::*;
use crate::{from_outside, to_outside};
use abi::conntrack::masquerade_ports;
use abi::endpoint::Device;
use abi::service::service_flags::SOURCE_RANGES;
use abi::service::{MemberKey, SourceRangeKey};
use std::collections::BTreeSet;
use std::string::ToString;
use std::vec::Vec;

const CLIENT: &str = "203.0.113.7";
const CLIENT6: &str = "2001:db8:7::7";
const LB: &str = "198.51.100.1";
const LB6: &str = "2001:db8:1::1";
const NODE: &str = HOST;
/// A backend on another node.
const FAR: &str = "10.0.1.9";
const FAR6: &str = "fd00:1::9";
const OUTSIDE: u32 = 5;
const ROUTE: u32 = 6;

fn world() -> World {
    let world = World::new();
    let device = Device { v4: address(NODE), v6: address(HOST6), mtu: 1500, flags: 0 };
    world.env.devices.insert(OUTSIDE, device);
    world.env.devices.insert(ROUTE, device);
    world
}

impl World {
    fn open(&self, at: (&str, u16), protocol: u8, backends: &[(&str, u16)]) {
        let value = Service { id: 71, ring_base: 7, ring_len: 0, flags: 0, affinity_s: 0 };
        self.front_end(scope::OUTSIDE, at, protocol, value, backends);
    }

    fn enters(&mut self, frame: &Frame) -> (Decision, Vec<u8>) {
        self.enters_by(OUTSIDE, frame)
    }

    fn enters_by(&mut self, ifindex: u32, frame: &Frame) -> (Decision, Vec<u8>) {
        let route = Some(ROUTE);
        let mut packet = Buffer { bytes: frame.build(), ifindex, route, ..Buffer::default() };
        let decision = from_outside(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    fn leaves(&mut self, frame: &Frame) -> (Decision, Vec<u8>) {
        let bytes = frame.build();
        let mut packet = Buffer { bytes, ifindex: OUTSIDE, ..Buffer::default() };
        let decision = to_outside(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    /// From an endpoint, on the way out.
    fn replies(&mut self, endpoint: u32, frame: &Frame) -> (Decision, Vec<u8>) {
        let (bytes, ifindex) = (frame.build(), 10 + endpoint);
        let mut packet = Buffer { bytes, ifindex, route: Some(ROUTE), ..Buffer::default() };
        let decision = from_endpoint(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    #[track_caller]
    fn refuses(&mut self, frame: &Frame, reason: DropReason) {
        assert_eq!(self.enters(frame).0, Decision::Drop);
        assert_eq!(self.last().map(|event| event.reason), Some(reason as u8));
    }
}

#[test]
fn a_local_backend_sees_the_client() {
    for (name, vip, client) in
        [(v4 as fn(u32) -> std::string::String, LB, CLIENT), (v6, LB6, CLIENT6)]
    {
        let mut world = world();
        let b = name(B);
        world.open((vip, 80), TCP, &[(&b, 8080)]);
        for flags in [SYN, ACK] {
            let (decision, bytes) = world.enters(&tcp((client, 4000), (vip, 80), flags));
            assert_eq!(decision, Decision::RedirectPeer(10 + B));
            let expect = tcp((client, 4000), (&b, 8080), flags).hop();
            assert_eq!(bytes, expect.macs(HOST_MAC, workload_mac(B)).build());
        }
        let (decision, bytes) = world.replies(B, &tcp((&b, 8080), (client, 4000), SYN | ACK));
        assert_eq!(decision, Decision::RedirectNeighbour(ROUTE));
        assert_eq!(bytes, tcp((vip, 80), (client, 4000), SYN | ACK).hop().build());
        let event = world.env.events.borrow()[0];
        assert_eq!((event.service, event.vip), (71, address(vip)));
    }
}

#[test]
fn the_policy_of_a_local_backend_decides() {
    let mut world = world();
    world.restrict(B, 5, 0);
    world.open((LB, 80), TCP, &[(&v4(B), 8080)]);
    world.refuses(&tcp((CLIENT, 1), (LB, 80), SYN), DropReason::PolicyDefault);
}

#[test]
fn a_backend_elsewhere_answers_to_the_node() {
    for (node, vip, client, far) in [(NODE, LB, CLIENT, FAR), (HOST6, LB6, CLIENT6, FAR6)] {
        for make in [
            (|a, b| tcp(a, b, SYN)) as fn((&str, u16), (&str, u16)) -> Frame,
            udp as fn((&str, u16), (&str, u16)) -> Frame,
        ] {
            let mut world = world();
            world.open((vip, 80), TCP, &[(far, 8080)]);
            world.open((vip, 80), UDP, &[(far, 8080)]);
            let mut ports = Vec::new();
            for port in [4000, 4001, 4000] {
                let (decision, bytes) = world.enters(&make((client, port), (vip, 80)));
                assert_eq!(decision, Decision::RedirectNeighbour(ROUTE));
                let key = tuple((client, port), (vip, 80), 0);
                let key = [TCP, UDP].map(|protocol| ServiceFlowKey { protocol, ..key });
                let flow = key.iter().find_map(|key| world.env.service_flows.lookup(key)).unwrap();
                let own = flow.source_port.number();
                assert!(own.wrapping_sub(masquerade_ports::FIRST) < masquerade_ports::COUNT);
                assert_eq!(bytes, make((node, own), (far, 8080)).hop().build());
                let (decision, bytes) = world.enters_by(ROUTE, &make((far, 8080), (node, own)));
                assert_eq!(decision, Decision::RedirectNeighbour(ROUTE));
                assert_eq!(bytes, make((vip, 80), (client, port)).hop().build());
                ports.push(own);
            }
            assert_eq!(ports[0], ports[2]);
            assert_ne!(ports[0], ports[1]);
        }
    }
}

#[test]
fn ports_that_are_taken_are_passed_over_until_none_is_left() {
    let mut world = world();
    world.open((LB, 80), UDP, &[(FAR, 8080)]);
    let mut taken = std::collections::BTreeSet::new();
    let mut refused = 0;
    for port in 1..=masquerade_ports::COUNT {
        match world.enters(&udp((CLIENT, port), (LB, 80))).0 {
            Decision::RedirectNeighbour(_) => {
                let key = tuple((CLIENT, port), (LB, 80), UDP);
                let flow = world.env.service_flows.lookup(&key).unwrap();
                assert!(taken.insert(flow.source_port.number()), "given twice");
            }
            _ => refused += 1,
        }
    }
    assert_eq!(taken.len() + refused, usize::from(masquerade_ports::COUNT));
    // Eight tries find a free port until nearly all are taken.
    assert!(refused > 0 && refused < 1_800, "{refused}");
    assert_eq!(world.env.metrics.lookup(&(DropReason::NoSourcePort as u32)), Some(refused as u64));
    // Flows that have ended give theirs back.
    world.wait(3_600);
    let (decision, _) = world.enters(&udp((CLIENT, 60_000), (LB, 80)));
    assert_eq!(decision, Decision::RedirectNeighbour(ROUTE));
}

#[test]
fn a_backend_in_the_nodes_own_network() {
    let mut world = world();
    world.open((NODE, 30080), TCP, &[(NODE, 8080)]);
    let (decision, bytes) = world.enters(&tcp((CLIENT, 4000), (NODE, 30080), SYN));
    assert_eq!(decision, Decision::Pass);
    assert_eq!(bytes, tcp((CLIENT, 4000), (NODE, 8080), SYN).build());
    let (decision, bytes) = world.leaves(&tcp((NODE, 8080), (CLIENT, 4000), SYN | ACK));
    assert_eq!(decision, Decision::Pass);
    assert_eq!(bytes, tcp((NODE, 30080), (CLIENT, 4000), SYN | ACK).build());
}

/// One client port that reaches one backend by two services, and directly.
#[test]
fn another_port_of_the_client() {
    for (name, node, vip, client) in
        [(v4 as fn(u32) -> std::string::String, NODE, LB, CLIENT), (v6, HOST6, LB6, CLIENT6)]
    {
        for (protocol, make) in
            [(TCP, (|a, b| tcp(a, b, ACK)) as fn((&str, u16), (&str, u16)) -> Frame), (UDP, udp)]
        {
            // Of an endpoint, and of the node itself.
            for backend in [name(B), node.to_string()] {
                let mut world = world();
                world.open((vip, 80), protocol, &[(&backend, 8080)]);
                world.open((vip, 81), protocol, &[(&backend, 8080)]);
                let mut seen = BTreeSet::new();
                for asked in [(vip, 80), (vip, 81), (&*backend, 8080)] {
                    let mut port = None;
                    for _ in 0..2 {
                        let (decision, bytes) = world.enters(&make((client, 4000), asked));
                        let packet = Buffer { bytes, ..Buffer::default() };
                        let mut parsed = crate::parse::Parsed::empty();
                        crate::parse::parse(&packet, &mut parsed).unwrap();
                        let now = parsed.tuple.source_port.number();
                        assert_eq!(*port.get_or_insert(now), now);
                        let expect = make((client, now), (&backend, 8080));
                        match backend == node {
                            true => {
                                assert_eq!(decision, Decision::Pass);
                                assert_eq!(packet.bytes, expect.build());
                            }
                            false => {
                                assert_eq!(decision, Decision::RedirectPeer(10 + B));
                                let macs = expect.hop().macs(HOST_MAC, workload_mac(B));
                                assert_eq!(packet.bytes, macs.build());
                            }
                        }
                    }
                    let port = port.unwrap();
                    assert!(seen.insert(port), "{port} for two flows");
                    let reply = make((&backend, 8080), (client, port));
                    let expect = make(asked, (client, 4000));
                    match backend == node {
                        true => assert_eq!(world.leaves(&reply), (Decision::Pass, expect.build())),
                        false => {
                            let sent = (Decision::RedirectNeighbour(ROUTE), expect.hop().build());
                            assert_eq!(world.replies(B, &reply), sent);
                        }
                    }
                }
                assert_eq!(seen.len(), 3);
                assert!(seen.contains(&4000));
            }
        }
    }
}

#[test]
fn what_is_no_services_is_left_alone() {
    let mut world = world();
    world.open((LB, 80), TCP, &[(&v4(B), 8080)]);
    for frame in [
        tcp((CLIENT, 1), (LB, 81), SYN),
        udp((CLIENT, 1), (LB, 80)),
        tcp((CLIENT, 1), (&v4(B), 8080), SYN),
        tcp((FAR, 8080), (NODE, 16_500), ACK),
    ] {
        assert_eq!(world.enters(&frame), (Decision::Pass, frame.build()));
        assert_eq!(world.leaves(&frame), (Decision::Pass, frame.build()));
    }
    assert!(world.env.events.borrow().is_empty() && world.env.conntrack.is_empty());
    // Cut short.
    let mut bytes = tcp((CLIENT, 1), (LB, 80), SYN).build();
    bytes.truncate(30);
    let mut packet = Buffer { bytes: bytes.clone(), ifindex: OUTSIDE, ..Buffer::default() };
    assert_eq!(from_outside(&world.env, &mut packet, &mut world.scratch), Decision::Pass);
    assert_eq!(packet.bytes, bytes);
}

#[test]
fn only_admitted_sources() {
    let mut world = world();
    let flags = SOURCE_RANGES;
    let value = Service { id: 72, ring_base: 7, ring_len: 0, flags, affinity_s: 0 };
    world.front_end(scope::OUTSIDE, (LB, 80), TCP, value, &[(&v4(B), 8080)]);
    let range = SourceRangeKey { prefix_len: 32 + 96 + 24, service: 72, address: address(CLIENT) };
    world.env.source_ranges.borrow_mut().push((range, 1));
    let (decision, _) = world.enters(&tcp((CLIENT, 1), (LB, 80), SYN));
    assert_eq!(decision, Decision::RedirectPeer(10 + B));
    world.refuses(&tcp(("203.0.114.7", 1), (LB, 80), SYN), DropReason::SourceNotAdmitted);
}

#[test]
fn a_client_keeps_its_backend() {
    let mut world = world();
    let value = Service { id: 73, ring_base: 7, ring_len: 0, flags: 0, affinity_s: 60 };
    let backends = [(&*v4(A), 8080), (&*v4(B), 8080), (&*v4(C), 8080)];
    world.front_end(scope::OUTSIDE, (LB, 80), TCP, value, &backends);
    for backend in 100..103 {
        world.env.members.insert(MemberKey { service: 73, backend }, 1);
    }
    let of =
        |world: &mut World, client: &str, port| world.enters(&tcp((client, port), (LB, 80), SYN)).0;
    let first = of(&mut world, CLIENT, 1);
    assert!((2..40).all(|port| of(&mut world, CLIENT, port) == first));
    let others: Vec<_> =
        (1..20).map(|last| of(&mut world, &std::format!("203.0.113.{last}"), 1)).collect();
    assert!(others.iter().any(|other| *other != first));
    // Each flow counts anew, and the time runs out.
    world.wait(50);
    assert_eq!(of(&mut world, CLIENT, 50), first);
    world.wait(50);
    assert_eq!(of(&mut world, CLIENT, 51), first);
    world.wait(61);
    let later: Vec<_> = (0..20)
        .map(|port| {
            world.wait(61);
            of(&mut world, CLIENT, 100 + port)
        })
        .collect();
    assert!(later.iter().any(|later| *later != first));
    // A backend that has left the service is not kept.
    let kept = of(&mut world, CLIENT, 200);
    let Decision::RedirectPeer(ifindex) = kept else { panic!("{kept:?}") };
    world.env.members.remove(&MemberKey { service: 73, backend: 100 + ifindex - 11 });
    assert!((201..240).any(|port| of(&mut world, CLIENT, port) != kept));
}

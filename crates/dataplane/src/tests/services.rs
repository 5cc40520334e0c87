//! Services: choice of a backend, translation both ways, hairpin, clashes.

use super::*;
use abi::conntrack::masquerade_ports;
use abi::service::service_flags::MAGLEV;
use abi::service::{HAIRPIN_V4, HAIRPIN_V6};
use std::collections::BTreeSet;
use std::string::ToString;

const VIP: &str = "10.96.0.1";
const VIP6: &str = "fd96::1";

#[test]
fn both_directions_are_translated() {
    for (name, vip) in [(v4 as fn(u32) -> std::string::String, VIP), (v6, VIP6)] {
        for (protocol, make) in
            [(TCP, (|a, b| tcp(a, b, SYN)) as fn((&str, u16), (&str, u16)) -> Frame), (UDP, udp)]
        {
            let mut world = World::new();
            let (a, b) = (name(A), name(B));
            world.service(vip, 80, protocol, 0, &[(&b, 8080)]);
            world.delivers(A, &make((&a, 4000), (vip, 80)), B, &make((&a, 4000), (&b, 8080)));
            world.delivers(A, &make((&a, 4000), (vip, 80)), B, &make((&a, 4000), (&b, 8080)));
            world.delivers(B, &make((&b, 8080), (&a, 4000)), A, &make((vip, 80), (&a, 4000)));
            let event = world.env.events.borrow()[0];
            assert_eq!((event.vip, event.vip_port.number()), (address(vip), 80));
            assert_eq!((event.service, event.backend), (70, 100));
            assert_eq!(event.destination, address(&b));
        }
    }
}

#[test]
fn a_datagram_without_checksum_stays_so() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    world.service(VIP, 53, UDP, 0, &[(&b, 5353)]);
    let frame = |destination: &str, port| between(&a, destination).udp_unsummed(1, port);
    world.delivers(A, &frame(VIP, 53), B, &frame(&b, 5353));
}

#[test]
fn options_and_tags_are_translated_too() {
    let mut world = World::new();
    let b = v6(B);
    world.service(VIP6, 53, UDP, 0, &[(&b, 5353)]);
    let frame = |destination: &str, port| {
        between("fd00::1", destination)
            .options(protocol::HOP_BY_HOP, 2)
            .options(protocol::DESTINATION_OPTIONS, 1)
            .udp(1, port)
            .payload(b"odd")
    };
    world.delivers(A, &frame(VIP6, 53), B, &frame(&b, 5353));
}

#[test]
fn an_endpoint_reaches_itself() {
    for (name, vip, hairpin) in
        [(v4 as fn(u32) -> std::string::String, VIP, HAIRPIN_V4), (v6, VIP6, HAIRPIN_V6)]
    {
        let mut world = World::new();
        // Whatever its policy is.
        world.restrict(A, 5, 5);
        let (a, hairpin) = (name(A), hairpin.to_string());
        world.service(vip, 80, TCP, 0, &[(&a, 8080)]);
        let sent = tcp((&a, 4000), (vip, 80), SYN);
        world.delivers(A, &sent, A, &tcp((&hairpin, 4000), (&a, 8080), SYN));
        let answer = tcp((&a, 8080), (&hairpin, 4000), SYN | ACK);
        world.delivers(A, &answer, A, &tcp((vip, 80), (&a, 4000), SYN | ACK));
        let event = world.last().unwrap();
        assert_eq!(event.kind, FlowKind::Reply as u8);
        assert_eq!((event.source_endpoint, event.destination_endpoint), (A, A));
        assert_eq!((event.source_identity, event.destination_identity), (301, 301));
    }
}

#[test]
fn a_backend_outside_is_reached_through_the_host() {
    let mut world = World::new();
    let a = v4(A);
    world.service(VIP, 80, TCP, 0, &[(WORLD, 8080)]);
    let (decision, bytes) = world.from(A, &tcp((&a, 1), (VIP, 80), SYN));
    assert_eq!((decision, bytes), (Decision::Pass, tcp((&a, 1), (WORLD, 8080), SYN).build()));
    let (decision, bytes) = world.to(A, &tcp((WORLD, 8080), (&a, 1), SYN | ACK));
    assert_eq!((decision, bytes), (Decision::Pass, tcp((VIP, 80), (&a, 1), SYN | ACK).build()));
}

#[test]
fn no_backend() {
    let mut world = World::new();
    world.service(VIP, 80, TCP, 0, &[]);
    world.drops(A, &tcp((&v4(A), 1), (VIP, 80), SYN), DropReason::NoBackend);
    let event = world.last().unwrap();
    assert_eq!((event.service, event.vip), (70, address(VIP)));
}

fn backend_of(world: &mut World, port: u16) -> u32 {
    match world.from(A, &tcp((&v4(A), port), (VIP, 80), SYN)).0 {
        Decision::RedirectPeer(ifindex) => ifindex - 10,
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_uses_every_backend() {
    let mut world = World::new();
    world.service(VIP, 80, TCP, 0, &[(&v4(B), 80), (&v4(C), 80)]);
    let chosen: Vec<u32> = (1000..1400).map(|port| backend_of(&mut world, port)).collect();
    let of_b = chosen.iter().filter(|endpoint| **endpoint == B).count();
    assert!((150..250).contains(&of_b), "{of_b} of 400");
}

#[test]
fn maglev_is_the_same_everywhere() {
    let mut rings = Vec::new();
    for _ in 0..2 {
        let mut world = World::new();
        // More than one block.
        let slots: Vec<_> = (0..101).map(|slot| (if slot % 2 == 0 { B } else { C }, 80)).collect();
        let names: Vec<_> = slots.iter().map(|(endpoint, port)| (v4(*endpoint), *port)).collect();
        let names: Vec<_> = names.iter().map(|(name, port)| (name.as_str(), *port)).collect();
        world.service(VIP, 80, TCP, MAGLEV, &names);
        world.env.random.set(rings.len() as u32 * 99);
        rings.push((1000..1200).map(|port| backend_of(&mut world, port)).collect::<Vec<_>>());
        let used: BTreeSet<_> =
            world.env.service_flows.entries().iter().map(|e| e.1.backend).collect();
        assert!(used.len() > 60, "{} slots of 101", used.len());
    }
    assert_eq!(rings[0], rings[1]);
}

#[test]
fn a_slot_whose_backend_is_gone_is_passed_over() {
    let mut world = World::new();
    world.service(VIP, 80, TCP, 0, &[(&v4(B), 80), (&v4(C), 80)]);
    world.env.backends.remove(&100);
    assert!((1000..1050).all(|port| backend_of(&mut world, port) == C));
    world.env.backends.remove(&101);
    world.drops(A, &tcp((&v4(A), 1), (VIP, 80), SYN), DropReason::NoBackend);
}

/// Both keep their backend while the service changes; when the backend itself is gone, TCP goes on
/// with it and UDP gets another.
#[test]
fn open_flows_when_backends_change() {
    for protocol in [TCP, UDP] {
        let mut world = World::new();
        let (a, b, c) = (v4(A), v4(B), v4(C));
        let make = |destination, flags| match protocol {
            TCP => tcp((&a, 4000), destination, flags),
            _ => udp((&a, 4000), destination),
        };
        world.service(VIP, 80, protocol, 0, &[(&b, 8080)]);
        world.delivers(A, &make((VIP, 80), SYN), B, &make((&b, 8080), SYN));
        // The ring has C only, but B is still there.
        let old = world.env.backends.lookup(&100).unwrap();
        world.service(VIP, 80, protocol, 0, &[(&c, 8080)]);
        let new = world.env.backends.lookup(&100).unwrap();
        world.env.backends.insert(100, old);
        world.env.backends.insert(101, new);
        let mut ring = world.env.ring.lookup(&7).unwrap();
        ring.backends[0] = 101;
        world.env.ring.insert(7, ring);
        world.delivers(A, &make((VIP, 80), ACK), B, &make((&b, 8080), ACK));
        world.env.backends.remove(&100);
        if protocol == TCP {
            world.delivers(A, &make((VIP, 80), ACK), B, &make((&b, 8080), ACK));
        } else {
            world.delivers(A, &make((VIP, 80), ACK), C, &make((&c, 8080), ACK));
        }
    }
}

#[test]
fn a_closed_connection_is_balanced_anew() {
    let mut world = World::new();
    let (a, b, c) = (v4(A), v4(B), v4(C));
    world.service(VIP, 80, TCP, 0, &[(&b, 80)]);
    let send = |flags| tcp((&a, 1), (VIP, 80), flags);
    world.delivers(A, &send(SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    world.delivers(A, &send(RST), B, &tcp((&a, 1), (&b, 80), RST));
    world.service(VIP, 80, TCP, 0, &[(&c, 80)]);
    world.delivers(A, &send(SYN), C, &tcp((&a, 1), (&c, 80), SYN));
}

/// The packet as it left towards `to`, whose source port only is open: within the ports for that.
#[track_caller]
pub(super) fn with_another_port(
    (decision, bytes): (Decision, Vec<u8>),
    to: u32,
    make: impl Fn(u16) -> Frame,
) -> u16 {
    assert_eq!(decision, Decision::RedirectPeer(10 + to));
    let expect = |port| make(port).hop().macs(HOST_MAC, workload_mac(to)).build();
    let ports = masquerade_ports::FIRST..masquerade_ports::FIRST + masquerade_ports::COUNT;
    let port = ports.into_iter().find(|port| bytes == expect(*port));
    port.unwrap_or_else(|| panic!("{bytes:x?} is not {:x?} of another port", expect(0)))
}

#[test]
fn the_same_tuple_from_two_sides() {
    const VIP_2: &str = "10.96.0.2";
    const VIP6_2: &str = "fd96::2";
    for (name, vip, vip_2) in
        [(v4 as fn(u32) -> std::string::String, VIP, VIP_2), (v6, VIP6, VIP6_2)]
    {
        for (protocol, make) in
            [(TCP, (|a, b| tcp(a, b, ACK)) as fn((&str, u16), (&str, u16)) -> Frame), (UDP, udp)]
        {
            let mut world = World::new();
            let (a, b) = (name(A), name(B));
            world.service(vip, 80, protocol, 0, &[(&b, 80)]);
            world.service(vip_2, 80, protocol, 0, &[(&b, 80)]);
            world.delivers(A, &make((&a, 1), (vip, 80)), B, &make((&a, 1), (&b, 80)));
            // Through another service, and directly: replies are told apart by another port.
            for asked in [(vip_2, 80), (&*b, 80)] {
                let request = make((&a, 1), asked);
                let sent = world.from(A, &request);
                let port = with_another_port(sent, B, |port| make((&a, port), (&b, 80)));
                // It stays, also when the way to the backend is lost.
                world.delivers(A, &request, B, &make((&a, port), (&b, 80)));
                world.env.service_flows.remove(&tuple((&a, 1), asked, protocol));
                world.delivers(A, &request, B, &make((&a, port), (&b, 80)));
                world.delivers(B, &make((&b, 80), (&a, port)), A, &make(asked, (&a, 1)));
                let event = world.last().unwrap();
                let vip = if asked.0 == b { Address::NONE } else { address(asked.0) };
                assert_eq!((event.kind, event.vip), (FlowKind::Reply as u8, vip));
            }
            world.delivers(B, &make((&b, 80), (&a, 1)), A, &make((vip, 80), (&a, 1)));
            // The other way round.
            world.delivers(A, &make((&a, 2), (&b, 80)), B, &make((&a, 2), (&b, 80)));
            let sent = world.from(A, &make((&a, 2), (vip, 80)));
            let port = with_another_port(sent, B, |port| make((&a, port), (&b, 80)));
            world.delivers(B, &make((&b, 80), (&a, port)), A, &make((vip, 80), (&a, 2)));
            world.delivers(B, &make((&b, 80), (&a, 2)), A, &make((&b, 80), (&a, 2)));
            // Once it is forgotten, the tuple is free.
            world.wait(10_000);
            world.delivers(A, &make((&a, 1), (&b, 80)), B, &make((&a, 1), (&b, 80)));
        }
    }
}

/// An endpoint that reaches itself by two services from one port.
#[test]
fn a_hairpin_with_another_port() {
    let mut world = World::new();
    let (a, hairpin) = (v4(A), HAIRPIN_V4.to_string());
    for vip in [VIP, "10.96.0.2"] {
        world.service(vip, 80, TCP, 0, &[(&a, 8080)]);
    }
    let sent = tcp((&a, 4000), (VIP, 80), SYN);
    world.delivers(A, &sent, A, &tcp((&hairpin, 4000), (&a, 8080), SYN));
    let sent = world.from(A, &tcp((&a, 4000), ("10.96.0.2", 80), SYN));
    let port = with_another_port(sent, A, |port| tcp((&hairpin, port), (&a, 8080), SYN));
    let answer = tcp((&a, 8080), (&hairpin, port), SYN | ACK);
    world.delivers(A, &answer, A, &tcp(("10.96.0.2", 80), (&a, 4000), SYN | ACK));
}

#[test]
fn a_flow_is_refused_when_ports_are_taken() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    for vip in [VIP, "10.96.0.2"] {
        world.service(vip, 80, UDP, 0, &[(&b, 80)]);
    }
    let ports = masquerade_ports::FIRST..masquerade_ports::FIRST + masquerade_ports::COUNT;
    for port in ports.chain([1]) {
        world.delivers(A, &udp((&a, port), (VIP, 80)), B, &udp((&a, port), (&b, 80)));
    }
    world.drops(A, &udp((&a, 1), ("10.96.0.2", 80)), DropReason::TranslationClash);
}

/// SCTP's checksum can't be corrected for another port.
#[test]
fn sctp_keeps_its_port() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    let frame = |to: &str| between(&a, to).sctp(1, 80, 7).payload(&[1, 0, 0, 4]);
    for vip in [VIP, "10.96.0.2"] {
        world.service(vip, 80, protocol::SCTP, 0, &[(&b, 80)]);
    }
    world.delivers(A, &frame(VIP), B, &frame(&b));
    world.drops(A, &frame("10.96.0.2"), DropReason::TranslationClash);
}

#[test]
fn the_way_to_a_backend_may_be_lost() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    world.service(VIP, 80, TCP, 0, &[(&b, 80)]);
    let frame = |flags| tcp((&a, 1), (VIP, 80), flags);
    world.delivers(A, &frame(SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    for (key, _) in world.env.service_flows.entries() {
        world.env.service_flows.remove(&key);
    }
    world.delivers(A, &frame(ACK), B, &tcp((&a, 1), (&b, 80), ACK));
    assert_eq!(world.env.conntrack.len(), 1);
}

#[test]
fn sctp_is_translated_if_its_port_stays() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    let frame =
        |destination: &str, port| between(&a, destination).sctp(1, port, 7).payload(&[1, 0, 0, 4]);
    world.service(VIP, 80, protocol::SCTP, 0, &[(&b, 80)]);
    world.delivers(A, &frame(VIP, 80), B, &frame(&b, 80));
    world.service("10.96.0.2", 80, protocol::SCTP, 0, &[(&b, 81)]);
    world.drops(A, &frame("10.96.0.2", 80), DropReason::RewriteFailed);
}

/// An open connection keeps its backend although its entry is gone (the table evicts what it can't
/// hold) and the service would give another by now.
#[test]
fn a_connection_whose_entry_was_evicted() {
    for (name, vip) in [(v4 as fn(u32) -> std::string::String, VIP), (v6, VIP6)] {
        for flags in [ACK, FIN | ACK, RST] {
            let mut world = World::new();
            let (a, b, c) = (name(A), name(B), name(C));
            let frame = |flags| tcp((&a, 1), (vip, 80), flags);
            world.service(vip, 80, TCP, 0, &[(&b, 8080)]);
            world.delivers(A, &frame(SYN), B, &tcp((&a, 1), (&b, 8080), SYN));
            world.service(vip, 80, TCP, 0, &[(&c, 8080)]);
            world.env.conntrack.remove(&world.env.conntrack.entries()[0].0);
            world.delivers(A, &frame(flags), B, &tcp((&a, 1), (&b, 8080), flags));
            if flags & RST == 0 {
                let event = world.last().unwrap();
                assert_eq!((event.vip, event.vip_port.number()), (address(vip), 80));
                assert_eq!((event.service, event.backend), (70, 100));
                let reply = tcp((&b, 8080), (&a, 1), ACK);
                world.delivers(B, &reply, A, &tcp((vip, 80), (&a, 1), ACK));
            }
            // Another connection is balanced anew.
            world.env.conntrack.entries().iter().for_each(|(key, _)| {
                world.env.conntrack.remove(key);
            });
            world.delivers(A, &frame(SYN), C, &tcp((&a, 1), (&c, 8080), SYN));
        }
    }
}

#[test]
fn a_connection_is_remembered_as_long_as_it_is_used() {
    let (a, b, c) = (v4(A), v4(B), v4(C));
    let timeout = u64::from(abi::state::Timeouts::DEFAULT.tcp_established);
    for (used, backend) in [(true, (B, &b)), (false, (C, &c))] {
        let mut world = World::new();
        world.service(VIP, 80, TCP, 0, &[(&b, 80)]);
        let frame = |flags| tcp((&a, 1), (VIP, 80), flags);
        world.delivers(A, &frame(SYN), B, &tcp((&a, 1), (&b, 80), SYN));
        world.delivers(
            B,
            &tcp((&b, 80), (&a, 1), SYN | ACK),
            A,
            &tcp((VIP, 80), (&a, 1), SYN | ACK),
        );
        world.delivers(A, &frame(ACK), B, &tcp((&a, 1), (&b, 80), ACK));
        world.wait(timeout - 10);
        if used {
            world.delivers(A, &frame(ACK), B, &tcp((&a, 1), (&b, 80), ACK));
        }
        world.wait(20);
        world.service(VIP, 80, TCP, 0, &[(&c, 80)]);
        world.env.conntrack.remove(&world.env.conntrack.entries()[0].0);
        world.delivers(A, &frame(ACK), backend.0, &tcp((&a, 1), (backend.1, 80), ACK));
    }
}

/// What is kept is the backend, not the verdict.
#[test]
fn a_kept_backend_is_asked_about_again() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    world.service(VIP, 80, TCP, 0, &[(&b, 80)]);
    world.delivers(A, &tcp((&a, 1), (VIP, 80), SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    world.env.conntrack.remove(&world.env.conntrack.entries()[0].0);
    world.restrict(B, 500, UNRESTRICTED);
    world.drops(A, &tcp((&a, 1), (VIP, 80), ACK), DropReason::PolicyDefault);
    // Nor does it take the tuple from a flow that has it.
    let mut world = World::new();
    world.service(VIP, 80, TCP, 0, &[(&b, 80)]);
    world.delivers(A, &tcp((&a, 1), (VIP, 80), SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    world.env.conntrack.remove(&world.env.conntrack.entries()[0].0);
    world.delivers(A, &tcp((&a, 1), (&b, 80), SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    world.drops(A, &tcp((&a, 1), (VIP, 80), ACK), DropReason::TranslationClash);
}

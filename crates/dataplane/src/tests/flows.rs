//! Flows without services: delivery, directions, what is reported.

use super::*;
use crate::env::Owner;
use abi::conntrack::conn_flags;
use abi::metrics;
use abi::process::ProcessKey;
use abi::state::MARK_DECIDED;

#[test]
fn a_connection_between_two_endpoints() {
    for name in [v4, v6] {
        let mut world = World::new();
        let (a, b) = (name(A), name(B));
        let (a, b) = ((a.as_str(), 4000), (b.as_str(), 80));
        for (endpoint, frame, to) in [
            (A, tcp(a, b, SYN), B),
            (B, tcp(b, a, SYN | ACK), A),
            (A, tcp(a, b, ACK), B),
            (A, tcp(a, b, ACK).payload(b"request"), B),
            (B, tcp(b, a, ACK).payload(b"response"), A),
            (A, tcp(a, b, FIN | ACK), B),
            (B, tcp(b, a, FIN | ACK), A),
            (A, tcp(a, b, ACK), B),
        ] {
            world.delivers(endpoint, &frame, to, &frame);
        }
        assert_eq!(world.kinds(), [FlowKind::Start, FlowKind::Reply, FlowKind::End]);
        let end = world.last().unwrap();
        assert_eq!((end.source, end.destination), (address(a.0), address(b.0)));
        assert_eq!((end.source_identity, end.destination_identity), (301, 302));
        assert_eq!((end.source_endpoint, end.destination_endpoint), (A, B));
        assert_eq!((end.original.packets, end.reply.packets), (4, 3));
        assert_eq!(world.env.conntrack.len(), 1);
        assert_eq!(world.env.metrics.lookup(&metrics::REDIRECTED), Some(8));
    }
}

#[test]
fn both_ends_may_be_the_lower_one() {
    for (first, second) in [(A, B), (B, A)] {
        let mut world = World::new();
        let (a, b) = (v4(first), v4(second));
        let request = udp((&a, 53), (&b, 53));
        let reply = udp((&b, 53), (&a, 53));
        world.delivers(first, &request, second, &request);
        world.delivers(second, &reply, first, &reply);
        assert_eq!(world.kinds(), [FlowKind::Start, FlowKind::Reply]);
        assert_eq!(world.last().unwrap().source, address(&a));
        assert_eq!(world.last().unwrap().is_reply, 1);
    }
}

#[test]
fn other_protocols_are_flows_of_addresses() {
    let mut world = World::new();
    let sctp = between(&v4(A), &v4(B)).sctp(1000, 2000, 7).payload(&[1, 0, 0, 4]);
    world.delivers(A, &sctp, B, &sctp);
    let esp = between(&v4(A), &v4(B)).raw(protocol::ESP).payload(&[0; 16]);
    world.delivers(A, &esp, B, &esp);
    let echo = between(&v6(A), &v6(B)).icmpv6(128, 0, [0, 7, 0, 1]);
    let answer = between(&v6(B), &v6(A)).icmpv6(129, 0, [0, 7, 0, 1]);
    world.delivers(A, &echo, B, &echo);
    world.delivers(B, &answer, A, &answer);
    assert_eq!(world.env.conntrack.len(), 3);
}

#[test]
fn the_world_is_the_hosts_business() {
    let mut world = World::new();
    for (source, destination) in [(v4(A), WORLD), (v6(A), WORLD6), (v4(A), HOST), (v6(A), HOST6)] {
        let frame = udp((&source, 1000), (destination, 53));
        let (decision, bytes) = world.from(A, &frame);
        assert_eq!((decision, bytes), (Decision::Pass, frame.build()));
        let frame = udp((destination, 53), (&source, 1000));
        assert_eq!(world.to(A, &frame), (Decision::Pass, frame.build()));
        assert_eq!(world.last().unwrap().kind, FlowKind::Reply as u8);
    }
    let identities: Vec<u32> =
        world.env.events.borrow().iter().map(|event| event.destination_identity).collect();
    assert_eq!(identities, [9, 9, 10, 10, 1, 1, 1, 1]);
}

#[test]
fn without_redirect_the_packet_is_marked() {
    let mut world = World::new();
    world.put(B, UNRESTRICTED, UNRESTRICTED, 0);
    let frame = udp((&v4(A), 1), (&v4(B), 2)).ttl(1);
    assert_eq!(world.from(A, &frame), (Decision::PassDecided, frame.build()));
    let mut packet =
        Buffer { bytes: frame.build(), ifindex: 10 + B, mark: MARK_DECIDED, ..Buffer::default() };
    assert_eq!(to_endpoint(&world.env, &mut packet, &mut world.scratch), Decision::Pass);
    // Not counted a second time.
    assert_eq!(world.env.metrics.lookup(&metrics::FORWARDED), Some(1));
}

#[test]
fn the_last_hop_is_answered_by_the_host() {
    let mut world = World::new();
    for frame in [udp((&v4(A), 1), (&v4(B), 2)).ttl(1), udp((&v6(A), 1), (&v6(B), 2)).ttl(1)] {
        assert_eq!(world.from(A, &frame), (Decision::Pass, frame.build()));
        assert_eq!(world.last().unwrap().reason, DropReason::TimeExceeded as u8);
    }
}

#[test]
fn sources_are_checked() {
    let mut world = World::new();
    for source in [v4(B), v6(B), WORLD.into(), HOST.into(), "0.0.0.0".into(), "fe80::1".into()] {
        let destination = if ip(&source).is_ipv4() { v4(C) } else { v6(C) };
        world.drops(A, &udp((&source, 1), (&destination, 2)), DropReason::SpoofedSource);
    }
    let (decision, _) = world.to(A, &udp((WORLD, 1), (&v4(B), 2)));
    assert_eq!(decision, Decision::Drop);
    assert_eq!(world.last().unwrap().reason, DropReason::NoEndpoint as u8);
}

/// The network's interface.
const ETH0: u32 = 2;

#[test]
fn what_comes_from_the_host_is_checked_for_its_source() {
    // Source, interface by which it entered, and whether it may have it.
    for (source, entered, genuine) in [
        (HOST.into(), 0, true),
        (HOST6.into(), 0, true),
        (HOST.into(), ETH0, false),
        (HOST6.into(), ETH0, false),
        (HOST.into(), 10 + A, false),
        (v4(A), 10 + A, true),
        (v6(A), 10 + A, true),
        (v4(A), ETH0, false),
        (v6(A), ETH0, false),
        (v4(A), 10 + C, false),
        (v4(A), 0, false),
        (WORLD.into(), ETH0, true),
        (WORLD6.into(), ETH0, true),
    ] {
        let b = if ip(&source).is_ipv4() { v4(B) } else { v6(B) };
        for frame in [udp((&source, 1), (&b, 2)), tcp((&source, 1), (&b, 2), SYN)] {
            let mut world = World::new();
            let (decision, _) = world.forwarded(entered, B, &frame);
            let found = (decision, world.last().unwrap().reason);
            let expect = match genuine {
                true => (Decision::Pass, 0),
                false => (Decision::Drop, DropReason::SpoofedSource as u8),
            };
            assert_eq!(found, expect, "{source} by {entered}");
        }
    }
}

/// The same in the middle of a flow whose other packets are genuine.
#[test]
fn a_forged_packet_of_a_known_flow() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    for (source, entered) in [(HOST, 0), (a.as_str(), 10 + A)] {
        let frame = udp((source, 1), (&b, 2));
        assert_eq!(world.forwarded(entered, B, &frame).0, Decision::Pass);
        assert_eq!(world.forwarded(ETH0, B, &frame).0, Decision::Drop);
        assert_eq!(world.last().unwrap().reason, DropReason::SpoofedSource as u8);
        assert_eq!(world.forwarded(entered, B, &frame).0, Decision::Pass);
    }
    // An answer of another endpoint; one of the node may come from behind it.
    let forth = udp((&b, 5), (&a, 6));
    world.delivers(B, &forth, A, &forth);
    assert_eq!(world.forwarded(ETH0, B, &udp((&a, 6), (&b, 5))).0, Decision::Drop);
    assert_eq!(world.from(B, &udp((&b, 5), (HOST, 6))).0, Decision::Pass);
    assert_eq!(world.forwarded(ETH0, B, &udp((HOST, 6), (&b, 5))).0, Decision::Pass);
}

#[test]
fn arp_passes() {
    let mut world = World::new();
    let arp = wire::build::arp(
        wire::arp::REQUEST,
        ([2; 6], "10.0.0.1".parse().unwrap()),
        ([0; 6], "10.0.0.9".parse().unwrap()),
    );
    let mut packet = Buffer { bytes: arp, ifindex: 10 + A, ..Buffer::default() };
    assert_eq!(from_endpoint(&world.env, &mut packet, &mut world.scratch), Decision::Pass);
    assert!(world.kinds().is_empty());
}

#[test]
fn processes_of_both_ends() {
    let mut world = World::new();
    let process = |pid| ProcessKey { start_ns: 5, pid, zero: 0 };
    let owner = |pid, vip: &str| Owner {
        process: process(pid),
        vip: address(vip),
        vip_port: Port::new(80),
        service: 70,
        backend: 100,
    };
    let mut send = |endpoint: u32, frame: Frame, owner| {
        let mut packet = Buffer {
            bytes: frame.build(),
            ifindex: 10 + endpoint,
            owner: Some(owner),
            ..Buffer::default()
        };
        from_endpoint(&world.env, &mut packet, &mut world.scratch)
    };
    let (a, b) = (v4(A), v4(B));
    send(A, tcp((&a, 1), (&b, 8080), SYN), owner(11, "10.96.0.1"));
    send(B, tcp((&b, 8080), (&a, 1), SYN | ACK), owner(22, "::"));
    let event = world.last().unwrap();
    assert_eq!(event.source_process, process(11));
    assert_eq!(event.destination_process, process(22));
    assert_eq!((event.vip, event.service), (address("10.96.0.1"), 70));
    assert_eq!(event.backend, 100);
    assert_ne!(event.flags & conn_flags::SOCKET_TRANSLATED, 0);
    // Packets of such a flow are left as they are.
    let frame = tcp((&b, 8080), (&a, 1), ACK);
    world.delivers(B, &frame, A, &frame);
}

#[test]
fn a_full_table_and_a_full_ring_buffer() {
    let mut world = World::new();
    world.env.conntrack_full.set(true);
    world.drops(A, &udp((&v4(A), 1), (&v4(B), 2)), DropReason::ConntrackFull);
    world.env.conntrack_full.set(false);
    world.env.events_full.set(true);
    let frame = udp((&v4(A), 1), (&v4(B), 2));
    world.delivers(A, &frame, B, &frame);
    assert_eq!(world.env.metrics.lookup(&metrics::EVENTS_LOST), Some(1));
    world.env.events_full.set(false);
    let reply = udp((&v4(B), 2), (&v4(A), 1));
    world.delivers(B, &reply, A, &reply);
    // The gap in the numbers tells that one is missing.
    assert_eq!(world.last().unwrap().sequence, 2);
}

#[test]
fn events_are_limited() {
    let mut world = World::new();
    let mut state = world.env.state.get();
    state.drop_events_per_second = 3;
    world.env.state.set(state);
    let spoofed = udp((&v4(B), 1), (&v4(C), 2));
    for _ in 0..10 {
        world.from(A, &spoofed);
    }
    assert_eq!(world.kinds().len(), 3);
    assert_eq!(world.env.metrics.lookup(&metrics::EVENTS_LIMITED), Some(7));
    world.wait(1);
    for _ in 0..10 {
        world.from(A, &spoofed);
    }
    assert_eq!(world.kinds().len(), 6);
}

//! Verdicts, and verdicts given again.

use super::*;
use abi::event::Direction;
use abi::policy::{ANY_PEER, EMPTY_PORT_SET, NO_RULE, rule_flags::DENY};
use wire::icmp;

const INGRESS: u32 = 500;
const EGRESS: u32 = 600;

/// The drop, its direction, and the rule behind it.
#[track_caller]
fn refused(
    world: &mut World,
    from: u32,
    frame: &Frame,
    reason: DropReason,
    direction: Direction,
    rule: u32,
) {
    world.drops(from, frame, reason);
    let event = world.last().unwrap();
    let ruled = if direction == Direction::Egress { event.egress_rule } else { event.ingress_rule };
    assert_eq!((event.direction, ruled), (direction as u8, rule));
    assert!(world.env.conntrack.is_empty(), "a denied flow has an entry");
}

#[test]
fn ingress_by_peer_protocol_and_port() {
    let mut world = World::new();
    world.restrict(B, INGRESS, UNRESTRICTED);
    let b = v4(B);
    let (from_a, from_c) = (v4(A), v4(C));
    let frame = |source: &str, port| tcp((source, 1), (&b, port), SYN);
    let ingress = Direction::Ingress;
    refused(&mut world, A, &frame(&from_a, 80), DropReason::PolicyDefault, ingress, NO_RULE);

    world.peer(INGRESS, 30 + A, 9);
    world.rule(9, TCP, 80, 16, 1001, 0);
    world.rule(9, TCP, 8080, 12, 1002, 0);
    world.rule(9, TCP, 8081, 16, 1003, DENY);
    refused(&mut world, C, &frame(&from_c, 80), DropReason::PolicyDefault, ingress, NO_RULE);
    refused(&mut world, A, &frame(&from_a, 81), DropReason::PolicyDefault, ingress, NO_RULE);
    refused(&mut world, A, &frame(&from_a, 8081), DropReason::PolicyDenied, ingress, 1003);
    refused(
        &mut world,
        A,
        &udp((&from_a, 1), (&b, 80)),
        DropReason::PolicyDefault,
        ingress,
        NO_RULE,
    );
    for (port, rule) in [(80, 1001), (8082, 1002)] {
        world.delivers(A, &frame(&from_a, port), B, &frame(&from_a, port));
        assert_eq!(world.last().unwrap().ingress_rule, rule);
    }
    // Replies belong to what was allowed.
    let reply = tcp((&b, 80), (&from_a, 1), SYN | ACK);
    world.delivers(B, &reply, A, &reply);
}

#[test]
fn any_peer_and_those_excepted() {
    let mut world = World::new();
    world.restrict(B, INGRESS, UNRESTRICTED);
    world.peer(INGRESS, ANY_PEER, 9);
    world.peer(INGRESS, 30 + C, EMPTY_PORT_SET);
    world.env.ports.borrow_mut().push((
        PortKey { prefix_len: PortKey::PORT_SET_BITS, ..PortKey::exact(9, 0, Port::NONE) },
        Rule { id: 7, flags: 0 },
    ));
    let frame = |source: &str| udp((source, 1), (&v4(B), 53));
    refused(&mut world, C, &frame(&v4(C)), DropReason::PolicyDefault, Direction::Ingress, NO_RULE);
    world.delivers(A, &frame(&v4(A)), B, &frame(&v4(A)));
    assert_eq!(world.to(B, &frame(WORLD)).0, Decision::Pass);
}

#[test]
fn egress_comes_first_and_sees_the_backend() {
    let mut world = World::new();
    world.restrict(A, UNRESTRICTED, EGRESS);
    world.restrict(B, INGRESS, UNRESTRICTED);
    let (a, b) = (v4(A), v4(B));
    world.service("10.96.0.1", 80, TCP, 0, &[(&b, 8080)]);
    let frame = tcp((&a, 1), ("10.96.0.1", 80), SYN);
    refused(&mut world, A, &frame, DropReason::PolicyDefault, Direction::Egress, NO_RULE);
    world.peer(EGRESS, 30 + B, 9);
    world.rule(9, TCP, 8080, 16, 2001, 0);
    refused(&mut world, A, &frame, DropReason::PolicyDefault, Direction::Ingress, NO_RULE);
    world.peer(INGRESS, 30 + A, 9);
    world.delivers(A, &frame, B, &tcp((&a, 1), (&b, 8080), SYN));
    let event = world.last().unwrap();
    assert_eq!((event.egress_rule, event.ingress_rule), (2001, 2001));
}

#[test]
fn egress_to_addresses() {
    let mut world = World::new();
    world.restrict(A, UNRESTRICTED, EGRESS);
    world.name("8.8.0.0", 96 + 16, 1 << 24, 77);
    world.peer(EGRESS, 77, 9);
    world.rule(9, UDP, 53, 16, 3001, 0);
    let frame = |destination| udp((&v4(A), 1), (destination, 53));
    assert_eq!(world.from(A, &frame(WORLD)).0, Decision::Pass);
    let event = world.last().unwrap();
    assert_eq!((event.destination_identity, event.egress_rule), (1 << 24, 3001));
    world.drops(A, &frame("9.9.9.9"), DropReason::PolicyDefault);
}

/// NetworkPolicy: "traffic to and from the node where a Pod is running is always allowed".
#[test]
fn the_node_is_always_allowed() {
    let mut world = World::new();
    world.restrict(A, INGRESS, EGRESS);
    for (own, host) in [(v4(A), HOST), (v6(A), HOST6)] {
        assert_eq!(world.from(A, &udp((&own, 1), (host, 2))).0, Decision::Pass);
        assert_eq!(world.to(A, &udp((host, 3), (&own, 4))).0, Decision::Pass);
    }
    assert_eq!(world.to(A, &udp((WORLD, 3), (&v4(A), 4))).0, Decision::Drop);
}

/// ICMP has no ports: its type stands for the port, and the identifier does not.
#[test]
fn icmp_by_type() {
    let mut world = World::new();
    world.restrict(B, INGRESS, UNRESTRICTED);
    world.peer(INGRESS, 30 + A, 9);
    world.rule(9, protocol::ICMP, icmp::v4::ECHO.into(), 16, 1, 0);
    let send = |kind| between(&v4(A), &v4(B)).icmp(kind, 0, [0, 80, 0, 1]);
    refused(&mut world, A, &send(13), DropReason::PolicyDefault, Direction::Ingress, NO_RULE);
    world.delivers(A, &send(8), B, &send(8));
    let reply = between(&v4(B), &v4(A)).icmp(0, 0, [0, 80, 0, 1]);
    world.delivers(B, &reply, A, &reply);
    // Decided again by a reply, it is still the request that counts.
    world.raise_epoch();
    world.delivers(B, &reply, A, &reply);
}

#[test]
fn a_new_policy_cuts_and_its_end_restores() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    let forth = tcp((&a, 1), (&b, 80), ACK);
    let back = tcp((&b, 80), (&a, 1), ACK);
    world.delivers(A, &tcp((&a, 1), (&b, 80), SYN), B, &tcp((&a, 1), (&b, 80), SYN));
    world.delivers(B, &tcp((&b, 80), (&a, 1), SYN | ACK), A, &tcp((&b, 80), (&a, 1), SYN | ACK));
    world.delivers(A, &forth, B, &forth);
    // The reply is the first to meet the new policy, which is about the other direction.
    world.restrict(B, INGRESS, UNRESTRICTED);
    world.drops(B, &back, DropReason::PolicyDefault);
    world.drops(A, &forth, DropReason::PolicyDefault);
    world.drops(B, &back, DropReason::PolicyDefault);
    let drops = [FlowKind::Cut, FlowKind::Drop, FlowKind::Drop, FlowKind::Drop];
    assert_eq!(world.kinds()[2..], drops);
    let cut = world.env.events.borrow()[2];
    assert_eq!((cut.source, cut.direction), (address(&a), Direction::Ingress as u8));
    // Denied packets are not the connection's.
    assert_eq!((cut.original.packets, cut.reply.packets), (2, 1));

    world.restrict(B, UNRESTRICTED, UNRESTRICTED);
    world.delivers(A, &forth, B, &forth);
    world.delivers(B, &back, A, &back);
    assert_eq!(world.kinds().len(), 6);
    assert_eq!(world.env.conntrack.len(), 1);
}

#[test]
fn an_unchanged_verdict_changes_nothing() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    world.restrict(B, INGRESS, UNRESTRICTED);
    world.peer(INGRESS, 30 + A, 9);
    world.rule(9, TCP, 80, 16, 1, 0);
    let syn = tcp((&a, 1), (&b, 80), SYN);
    world.delivers(A, &syn, B, &syn);
    world.env.ports.borrow_mut().clear();
    world.rule(9, TCP, 0, 0, 2, 0);
    let reply = tcp((&b, 80), (&a, 1), SYN | ACK);
    world.delivers(B, &reply, A, &reply);
    world.raise_epoch();
    world.delivers(A, &syn, B, &syn);
    assert_eq!(world.kinds(), [FlowKind::Start, FlowKind::Reply]);
    // The rule that allows it now.
    assert_eq!(world.env.conntrack.entries()[0].1.ingress_rule.get(), 2);
}

#[test]
fn an_address_nobody_knows_is_the_world() {
    let mut world = World::new();
    world.env.addresses.borrow_mut().clear();
    world.restrict(B, INGRESS, UNRESTRICTED);
    assert_eq!(world.to(B, &udp((WORLD, 1), (&v4(B), 2))).0, Decision::Drop);
    assert_eq!(world.last().unwrap().source_identity, identity::WORLD);
    world.peer(INGRESS, identity::WORLD, 9);
    world.rule(9, UDP, 0, 0, 1, 0);
    assert_eq!(world.to(B, &udp((WORLD, 1), (&v4(B), 2))).0, Decision::Pass);
}

/// A verdict belongs to the tables that it was made of: if they change while it is made, the next
/// packet is decided again.
#[test]
fn tables_that_change_while_a_flow_is_decided() {
    let frame = udp((&v4(A), 1), (&v4(B), 53));
    let allow = |world: &World| {
        world.peer(INGRESS, 30 + A, 9);
        world.rule(9, UDP, 53, 16, 7, 0);
    };
    // What the agent does, in its order.
    let forbid: fn(&Memory) = |env| {
        env.peers.remove(&PeerKey { rule_set: INGRESS, peer: 30 + A });
        let mut state = env.state.get();
        state.policy_epoch += 1;
        env.state.set(state);
    };
    // A new flow.
    let mut world = World::new();
    world.restrict(B, INGRESS, UNRESTRICTED);
    allow(&world);
    let epoch = world.env.state.get().policy_epoch;
    world.env.meanwhile.set(Some(forbid));
    world.delivers(A, &frame, B, &frame);
    assert_eq!(world.env.state.get().policy_epoch, epoch + 1);
    assert_eq!(world.env.conntrack.entries()[0].1.epoch.get(), epoch);
    world.drops(A, &frame, DropReason::PolicyDefault);

    // A flow that is decided again.
    let mut world = World::new();
    world.delivers(A, &frame, B, &frame);
    world.restrict(B, INGRESS, UNRESTRICTED);
    allow(&world);
    let epoch = world.env.state.get().policy_epoch;
    world.env.meanwhile.set(Some(forbid));
    world.delivers(A, &frame, B, &frame);
    assert_eq!(world.env.conntrack.entries()[0].1.epoch.get(), epoch);
    world.drops(A, &frame, DropReason::PolicyDefault);
}

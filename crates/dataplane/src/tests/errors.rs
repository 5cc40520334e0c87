//! ICMP errors: they belong to the flow they are about.

use super::services::with_another_port;
use super::*;
use abi::conntrack::Counters;

/// An error from `source` to `destination` about `about`, a packet that `destination` has sent.
fn error(source: &str, destination: &str, about: &Frame) -> Frame {
    // As much of the packet as RFC 792 asks for.
    let bytes = about.build();
    if ip(source).is_ipv4() {
        between(source, destination).icmp(3, 3, [0; 4]).payload(&bytes[14..14 + 28])
    } else {
        between(source, destination).icmpv6(1, 4, [0; 4]).payload(&bytes[14..14 + 48])
    }
}

/// The error that the client is to see: about the packet it has sent. The checksum of the packet
/// inside stays that of the packet which the backend has seen.
fn error_inside(source: &str, destination: &str, about: &Frame, seen: &Frame) -> Frame {
    let (mut bytes, seen) = (about.build(), seen.build());
    let (from, to) = if ip(source).is_ipv4() { (14 + 26, 14 + 28) } else { (14 + 46, 14 + 48) };
    bytes[from..to].copy_from_slice(&seen[from..to]);
    if ip(source).is_ipv4() {
        between(source, destination).icmp(3, 3, [0; 4]).payload(&bytes[14..to])
    } else {
        between(source, destination).icmpv6(1, 4, [0; 4]).payload(&bytes[14..to])
    }
}

#[test]
fn without_translation() {
    for name in [v4, v6] {
        let mut world = World::new();
        let (a, b) = (name(A), name(B));
        let sent = udp((&a, 4000), (&b, 53));
        let refusal = error(&b, &a, &sent);
        world.drops(B, &refusal, DropReason::UnrelatedError);
        world.delivers(A, &sent, B, &sent);
        world.delivers(B, &refusal, A, &refusal);
        // It changes nothing in the flow.
        let entry = world.env.conntrack.entries().remove(0).1;
        assert_eq!(entry.reply.counters(), Counters::default());
        assert_eq!(world.kinds(), [FlowKind::Drop, FlowKind::Start]);
    }
}

#[test]
fn from_a_backend() {
    for (name, vip) in [(v4 as fn(u32) -> std::string::String, "10.96.0.1"), (v6, "fd96::1")] {
        let mut world = World::new();
        let (a, b) = (name(A), name(B));
        world.service(vip, 53, UDP, 0, &[(&b, 5353)]);
        let sent = udp((&a, 4000), (vip, 53));
        let seen = udp((&a, 4000), (&b, 5353));
        world.delivers(A, &sent, B, &seen);
        // What the backend has received is one hop older than what was sent.
        let expect = error_inside(vip, &a, &sent.clone().hop(), &seen);
        world.delivers(B, &error(&b, &a, &seen.clone().hop()), A, &expect);
    }
}

#[test]
fn about_a_flow_with_another_port() {
    for (name, vips) in [
        (v4 as fn(u32) -> std::string::String, ["10.96.0.1", "10.96.0.2"]),
        (v6, ["fd96::1", "fd96::2"]),
    ] {
        let mut world = World::new();
        let (a, b) = (name(A), name(B));
        for vip in vips {
            world.service(vip, 53, UDP, 0, &[(&b, 5353)]);
        }
        world.delivers(A, &udp((&a, 1), (vips[0], 53)), B, &udp((&a, 1), (&b, 5353)));
        let sent = udp((&a, 1), (vips[1], 53));
        let port = with_another_port(world.from(A, &sent), B, |port| udp((&a, port), (&b, 5353)));
        let seen = udp((&a, port), (&b, 5353));
        let expect = error_inside(vips[1], &a, &sent.clone().hop(), &seen);
        world.delivers(B, &error(&b, &a, &seen.clone().hop()), A, &expect);
        // And the other way, about the reply.
        let (reply, seen) = (udp((&b, 5353), (&a, port)), udp((vips[1], 53), (&a, 1)));
        let expect = error_inside(&b, &b, &reply, &seen).readdressed(ip(&a), ip(&b));
        world.delivers(A, &error(&a, vips[1], &seen), B, &expect);
    }
}

#[test]
fn from_a_client_about_a_reply() {
    for (name, vip) in [(v4 as fn(u32) -> std::string::String, "10.96.0.1"), (v6, "fd96::1")] {
        let mut world = World::new();
        let (a, b) = (name(A), name(B));
        world.service(vip, 53, UDP, 0, &[(&b, 5353)]);
        world.delivers(A, &udp((&a, 4000), (vip, 53)), B, &udp((&a, 4000), (&b, 5353)));
        let reply = udp((&b, 5353), (&a, 4000));
        let seen = udp((vip, 53), (&a, 4000));
        world.delivers(B, &reply, A, &seen);
        let expect = error_inside(&b, &b, &reply, &seen);
        let expect = expect.readdressed(ip(&a), ip(&b));
        world.delivers(A, &error(&a, vip, &seen), B, &expect);
    }
}

#[test]
fn from_a_router_on_the_way() {
    let mut world = World::new();
    let a = v4(A);
    world.service("10.96.0.1", 53, UDP, 0, &[(WORLD, 5353)]);
    let sent = udp((&a, 4000), ("10.96.0.1", 53));
    let seen = udp((&a, 4000), (WORLD, 5353));
    world.from(A, &sent);
    let (decision, bytes) = world.to(A, &error("192.0.2.1", &a, &seen));
    assert_eq!(decision, Decision::Pass);
    // Its own address stays: it is nobody's backend.
    assert_eq!(bytes, error_inside("192.0.2.1", &a, &sent, &seen).build());
    let unknown = udp((&a, 4001), (WORLD, 5353));
    assert_eq!(world.to(A, &error("192.0.2.1", &a, &unknown)).0, Decision::Drop);
    assert_eq!(world.last().unwrap().reason, DropReason::UnrelatedError as u8);
    // The node's own errors pass.
    assert_eq!(world.to(A, &error(HOST, &a, &unknown)).0, Decision::Pass);
}

#[test]
fn about_a_flow_that_is_cut() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    let sent = udp((&a, 4000), (&b, 53));
    world.delivers(A, &sent, B, &sent);
    world.restrict(B, 500, UNRESTRICTED);
    world.drops(B, &error(&b, &a, &sent), DropReason::PolicyDefault);
}

#[test]
fn with_a_sender_that_is_not_its_own() {
    let mut world = World::new();
    let (a, b) = (v4(A), v4(B));
    let sent = udp((&a, 4000), (&b, 53));
    world.delivers(A, &sent, B, &sent);
    world.drops(C, &error(&b, &a, &sent), DropReason::SpoofedSource);
    // The packet inside was sent by another than the one who gets the error.
    world.drops(B, &error(&b, &v4(C), &sent), DropReason::UnrelatedError);
}

/// An endpoint tells nobody about the flows of others.
#[test]
fn about_a_flow_of_others() {
    for (name, world_outside, vip) in
        [(v4 as fn(u32) -> std::string::String, WORLD, "10.96.0.1"), (v6, WORLD6, "fd96::1")]
    {
        let mut world = World::new();
        let (a, b, c) = (name(A), name(B), name(C));
        world.service(vip, 80, UDP, 0, &[(&b, 8080)]);
        for sent in [udp((&a, 4000), (&b, 53)), udp((&a, 4000), (world_outside, 53))] {
            assert_ne!(world.from(A, &sent).0, Decision::Drop);
            // C knows the tuple and claims that A's packets don't arrive.
            world.drops(C, &error(&c, &a, &sent), DropReason::UnrelatedError);
        }
        let sent = udp((&a, 4000), (vip, 80));
        world.from(A, &sent);
        world.drops(C, &error(&c, &a, &sent), DropReason::UnrelatedError);
        // Not even the backend about the service's address, which it doesn't see.
        world.drops(B, &error(&b, &a, &sent), DropReason::UnrelatedError);
    }
}

/// The error about a packet of its own that came back to it through a service.
#[test]
fn about_a_flow_with_itself() {
    let mut world = World::new();
    let a = v4(A);
    world.service("10.96.0.1", 53, UDP, 0, &[(&a, 5353)]);
    let hairpin = std::string::ToString::to_string(&abi::service::HAIRPIN_V4);
    let (sent, seen) = (udp((&a, 4000), ("10.96.0.1", 53)), udp((&hairpin, 4000), (&a, 5353)));
    world.delivers(A, &sent, A, &seen);
    let (decision, _) = world.from(A, &error(&a, &hairpin, &seen));
    assert_eq!(decision, Decision::RedirectPeer(10 + A));
}

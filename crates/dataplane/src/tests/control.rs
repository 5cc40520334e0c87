//! Neighbour discovery and multicast listener messages: what stays on the link, and what only says so.

use super::*;

fn message(source: &str, destination: &str, kind: u8, hops: u8) -> Frame {
    between(source, destination).icmpv6(kind, 0, [0; 4]).payload(&[0; 16]).ttl(hops)
}

#[test]
fn what_stays_on_the_link_passes() {
    let mut world = World::new();
    // As if nothing were allowed.
    world.restrict(A, 500, 500);
    let a = v6(A);
    for (source, destination, kind, hops) in [
        ("::", "ff02::1:ff00:1", 135, 255),
        ("fe80::1", "ff02::2", 133, 255),
        ("fe80::1", "ff02::1", 136, 255),
        ("fe80::1", "fe80::2", 136, 255),
        (&a, "fe80::2", 135, 255),
        (&a, HOST6, 135, 255),
        (&a, HOST6, 136, 255),
        ("::", "ff02::16", 143, 1),
        ("fe80::1", "ff02::16", 143, 1),
        // A report of the first version goes to the group itself.
        ("fe80::1", "ff05::99", 131, 1),
        ("fe80::1", "ff02::2", 132, 1),
    ] {
        let frame = message(source, destination, kind, hops);
        assert_eq!(world.from(A, &frame), (Decision::Pass, frame.build()), "{frame:?}");
    }
    for (source, destination, kind, hops) in [
        ("fe80::2", "ff02::1", 134, 255),
        ("fe80::2", a.as_str(), 134, 255),
        ("fe80::2", &a, 137, 255),
        (HOST6, "ff02::1:ff00:1", 135, 255),
        (HOST6, &a, 135, 255),
        (HOST6, &a, 136, 255),
        ("fe80::2", "ff02::1", 130, 1),
    ] {
        let frame = message(source, destination, kind, hops);
        assert_eq!(world.to(A, &frame), (Decision::Pass, frame.build()), "{frame:?}");
    }
    assert!(world.kinds().is_empty());
}

/// Whatever its type, what could leave the link is asked for its source, and policy is asked.
#[test]
fn what_could_leave_it_is_a_packet_like_others() {
    let (a, b) = (v6(A), v6(B));
    for kind in [130, 131, 132, 133, 135, 136, 143] {
        for hops in [1, 64, 255] {
            let mut world = World::new();
            world.drops(A, &message(&v6(C), &b, kind, hops), DropReason::SpoofedSource);
            world.drops(A, &message("fe80::1", &b, kind, hops), DropReason::SpoofedSource);
            world.drops(A, &message("::", &b, kind, hops), DropReason::SpoofedSource);
            if hops > 1 {
                world.delivers(A, &message(&a, &b, kind, hops), B, &message(&a, &b, kind, hops));
            }
            world.restrict(B, 500, UNRESTRICTED);
            world.drops(A, &message(&a, &b, kind, hops), DropReason::PolicyDefault);
            // The same from elsewhere, through the host's stack, which takes one hop off.
            let forwarded = message(WORLD6, &b, kind, hops - 1);
            assert_eq!(world.to(B, &forwarded).0, Decision::Drop, "{kind}");
            assert_eq!(world.last().unwrap().reason, DropReason::PolicyDefault as u8);
        }
    }
}

#[test]
fn hop_limits_and_groups_must_be_right() {
    let mut world = World::new();
    world.restrict(A, 500, 500);
    let a = v6(A);
    for (destination, kind, hops) in [
        ("ff02::1", 135, 254),
        ("ff05::1", 135, 255),
        ("ff0e::1", 136, 255),
        (HOST6, 135, 64),
        ("ff02::16", 143, 64),
        // Not from the link's own addresses.
        ("ff02::16", 143, 1),
    ] {
        let frame = message(&a, destination, kind, hops);
        let (decision, _) = world.from(A, &frame);
        // To the node is allowed, but as a flow.
        let allowed = if destination == HOST6 { Decision::Pass } else { Decision::Drop };
        assert_eq!(decision, allowed, "{frame:?}");
        assert!(!world.kinds().is_empty());
    }
    let in_fragments = between("fe80::1", "ff02::1").fragment(1, 0, true).icmpv6(135, 0, [0; 4]);
    world.drops(A, &in_fragments.ttl(255), DropReason::SpoofedSource);
}

#[test]
fn a_workload_is_no_router() {
    for kind in [134, 137] {
        for (source, destination) in [
            ("fe80::1", "ff02::1"),
            ("fe80::1", "fe80::2"),
            (v6(A).as_str(), "ff02::1"),
            (v6(A).as_str(), v6(B).as_str()),
            (v6(A).as_str(), HOST6),
        ] {
            for hops in [64, 255] {
                let mut world = World::new();
                let frame = message(source, destination, kind, hops);
                world.drops(A, &frame, DropReason::SpoofedSource);
            }
        }
    }
}

#[test]
fn scopes_of_addresses() {
    for (text, link_local, multicast, on_link) in [
        ("fe80::1", true, false, false),
        ("febf::1", true, false, false),
        ("fec0::1", false, false, false),
        ("ff01::1", false, true, true),
        ("ff02::1", false, true, true),
        ("ff12::1", false, true, true),
        ("ff05::1", false, true, false),
        ("fd00::1", false, false, false),
        ("224.0.0.1", false, false, false),
        ("10.0.0.1", false, false, false),
    ] {
        let address = address(text);
        let found =
            (address.is_link_local(), address.is_multicast_v6(), address.is_link_multicast_v6());
        assert_eq!(found, (link_local, multicast, on_link), "{address}");
    }
}

//! TCP's states, timeouts, and when a tuple is another connection.

use super::*;
use abi::conntrack::{conn_flags, tcp_state};
use abi::metrics;
use abi::state::Timeouts;

/// Packets (`>` from A, `<` from B, with letters S, A, F, R) and the state they lead to.
#[track_caller]
fn check(packets: &[&str], expect: u8) {
    let mut world = World::new();
    for packet in packets {
        send(&mut world, packet);
    }
    assert_eq!(world.env.conntrack.entries()[0].1.state.get(), expect, "{packets:?}");
}

#[track_caller]
fn send(world: &mut World, packet: &str) -> Decision {
    let flags = packet[1..].chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'S' => SYN,
                'A' => ACK,
                'F' => FIN,
                'R' => RST,
                _ => panic!("{letter}"),
            }
    });
    let (a, b) = (v4(A), v4(B));
    if packet.starts_with('>') {
        world.from(A, &tcp((&a, 1000), (&b, 80), flags)).0
    } else {
        world.from(B, &tcp((&b, 80), (&a, 1000), flags)).0
    }
}

#[test]
fn the_states_of_tcp() {
    check(&[">S"], tcp_state::SYN_SENT);
    check(&[">S", ">S"], tcp_state::SYN_SENT);
    check(&[">S", "<SA"], tcp_state::SYN_RECEIVED);
    check(&[">S", "<SA", ">A"], tcp_state::ESTABLISHED);
    check(&[">S", "<S", ">SA", "<SA"], tcp_state::ESTABLISHED);
    check(&[">S", "<SA", ">A", ">FA"], tcp_state::CLOSING);
    check(&[">S", "<SA", ">A", ">FA", ">FA", "<A"], tcp_state::CLOSING);
    check(&[">S", "<SA", ">A", ">FA", "<FA"], tcp_state::CLOSED);
    check(&[">S", "<SA", ">A", "<FA", ">FA", "<A"], tcp_state::CLOSED);
    check(&[">S", "<RA"], tcp_state::CLOSED);
    check(&[">S", "<SA", ">A", ">R"], tcp_state::CLOSED);
    check(&["<A"], tcp_state::ESTABLISHED);
    check(&["<FA"], tcp_state::CLOSING);
}

#[test]
fn closed_is_reported_once() {
    let mut world = World::new();
    for packet in [">S", "<SA", ">A", ">FA", "<FA", ">A", "<FA", ">R"] {
        send(&mut world, packet);
    }
    assert_eq!(world.kinds(), [FlowKind::Start, FlowKind::Reply, FlowKind::End]);
}

#[test]
fn adopted_in_mid_connection() {
    let mut world = World::new();
    send(&mut world, ">A");
    assert_ne!(world.last().unwrap().flags & conn_flags::ADOPTED, 0);
    // A reset of something unknown passes but begins nothing.
    let mut world = World::new();
    assert_eq!(send(&mut world, ">R"), Decision::RedirectPeer(10 + B));
    assert!(world.env.conntrack.is_empty());
}

#[test]
fn a_tuple_is_used_again() {
    let mut world = World::new();
    for packet in [">S", "<SA", ">A", ">FA", "<FA", ">A"] {
        send(&mut world, packet);
    }
    send(&mut world, ">S");
    assert_eq!(world.kinds()[3..], [FlowKind::Start]);
    assert_eq!(world.env.conntrack.entries()[0].1.state.get(), tcp_state::SYN_SENT);
    assert_eq!(world.env.metrics.lookup(&metrics::CONNECTIONS_REPLACED), Some(1));
}

/// A SYN against the direction of an established connection is a new one, which needs a verdict of
/// its own: else B could connect to A because A has connected to B.
#[test]
fn the_reply_direction_opens_nothing() {
    let mut world = World::new();
    for packet in [">S", "<SA", ">A"] {
        send(&mut world, packet);
    }
    world.restrict(A, 500, UNRESTRICTED);
    assert_eq!(send(&mut world, "<S"), Decision::Drop);
    assert_eq!(world.last().unwrap().reason, DropReason::PolicyDefault as u8);
    // The connection itself goes on.
    assert_eq!(send(&mut world, "<A"), Decision::RedirectPeer(10 + A));
    world.restrict(A, UNRESTRICTED, UNRESTRICTED);
    assert_eq!(send(&mut world, "<S"), Decision::RedirectPeer(10 + A));
    assert_eq!(world.kinds()[3..], [FlowKind::End, FlowKind::Start]);
}

#[test]
fn idle_entries_are_gone() {
    let Timeouts { tcp_opening, tcp_established, other_unreplied, other, .. } = Timeouts::DEFAULT;
    let seconds = |count: u32| u64::from(count);
    for (packets, timeout) in [(&[">S"][..], tcp_opening), (&[">S", "<SA", ">A"], tcp_established)]
    {
        let mut world = World::new();
        for packet in packets {
            send(&mut world, packet);
        }
        world.wait(seconds(timeout));
        send(&mut world, ">A");
        assert!(!world.kinds()[1..].contains(&FlowKind::Start));
        world.wait(seconds(tcp_established) + 1);
        send(&mut world, ">A");
        let kinds = world.kinds();
        assert_eq!(kinds[kinds.len() - 2..], [FlowKind::End, FlowKind::Start]);
    }
    for (replied, timeout) in [(false, other_unreplied), (true, other)] {
        let mut world = World::new();
        let (a, b) = (v4(A), v4(B));
        let forth = udp((&a, 1), (&b, 53));
        world.delivers(A, &forth, B, &forth);
        if replied {
            let back = udp((&b, 53), (&a, 1));
            world.delivers(B, &back, A, &back);
        }
        let before = world.kinds().len();
        world.wait(seconds(timeout));
        world.delivers(A, &forth, B, &forth);
        assert_eq!(world.kinds().len(), before);
        world.wait(seconds(timeout) + 1);
        world.delivers(A, &forth, B, &forth);
        assert_eq!(world.kinds()[before..], [FlowKind::End, FlowKind::Start]);
    }
}

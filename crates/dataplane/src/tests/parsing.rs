//! What is looked through, and what is refused.

use super::*;
use crate::parse::{Fragmented, Kind, MAX_EXTENSIONS, Parsed, parse};
use wire::build::Ipv4;

fn check(frame: &Frame, expect: Result<(u8, u16, u16), DropReason>) -> Parsed {
    let mut parsed = Parsed::empty();
    let packet = Buffer { bytes: frame.build(), ..Buffer::default() };
    let result = parse(&packet, &mut parsed).map(|kind| {
        assert_eq!(kind, Kind::Flow);
        let tuple = &parsed.tuple;
        (tuple.protocol, tuple.source_port.number(), tuple.destination_port.number())
    });
    assert_eq!(result, expect, "{frame:?}");
    parsed
}

fn ipv4() -> Ipv4 {
    Ipv4::between("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
}

fn in_ipv4(ip: Ipv4) -> Frame {
    Frame::new([2; 6], [4; 6]).ipv4(ip)
}

#[test]
fn ipv4_options() {
    for words in 0..=10 {
        let options = [1, 1, 1, 1].repeat(words);
        let frame = in_ipv4(Ipv4 { options, ..ipv4() }).tcp(1, 2, SYN);
        let parsed = check(&frame, Ok((TCP, 1, 2)));
        assert_eq!((parsed.tcp, parsed.transport), (SYN, 34 + 4 * words as u32));
    }
}

#[test]
fn one_vlan_tag() {
    let parsed = check(&Frame::new([2; 6], [4; 6]).vlan(7).ipv4(ipv4()).udp(5, 6), Ok((UDP, 5, 6)));
    assert_eq!(parsed.network, 18);
    let twice = Frame::new([2; 6], [4; 6]).vlan(7).vlan(8).ipv4(ipv4()).udp(5, 6);
    check(&twice, Err(DropReason::UnsupportedProtocol));
}

#[test]
fn ipv6_extension_headers() {
    let base = || between("fd00::1", "fd00::2");
    let frame = base()
        .options(protocol::HOP_BY_HOP, 1)
        .options(protocol::DESTINATION_OPTIONS, 3)
        .extension(
            protocol::ROUTING,
            &[0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .extension(
            protocol::AUTHENTICATION,
            &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .tcp(1, 2, ACK);
    let parsed = check(&frame, Ok((TCP, 1, 2)));
    assert_eq!(parsed.transport, 54 + 8 + 24 + 24 + 24);

    let many = |count| {
        let frame =
            (0..count).fold(base(), |frame, _| frame.options(protocol::DESTINATION_OPTIONS, 1));
        frame.udp(3, 4)
    };
    check(&many(MAX_EXTENSIONS), Ok((UDP, 3, 4)));
    check(&many(MAX_EXTENSIONS + 1), Err(DropReason::TooManyExtensions));
}

#[test]
fn fragments() {
    let first = in_ipv4(Ipv4 { more_fragments: true, id: 9, ..ipv4() }).udp(1, 2);
    let parsed = check(&first, Ok((UDP, 1, 2)));
    assert_eq!(
        (parsed.fragmented, parsed.fragment.id),
        (Fragmented::First, u32::from(9u16.to_be()))
    );
    let later = in_ipv4(Ipv4 { fragment_offset: 5, ..ipv4() }).raw(UDP).payload(&[1, 2, 3]);
    assert_eq!(check(&later, Ok((UDP, 0, 0))).fragmented, Fragmented::Later);

    let base = || between("fd00::1", "fd00::2");
    let parsed = check(&base().fragment(77, 0, true).udp(1, 2), Ok((UDP, 1, 2)));
    assert_eq!((parsed.fragmented, parsed.fragment.id), (Fragmented::First, 77u32.to_be()));
    let later = base().options(protocol::HOP_BY_HOP, 1).fragment(77, 4, false).raw(UDP);
    assert_eq!(check(&later, Ok((UDP, 0, 0))).fragmented, Fragmented::Later);
    // The whole packet in one fragment is none.
    let atomic = check(&base().fragment(77, 0, false).udp(1, 2), Ok((UDP, 1, 2)));
    assert_eq!(atomic.fragmented, Fragmented::No);
}

#[test]
fn cut_short() {
    let whole = in_ipv4(ipv4()).tcp(1, 2, SYN).build();
    for length in 0..whole.len() - 6 {
        let packet = Buffer { bytes: whole[..length].into(), ..Buffer::default() };
        assert_eq!(parse(&packet, &mut Parsed::empty()), Err(DropReason::Malformed), "{length}");
    }
    for (at, value) in [(14, 0x65), (14, 0x44), (17, 19)] {
        let mut bytes = whole.clone();
        bytes[at] = value;
        let packet = Buffer { bytes, ..Buffer::default() };
        assert_eq!(parse(&packet, &mut Parsed::empty()), Err(DropReason::Malformed));
    }
}

/// Fragments of one packet through a service: the later ones follow the first.
#[test]
fn fragments_follow_their_first() {
    let mut world = World::new();
    let b = v4(B);
    world.service("10.96.0.1", 53, UDP, 0, &[(&b, 5353)]);
    let ip = |destination: &str, more_fragments, fragment_offset| Ipv4 {
        more_fragments,
        fragment_offset,
        ..Ipv4::between("10.0.0.1".parse().unwrap(), destination.parse().unwrap())
    };
    let later = |destination: &str| in_ipv4(ip(destination, false, 2)).raw(UDP).payload(&[9; 7]);
    world.drops(A, &later("10.96.0.1"), DropReason::FragmentUnknown);
    let first = |destination: &str, port| {
        in_ipv4(ip(destination, true, 0)).udp_unsummed(4000, port).payload(&[7; 8])
    };
    world.delivers(A, &first("10.96.0.1", 53), B, &first(&b, 5353));
    world.delivers(A, &later("10.96.0.1"), B, &later(&b));
    assert_eq!(world.env.conntrack.len(), 1);
    assert_eq!(world.env.conntrack.entries()[0].1.original.packets.get(), 2);
}

/// Ports and flags behind the packet's end are no ports: the fragment that does bring them could be
/// for another port.
#[test]
fn ports_past_the_end() {
    for (frame, header) in [
        (between(&v4(A), &v4(B)).tcp(1, 80, SYN), 20),
        (between(&v6(A), &v6(B)).tcp(1, 80, SYN), 20),
        (between(&v4(A), &v4(B)).udp(1, 80), 8),
        (between(&v6(A), &v6(B)).udp(1, 80), 8),
        (between(&v4(A), &v4(B)).sctp(1, 80, 7), 12),
        (between(&v4(A), &v4(B)).icmp(8, 0, [0; 4]), 8),
        (between(&v6(A), &v6(B)).fragment(7, 0, true).udp(1, 80), 8),
    ] {
        let is_v4 = frame.build()[14] >> 4 == 4;
        for missing in 0..header {
            let mut bytes = frame.build();
            let length = if is_v4 { bytes.len() - 14 } else { bytes.len() - 54 } - missing;
            if length == 0 {
                continue;
            }
            let field = if is_v4 { 16 } else { 18 };
            bytes[field..field + 2].copy_from_slice(&(length as u16).to_be_bytes());
            let packet = Buffer { bytes, ..Buffer::default() };
            let result = parse(&packet, &mut Parsed::empty());
            let expect = if missing == 0 { Ok(Kind::Flow) } else { Err(DropReason::Malformed) };
            assert_eq!(result, expect, "{frame:?} without its last {missing} bytes");
        }
    }
}

/// BIG TCP: a packet too long for the field says nothing there.
#[test]
fn longer_than_the_field_can_say() {
    for (frame, field) in [
        (tcp((&v4(A), 1), (&v4(B), 80), ACK), 16),
        (tcp((&v6(A), 1), (&v6(B), 80), ACK), 18),
        (between(&v6(A), &v6(B)).options(protocol::HOP_BY_HOP, 1).tcp(1, 80, ACK), 18),
    ] {
        let mut bytes = frame.payload(&std::vec![0; 100_000]).build();
        bytes[field..field + 2].fill(0);
        let length = bytes.len() as u32 - 14;
        let (mut parsed, packet) = (Parsed::empty(), Buffer { bytes, ..Buffer::default() });
        assert_eq!(parse(&packet, &mut parsed), Ok(Kind::Flow));
        assert_eq!((parsed.length, parsed.tuple.destination_port.number()), (length, 80));
    }
}

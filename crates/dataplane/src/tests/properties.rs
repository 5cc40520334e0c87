//! What holds for every packet.

use super::*;
use crate::flow::{canonical, hash, reverse, tuple_of};
use crate::parse::{Kind, Parsed, parse};
use crate::rewrite;
use abi::conntrack::FlowKey;
use proptest::prelude::*;
use zerocopy::FromZeros;

fn tuples(is_v6: bool) -> impl Strategy<Value = ServiceFlowKey> {
    let one = move || {
        any::<[u8; 16]>().prop_map(move |octets| match is_v6 {
            // Not a mapped address.
            true => Address::from_v6({
                let mut octets = octets;
                octets[0] |= 0x20;
                octets
            }),
            false => Address::from_v4([octets[0], octets[1], octets[2], octets[3]]),
        })
    };
    (one(), one(), any::<u16>(), any::<u16>(), prop_oneof![Just(TCP), Just(UDP)]).prop_map(
        |(source, destination, source_port, destination_port, protocol)| ServiceFlowKey {
            source,
            destination,
            source_port: Port::new(source_port),
            destination_port: Port::new(destination_port),
            protocol,
            zero: [0; 3],
        },
    )
}

fn pairs() -> impl Strategy<Value = (ServiceFlowKey, ServiceFlowKey)> {
    any::<bool>().prop_flat_map(|is_v6| (tuples(is_v6), tuples(is_v6)))
}

fn frame(tuple: &ServiceFlowKey, payload: &[u8]) -> Frame {
    let frame = Frame::between(tuple.source.into(), tuple.destination.into());
    let (source, destination) = (tuple.source_port.number(), tuple.destination_port.number());
    let frame = match tuple.protocol {
        TCP => frame.tcp(source, destination, ACK),
        _ => frame.udp(source, destination),
    };
    frame.payload(payload)
}

fn translate(packet: &mut Buffer, to: &ServiceFlowKey) {
    let mut parsed = Parsed::empty();
    assert_eq!(parse(packet, &mut parsed), Ok(Kind::Flow));
    rewrite::translate(packet, &parsed, to).unwrap();
}

/// Frames of every kind that is looked into, and the offset of their IP header.
fn looked_into() -> Vec<(Frame, usize)> {
    let mut frames = Vec::new();
    for (name, other) in [(v4(A), v4(B)), (v6(A), v6(B))] {
        let base = || between(&name, &other);
        let embedded = between(&other, &name).udp(2, 1).build();
        let mut all = std::vec![
            base().tcp(1, 2, ACK),
            base().udp(1, 2),
            base().sctp(1, 2, 7),
            base().raw(protocol::ESP).payload(b"12345678"),
        ];
        if ip(&name).is_ipv4() {
            all.push(base().icmp(8, 0, [0, 7, 0, 1]));
            all.push(base().icmp(3, 3, [0; 4]).payload(&embedded[14..]));
        } else {
            all.push(base().icmpv6(128, 0, [0, 7, 0, 1]));
            all.push(base().icmpv6(135, 0, [0; 4]).ttl(255));
            all.push(base().icmpv6(1, 4, [0; 4]).payload(&embedded[14..]));
            all.push(base().options(protocol::HOP_BY_HOP, 1).tcp(1, 2, ACK));
            all.push(base().fragment(7, 0, true).udp(1, 2));
            all.push(base().fragment(7, 3, true).raw(UDP).payload(b"12345678"));
        }
        frames.extend(all.into_iter().map(|frame| (frame, 14)));
    }
    let ip = wire::build::Ipv4::between("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    frames.push((Frame::new([2; 6], [4; 6]).vlan(7).ipv4(ip).udp(1, 2), 18));
    frames
}

proptest! {
    /// What lies behind the packet's own end changes nothing.
    #[test]
    fn nothing_is_read_past_the_end(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        tails in prop::array::uniform2(prop::collection::vec(any::<u8>(), 40)),
    ) {
        let frames = looked_into();
        let (frame, network) = which.get(&frames);
        let mut bytes = frame.build();
        let (header, field) = if bytes[*network] >> 4 == 4 { (20, 2) } else { (40, 4) };
        // An IPv6 payload of length 0 means one of unknown length.
        let end = network + header + 1 + cut.index(bytes.len() - network - header);
        let counted = if header == 20 { end - network } else { end - network - 40 };
        bytes[network + field..][..2].copy_from_slice(&(counted as u16).to_be_bytes());
        bytes.truncate(end);
        let results = tails.map(|tail| {
            let mut parsed = Parsed::empty();
            let packet = Buffer { bytes: [&bytes[..], &tail].concat(), ..Buffer::default() };
            parse(&packet, &mut parsed).map(|kind| (kind, std::format!("{parsed:?}")))
        });
        prop_assert_eq!(&results[0], &results[1]);
    }

    /// A translated packet is the packet that would have been sent, so its checksums hold; and
    /// translated back it is the one that was sent.
    #[test]
    fn translation_is_exact(
        (from, mut to) in pairs(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        to.protocol = from.protocol;
        let sent = frame(&from, &payload).build();
        let mut packet = Buffer { bytes: sent.clone(), ..Buffer::default() };
        translate(&mut packet, &to);
        prop_assert_eq!(&packet.bytes, &frame(&to, &payload).build());
        translate(&mut packet, &from);
        prop_assert_eq!(&packet.bytes, &sent);
    }

    #[test]
    fn a_hop_is_exact((tuple, _) in pairs(), ttl in 1u8..) {
        let before = frame(&tuple, b"x").ttl(ttl);
        let mut packet = Buffer { bytes: before.build(), ..Buffer::default() };
        let mut parsed = Parsed::empty();
        prop_assert_eq!(parse(&packet, &mut parsed), Ok(Kind::Flow));
        let mut in_one = packet.clone();
        rewrite::decrement_ttl(&mut packet, &parsed).unwrap();
        let after = before.hop();
        prop_assert_eq!(packet.bytes, after.build());
        rewrite::hop(&mut in_one, &parsed, [8; 6], [6; 6]).unwrap();
        prop_assert_eq!(in_one.bytes, after.macs([6; 6], [8; 6]).build());
    }

    #[test]
    fn both_directions_have_one_key((tuple, _) in pairs()) {
        let mut back = ServiceFlowKey::new_zeroed();
        reverse(&tuple, &mut back);
        let (mut key, mut key_back) = (FlowKey::new_zeroed(), FlowKey::new_zeroed());
        let from_high = canonical(&tuple, &mut key);
        let back_from_high = canonical(&back, &mut key_back);
        prop_assert_eq!(key, key_back);
        prop_assert!(from_high != back_from_high || tuple == back);
        let mut again = ServiceFlowKey::new_zeroed();
        tuple_of(&key, from_high, &mut again);
        prop_assert_eq!(again, tuple);
    }

    #[test]
    fn the_parser_bears_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let mut bytes = bytes;
        if bytes.len() > 20 {
            // Near what is looked at, so that the deeper parts are reached.
            let (ethertype, first) = [([8u8, 0], 0x45u8), ([8, 0], 0x4a), ([0x86, 0xdd], 0x60), ([0x81, 0], 0)][kind];
            bytes[12..14].copy_from_slice(&ethertype);
            bytes[14] = first;
        }
        let mut world = World::new();
        let mut packet = Buffer { bytes, ifindex: 10 + A, ..Buffer::default() };
        let before = packet.bytes.len();
        from_endpoint(&world.env, &mut packet, &mut world.scratch);
        to_endpoint(&world.env, &mut packet, &mut world.scratch);
        prop_assert_eq!(packet.bytes.len(), before);
    }
}

/// Fixed: nodes that balance with the same ring must agree, also after an update.
#[test]
fn the_hash_is_part_of_the_contract() {
    assert_eq!(hash(&tuple(("10.0.0.1", 4000), ("10.96.0.1", 80), TCP)), 2_146_888_130);
    assert_eq!(hash(&tuple(("fd00::1", 4000), ("fd96::1", 80), TCP)), 1_196_960_817);
}

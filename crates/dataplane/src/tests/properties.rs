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

proptest! {
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

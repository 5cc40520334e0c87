//! Tuples, and the canonical key under which both directions of a flow are found.

use abi::Address;
use abi::conntrack::{FlowKey, ServiceFlowKey};

/// Addresses, ports and protocol as a packet carries them.
pub type Tuple = ServiceFlowKey;

/// Writes the key of the flow to `key`. True if the tuple's source is the key's high end.
///
/// Any total order would do; words are compared as they lie in memory.
#[inline(always)]
pub fn canonical(tuple: &Tuple, key: &mut FlowKey) -> bool {
    let from_high = is_above(tuple);
    if from_high {
        key.low = tuple.destination;
        key.low_port = tuple.destination_port;
        key.high = tuple.source;
        key.high_port = tuple.source_port;
    } else {
        key.low = tuple.source;
        key.low_port = tuple.source_port;
        key.high = tuple.destination;
        key.high_port = tuple.destination_port;
    }
    key.protocol = tuple.protocol;
    key.zero = [0; 3];
    from_high
}

#[inline(always)]
fn is_above(tuple: &Tuple) -> bool {
    let (a, b) = (&tuple.source.0, &tuple.destination.0);
    // The last word first: it is the one that tells most addresses apart.
    if a[3] != b[3] {
        return a[3] > b[3];
    }
    if a[2] != b[2] {
        return a[2] > b[2];
    }
    if a[1] != b[1] {
        return a[1] > b[1];
    }
    if a[0] != b[0] {
        return a[0] > b[0];
    }
    tuple.source_port.to_wire() > tuple.destination_port.to_wire()
}

/// Writes the tuple of the other direction.
#[inline(always)]
pub fn reverse(tuple: &Tuple, into: &mut Tuple) {
    into.source = tuple.destination;
    into.destination = tuple.source;
    into.source_port = tuple.destination_port;
    into.destination_port = tuple.source_port;
    into.protocol = tuple.protocol;
    into.zero = [0; 3];
}

/// The tuple of a key's flow in the direction from its high or its low end.
#[inline(always)]
pub fn tuple_of(key: &FlowKey, from_high: bool, into: &mut Tuple) {
    if from_high {
        into.source = key.high;
        into.source_port = key.high_port;
        into.destination = key.low;
        into.destination_port = key.low_port;
    } else {
        into.source = key.low;
        into.source_port = key.low_port;
        into.destination = key.high;
        into.destination_port = key.high_port;
    }
    into.protocol = key.protocol;
    into.zero = [0; 3];
}

/// A hash that is the same on every node and after every restart, for rings.
#[inline(always)]
pub fn hash(tuple: &Tuple) -> u32 {
    let ports =
        u32::from(tuple.source_port.number()) << 16 | u32::from(tuple.destination_port.number());
    let mut hash = u32::from(tuple.protocol);
    hash = mix_address(hash, &tuple.source);
    hash = mix_address(hash, &tuple.destination);
    finish(mix(hash, ports))
}

#[inline(always)]
fn mix_address(hash: u32, address: &Address) -> u32 {
    let hash = mix(hash, u32::from_be(address.0[0]));
    let hash = mix(hash, u32::from_be(address.0[1]));
    let hash = mix(hash, u32::from_be(address.0[2]));
    mix(hash, u32::from_be(address.0[3]))
}

/// A round of MurmurHash3 (32 bits).
#[inline(always)]
pub(crate) fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// The end of MurmurHash3.
#[inline(always)]
pub(crate) fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

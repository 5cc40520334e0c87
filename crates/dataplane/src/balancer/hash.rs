//! Which slot of the ring a flow has.

use super::parse::{Packet, flags};
use abi::balancer::{FrontEnd, KATRAN_RING, frontend_flags as vip};

/// The slot within the ring.
#[inline(always)]
pub fn slot(front: &FrontEnd, packet: &Packet) -> u32 {
    if front.flags & vip::KATRAN_HASH != 0 {
        let hash = katran(packet);
        // A constant divides by multiplication.
        if front.ring_len == KATRAN_RING {
            hash % KATRAN_RING
        } else {
            hash % front.ring_len.max(1)
        }
    } else {
        spread(own(packet), front.ring_len)
    }
}

/// The same flow's slot in the ring of previous owners.
#[inline(always)]
pub fn previous_slot(front: &FrontEnd, packet: &Packet) -> u32 {
    if front.flags & vip::KATRAN_HASH != 0 {
        katran(packet) % front.previous_len.max(1)
    } else {
        spread(own(packet), front.previous_len)
    }
}

/// A hash over its whole range as a number below `len`.
#[inline(always)]
pub const fn spread(hash: u32, len: u32) -> u32 {
    ((hash as u64 * len as u64) >> 32) as u32
}

/// Our own hash of client and ports. The VIP is left out, so that one client gets the same backend
/// from VIPs with the same backends.
#[inline(always)]
pub fn own(packet: &Packet) -> u32 {
    let source = packet.key.source.0;
    let mut hash = begin(source[3], packet.ports());
    if packet.flags & flags::V6 != 0 {
        let high = (source[0] as u64 | (source[1] as u64) << 32).wrapping_mul(MIX_HIGH);
        let middle = (source[2] as u64).wrapping_mul(MIX_LOW);
        hash ^= (high ^ high >> 29) ^ middle;
    }
    finish(hash)
}

/// The same of an IPv4 client and both ports, in memory order.
#[inline(always)]
pub const fn own_v4(source: u32, ports: u32) -> u32 {
    finish(begin(source, ports))
}

#[inline(always)]
const fn begin(source: u32, ports: u32) -> u64 {
    let low = (source as u64) << 32 | ports as u64;
    low ^ low >> 32
}

#[inline(always)]
const fn finish(mut hash: u64) -> u32 {
    hash = hash.wrapping_mul(MIX_LOW);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(MIX_HIGH);
    (hash >> 32) as u32
}

const MIX_LOW: u64 = 0xbf58_476d_1ce4_e5b9;
const MIX_HIGH: u64 = 0x94d0_49bb_1331_11eb;

/// What Katran adds to every hash: the numbers of its VIPs and of all its slots.
const KATRAN_V6: u32 = 512;
const KATRAN_SEED: u32 = 512 * KATRAN_RING;

/// Katran's hash: Jenkins' of the client's address and both ports.
#[inline(always)]
pub fn katran(packet: &Packet) -> u32 {
    let source = packet.key.source.0;
    let address =
        if packet.flags & flags::V6 != 0 { jenkins_16(source, KATRAN_V6) } else { source[3] };
    jenkins_2(address, packet.ports(), KATRAN_SEED)
}

/// The kernel's `jhash_2words` (include/linux/jhash.h).
#[inline(always)]
const fn jenkins_2(a: u32, b: u32, seed: u32) -> u32 {
    let start = seed.wrapping_add(JENKINS).wrapping_add(2 << 2);
    jenkins_final(a.wrapping_add(start), b.wrapping_add(start), start)
}

/// The kernel's `jhash` of sixteen bytes.
#[inline(always)]
const fn jenkins_16(words: [u32; 4], seed: u32) -> u32 {
    let start = seed.wrapping_add(JENKINS).wrapping_add(16);
    let mut a = start.wrapping_add(words[0]);
    let mut b = start.wrapping_add(words[1]);
    let mut c = start.wrapping_add(words[2]);
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    jenkins_final(a.wrapping_add(words[3]), b, c)
}

const JENKINS: u32 = 0xdead_beef;

#[inline(always)]
const fn jenkins_final(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

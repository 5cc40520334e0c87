//! Rings as Katran makes them, so that both can serve the same VIPs side by side.

use super::Member;
use std::net::IpAddr;

/// Which of Katran's rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Weights count in the first round only: 1:10 comes near 50:50.
    V1,
    #[default]
    V2,
}

/// The ring of `size` slots (Katran's is 65,537); empty without a member of any weight.
pub fn katran(members: &[Member], version: Version, size: u32) -> Vec<u16> {
    let mut walks: Vec<Walk> = members
        .iter()
        .filter(|member| member.weight > 0)
        .map(|member| Walk::new(member, size))
        .collect();
    if walks.is_empty() || size < 2 {
        return Vec::new();
    }
    walks.sort_by_key(|walk| walk.hash);
    let mut filling = Filling { slots: vec![0; size as usize], left: size };
    match version {
        Version::V1 => {
            let mut first = true;
            while filling.left > 0 {
                for walk in &mut walks {
                    let turns = if first { walk.weight } else { 1 };
                    for _ in 0..turns {
                        filling.place(walk);
                    }
                }
                first = false;
            }
        }
        Version::V2 => {
            let largest = walks.iter().map(|walk| u64::from(walk.weight)).max().unwrap_or(1);
            while filling.left > 0 {
                for walk in &mut walks {
                    walk.saved += u64::from(walk.weight);
                    if walk.saved >= largest {
                        walk.saved -= largest;
                        filling.place(walk);
                    }
                }
            }
        }
    }
    filling.slots
}

struct Filling {
    slots: Vec<u16>,
    left: u32,
}

impl Filling {
    fn place(&mut self, walk: &mut Walk) {
        if self.left == 0 {
            return;
        }
        let size = self.slots.len() as u32;
        loop {
            let slot = walk.offset.wrapping_add(walk.next.wrapping_mul(walk.skip)) % size;
            walk.next += 1;
            if self.slots[slot as usize] == 0 {
                self.slots[slot as usize] = walk.number;
                self.left -= 1;
                return;
            }
        }
    }
}

/// A member's way through the ring.
struct Walk {
    number: u16,
    hash: u64,
    weight: u32,
    saved: u64,
    offset: u32,
    skip: u32,
    next: u32,
}

impl Walk {
    fn new(member: &Member, size: u32) -> Self {
        let hash = address_hash(member.address);
        Walk {
            number: member.number,
            hash,
            weight: member.weight,
            saved: 0,
            offset: (murmur3(hash, 42, 0) % u64::from(size)) as u32,
            skip: (murmur3(hash, 2_718_281_828, 2_307) % u64::from(size - 1)) as u32 + 1,
            next: 0,
        }
    }
}

/// How Katran hashes an address: FNV for IPv4, Spooky for IPv6, mixed with the family's number.
fn address_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => mix(2, u64::from(fnv(&v4.octets()))),
        IpAddr::V6(v6) => {
            let (first, second) = spooky_16(&v6.octets());
            mix(10, mix(first, second))
        }
    }
}

/// 32-bit FNV-1 with the prime as shifts, and bytes that are signed.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash: u32, byte| {
        let multiplied = [1, 4, 7, 8, 24]
            .iter()
            .fold(hash, |sum, shift| sum.wrapping_add(hash.wrapping_shl(*shift)));
        multiplied ^ (*byte as i8 as u32)
    })
}

/// CityHash's reduction of 128 bits to 64.
fn mix(upper: u64, lower: u64) -> u64 {
    const K: u64 = 0x9ddf_ea08_eb38_2d69;
    let mut a = (lower ^ upper).wrapping_mul(K);
    a ^= a >> 47;
    let mut b = (upper ^ a).wrapping_mul(K);
    b ^= b >> 47;
    b.wrapping_mul(K)
}

/// SpookyHash V2 of 16 bytes, seeds 0.
fn spooky_16(bytes: &[u8; 16]) -> (u64, u64) {
    const FILL: u64 = 0xdead_beef_dead_beef;
    /// Rotations of one round, in the order of the words they turn.
    const MIX: [(usize, u32); 12] = [
        (2, 50),
        (3, 52),
        (0, 30),
        (1, 41),
        (2, 54),
        (3, 48),
        (0, 38),
        (1, 37),
        (2, 62),
        (3, 34),
        (0, 5),
        (1, 36),
    ];
    const END: [(usize, u32); 11] = [
        (2, 15),
        (3, 52),
        (0, 26),
        (1, 51),
        (2, 28),
        (3, 9),
        (0, 47),
        (1, 54),
        (2, 32),
        (3, 25),
        (0, 63),
    ];
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let mut h = [0, 0, FILL.wrapping_add(word(0)), FILL.wrapping_add(word(8))];
    for (turned, rotation) in MIX {
        h[turned] = h[turned].rotate_left(rotation).wrapping_add(h[(turned + 1) % 4]);
        h[(turned + 2) % 4] ^= h[turned];
    }
    h[3] = h[3].wrapping_add(16 << 56);
    h[2] = h[2].wrapping_add(FILL);
    h[3] = h[3].wrapping_add(FILL);
    for (turned, rotation) in END {
        let next = (turned + 1) % 4;
        h[next] ^= h[turned];
        h[turned] = h[turned].rotate_left(rotation);
        h[next] = h[next].wrapping_add(h[turned]);
    }
    (h[0], h[1])
}

/// First half of MurmurHash3 x64-128 of two words.
fn murmur3(first: u64, second: u64, seed: u64) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let (mut h1, mut h2) = (seed, seed);
    h1 ^= first.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
    h2 ^= second.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    h1 ^= 16;
    h2 ^= 16;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn finish(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

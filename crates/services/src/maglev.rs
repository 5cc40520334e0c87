//! Maglev consistent hashing: the same flow hash finds the same backend on every node, and few
//! flows move when backends come and go.
//!
//! After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! section 3.4.

use abi::service::Backend;
use model::content_id::ContentHash;

/// Ring sizes. Primes, so that every step goes through the whole ring; about doubling, since all
/// flows may move when the size changes.
const SIZES: [u32; 13] =
    [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071, 262_139, 524_287, 1_048_573];

/// Slots per backend at least: how far shares may differ (about 1%).
const SLOTS_PER_BACKEND: usize = 100;

/// Slots of the ring for so many backends.
pub fn size(backends: usize) -> u32 {
    let wanted = backends.saturating_mul(SLOTS_PER_BACKEND);
    SIZES.into_iter().find(|size| *size as usize >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

/// The ring: ids of backends. The order of `backends` does not matter.
pub fn ring(backends: &[(u32, Backend)]) -> Vec<u32> {
    if backends.is_empty() {
        return Vec::new();
    }
    let size = size(backends.len());
    let mut walks: Vec<Walk> = backends.iter().map(|(id, b)| Walk::new(*id, b, size)).collect();
    walks.sort_by_key(|walk| (walk.hash, walk.id));

    // 0 is no backend's id.
    let mut slots = vec![0; size as usize];
    let mut left = size;
    'filling: loop {
        for walk in &mut walks {
            while slots[walk.slot as usize] != 0 {
                walk.step(size);
            }
            slots[walk.slot as usize] = walk.id;
            left -= 1;
            if left == 0 {
                break 'filling;
            }
        }
    }
    slots
}

/// A backend's way through the ring.
struct Walk {
    hash: u128,
    id: u32,
    slot: u32,
    skip: u32,
}

impl Walk {
    fn new(id: u32, backend: &Backend, size: u32) -> Self {
        let mut hash = ContentHash::new("maglev");
        for half in backend.address.octets().chunks(8) {
            let mut word = [0; 8];
            word.copy_from_slice(half);
            hash.word(u64::from_be_bytes(word));
        }
        hash.word(u64::from(backend.port.number()) << 8 | u64::from(backend.protocol));
        let hash = hash.finish();
        let slot = (hash as u64 % u64::from(size)) as u32;
        let skip = ((hash >> 64) as u64 % u64::from(size - 1)) as u32 + 1;
        Walk { hash, id, slot, skip }
    }

    fn step(&mut self, size: u32) {
        self.slot = (self.slot + self.skip) % size;
    }
}

#[cfg(test)]
mod tests;

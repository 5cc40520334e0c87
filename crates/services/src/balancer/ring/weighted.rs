//! Our own ring: shares in proportion to weights, exact to a slot, with little disruption.
//!
//! Every member walks through the slots in an order of its own, as in Maglev, and arrives at each at
//! a time that its weight sets. A slot wants the member that arrives first; that alone would move no
//! slot but those of the member that comes or goes, but shares would scatter as chance has it. So
//! each member has a quota, its exact share, and keeps those of its slots where it was earliest;
//! what it gives up wants the member that arrives next (Gale and Shapley's deferred acceptance,
//! whose result does not depend on any order).

use super::Member;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// The ring of `size` slots, a prime; empty without a member of any weight.
pub fn weighted(members: &[Member], size: u32) -> Vec<u16> {
    let mut walks: Vec<Walk> = members
        .iter()
        .filter(|member| member.weight > 0)
        .map(|member| Walk::new(member, size))
        .collect();
    if walks.is_empty() || size < 2 {
        return Vec::new();
    }
    if let [only] = walks.as_slice() {
        return vec![only.number; size as usize];
    }
    walks.sort_by_key(|walk| (walk.hash, walk.number));
    let arrivals = Arrivals::of(&walks, size);
    let quotas = quotas(&walks, size);
    let owners = settle(&arrivals, &quotas, size);
    owners.into_iter().map(|walk| walks[walk as usize].number).collect()
}

/// A member's way through the ring: slot `offset + k * stride` at about time `k / weight`.
struct Walk {
    number: u16,
    hash: u64,
    weight: u32,
    offset: u32,
    stride: u32,
}

impl Walk {
    fn new(member: &Member, size: u32) -> Self {
        let (high, low) = match member.address {
            IpAddr::V4(v4) => (4, u64::from(v4.to_bits())),
            IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
        };
        let hash = [high, low, u64::from(member.port)]
            .into_iter()
            .fold(0x5ceb_1b00_5ceb_1b00, |hash, word| scramble(hash ^ scramble(word)));
        Walk {
            number: member.number,
            hash,
            weight: member.weight,
            offset: (scramble(hash ^ 1) % u64::from(size)) as u32,
            stride: (scramble(hash ^ 2) % u64::from(size - 1)) as u32 + 1,
        }
    }

    /// When the member makes its `step`: a grid with jitter, stretched by the weight.
    fn time(&self, step: u32) -> u64 {
        let jitter = scramble(self.hash.wrapping_add(u64::from(step) << 8)) & 0xffff;
        ((u64::from(step) << 16 | jitter) << 18) / u64::from(self.weight)
    }
}

/// SplitMix64's step: every bit of the word reaches every bit of the result.
fn scramble(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Who arrives at each slot, in order of time.
struct Arrivals {
    /// (time, index of the walk), by slot.
    list: Vec<(u64, u32)>,
    /// Where each slot's arrivals begin; one more at the end.
    starts: Vec<u32>,
}

impl Arrivals {
    /// As many that nearly every slot has several: the rest is dealt with by [`settle`].
    fn of(walks: &[Walk], size: u32) -> Self {
        let total: u64 = walks.iter().map(|walk| u64::from(walk.weight)).sum();
        let wanted = u64::from(size) * u64::from(size.ilog2() + 2);
        let steps = |walk: &Walk| {
            let share = (wanted * u64::from(walk.weight)).div_ceil(total);
            share.min(u64::from(size)) as u32
        };
        let mut starts = vec![0u32; size as usize + 1];
        for_each_step(walks, size, steps, |_, slot, _| starts[slot as usize + 1] += 1);
        for slot in 0..size as usize {
            starts[slot + 1] += starts[slot];
        }
        let mut list = vec![(0, 0); starts[size as usize] as usize];
        let mut ends = starts.clone();
        for_each_step(walks, size, steps, |index, slot, step| {
            let end = &mut ends[slot as usize];
            list[*end as usize] = (walks[index as usize].time(step), index);
            *end += 1;
        });
        for slot in 0..size as usize {
            list[starts[slot] as usize..starts[slot + 1] as usize].sort_unstable();
        }
        Arrivals { list, starts }
    }

    fn at(&self, slot: u32) -> &[(u64, u32)] {
        &self.list[self.starts[slot as usize] as usize..self.starts[slot as usize + 1] as usize]
    }
}

fn for_each_step(
    walks: &[Walk],
    size: u32,
    steps: impl Fn(&Walk) -> u32,
    mut each: impl FnMut(u32, u32, u32),
) {
    for (index, walk) in walks.iter().enumerate() {
        let mut slot = walk.offset;
        for step in 0..steps(walk) {
            each(index as u32, slot, step);
            slot += walk.stride;
            if slot >= size {
                slot -= size;
            }
        }
    }
}

/// Each member's share, rounded so that the sum is `size`: the largest remainders are rounded up.
fn quotas(walks: &[Walk], size: u32) -> Vec<u32> {
    let total: u64 = walks.iter().map(|walk| u64::from(walk.weight)).sum();
    let product = |walk: &Walk| u64::from(size) * u64::from(walk.weight);
    let mut quotas: Vec<u32> = walks.iter().map(|walk| (product(walk) / total) as u32).collect();
    let left = size - quotas.iter().sum::<u32>();
    let mut order: Vec<usize> = (0..walks.len()).collect();
    order.sort_by_key(|index| (u64::MAX - product(&walks[*index]) % total, walks[*index].hash));
    for index in order.into_iter().take(left as usize) {
        quotas[index] += 1;
    }
    quotas
}

/// Every slot asks its arrivals in turn; a member with more than its quota gives up where it was
/// latest.
fn settle(arrivals: &Arrivals, quotas: &[u32], size: u32) -> Vec<u32> {
    const NOBODY: u32 = u32::MAX;
    let mut owners = vec![NOBODY; size as usize];
    let mut asked = vec![0u32; size as usize];
    let mut held: Vec<BinaryHeap<(u64, u32)>> =
        quotas.iter().map(|quota| BinaryHeap::with_capacity(*quota as usize + 1)).collect();
    let mut waiting: Vec<u32> = (0..size).collect();
    let mut without = Vec::new();
    while let Some(slot) = waiting.pop() {
        let Some(&(time, member)) = arrivals.at(slot).get(asked[slot as usize] as usize) else {
            without.push(slot);
            continue;
        };
        asked[slot as usize] += 1;
        let heap = &mut held[member as usize];
        heap.push((time, slot));
        owners[slot as usize] = member;
        if heap.len() > quotas[member as usize] as usize
            && let Some((_, given_up)) = heap.pop()
        {
            owners[given_up as usize] = NOBODY;
            waiting.push(given_up);
        }
    }
    // The few whose arrivals were all refused: to whoever has room.
    without.sort_unstable();
    let mut room = (0..quotas.len()).flat_map(|member| {
        std::iter::repeat_n(member as u32, quotas[member] as usize - held[member].len())
    });
    for slot in without {
        owners[slot as usize] = room.next().unwrap_or(0);
    }
    owners
}

//! Our own ring: shares in proportion to weights, exact to a slot, with little disruption.
//!
//! Every member walks through the slots in an order of its own, as in Maglev, and arrives at each at
//! a time that its weight sets. A slot wants the member that arrives first; that alone would move no
//! slot but those of the member that comes or goes, but shares would scatter as chance has it. So
//! each member has a quota, its exact share, and wants those of its slots where it is earliest. As
//! both sides go by the same times there is one outcome with which no member and slot would rather
//! have each other (Gale and Shapley's stable matching), and arrivals in order of time lead to it:
//! each is taken if the slot is nobody's yet and the member has room.

use super::Member;
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
    let quotas = quotas(&walks, size);
    settle(&walks, quotas, size)
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
    /// Of time, between two steps of a member of weight 1.
    const STEP_BITS: u32 = 34;

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
        (u64::from(step) << Self::STEP_BITS | jitter << (Self::STEP_BITS - 16))
            / u64::from(self.weight)
    }

    /// How many steps may be made before `time`: jitter brings none there earlier than the grid.
    fn steps_before(&self, time: u64) -> u32 {
        let steps = (u128::from(time) * u128::from(self.weight)).div_ceil(1 << Self::STEP_BITS);
        u32::try_from(steps).unwrap_or(u32::MAX)
    }

    /// The slot of the next step.
    fn after(&self, slot: u32, size: u32) -> u32 {
        let next = slot + self.stride;
        if next >= size { next - size } else { next }
    }
}

/// SplitMix64's step: every bit of the word reaches every bit of the result.
fn scramble(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
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

/// Gives every slot to the member that arrives first of those that have room.
fn settle(walks: &[Walk], mut room: Vec<u32>, size: u32) -> Vec<u16> {
    const NOBODY: u16 = 0;
    let total: u64 = walks.iter().map(|walk| u64::from(walk.weight)).sum();
    let mut walkers: Vec<Walker> =
        (0..walks.len()).map(|index| Walker::new(&walks[index], index, size, total)).collect();
    let mut ring = vec![NOBODY; size as usize];
    // Times are looked at in spans, in which all together make some part of `size` steps.
    let span = (u64::from(size / 16) << Walk::STEP_BITS) / total + 1;
    let mut end = 0;
    // (time, index of the walk, slot)
    let mut arrivals: Vec<(u64, u32, u32)> = Vec::new();
    while !walkers.is_empty() || !arrivals.is_empty() {
        end += span;
        for walker in &mut walkers {
            let walk = &walks[walker.index];
            let until = walk.steps_before(end).min(walker.steps);
            while walker.step < until {
                if ring[walker.slot as usize] == NOBODY {
                    arrivals.push((walk.time(walker.step), walker.index as u32, walker.slot));
                }
                walker.slot = walk.after(walker.slot, size);
                walker.step += 1;
            }
        }
        arrivals.sort_unstable();
        let in_time = arrivals.partition_point(|(time, ..)| *time < end);
        for (_, index, slot) in arrivals.drain(..in_time) {
            let (owner, room) = (&mut ring[slot as usize], &mut room[index as usize]);
            if *owner == NOBODY && *room > 0 {
                *owner = walks[index as usize].number;
                *room -= 1;
            }
        }
        walkers.retain(|walker| room[walker.index] > 0 && walker.step < walker.steps);
    }
    // The few where nobody with room arrived.
    let mut with_room = walks
        .iter()
        .zip(room)
        .flat_map(|(walk, room)| std::iter::repeat_n(walk.number, room as usize));
    for owner in ring.iter_mut().filter(|owner| **owner == NOBODY) {
        *owner = with_room.next().unwrap_or(NOBODY);
    }
    ring
}

/// How far a member has come.
struct Walker {
    /// Of its walk.
    index: usize,
    slot: u32,
    step: u32,
    /// It makes no more.
    steps: u32,
}

impl Walker {
    fn new(walk: &Walk, index: usize, size: u32, total: u64) -> Self {
        // As many that nearly every slot finds its owner.
        let wanted = u64::from(size) * u64::from(size.ilog2() + 2);
        let share = (wanted * u64::from(walk.weight)).div_ceil(total);
        Walker { index, slot: walk.offset, step: 0, steps: share.min(u64::from(size)) as u32 }
    }
}

//! Which packets are captured: a condition on what the balancer made of them.

use super::parse::{Packet, flags};
use super::{Env, Verdict};
use abi::balancer::capture::{CaptureFilter, NO_VIP, VIP_WORDS, kinds};

/// What of [`kinds`] applies to a packet that has been balanced.
#[inline(always)]
pub fn kinds_of(packet: &Packet, verdict: Verdict) -> u32 {
    let mut all = 0;
    let opens = packet.flags & flags::SYN != 0 && packet.flags & flags::ERROR == 0;
    if opens || packet.flags & flags::NEW != 0 {
        all |= kinds::NEW_FLOW;
    }
    if packet.flags & flags::MOVED != 0 {
        all |= kinds::MOVED;
    }
    if packet.flags & flags::MISSED != 0 {
        all |= kinds::MISS;
    }
    if verdict == Verdict::Drop {
        all |= kinds::DROPPED;
    }
    all
}

/// Whether the packet is to be captured. `counted` is what was counted last.
#[inline(always)]
pub fn wanted(
    env: &impl Env,
    filter: &CaptureFilter,
    packet: &Packet,
    verdict: Verdict,
    counted: u32,
) -> bool {
    if packet.vip == NO_VIP {
        // What is passed on is none of the balancer's business.
        let all = filter.vips[VIP_WORDS - 1] == u64::MAX;
        if verdict == Verdict::Pass || !all {
            return false;
        }
    } else {
        let word = filter.vips[(packet.vip / 64) as usize % VIP_WORDS];
        if word >> (packet.vip % 64) & 1 == 0 {
            return false;
        }
    }
    if filter.kinds != 0 && filter.kinds & kinds_of(packet, verdict) == 0 {
        return false;
    }
    if filter.reason != 0 && (verdict != Verdict::Drop || filter.reason != counted) {
        return false;
    }
    let (mask, client) = (&filter.client_mask.0, &filter.client.0);
    let source = &packet.key.source.0;
    if (source[0] & mask[0]) ^ client[0] != 0
        || (source[1] & mask[1]) ^ client[1] != 0
        || (source[2] & mask[2]) ^ client[2] != 0
        || (source[3] & mask[3]) ^ client[3] != 0
    {
        return false;
    }
    if !filter.backend.is_none() {
        let Some(backend) = env.backend(packet.backend) else { return false };
        return backend.address == filter.backend;
    }
    true
}

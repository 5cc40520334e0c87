//! Source routing: clients of a block of addresses go to one backend.

use super::Env;
use super::parse::Packet;
use abi::balancer::{FrontEnd, SourceKey, counter, frontend_flags as vip};

#[inline(always)]
pub fn route(env: &impl Env, front: &FrontEnd, packet: &Packet) -> Option<u32> {
    if front.flags & vip::SOURCE_ROUTING == 0 {
        return None;
    }
    let number = env.source(&SourceKey {
        prefix_len: SourceKey::FIXED_BITS + 128,
        table: front.sources,
        address: packet.key.source,
    })?;
    env.count(counter::SOURCE_ROUTED);
    Some(number)
}

//! Delivery by address translation.

use super::frame::Frame;
use super::parse::Packet;
use super::{Env, Verdict};
use abi::balancer::{Backend, Settings, counter};

/// From a client to the flow's backend.
#[inline(never)]
pub fn to_backend(
    env: &impl Env,
    _frame: &mut impl Frame,
    _settings: &Settings,
    _packet: &mut Packet,
    _number: u32,
    _backend: &Backend,
) -> Verdict {
    super::drop(env, super::Why(counter::DROP_REWRITE))
}

/// A packet that is for no VIP: from a backend to a client, perhaps.
#[inline(never)]
pub fn answer(
    env: &impl Env,
    _frame: &mut impl Frame,
    _settings: &Settings,
    _packet: &mut Packet,
) -> Verdict {
    env.count(counter::PASSED);
    Verdict::Pass
}

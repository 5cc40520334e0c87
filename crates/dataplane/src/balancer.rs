//! The edge balancer: from a frame to the backend that gets it.
//!
//! [`balance`] is the way of every frame. What most packets need is in [`quick`], which does it without
//! touching more memory than it must. All else (server ids, remembered flows, wider front-ends, errors,
//! answers of our own, translation) is the long way, which those packets don't pay for.
//!
//! [`abi::balancer`] says what the maps mean and which flows are remembered.

mod answer;
pub mod capture;
mod check;
mod choose;
mod decapsulate;
mod deliver;
mod env;
mod fragments;
mod frame;
mod front_end;
pub mod hash;
mod parse;
mod quick;
mod remember;
mod server_id;
mod source;
mod translate;

pub(crate) use self::answer::{too_big_v4, too_big_v6};
pub use self::check::{Check, encapsulate_check};
pub use self::decapsulate::{MatchSource, decapsulate, match_source};
pub(crate) use self::deliver::{outer_v4, outer_v6};
pub use self::env::{BackendCells, Env, FlowCell, LimitCell, VipCells};
pub use self::frame::{Frame, Hop, Link, Next, Outer, Route, Vlan, Why};
pub use self::parse::{Packet, flags as packet_flags};

use abi::balancer::{Settings, backend_flags, counter, frontend_flags as vip, settings_flags};

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Up the stack.
    Pass,
    Drop,
    /// Out of the interface it came in by.
    Transmit,
    /// Out of another interface, as [`Frame::redirect`] has arranged.
    Redirect,
}

/// Counts and drops.
#[inline(always)]
fn drop(env: &impl Env, why: Why) -> Verdict {
    env.count(why.0);
    Verdict::Drop
}

/// A frame that came from outside. `memory` is to work in, whatever it holds: in the kernel it is not
/// on the stack, whose every value the verifier would follow along every path.
#[inline(always)]
pub fn balance<'a>(
    env: &impl Env,
    frame: &mut impl Frame,
    memory: impl FnOnce() -> Option<&'a mut Packet>,
) -> Verdict {
    let Some(settings) = env.settings() else { return Verdict::Pass };
    let settings: &Settings = &settings;
    let missed = match quick::balance(env, frame, settings) {
        quick::Quick::Done(verdict) => return verdict,
        quick::Quick::Missed => true,
        quick::Quick::Left => false,
    };
    let Some(packet) = memory() else { return Verdict::Pass };
    the_long_way(env, frame, settings, packet, missed)
}

/// The same without [`quick`]: afterwards `packet` says what was decided.
#[inline(always)]
pub fn balance_and_tell(env: &impl Env, frame: &mut impl Frame, packet: &mut Packet) -> Verdict {
    (packet.vip, packet.backend, packet.flags) = (abi::balancer::capture::NO_VIP, 0, 0);
    packet.key.source = abi::Address::NONE;
    let Some(settings) = env.settings() else { return Verdict::Pass };
    the_long_way(env, frame, &settings, packet, false)
}

/// `missed`: the packet is for no VIP by its own port.
#[inline(always)]
fn the_long_way(
    env: &impl Env,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
    missed: bool,
) -> Verdict {
    if settings.flags & settings_flags::DECAPSULATE != 0 {
        match decapsulate::inline(env, frame, settings) {
            decapsulate::Step::Balance => {}
            decapsulate::Step::Pass => return Verdict::Pass,
            decapsulate::Step::Drop => return Verdict::Drop,
            decapsulate::Step::Transmit => return Verdict::Transmit,
        }
    }
    match parse::parse(frame, settings, packet) {
        Next::Flow => {}
        Next::Pass => return Verdict::Pass,
        Next::Echo => return answer::echo(env, frame, settings, packet),
        Next::Fragment => {
            if !fragments::resolve(env, packet) {
                return drop(env, Why(counter::DROP_FRAGMENT_UNKNOWN));
            }
        }
        Next::Drop => return drop(env, Why(packet.why)),
    }
    forward(env, frame, settings, packet, missed)
}

/// A packet whose flow is known.
#[inline(always)]
fn forward<E: Env>(
    env: &E,
    frame: &mut impl Frame,
    settings: &Settings,
    packet: &mut Packet,
    missed: bool,
) -> Verdict {
    let Some(front) = front_end::find(env, settings, packet, missed) else {
        if settings.flags & settings_flags::NAT != 0 {
            return translate::answer(env, frame, settings, packet);
        }
        env.count(counter::PASSED);
        return Verdict::Pass;
    };
    let front: &abi::balancer::FrontEnd = &front;
    packet.vip = front.vip;
    if frame.length() > settings.max_frame {
        return answer::too_big(env, frame, settings, packet, 0);
    }
    let number = if front.flags & vip::SPECIAL == 0 {
        choose::by_ring(env, front, packet)
    } else {
        match choose::specially(env, frame, settings, front, packet) {
            0 => Err(Why(packet.why)),
            number => Ok(number),
        }
    };
    let number = match number {
        Ok(number) => number,
        Err(why) => {
            if why.0 == counter::DROP_NO_BACKEND
                && let Some(counters) = env.vip(front.vip)
            {
                counters.no_backend.set(counters.no_backend.get() + 1);
            }
            return drop(env, why);
        }
    };
    let Some(backend) = env.backend(number) else {
        return drop(env, Why(counter::DROP_BACKEND_UNKNOWN));
    };
    let backend: &abi::balancer::Backend = &backend;
    if let Some(counters) = env.vip(front.vip) {
        counters.packets.set(counters.packets.get() + 1);
        counters.bytes.set(counters.bytes.get() + u64::from(packet.length));
        if packet.flags & packet_flags::SYN != 0 {
            counters.new_flows.set(counters.new_flows.get() + 1);
        }
    }
    if let Some(counters) = env.backend_counters(number) {
        counters.packets.set(counters.packets.get() + 1);
        counters.bytes.set(counters.bytes.get() + u64::from(packet.length));
    }
    if backend.flags & backend_flags::LOCAL != 0 && front.flags & vip::LOCAL != 0 {
        return Verdict::Pass;
    }
    packet.backend = number;
    deliver::deliver(env, frame, settings, packet, backend)
}

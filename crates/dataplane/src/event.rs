//! Flow events: when one is due, and what it says.

use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow::Tuple;
use crate::parse::Parsed;
use abi::event::FlowKind;
use abi::metrics;
use abi::state::{State, limiter};
use abi::{Address, Port};

/// What an event says besides flow and packet.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// [`FlowKind`].
    pub kind: u8,
    pub is_reply: u8,
    pub ifindex: u32,
    pub now: u64,
}

/// Counts a drop, and writes an event about the packet `parsed` of the flow `entry`, whose first
/// packet had the tuple `original`, unless the limit or the ring buffer refuses it: both are
/// counted. Reason and direction of a denial are those in `entry`.
#[inline(always)]
pub fn report(
    env: &impl Env,
    state: &State,
    what: Report,
    parsed: &Parsed,
    original: &Tuple,
    entry: &Entry,
) {
    if what.kind == FlowKind::Drop as u8 {
        env.count(u32::from(entry.denied.get()), parsed.length);
    }
    let denied = what.kind == FlowKind::Drop as u8 || what.kind == FlowKind::Cut as u8;
    let (class, rate) = if denied {
        (limiter::DROPS, state.drop_events_per_second)
    } else {
        (limiter::FLOWS, state.flow_events_per_second)
    };
    if let Some(bucket) = env.bucket(class)
        && !bucket.take(rate, what.now)
    {
        env.count(metrics::EVENTS_LIMITED, 0);
        return;
    }
    let sequence = env.sequence();
    let cpu = env.cpu();
    let written = env.emit(|event| {
        // Field by field: built as a whole it would take 200 bytes of stack.
        event.time_ns = what.now;
        event.sequence = sequence;
        event.source = original.source;
        event.destination = original.destination;
        // A flow beside a service's has none, though it is translated like one.
        let of_service = entry.service.get() != 0;
        event.vip = if of_service { entry.vip.get() } else { Address::NONE };
        event.source_port = original.source_port;
        event.destination_port = original.destination_port;
        event.vip_port = if of_service { entry.vip_port.get() } else { Port::NONE };
        event.cpu = cpu;
        event.source_process = entry.initiator.get();
        event.destination_process = entry.responder.get();
        event.original = entry.original.counters();
        event.reply = entry.reply.counters();
        event.started_ns = entry.created_ns.get();
        event.source_identity = entry.initiator_identity.get();
        event.destination_identity = entry.responder_identity.get();
        event.source_endpoint = entry.initiator_endpoint.get();
        event.destination_endpoint = entry.responder_endpoint.get();
        event.service = entry.service.get();
        event.backend = entry.backend.get();
        event.egress_rule = entry.egress_rule.get();
        event.ingress_rule = entry.ingress_rule.get();
        event.ifindex = what.ifindex;
        event.length = parsed.length;
        event.kind = what.kind;
        event.reason = if denied { entry.denied.get() } else { 0 };
        event.direction = if denied { entry.denied_direction.get() } else { 0 };
        event.protocol = original.protocol;
        event.tcp_flags = parsed.tcp;
        event.icmp_type = parsed.icmp_type;
        event.icmp_code = parsed.icmp_code;
        event.is_reply = what.is_reply;
        event.flags = entry.flags.get();
        event.zero = [0; 6];
    });
    env.count(if written { metrics::EVENTS } else { metrics::EVENTS_LOST }, 0);
}

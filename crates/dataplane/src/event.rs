//! Flow events: when one is due, and what it says.

use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow::Tuple;
use crate::parse::Parsed;
use abi::event::{FlowEvent, FlowKind};
use abi::metrics;
use abi::state::{State, limiter};

/// What an event says besides the flow.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub kind: FlowKind,
    /// [`abi::drop_reason::DropReason`], or 0.
    pub reason: u8,
    /// [`abi::event::Direction`].
    pub direction: u8,
    pub is_reply: bool,
    pub ifindex: u32,
    pub now: u64,
}

/// Writes an event about the packet `parsed` of the flow `entry`, whose first packet had the tuple
/// `original`, unless the limit or the ring buffer refuses it: both are counted.
#[inline(always)]
pub fn report(
    env: &impl Env,
    state: &State,
    what: Report,
    parsed: &Parsed,
    original: &Tuple,
    entry: &Entry,
) {
    let (class, rate) = match what.kind {
        FlowKind::Drop | FlowKind::Cut => (limiter::DROPS, state.drop_events_per_second),
        _ => (limiter::FLOWS, state.flow_events_per_second),
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
        *event = FlowEvent {
            time_ns: what.now,
            sequence,
            source: original.source,
            destination: original.destination,
            vip: entry.vip.get(),
            source_port: original.source_port,
            destination_port: original.destination_port,
            vip_port: entry.vip_port.get(),
            cpu,
            source_process: entry.initiator.get(),
            destination_process: entry.responder.get(),
            original: entry.original.counters(),
            reply: entry.reply.counters(),
            started_ns: entry.created_ns.get(),
            source_identity: entry.initiator_identity.get(),
            destination_identity: entry.responder_identity.get(),
            source_endpoint: entry.initiator_endpoint.get(),
            destination_endpoint: entry.responder_endpoint.get(),
            service: entry.service.get(),
            backend: entry.backend.get(),
            egress_rule: entry.egress_rule.get(),
            ingress_rule: entry.ingress_rule.get(),
            ifindex: what.ifindex,
            length: parsed.length,
            kind: what.kind as u8,
            reason: what.reason,
            direction: what.direction,
            protocol: original.protocol,
            tcp_flags: parsed.tcp,
            icmp_type: parsed.icmp_type,
            icmp_code: parsed.icmp_code,
            is_reply: u8::from(what.is_reply),
            flags: entry.flags.get(),
            zero: [0; 6],
        };
    });
    env.count(if written { metrics::EVENTS } else { metrics::EVENTS_LOST }, 0);
}

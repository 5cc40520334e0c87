//! What a flow's entry says about a packet, new entries, and what is reported of them.

use super::{Scratch, Way};
use crate::conntrack::Entry;
use crate::env::Env;
use crate::event::{self, Report};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::{flow, policy};
use abi::conntrack::conn_flags;
use abi::drop_reason::DropReason;
use abi::event::FlowKind;
use abi::metrics;
use abi::state::State;
use wire::ip::protocol;
use wire::transport::tcp_flags;

impl<E: Env, P: Packet> Way<'_, E, P> {
    /// Gives the flow's verdict to a packet and accounts for it. False if the packet is denied.
    #[inline(always)]
    pub(super) fn follow(&mut self, entry: &Entry, is_reply: bool) -> bool {
        if entry.epoch.get() != self.epoch {
            self.decide_again(entry, is_reply);
        }
        if entry.denied.get() != 0 {
            self.deny_known(entry, is_reply);
            return false;
        }
        let parsed = &self.scratch.parsed;
        if parsed.is_error {
            return true;
        }
        let tcp = parsed.tcp;
        let is_tcp = parsed.tuple.protocol == protocol::TCP;
        entry.update(is_reply, parsed.length, self.now);
        if is_reply && !entry.has(conn_flags::REPLY_SEEN) {
            self.first_reply(entry);
        }
        if is_tcp && entry.follow(tcp, is_reply) && !entry.has(conn_flags::END_REPORTED) {
            self.end(entry, is_reply);
        }
        true
    }

    #[inline(never)]
    fn first_reply(&mut self, entry: &Entry) {
        entry.set(conn_flags::REPLY_SEEN);
        own_reply(self.packet, &self.scratch.parsed, entry);
        self.report_known(entry, FlowKind::Reply, true);
    }

    #[inline(never)]
    fn end(&mut self, entry: &Entry, is_reply: bool) {
        entry.set(conn_flags::END_REPORTED);
        self.report_known(entry, FlowKind::End, is_reply);
    }

    /// The policy has changed since the flow's verdict.
    #[inline(never)]
    fn decide_again(&mut self, entry: &Entry, is_reply: bool) {
        let env = self.env;
        env.count(metrics::REVALIDATED, 0);
        self.write_original(entry);
        let was_allowed = entry.denied.get() == 0;
        let allowed = policy::decide(env, &self.scratch.original, entry);
        entry.epoch.set(self.epoch);
        if was_allowed && !allowed {
            self.report_known(entry, FlowKind::Cut, is_reply);
        }
    }

    #[inline(never)]
    fn deny_known(&mut self, entry: &Entry, is_reply: bool) {
        self.report_known(entry, FlowKind::Drop, is_reply);
    }

    /// Decides a new flow and enters it. False if it is denied.
    #[inline(never)]
    pub(super) fn create(&mut self, translated: bool) -> bool {
        let env = self.env;
        let Scratch { parsed, translated: to, original, entry, .. } = &mut *self.scratch;
        *original = if translated { *to } else { parsed.tuple };
        entry.created_ns.set(self.now);
        entry.last_seen_ns.set(self.now);
        entry.epoch.set(self.epoch);
        entry.icmp_type.set(parsed.icmp_type);
        if self.from_high {
            entry.set(conn_flags::FROM_HIGH);
        }
        own_original(self.packet, parsed, entry);
        if !policy::decide(env, original, entry) {
            self.report_new(FlowKind::Drop);
            return false;
        }
        if parsed.tuple.protocol == protocol::TCP {
            if parsed.tcp & tcp_flags::RST != 0 {
                // The end of something that is forgotten: nothing begins with it.
                return true;
            }
            entry.open(parsed.tcp);
        }
        entry.update(false, parsed.length, self.now);
        if let Some(old) = env.connection(&self.scratch.key) {
            self.replace(&old);
        }
        if !env.insert_connection(&self.scratch.key, &self.scratch.entry) {
            self.scratch.entry.denied.set(DropReason::ConntrackFull as u8);
            self.report_new(FlowKind::Drop);
            return false;
        }
        env.count(metrics::CONNECTIONS, self.scratch.parsed.length);
        self.report_new(FlowKind::Start);
        true
    }

    /// Reports the end of an old connection whose tuple is used anew.
    #[inline(always)]
    fn replace(&self, old: &Entry) {
        self.env.count(metrics::CONNECTIONS_REPLACED, 0);
        if !old.has(conn_flags::END_REPORTED) {
            self.report(old, What::new(FlowKind::End, false));
        }
    }

    #[inline(always)]
    fn write_original(&mut self, entry: &Entry) {
        let Scratch { original, key, .. } = &mut *self.scratch;
        flow::tuple_of(key, entry.has(conn_flags::FROM_HIGH), original);
    }

    /// An event about a flow in the map.
    #[inline(always)]
    fn report_known(&mut self, entry: &Entry, kind: FlowKind, is_reply: bool) {
        self.write_original(entry);
        self.report(entry, What::new(kind, is_reply));
    }

    /// An event about a flow that is in the scratch only; its tuple is in `original`.
    #[inline(always)]
    pub(super) fn report_new(&self, kind: FlowKind) {
        self.report(&self.scratch.entry, What::new(kind, false));
    }

    #[inline(always)]
    fn report(&self, entry: &Entry, what: What) {
        report(self.env, self.state, self.scratch, entry, what.on(self.packet.ifindex()));
    }
}

/// What an event says besides flow and packet, in one number: a function of an eBPF program takes
/// five arguments.
#[derive(Clone, Copy)]
struct What(u64);

impl What {
    #[inline(always)]
    fn new(kind: FlowKind, is_reply: bool) -> Self {
        What(kind as u64 | u64::from(is_reply) << 8)
    }

    #[inline(always)]
    fn on(self, ifindex: u32) -> Self {
        What(self.0 | u64::from(ifindex) << 32)
    }
}

// The functions below need much stack. They call nothing, so that no two of their frames are ever
// on the stack together.

#[inline(never)]
fn report<E: Env>(env: &E, state: &State, scratch: &Scratch, entry: &Entry, what: What) {
    let What(number) = what;
    let what = Report {
        kind: number as u8,
        is_reply: (number >> 8) as u8,
        ifindex: (number >> 32) as u32,
        now: env.now(),
    };
    event::report(env, state, what, &scratch.parsed, &scratch.original, entry);
}

/// Enters the process that sent the first packet, and the service that it asked for.
#[inline(never)]
fn own_original<P: Packet>(packet: &P, parsed: &Parsed, entry: &Entry) {
    let Some(owner) = packet.owner(&parsed.tuple) else { return };
    entry.initiator.set(owner.process);
    if entry.vip.get().is_none() && !owner.vip.is_none() {
        entry.vip.set(owner.vip);
        entry.vip_port.set(owner.vip_port);
        entry.service.set(owner.service);
        entry.backend.set(owner.backend);
        entry.set(conn_flags::SOCKET_TRANSLATED);
    }
}

#[inline(never)]
fn own_reply<P: Packet>(packet: &P, parsed: &Parsed, entry: &Entry) {
    if let Some(owner) = packet.owner(&parsed.tuple) {
        entry.responder.set(owner.process);
    }
}

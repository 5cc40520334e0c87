//! What a flow's entry says about a packet, new entries, and what is reported of them.

use super::{Scratch, Way};
use crate::conntrack::Entry;
use crate::env::Env;
use crate::event::{self, Report};
use crate::flow;
use crate::packet::Packet;
use crate::policy::{self, Denial};
use abi::conntrack::conn_flags;
use abi::drop_reason::DropReason;
use abi::event::{Direction, FlowKind};
use abi::metrics;
use wire::ip::protocol;
use wire::transport::tcp_flags;

impl<E: Env, P: Packet> Way<'_, E, P> {
    /// Gives the flow's verdict to a packet and accounts for it. False if the packet is denied.
    #[inline(always)]
    pub(super) fn follow(&mut self, entry: &Entry, is_reply: bool) -> bool {
        if entry.epoch.get() != self.state.policy_epoch {
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
    pub(super) fn first_reply(&mut self, entry: &Entry) {
        entry.set(conn_flags::REPLY_SEEN);
        if let Some(owner) = self.packet.owner(&self.scratch.parsed.tuple) {
            entry.responder.set(owner.process);
        }
        self.report_known(entry, FlowKind::Reply, true);
    }

    #[inline(never)]
    pub(super) fn end(&mut self, entry: &Entry, is_reply: bool) {
        entry.set(conn_flags::END_REPORTED);
        self.report_known(entry, FlowKind::End, is_reply);
    }

    /// The policy has changed since the flow's verdict.
    #[inline(never)]
    pub(super) fn decide_again(&mut self, entry: &Entry, is_reply: bool) {
        let env = self.env;
        env.count(metrics::REVALIDATED, 0);
        self.write_original(entry);
        let before = entry.denied.get();
        match policy::decide(env, &self.scratch.original, entry) {
            None => entry.denied.set(0),
            Some(Denial { reason, direction }) => {
                entry.denied.set(reason as u8);
                entry.denied_direction.set(direction as u8);
            }
        }
        entry.epoch.set(self.state.policy_epoch);
        if before == 0 && entry.denied.get() != 0 {
            self.report_known(entry, FlowKind::Cut, is_reply);
        }
    }

    #[inline(never)]
    pub(super) fn deny_known(&mut self, entry: &Entry, is_reply: bool) {
        self.env.count(u32::from(entry.denied.get()), self.scratch.parsed.length);
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
        entry.epoch.set(self.state.policy_epoch);
        entry.icmp_type.set(parsed.icmp_type);
        if self.from_high {
            entry.set(conn_flags::FROM_HIGH);
        }
        if let Some(owner) = self.packet.owner(&parsed.tuple) {
            entry.initiator.set(owner.process);
            if !translated && !owner.vip.is_none() {
                entry.vip.set(owner.vip);
                entry.vip_port.set(owner.vip_port);
                entry.service.set(owner.service);
                entry.backend.set(owner.backend);
                entry.set(conn_flags::SOCKET_TRANSLATED);
            }
        }
        if let Some(Denial { reason, direction }) = policy::decide(env, original, entry) {
            self.report_new(FlowKind::Drop, reason as u8, direction);
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
        self.replace();
        if !env.insert_connection(&self.scratch.key, &self.scratch.entry) {
            self.report_new(FlowKind::Drop, DropReason::ConntrackFull as u8, Direction::None);
            return false;
        }
        env.count(metrics::CONNECTIONS, self.scratch.parsed.length);
        self.report_new(FlowKind::Start, 0, Direction::None);
        true
    }

    /// Reports the end of an old connection whose tuple is used anew.
    #[inline(always)]
    pub(super) fn replace(&mut self) {
        let env = self.env;
        let Some(old) = env.connection(&self.scratch.key) else { return };
        env.count(metrics::CONNECTIONS_REPLACED, 0);
        if !old.has(conn_flags::END_REPORTED) {
            self.report_known(&old, FlowKind::End, false);
        }
    }

    #[inline(always)]
    pub(super) fn write_original(&mut self, entry: &Entry) {
        let Scratch { original, key, .. } = &mut *self.scratch;
        flow::tuple_of(key, entry.has(conn_flags::FROM_HIGH), original);
    }

    /// An event about a flow in the map.
    #[inline(always)]
    pub(super) fn report_known(&mut self, entry: &Entry, kind: FlowKind, is_reply: bool) {
        self.write_original(entry);
        let denied = matches!(kind, FlowKind::Drop | FlowKind::Cut);
        let what = Report {
            kind,
            reason: if denied { entry.denied.get() } else { 0 },
            direction: if denied { entry.denied_direction.get() } else { 0 },
            is_reply,
            ifindex: self.packet.ifindex(),
            now: self.now,
        };
        let Scratch { parsed, original, .. } = &*self.scratch;
        event::report(self.env, self.state, what, parsed, original, entry);
    }

    /// An event about a flow that is in the scratch only.
    #[inline(always)]
    pub(super) fn report_new(&mut self, kind: FlowKind, reason: u8, direction: Direction) {
        if reason != 0 {
            self.env.count(u32::from(reason), self.scratch.parsed.length);
        }
        let what = Report {
            kind,
            reason,
            direction: direction as u8,
            is_reply: false,
            ifindex: self.packet.ifindex(),
            now: self.now,
        };
        let Scratch { parsed, original, entry, .. } = &*self.scratch;
        event::report(self.env, self.state, what, parsed, original, entry);
    }
}

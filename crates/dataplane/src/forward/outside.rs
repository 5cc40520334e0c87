//! Packets between the node's own interfaces and services.
//!
//! From outside, a packet to a front-end that is open to it gets a backend as in `from_endpoint`:
//! - a backend that is a local endpoint sees the client's address, and its policy decides;
//! - so does one in the node's own network, to which the host's stack delivers;
//! - if another flow has the client's port to the same backend, it sees another port of the client;
//! - to one elsewhere with direct return it is sent on, see [`direct_return`](super::direct_return);
//! - for any other elsewhere the client's address and port are replaced by the node's (*masqueraded*), so
//!   that it answers to this node.
//!
//! Replies get the service's address again: an endpoint's in `from_endpoint`, those to masqueraded
//! flows here as they come in, the node's own as they go out. All other packets are left alone:
//! nothing here may stop what isn't a service's.

use super::direct_return::{ORDINARY, SENT_ON};
use super::{Chosen, Decision, EXAMINED, Outcome, Scratch, Way};
use crate::env::Env;
use crate::flow;
use crate::packet::Packet;
use crate::parse::Fragmented;
use crate::policy;
use crate::rewrite;
use abi::conntrack::conn_flags;
use abi::drop_reason::DropReason;
use abi::metrics;
use abi::service::scope;

/// Not ours: as it came.
const LEAVE: Outcome = Outcome::PASS;

#[inline(always)]
pub fn from_outside<E: Env, P: Packet>(env: &E, packet: &mut P, scratch: &mut Scratch) -> Decision {
    let Some(state) = env.state() else { return Decision::Pass };
    let mut way = Way::new(env, packet, scratch, &state);
    if !way.is_for_services() {
        return Decision::Pass;
    }
    let outcome = way.sent_from_outside();
    way.finish(outcome)
}

#[inline(always)]
pub fn to_outside<E: Env, P: Packet>(env: &E, packet: &mut P, scratch: &mut Scratch) -> Decision {
    let Some(state) = env.state() else { return Decision::Pass };
    let mut way = Way::new(env, packet, scratch, &state);
    if !way.is_for_services() {
        return Decision::Pass;
    }
    let outcome = way.sent_to_outside();
    way.finish(outcome)
}

impl<E: Env, P: Packet> Way<'_, E, P> {
    /// False for what can be no packet of a service's flow.
    #[inline(always)]
    fn is_for_services(&mut self) -> bool {
        if self.examine() != EXAMINED {
            return false;
        }
        self.scratch.parsed.fragmented == Fragmented::No || self.resolve_fragment()
    }

    #[inline(always)]
    fn sent_from_outside(&mut self) -> Outcome {
        let taken_in = if self.may_be_sent_on() { self.take_in() } else { ORDINARY };
        let next = match taken_in {
            ORDINARY => self.of_outside(),
            SENT_ON => self.sent_to_backend(),
            _ => return Outcome::refuse(DropReason::RewriteFailed),
        };
        if next.is(Outcome::CREATE_AT_NODE) || next.is(Outcome::DELIVER_AT_NODE) {
            if next.is(Outcome::CREATE_AT_NODE) && !self.create(false) {
                return Outcome::DROP;
            }
            return self.send_to_node();
        }
        if next.is(Outcome::CREATE_TRANSLATED) {
            if !self.create(true) {
                return Outcome::DROP;
            }
        } else if next.is(Outcome::DELIVER_AWAY) {
            return self.send_on();
        } else if !next.is(Outcome::DELIVER_TRANSLATED) {
            return next;
        }
        if self.scratch.translated.source != self.scratch.parsed.tuple.source {
            return self.send_on();
        }
        self.deliver(true)
    }

    /// A packet as its sender has sent it.
    #[inline(always)]
    fn of_outside(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        let found = env.connection(&self.scratch.key).filter(|entry| self.is_live(entry));
        let beside = found
            .as_ref()
            .is_some_and(|entry| entry.has(conn_flags::OUTSIDE) && self.is_beside(entry));
        if let Some(entry) = found
            && !beside
        {
            let is_reply = entry.is_reply(self.from_high);
            let sent_on = entry.has(conn_flags::DIRECT_RETURN) && !is_reply;
            if sent_on && self.known_node() {
                if !self.follow(&entry, false) {
                    return Outcome::DROP;
                }
                return Outcome::DELIVER_AT_NODE;
            }
            if !sent_on {
                if !is_reply || !entry.has(conn_flags::MASQUERADED) {
                    return LEAVE;
                }
                if !self.follow(&entry, true) {
                    return Outcome::DROP;
                }
                if !self.translate_reply(&entry) {
                    return Outcome::refuse(DropReason::RewriteFailed);
                }
                return Outcome::DELIVER_AWAY;
            }
        }
        self.of_client(beside)
    }

    #[inline(always)]
    fn sent_to_outside(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        let Some(entry) = env.connection(&self.scratch.key) else { return LEAVE };
        let of_node = entry.has(conn_flags::OUTSIDE)
            && !entry.has(conn_flags::MASQUERADED)
            && entry.responder_endpoint.get() == 0;
        if !of_node || !entry.is_reply(self.from_high) || !self.is_live(&entry) {
            return LEAVE;
        }
        if !self.follow(&entry, true) {
            return Outcome::DROP;
        }
        if !self.translate_reply(&entry) || !self.translate() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        LEAVE
    }

    /// A packet of no flow whose tuple is as it came: one to a service, or none of ours.
    #[inline(never)]
    fn of_client(&mut self, beside: bool) -> Outcome {
        let known = self.known_service_flow();
        if !known.is(Outcome::CHOOSE) && !known.is(Outcome::KEEP) {
            return known;
        }
        if self.scratch.parsed.is_error {
            return LEAVE;
        }
        self.scratch.entry = crate::conntrack::Entry::empty();
        if known.is(Outcome::KEEP) {
            self.keep_backend();
            if self.scratch.service_flow.source.is_none() && self.is_elsewhere() {
                return self.begin_at_node();
            }
        } else {
            match self.choose_backend(scope::OUTSIDE) {
                Chosen::Backend => {}
                Chosen::NoBackend => return Outcome::refuse(DropReason::NoBackend),
                Chosen::NotAdmitted => return Outcome::refuse(DropReason::SourceNotAdmitted),
                Chosen::NotAService if beside => {
                    self.scratch.entry.set(conn_flags::OUTSIDE);
                    return self.begin_direct_flow();
                }
                Chosen::NotAService => return LEAVE,
            }
            if self.is_elsewhere() {
                if self.returns_directly() {
                    return self.begin_at_node();
                }
                if !self.masquerade() {
                    return Outcome::refuse(DropReason::NoSourcePort);
                }
            }
            self.scratch.entry.unset(conn_flags::DIRECT_RETURN);
        }
        self.scratch.entry.set(conn_flags::OUTSIDE);
        self.begin_service_flow(!known.is(Outcome::KEEP))
    }

    /// True if the backend that was chosen is neither an endpoint nor the node itself.
    #[inline(always)]
    pub(super) fn is_elsewhere(&self) -> bool {
        let backend = self.scratch.service_flow.address;
        self.env.endpoint(&backend).is_none() && !policy::is_host(self.env, backend)
    }

    /// Takes an address and a port of the node's for the flow in hand. False if there is none.
    #[inline(always)]
    fn masquerade(&mut self) -> bool {
        let env = self.env;
        let Some(device) = env.device(self.packet.ifindex()) else { return false };
        let is_v4 = self.scratch.parsed.tuple.source.is_v4();
        let address = if is_v4 { device.v4 } else { device.v6 };
        if address.is_none() {
            return false;
        }
        self.scratch.service_flow.source = address;
        self.take_port()
    }

    /// Translates the packet and sends it by the route, past the host's stack.
    #[inline(always)]
    pub(super) fn send_on(&mut self) -> Outcome {
        if self.scratch.parsed.ttl <= 1 {
            return Outcome::refuse(DropReason::TimeExceeded);
        }
        let ifindex = self.find_route();
        if !self.translate() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        self.env.count(metrics::FORWARDED, self.scratch.parsed.length);
        if ifindex == 0 {
            // The host's stack says why there is none.
            return Outcome::PASS;
        }
        if !self.take_hop() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        Outcome::neighbour(ifindex)
    }

    #[inline(never)]
    pub(super) fn find_route(&self) -> u32 {
        self.packet.route(&self.scratch.translated).unwrap_or(0)
    }

    #[inline(never)]
    pub(super) fn take_hop(&mut self) -> bool {
        rewrite::decrement_ttl(self.packet, &self.scratch.parsed).is_ok()
    }
}

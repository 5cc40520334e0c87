//! The way of a packet: from an endpoint, and to one.
//!
//! From an endpoint, in this order:
//! 1. What stays on the link (ARP, neighbour discovery) goes to the host's stack.
//! 2. The source address must be the endpoint's own.
//! 3. A packet of a known flow gets the flow's verdict and translation; an older verdict is given
//!    again first. That is the quick path: one lookup for the source, one for the flow, one for the
//!    destination.
//! 4. A packet to a service gets the backend that its flow has, or one is chosen.
//! 5. A new flow is decided by the policies of both local ends, with the translated tuple.
//! 6. It is delivered: to a local endpoint by redirect, or through the host's stack with a mark that
//!    says that all has been decided; to anybody else by the host's stack.
//!
//! To an endpoint, packets with the mark pass; all others take steps 3 and 5.
//!
//! An ICMP error is a packet of the flow it is about: it needs a known flow, changes nothing in it,
//! and is translated as a packet of that flow would be.

use crate::conntrack::Entry;
use crate::env::Env;
use crate::event::{self, Report};
use crate::flow::{self, Tuple};
use crate::packet::Packet;
use crate::parse::{self, Kind, Parsed};
use crate::policy::{self, Denial};
use crate::{fragment, rewrite, service};
use abi::conntrack::{FlowKey, ServiceFlow, ServiceFlowKey, conn_flags};
use abi::drop_reason::DropReason;
use abi::endpoint::{Endpoint, flags};
use abi::event::{Direction, FlowKind};
use abi::service::{HAIRPIN_V4, HAIRPIN_V6, ServiceKey};
use abi::state::{MARK_DECIDED, State, state_flags};
use abi::{Address, Port, metrics};
use wire::ip::protocol;
use wire::transport::tcp_flags;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The host's stack goes on with it.
    Pass,
    /// The same, with [`MARK_DECIDED`].
    PassDecided,
    /// Into the namespace behind this interface of a veth pair.
    RedirectPeer(u32),
    Drop,
}

/// A decision or a refusal, in one number. An enum with data is passed around in several registers,
/// of which some are undefined in some of its variants, and the compiler masks undefined registers
/// that hold a pointer, which the verifier refuses.
#[derive(Clone, Copy)]
struct Outcome(u64);

impl Outcome {
    const PASS: Outcome = Outcome(0);
    const PASS_DECIDED: Outcome = Outcome(1);
    const DROP: Outcome = Outcome(2);
    const REDIRECT: u64 = 3;
    const REFUSE: u64 = 4;
    const SHIFT: u32 = 8;

    #[inline(always)]
    const fn redirect(ifindex: u32) -> Self {
        Outcome(Self::REDIRECT | (ifindex as u64) << Self::SHIFT)
    }

    #[inline(always)]
    const fn refuse(reason: DropReason) -> Self {
        Outcome(Self::REFUSE | (reason as u64) << Self::SHIFT)
    }
}

/// What became of the destination when it was looked up as a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    NotAService,
    Backend,
    NoBackend,
}

/// What doesn't fit on an eBPF stack.
#[derive(Debug)]
pub struct Scratch {
    pub parsed: Parsed,
    /// The packet's tuple after translation.
    translated: Tuple,
    /// The tuple of the flow's first packet, for policy and events.
    original: Tuple,
    key: FlowKey,
    /// A flow that is not in the map (yet).
    entry: Entry,
    service_flow: ServiceFlow,
}

const NO_TUPLE: Tuple = ServiceFlowKey {
    source: Address::NONE,
    destination: Address::NONE,
    source_port: Port::NONE,
    destination_port: Port::NONE,
    protocol: 0,
    zero: [0; 3],
};

impl Scratch {
    pub const fn empty() -> Self {
        Scratch {
            parsed: Parsed::empty(),
            translated: NO_TUPLE,
            original: NO_TUPLE,
            key: FlowKey {
                low: Address::NONE,
                high: Address::NONE,
                low_port: Port::NONE,
                high_port: Port::NONE,
                protocol: 0,
                zero: [0; 3],
            },
            entry: Entry::empty(),
            service_flow: ServiceFlow {
                last_seen_ns: 0,
                backend: 0,
                service: 0,
                address: Address::NONE,
                port: Port::NONE,
                zero: [0; 6],
            },
        }
    }
}

/// One packet on its way, with everything that its decision needs.
struct Way<'a, E, P> {
    env: &'a E,
    packet: &'a mut P,
    scratch: &'a mut Scratch,
    state: &'a State,
    now: u64,
    /// The tuple in hand goes from the high to the low end of `scratch.key`.
    from_high: bool,
}

#[inline(always)]
pub fn from_endpoint<E: Env, P: Packet>(
    env: &E,
    packet: &mut P,
    scratch: &mut Scratch,
) -> Decision {
    let Some(state) = env.state() else { return Decision::Drop };
    let mut way = Way { env, packet, scratch, state: &state, now: env.now(), from_high: false };
    match parse::parse(way.packet, &mut way.scratch.parsed) {
        Ok(Kind::Flow) => {}
        Ok(Kind::Link) => return Decision::Pass,
        Err(reason) => return way.finish(Outcome::refuse(reason)),
    }
    match env.endpoint(&way.scratch.parsed.source) {
        Some(endpoint) if endpoint.ifindex == way.packet.ifindex() => {}
        _ => return way.finish(Outcome::refuse(DropReason::SpoofedSource)),
    }
    if let Err(reason) = fragment::resolve(env, &mut way.scratch.parsed) {
        return way.finish(Outcome::refuse(reason));
    }
    let outcome = way.from_endpoint();
    way.finish(outcome)
}

#[inline(always)]
pub fn to_endpoint<E: Env, P: Packet>(env: &E, packet: &mut P, scratch: &mut Scratch) -> Decision {
    if packet.mark() == MARK_DECIDED {
        return Decision::Pass;
    }
    let Some(state) = env.state() else { return Decision::Drop };
    let mut way = Way { env, packet, scratch, state: &state, now: env.now(), from_high: false };
    match parse::parse(way.packet, &mut way.scratch.parsed) {
        Ok(Kind::Flow) => {}
        Ok(Kind::Link) => return Decision::Pass,
        Err(reason) => return way.finish(Outcome::refuse(reason)),
    }
    match env.endpoint(&way.scratch.parsed.destination) {
        Some(endpoint) if endpoint.ifindex == way.packet.ifindex() => {}
        _ => return way.finish(Outcome::refuse(DropReason::NoEndpoint)),
    }
    if let Err(reason) = fragment::resolve(env, &mut way.scratch.parsed) {
        return way.finish(Outcome::refuse(reason));
    }
    let outcome = way.to_endpoint();
    way.finish(outcome)
}

impl<'a, E: Env, P: Packet> Way<'a, E, P> {
    #[inline(always)]
    fn from_endpoint(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        if let Some(entry) = env.connection(&self.scratch.key)
            && self.is_live(&entry)
        {
            let is_reply = entry.is_reply(self.from_high);
            let translated = entry.is_translated();
            if translated {
                if !is_reply {
                    // The service's flow to this backend has the tuple already.
                    return Outcome::refuse(DropReason::TranslationClash);
                }
                self.translate_reply(&entry);
            }
            if !self.follow(&entry, is_reply) {
                return Outcome::DROP;
            }
            return self.deliver(translated);
        }
        self.unknown()
    }

    #[inline(always)]
    fn to_endpoint(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        if let Some(entry) = env.connection(&self.scratch.key)
            && self.is_live(&entry)
        {
            let is_reply = entry.is_reply(self.from_high);
            if !self.follow(&entry, is_reply) {
                return Outcome::DROP;
            }
            if is_reply && entry.is_translated() {
                self.translate_reply(&entry);
                if !self.translate() {
                    return Outcome::refuse(DropReason::RewriteFailed);
                }
            }
            return self.pass();
        }
        if self.scratch.parsed.is_error {
            // An error about no known flow passes only if the node itself sends it.
            if policy::is_host(env, self.scratch.parsed.source) {
                return self.pass();
            }
            return Outcome::refuse(DropReason::UnrelatedError);
        }
        self.scratch.entry = Entry::empty();
        if !self.create(false) {
            return Outcome::DROP;
        }
        self.pass()
    }

    #[inline(always)]
    fn pass(&self) -> Outcome {
        self.env.count(metrics::FORWARDED, self.scratch.parsed.length);
        Outcome::PASS
    }

    /// False if the packet in hand does not belong to the entry's connection.
    #[inline(always)]
    fn is_live(&self, entry: &Entry) -> bool {
        let parsed = &self.scratch.parsed;
        if entry.is_expired(parsed.tuple.protocol, &self.state.timeouts, self.now) {
            return false;
        }
        parsed.is_error
            || parsed.tuple.protocol != protocol::TCP
            || !entry.opens_anew(parsed.tcp, entry.is_reply(self.from_high))
    }

    /// The first packet of a flow, or any packet to a service.
    #[inline(never)]
    fn unknown(&mut self) -> Outcome {
        let env = self.env;
        if let Some(flow) = env.service_flow(&self.scratch.parsed.tuple) {
            self.translate_to(flow.address, flow.port);
            if let Some(entry) = self.flow_of_service()
                && (self.scratch.parsed.tuple.protocol == protocol::TCP
                    || self.scratch.parsed.is_error
                    || env.backend(flow.backend).is_some())
            {
                return self.go_on(&entry);
            }
        }
        if self.scratch.parsed.is_error {
            return Outcome::refuse(DropReason::UnrelatedError);
        }
        self.scratch.entry = Entry::empty();
        let translated = match self.choose_backend() {
            Chosen::NotAService => false,
            Chosen::Backend => true,
            Chosen::NoBackend => return Outcome::refuse(DropReason::NoBackend),
        };
        if translated {
            if let Some(entry) = self.flow_of_service() {
                self.remember_backend();
                return self.go_on(&entry);
            }
            if let Some(entry) = env.connection(&self.scratch.key)
                && self.is_live(&entry)
            {
                return Outcome::refuse(DropReason::TranslationClash);
            }
            self.remember_backend();
        } else {
            self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        }
        if !self.create(translated) {
            return Outcome::DROP;
        }
        self.deliver(translated)
    }

    /// The next packet of a flow to a service.
    #[inline(always)]
    fn go_on(&mut self, entry: &Entry) -> Outcome {
        if !self.follow(entry, false) {
            return Outcome::DROP;
        }
        self.deliver(true)
    }

    /// The live entry of the translated tuple, if it belongs to the service in the packet's tuple.
    #[inline(always)]
    fn flow_of_service(&mut self) -> Option<E::Held<'a, Entry>> {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.translated, &mut self.scratch.key);
        let entry = env.connection(&self.scratch.key)?;
        let tuple = &self.scratch.parsed.tuple;
        let same = !entry.is_reply(self.from_high)
            && entry.is_translated()
            && entry.vip.get() == tuple.destination
            && entry.vip_port.get() == tuple.destination_port;
        (same && self.is_live(&entry)).then_some(entry)
    }

    /// Looks the destination up as a service. If it is one, writes the translated tuple and what
    /// the new entry says of it.
    #[inline(always)]
    fn choose_backend(&mut self) -> Chosen {
        let tuple = &self.scratch.parsed.tuple;
        let key = ServiceKey {
            address: tuple.destination,
            port: tuple.destination_port,
            protocol: tuple.protocol,
            zero: 0,
        };
        let Some(found) = self.env.service(&key) else { return Chosen::NotAService };
        let Some(choice) = service::choose(self.env, &found, flow::hash(tuple)) else {
            return Chosen::NoBackend;
        };
        let entry = &self.scratch.entry;
        entry.vip.set(key.address);
        entry.vip_port.set(key.port);
        entry.service.set(found.id);
        entry.backend.set(choice.backend);
        self.scratch.service_flow = ServiceFlow {
            last_seen_ns: self.now,
            backend: choice.backend,
            service: found.id,
            address: choice.address,
            port: choice.port,
            zero: [0; 6],
        };
        if self.translate_to(choice.address, choice.port) {
            self.scratch.entry.set(conn_flags::HAIRPIN);
        }
        Chosen::Backend
    }

    #[inline(always)]
    fn remember_backend(&self) {
        self.env.insert_service_flow(&self.scratch.parsed.tuple, &self.scratch.service_flow);
    }

    /// Writes the tuple of a packet to a service as its backend sees it. True if the backend is the
    /// sender itself, which then sees the hairpin address as the source.
    #[inline(always)]
    fn translate_to(&mut self, address: Address, port: Port) -> bool {
        let from = &self.scratch.parsed.tuple;
        let hairpin = from.source == address;
        let source = match (hairpin, address.is_v4()) {
            (false, _) => from.source,
            (true, true) => HAIRPIN_V4,
            (true, false) => HAIRPIN_V6,
        };
        self.scratch.translated = Tuple {
            source,
            destination: address,
            source_port: from.source_port,
            destination_port: port,
            protocol: from.protocol,
            zero: [0; 3],
        };
        hairpin
    }

    /// Writes the tuple of a backend's packet as the service's client expects it.
    #[inline(always)]
    fn translate_reply(&mut self, entry: &Entry) {
        let from = &self.scratch.parsed.tuple;
        let hairpin = entry.has(conn_flags::HAIRPIN);
        self.scratch.translated = Tuple {
            source: entry.vip.get(),
            destination: if hairpin { from.source } else { from.destination },
            source_port: entry.vip_port.get(),
            destination_port: from.destination_port,
            protocol: from.protocol,
            zero: [0; 3],
        };
    }

    /// Gives the flow's verdict to a packet and accounts for it. False if the packet is denied.
    #[inline(always)]
    fn follow(&mut self, entry: &Entry, is_reply: bool) -> bool {
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
    fn first_reply(&mut self, entry: &Entry) {
        entry.set(conn_flags::REPLY_SEEN);
        if let Some(owner) = self.packet.owner() {
            entry.responder.set(owner.process);
        }
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
    fn deny_known(&mut self, entry: &Entry, is_reply: bool) {
        self.env.count(u32::from(entry.denied.get()), self.scratch.parsed.length);
        self.report_known(entry, FlowKind::Drop, is_reply);
    }

    /// Decides a new flow and enters it. False if it is denied.
    #[inline(never)]
    fn create(&mut self, translated: bool) -> bool {
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
        if let Some(owner) = self.packet.owner() {
            entry.initiator.set(owner.process);
            if !translated && !owner.vip.is_none() {
                entry.vip.set(owner.vip);
                entry.vip_port.set(owner.vip_port);
                entry.service.set(owner.service);
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
    fn replace(&mut self) {
        let env = self.env;
        let Some(old) = env.connection(&self.scratch.key) else { return };
        env.count(metrics::CONNECTIONS_REPLACED, 0);
        if !old.has(conn_flags::END_REPORTED) {
            self.report_known(&old, FlowKind::End, false);
        }
    }

    #[inline(always)]
    fn deliver(&mut self, translated: bool) -> Outcome {
        let env = self.env;
        let destination = if translated {
            &self.scratch.translated.destination
        } else {
            &self.scratch.parsed.destination
        };
        let endpoint = env.endpoint(destination);
        let redirect = match &endpoint {
            Some(endpoint) => self.redirects_to(endpoint),
            None => false,
        };
        if redirect && self.scratch.parsed.ttl <= 1 {
            // The host's stack has to tell the sender, who is to see the packet as it sent it.
            self.refuse(DropReason::TimeExceeded as u8);
            return Outcome::PASS;
        }
        if translated && !self.translate() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        env.count(metrics::FORWARDED, self.scratch.parsed.length);
        let Some(endpoint) = endpoint else { return Outcome::PASS };
        if !redirect {
            return Outcome::PASS_DECIDED;
        }
        if rewrite::decrement_ttl(self.packet, &self.scratch.parsed).is_err()
            || self.packet.set_macs(endpoint.workload_mac, endpoint.host_mac).is_err()
        {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        env.count(metrics::REDIRECTED, self.scratch.parsed.length);
        Outcome::redirect(endpoint.ifindex)
    }

    #[inline(always)]
    fn redirects_to(&self, endpoint: &Endpoint) -> bool {
        self.state.flags & state_flags::REDIRECT_PEER != 0
            && endpoint.flags & flags::REDIRECT_PEER != 0
    }

    /// False if the packet could not be rewritten.
    #[inline(never)]
    fn translate(&mut self) -> bool {
        self.env.count(metrics::PACKET_TRANSLATED, self.scratch.parsed.length);
        rewrite::translate(self.packet, &self.scratch.parsed, &self.scratch.translated).is_ok()
    }

    #[inline(always)]
    fn finish(&mut self, outcome: Outcome) -> Decision {
        let Outcome(number) = outcome;
        let data = (number >> Outcome::SHIFT) as u32;
        match number & 0xff {
            0 => Decision::Pass,
            1 => Decision::PassDecided,
            Outcome::REDIRECT => Decision::RedirectPeer(data),
            Outcome::REFUSE => {
                self.refuse(data as u8);
                Decision::Drop
            }
            _ => Decision::Drop,
        }
    }

    /// Drops a packet that has no flow, or whose flow it must not touch.
    #[inline(never)]
    fn refuse(&mut self, reason: u8) {
        let Scratch { parsed, original, entry, .. } = &mut *self.scratch;
        *original = parsed.tuple;
        *entry = Entry::empty();
        policy::identify(self.env, original, entry);
        self.report_new(FlowKind::Drop, reason, Direction::None);
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
    fn report_new(&mut self, kind: FlowKind, reason: u8, direction: Direction) {
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

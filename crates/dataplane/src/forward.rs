//! The way of a packet: from an endpoint, and to one.
//!
//! From an endpoint, in this order:
//! 1. What stays on the link (ARP, neighbour discovery) goes to the host's stack; see
//!    [`control`](crate::control).
//! 2. The source address must be the endpoint's own.
//! 3. A packet of a known flow gets the flow's verdict and translation; an older verdict is given
//!    again first. That is the quick path: one lookup for the source, one for the flow, one for the
//!    destination.
//! 4. A packet to a service gets the backend that its flow has, or one is chosen. If another flow
//!    has the client's port to that backend, the flow gets another source port.
//! 5. A new flow is decided by the policies of both local ends, with the translated tuple.
//! 6. It is delivered: to a local endpoint by redirect, or through the host's stack with a mark that
//!    says that all has been decided; to anybody else by the host's stack.
//!
//! To an endpoint, packets with the mark pass; all others take steps 3 and 5. The node's own address
//! as source counts if the node has sent the packet, and an endpoint's if it entered by the
//! endpoint's interface: from anywhere else they are forged.
//!
//! An ICMP error is a packet of the flow it is about: it needs a known flow, changes nothing in it,
//! and is translated as a packet of that flow would be. An endpoint's error must be about a packet
//! that was sent to the endpoint.

mod direct_return;
mod outside;
mod port;
mod translation;
mod verdict;

use direct_return::Arrived;
pub use outside::{from_outside, to_outside};
pub(crate) use translation::is_stale;

use crate::conntrack::Entry;
use crate::control::{self, Control};
use crate::env::Env;
use crate::flow::{self, Tuple};
use crate::packet::Packet;
use crate::parse::{self, Fragmented, Kind, Parsed};
use crate::policy;
use crate::{fragment, rewrite};
use abi::conntrack::{FlowKey, ServiceFlow, ServiceFlowKey, conn_flags};
use abi::drop_reason::DropReason;
use abi::endpoint::{Endpoint, flags};
use abi::event::FlowKind;
use abi::identity;
use abi::service::scope;
use abi::state::{MARK_DECIDED, State, state_flags};
use abi::{Address, Port, metrics};
use wire::ip::protocol;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The host's stack goes on with it.
    Pass,
    /// The same, with [`MARK_DECIDED`].
    PassDecided,
    /// Into the namespace behind this interface of a veth pair.
    RedirectPeer(u32),
    /// Out by this interface, to the neighbour that the route names.
    RedirectNeighbour(u32),
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
    /// Not the end of the way: what is to be done next.
    const DELIVER: Outcome = Outcome(5);
    const DELIVER_TRANSLATED: Outcome = Outcome(6);
    const CREATE: Outcome = Outcome(7);
    const CREATE_TRANSLATED: Outcome = Outcome(8);
    /// The reply of a service to a client outside.
    const DELIVER_AWAY: Outcome = Outcome(9);
    const NEIGHBOUR: u64 = 10;
    /// A backend has to be chosen.
    const CHOOSE: Outcome = Outcome(11);
    /// The backend that the flow had, though its connection is not known any more.
    const KEEP: Outcome = Outcome(12);
    /// Sent on to the node of its backend.
    const CREATE_AT_NODE: Outcome = Outcome(13);
    const DELIVER_AT_NODE: Outcome = Outcome(14);
    const SHIFT: u32 = 8;

    #[inline(always)]
    const fn redirect(ifindex: u32) -> Self {
        Outcome(Self::REDIRECT | (ifindex as u64) << Self::SHIFT)
    }

    #[inline(always)]
    const fn neighbour(ifindex: u32) -> Self {
        Outcome(Self::NEIGHBOUR | (ifindex as u64) << Self::SHIFT)
    }

    #[inline(always)]
    const fn is(self, other: Outcome) -> bool {
        self.0 == other.0
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
    /// The service doesn't take flows of this source.
    NotAdmitted,
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
    /// Of a packet that another node has sent on.
    arrived: Arrived,
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
                source: Address::NONE,
                port: Port::NONE,
                source_port: Port::NONE,
                zero: [0; 4],
            },
            arrived: Arrived::NONE,
        }
    }
}

/// One packet on its way, with everything that its decision needs.
struct Way<'a, E, P> {
    env: &'a E,
    packet: &'a mut P,
    scratch: &'a mut Scratch,
    state: &'a State,
    /// The policy epoch before anything was looked up. The agent raises it after the tables, so a
    /// verdict made of older tables must not be stamped with what the map says by then.
    epoch: u32,
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
    let mut way = Way::new(env, packet, scratch, &state);
    let mut found = way.examine();
    if found == CONTROL {
        found = way.control_from_endpoint();
    }
    match found {
        EXAMINED => {}
        LINK => return Decision::Pass,
        reason => return way.refuse(reason),
    }
    match env.endpoint(&way.scratch.parsed.source) {
        Some(endpoint) if endpoint.ifindex == way.packet.ifindex() => {}
        _ => return way.refuse(DropReason::SpoofedSource as u8),
    }
    let parsed = &way.scratch.parsed;
    if parsed.is_error && parsed.tuple.source != parsed.source {
        return way.refuse(DropReason::UnrelatedError as u8);
    }
    if way.scratch.parsed.fragmented != Fragmented::No && !way.resolve_fragment() {
        return way.refuse(DropReason::FragmentUnknown as u8);
    }
    let outcome = way.sent_by_endpoint();
    way.finish(outcome)
}

#[inline(always)]
pub fn to_endpoint<E: Env, P: Packet>(env: &E, packet: &mut P, scratch: &mut Scratch) -> Decision {
    if packet.mark() == MARK_DECIDED {
        return Decision::Pass;
    }
    let Some(state) = env.state() else { return Decision::Drop };
    let mut way = Way::new(env, packet, scratch, &state);
    let mut found = way.examine();
    if found == CONTROL {
        found = way.control_to_endpoint();
    }
    match found {
        EXAMINED => {}
        LINK => return Decision::Pass,
        reason => return way.refuse(reason),
    }
    match env.endpoint(&way.scratch.parsed.destination) {
        Some(endpoint) if endpoint.ifindex == way.packet.ifindex() => {}
        _ => return way.refuse(DropReason::NoEndpoint as u8),
    }
    if way.scratch.parsed.fragmented != Fragmented::No && !way.resolve_fragment() {
        return way.refuse(DropReason::FragmentUnknown as u8);
    }
    let outcome = way.sent_to_endpoint();
    way.finish(outcome)
}

/// The packet has been parsed.
const EXAMINED: u8 = 0;
/// It stays on the link.
const LINK: u8 = u8::MAX;
/// It has to be found out whether it does.
const CONTROL: u8 = u8::MAX - 1;

#[inline(always)]
const fn examined(control: Control) -> u8 {
    match control {
        Control::Link => LINK,
        Control::Ordinary => EXAMINED,
        // Its source says that it is a router.
        Control::OfRouter => DropReason::SpoofedSource as u8,
    }
}

impl<'a, E: Env, P: Packet> Way<'a, E, P> {
    #[inline(always)]
    fn new(env: &'a E, packet: &'a mut P, scratch: &'a mut Scratch, state: &'a State) -> Self {
        let epoch = state.policy_epoch;
        scratch.arrived.is_translated = 0;
        Way { env, packet, scratch, state, epoch, now: env.now(), from_high: false }
    }

    /// False if the packet is a fragment whose first is not known.
    #[inline(never)]
    fn resolve_fragment(&mut self) -> bool {
        fragment::resolve(self.env, &mut self.scratch.parsed)
    }

    /// Parses the packet. Gives one of the above or a [`DropReason`], as a number.
    #[inline(never)]
    fn examine(&mut self) -> u8 {
        match parse::parse(self.packet, &mut self.scratch.parsed) {
            Ok(Kind::Flow) => EXAMINED,
            Ok(Kind::Link) => LINK,
            Ok(Kind::Control) => CONTROL,
            Err(reason) => reason as u8,
        }
    }

    /// What [`examine`](Self::examine) would have given, had it known.
    #[inline(never)]
    fn control_from_endpoint(&self) -> u8 {
        examined(control::from_endpoint(self.env, &self.scratch.parsed))
    }

    #[inline(never)]
    fn control_to_endpoint(&self) -> u8 {
        examined(control::to_endpoint(&self.scratch.parsed))
    }

    #[inline(always)]
    fn sent_by_endpoint(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        let found = env.connection(&self.scratch.key).filter(|entry| self.is_live(entry));
        let beside = found.as_ref().is_some_and(|entry| self.is_beside(entry));
        let next = if let Some(entry) = found
            && !beside
        {
            let is_reply = entry.is_reply(self.from_high);
            let translated = entry.is_translated();
            if translated && !self.translate_reply(&entry) {
                return Outcome::refuse(DropReason::RewriteFailed);
            }
            if !self.follow(&entry, is_reply) {
                return Outcome::DROP;
            }
            match (translated, entry.has(conn_flags::OUTSIDE)) {
                (false, _) => Outcome::DELIVER,
                (true, false) => Outcome::DELIVER_TRANSLATED,
                (true, true) => Outcome::DELIVER_AWAY,
            }
        } else {
            self.unknown(beside)
        };
        // Here and not in `unknown`, whose stack would be in use meanwhile.
        let translated =
            next.is(Outcome::DELIVER_TRANSLATED) || next.is(Outcome::CREATE_TRANSLATED);
        if next.is(Outcome::CREATE) || next.is(Outcome::CREATE_TRANSLATED) {
            if !self.create(translated) {
                return Outcome::DROP;
            }
        } else if next.is(Outcome::DELIVER_AWAY) {
            return self.send_on();
        } else if !next.is(Outcome::DELIVER) && !translated {
            return next;
        }
        self.deliver(translated)
    }

    #[inline(always)]
    fn sent_to_endpoint(&mut self) -> Outcome {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        if let Some(entry) = env.connection(&self.scratch.key)
            && self.is_live(&entry)
        {
            let is_reply = entry.is_reply(self.from_high);
            if self.is_forged_in(&entry, is_reply) {
                return Outcome::refuse(DropReason::SpoofedSource);
            }
            if !self.follow(&entry, is_reply) {
                return Outcome::DROP;
            }
            if is_reply
                && entry.is_translated()
                && !(self.translate_reply(&entry) && self.translate())
            {
                return Outcome::refuse(DropReason::RewriteFailed);
            }
            return self.pass();
        }
        if self.is_forged() {
            return Outcome::refuse(DropReason::SpoofedSource);
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

    /// True if the source is the node's or an endpoint's address, but the packet is from elsewhere.
    #[inline(never)]
    fn is_forged(&self) -> bool {
        let source = self.scratch.parsed.source;
        let entered = self.packet.ingress_ifindex();
        match self.env.endpoint(&source) {
            Some(endpoint) => endpoint.ifindex != entered,
            None => entered != 0 && policy::is_host(self.env, source),
        }
    }

    /// The same where the flow tells most of it. Answers of the node may come from behind it: it
    /// may have passed the request on, as for a published port.
    #[inline(always)]
    fn is_forged_in(&self, entry: &Entry, is_reply: bool) -> bool {
        if self.scratch.parsed.is_error {
            // Comes from whoever is on the way.
            return false;
        }
        if is_reply {
            return entry.responder_endpoint.get() != 0 && self.is_forged();
        }
        let host = entry.initiator_identity.get() == identity::HOST;
        (entry.initiator_endpoint.get() != 0 && self.is_forged())
            || (host && self.packet.ingress_ifindex() != 0)
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

    /// The first packet of a flow, or any packet to a service: what is to be done with it.
    #[inline(never)]
    fn unknown(&mut self, beside: bool) -> Outcome {
        let known = self.known_service_flow();
        if !known.is(Outcome::CHOOSE) && !known.is(Outcome::KEEP) {
            return known;
        }
        if self.scratch.parsed.is_error {
            return Outcome::refuse(DropReason::UnrelatedError);
        }
        self.scratch.entry = Entry::empty();
        if known.is(Outcome::KEEP) {
            self.keep_backend();
        } else {
            match self.choose_backend(scope::INSIDE) {
                Chosen::Backend => {}
                Chosen::NoBackend => return Outcome::refuse(DropReason::NoBackend),
                Chosen::NotAdmitted => return Outcome::refuse(DropReason::SourceNotAdmitted),
                Chosen::NotAService if beside => return self.begin_direct_flow(),
                Chosen::NotAService => {
                    let tuple = &self.scratch.parsed.tuple;
                    self.from_high = flow::canonical(tuple, &mut self.scratch.key);
                    return Outcome::CREATE;
                }
            }
        }
        self.begin_service_flow(!known.is(Outcome::KEEP))
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
            self.report_refusal(DropReason::TimeExceeded as u8);
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
        let (to, from) = (endpoint.workload_mac, endpoint.host_mac);
        if rewrite::hop(self.packet, &self.scratch.parsed, to, from).is_err() {
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

    /// Drops a packet that has no flow, or whose flow it must not touch.
    #[inline(always)]
    fn refuse(&mut self, reason: u8) -> Decision {
        self.report_refusal(reason);
        Decision::Drop
    }

    #[inline(never)]
    fn report_refusal(&mut self, reason: u8) {
        let Scratch { parsed, original, entry, .. } = &mut *self.scratch;
        *original = parsed.tuple;
        *entry = Entry::empty();
        entry.denied.set(reason);
        policy::identify(self.env, original, entry);
        if reason == DropReason::NoBackend as u8 || reason == DropReason::SourceNotAdmitted as u8 {
            entry.vip.set(original.destination);
            entry.vip_port.set(original.destination_port);
            let inside = translation::service_key(original, scope::INSIDE);
            let outside = translation::service_key(original, scope::OUTSIDE);
            if let Some(found) = self.env.service(&inside).or_else(|| self.env.service(&outside)) {
                entry.service.set(found.id);
            }
        }
        self.report_new(FlowKind::Drop);
    }

    #[inline(always)]
    fn finish(&mut self, outcome: Outcome) -> Decision {
        let Outcome(number) = outcome;
        let data = (number >> Outcome::SHIFT) as u32;
        match number & 0xff {
            0 => Decision::Pass,
            1 => Decision::PassDecided,
            Outcome::REDIRECT => Decision::RedirectPeer(data),
            Outcome::NEIGHBOUR => Decision::RedirectNeighbour(data),
            Outcome::REFUSE => self.refuse(data as u8),
            _ => Decision::Drop,
        }
    }
}

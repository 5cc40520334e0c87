//! Packets to services, and back.

use super::port::Holder;
use super::{Chosen, Outcome, Scratch, Way};
use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow::{self, Tuple};
use crate::packet::Packet;
use crate::{rewrite, service};
use abi::conntrack::{ServiceFlow, conn_flags};
use abi::drop_reason::DropReason;
use abi::service::{HAIRPIN_V4, HAIRPIN_V6, ServiceKey, service_flags};
use abi::{Address, Port, metrics};
use wire::ip::protocol;
use wire::transport::tcp_flags;

/// Flows of which map `masquerades` says whose they are.
const CLIENT_REPLACED: u16 = conn_flags::MASQUERADED | conn_flags::OTHER_PORT;

/// How old the time in a service's flow may be while the flow goes on: not every packet writes it.
const REFRESH_NS: u64 = 60_000_000_000;

impl<'a, E: Env, P: Packet> Way<'a, E, P> {
    /// The live entry of the translated tuple, if it belongs to the service in the packet's tuple.
    #[inline(always)]
    pub(super) fn flow_of_service(&mut self) -> Option<E::Held<'a, Entry>> {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.translated, &mut self.scratch.key);
        let entry = env.connection(&self.scratch.key)?;
        (self.is_own(&entry) && self.is_live(&entry)).then_some(entry)
    }

    /// True if the entry, which is that of the translated tuple, is of the packet's flow: other
    /// services, and other ports of the same client, may have led to that tuple.
    #[inline(always)]
    pub(super) fn is_own(&self, entry: &Entry) -> bool {
        let tuple = &self.scratch.parsed.tuple;
        let same = !entry.is_reply(self.from_high)
            && entry.is_translated()
            && entry.vip.get() == tuple.destination
            && entry.vip_port.get() == tuple.destination_port;
        if !same || !entry.has(CLIENT_REPLACED) {
            return same && self.scratch.translated.source_port == tuple.source_port;
        }
        match self.env.masquerade(&self.scratch.key) {
            Some(of) => of.client == tuple.source && of.port == tuple.source_port,
            None => false,
        }
    }

    /// Gives a packet the verdict of its flow to a service if the connection is known; otherwise says
    /// what is to be done about a backend.
    #[inline(always)]
    pub(super) fn known_service_flow(&mut self) -> Outcome {
        let env = self.env;
        let Some(flow) = env.service_flow(&self.scratch.parsed.tuple) else {
            return Outcome::CHOOSE;
        };
        self.translate_by(&flow);
        if let Some(entry) = self.flow_of_service()
            && (self.scratch.parsed.tuple.protocol == protocol::TCP
                || self.scratch.parsed.is_error
                || flow.backend == 0
                || env.backend(flow.backend).is_some())
        {
            if self.is_stale(&flow) {
                self.scratch.service_flow = ServiceFlow { last_seen_ns: self.now, ..*flow };
                self.remember_backend();
            }
            return self.go_on(&entry);
        }
        if !self.is_open(&flow) {
            return Outcome::CHOOSE;
        }
        self.scratch.service_flow = *flow;
        Outcome::KEEP
    }

    /// The first packet of a flow to the backend in `service_flow`. If another flow has its tuple, a
    /// new one gets another source port, as netfilter does it; one that the backend knows by that
    /// tuple can't.
    #[inline(always)]
    pub(super) fn begin_service_flow(&mut self, is_new: bool) -> Outcome {
        let env = self.env;
        let mut holder = self.holder();
        if holder == Holder::Other && is_new && self.take_port() {
            holder = self.holder();
        }
        if holder == Holder::Other {
            return Outcome::refuse(DropReason::TranslationClash);
        }
        self.remember_backend();
        if holder == Holder::Own
            && let Some(entry) = env.connection(&self.scratch.key)
        {
            return self.go_on(&entry);
        }
        let ServiceFlow { source, source_port, .. } = self.scratch.service_flow;
        if !source.is_none() {
            self.scratch.entry.set(conn_flags::MASQUERADED);
        } else if source_port != Port::NONE {
            self.scratch.entry.set(conn_flags::OTHER_PORT);
        }
        Outcome::CREATE_TRANSLATED
    }

    /// The first packet of a flow to nobody's service, whose tuple a service's flow has already: it
    /// becomes a flow of a service at its own destination, for the sake of another source port.
    #[inline(always)]
    pub(super) fn begin_direct_flow(&mut self) -> Outcome {
        let tuple = &self.scratch.parsed.tuple;
        self.scratch.service_flow = ServiceFlow {
            last_seen_ns: self.now,
            backend: 0,
            service: 0,
            address: tuple.destination,
            source: Address::NONE,
            port: tuple.destination_port,
            source_port: Port::NONE,
            zero: [0; 4],
        };
        self.use_backend();
        self.begin_service_flow(true)
    }

    /// Whether the packet has the tuple that a service's flow has behind the translation, without
    /// being one of it.
    #[inline(always)]
    pub(super) fn is_beside(&self, entry: &Entry) -> bool {
        entry.is_translated()
            && !entry.has(conn_flags::DIRECT_RETURN)
            && !entry.is_reply(self.from_high)
    }

    /// The next packet of a flow to a service.
    #[inline(always)]
    pub(super) fn go_on(&mut self, entry: &Entry) -> Outcome {
        if !self.follow(entry, false) {
            return Outcome::DROP;
        }
        Outcome::DELIVER_TRANSLATED
    }

    /// Looks the destination up as a service. If it is one, writes the translated tuple and what
    /// the new entry says of it.
    #[inline(never)]
    pub(super) fn choose_backend(&mut self, scope: u8) -> Chosen {
        let tuple = &self.scratch.parsed.tuple;
        let key = service_key(tuple, scope);
        let Some(found) = self.env.service(&key) else { return Chosen::NotAService };
        if !service::admits(self.env, &found, tuple.source) {
            return Chosen::NotAdmitted;
        }
        let hash = flow::hash(tuple);
        let Some(choice) = service::choose(self.env, &found, tuple.source, hash) else {
            return Chosen::NoBackend;
        };
        if found.flags & service_flags::DIRECT_RETURN != 0 {
            self.scratch.entry.set(conn_flags::DIRECT_RETURN);
        }
        self.scratch.service_flow = ServiceFlow {
            last_seen_ns: self.now,
            backend: choice.backend,
            service: found.id,
            address: choice.address,
            source: Address::NONE,
            port: choice.port,
            source_port: Port::NONE,
            zero: [0; 4],
        };
        self.use_backend();
        Chosen::Backend
    }

    /// Writes the translated tuple for the backend that the flow has had, and what the new entry
    /// says. Whose flow it is may have been forgotten as its connection was.
    #[inline(always)]
    pub(super) fn keep_backend(&mut self) {
        self.use_backend();
        if self.scratch.service_flow.source_port != Port::NONE {
            self.from_high = flow::canonical(&self.scratch.translated, &mut self.scratch.key);
            self.remember_client();
        }
    }

    /// Writes the translated tuple for the backend in `service_flow`, and what the new entry says.
    #[inline(always)]
    pub(super) fn use_backend(&mut self) {
        let Scratch { parsed, entry, service_flow: flow, .. } = &mut *self.scratch;
        entry.vip.set(parsed.tuple.destination);
        entry.vip_port.set(parsed.tuple.destination_port);
        entry.service.set(flow.service);
        entry.backend.set(flow.backend);
        flow.last_seen_ns = self.now;
        if self.translate_by_own() {
            self.scratch.entry.set(conn_flags::HAIRPIN);
        }
    }

    #[inline(always)]
    pub(super) fn is_stale(&self, flow: &ServiceFlow) -> bool {
        is_stale(flow, self.now)
    }

    /// True if the packet in hand, of whose connection there is no entry (any more), can only belong
    /// to one that `flow`'s backend has: another backend would answer it with a reset.
    #[inline(always)]
    pub(super) fn is_open(&self, flow: &ServiceFlow) -> bool {
        let parsed = &self.scratch.parsed;
        let idle = self.now.saturating_sub(flow.last_seen_ns);
        parsed.tuple.protocol == protocol::TCP
            && !parsed.is_error
            && parsed.tcp & tcp_flags::SYN == 0
            && idle <= u64::from(self.state.timeouts.tcp_established) * 1_000_000_000
    }

    #[inline(always)]
    pub(super) fn remember_backend(&self) {
        self.env.insert_service_flow(&self.scratch.parsed.tuple, &self.scratch.service_flow);
    }

    /// Writes the tuple of a packet to a service as its backend sees it. True if the backend is the
    /// sender itself, which then sees the hairpin address as the source.
    #[inline(always)]
    pub(super) fn translate_by(&mut self, flow: &ServiceFlow) -> bool {
        to_backend(&self.scratch.parsed.tuple, flow, &mut self.scratch.translated)
    }

    /// The same by the flow in hand.
    #[inline(always)]
    pub(super) fn translate_by_own(&mut self) -> bool {
        let Scratch { parsed, service_flow, translated, .. } = &mut *self.scratch;
        to_backend(&parsed.tuple, service_flow, translated)
    }

    /// Writes the tuple of a backend's packet as the service's client expects it. False if it is not
    /// known any more who that is.
    #[inline(always)]
    pub(super) fn translate_reply(&mut self, entry: &Entry) -> bool {
        let env = self.env;
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
        if !entry.has(CLIENT_REPLACED) {
            return true;
        }
        let Some(of) = env.masquerade(&self.scratch.key) else { return false };
        self.scratch.translated.destination = of.client;
        self.scratch.translated.destination_port = of.port;
        true
    }

    /// False if the packet could not be rewritten.
    #[inline(never)]
    pub(super) fn translate(&mut self) -> bool {
        self.env.count(metrics::PACKET_TRANSLATED, self.scratch.parsed.length);
        let Scratch { parsed, translated, arrived, .. } = &mut *self.scratch;
        if arrived.is_translated != 0 {
            parsed.tuple.destination = translated.destination;
            parsed.tuple.destination_port = translated.destination_port;
        }
        rewrite::translate(self.packet, &self.scratch.parsed, &self.scratch.translated).is_ok()
    }
}

/// Whether the time in a service's flow is to be written again.
#[inline(always)]
pub(crate) fn is_stale(flow: &ServiceFlow, now: u64) -> bool {
    now.saturating_sub(flow.last_seen_ns) > REFRESH_NS
}

#[inline(always)]
pub(super) fn service_key(tuple: &Tuple, scope: u8) -> ServiceKey {
    ServiceKey {
        address: tuple.destination,
        port: tuple.destination_port,
        protocol: tuple.protocol,
        scope,
    }
}

#[inline(always)]
fn to_backend(from: &Tuple, flow: &ServiceFlow, translated: &mut Tuple) -> bool {
    let address = flow.address;
    let hairpin = from.source == address;
    let masqueraded = !flow.source.is_none();
    let other_port = flow.source_port != Port::NONE;
    let source = match (hairpin, address.is_v4()) {
        _ if masqueraded => flow.source,
        (false, _) => from.source,
        (true, true) => HAIRPIN_V4,
        (true, false) => HAIRPIN_V6,
    };
    *translated = Tuple {
        source,
        destination: address,
        source_port: if other_port { flow.source_port } else { from.source_port },
        destination_port: flow.port,
        protocol: from.protocol,
        zero: [0; 3],
    };
    hairpin && !masqueraded
}

//! Direct return: a packet from outside to a service whose backend is elsewhere is sent on to the
//! backend's node, which answers the client itself, with the service's address.
//!
//! What is sent on goes to the backend's own address, which the network routes to its node, and
//! says how the client knows the service:
//!
//! | | outer packet | inner packet | says |
//! |---|---|---|---|
//! | IPIP | from 172.16/16 or 100::/64 | as it came | the backend's port, in the outer source's last half-word |
//! | Geneve | from the node | translated | the service's address and port, in an option |
//! | option | none | translated | the same, in an option of IPv4 or IPv6 |
//!
//! The other node takes all that away, whichever way it sends such packets itself, and treats what
//! is left as a packet to the service, of which it has not to choose a backend.

use super::{EXAMINED, Outcome, Way};
use crate::balancer::{Frame, Link, Outer, outer_v4, outer_v6, too_big_v4, too_big_v6};
use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow;
use crate::packet::Packet;
use crate::parse::Fragmented;
use crate::{policy, service};
use abi::conntrack::{ServiceFlow, conn_flags};
use abi::drop_reason::DropReason;
use abi::service::{Service, scope, service_flags};
use abi::state::state_flags;
use abi::{Address, Port, metrics};
use core::hint::black_box;
use wire::Be16;
use wire::dsr::{self, GeneveV4, GeneveV6, InV4, InV6};
use wire::ethernet;
use wire::geneve::{self, Geneve};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::{self, Udp, tcp_flags};

const NETWORK: usize = ethernet::LEN;
const V4: usize = NETWORK + ipv4::LEN;
const V6: usize = NETWORK + ipv6::LEN;
const UDP: u32 = size_of::<Udp>() as u32;

/// The MTU of an interface of which nothing is known.
const USUAL_MTU: u32 = 1500;

/// Prefix of the outer source in IPIP.
const SOURCE_V4: [u8; 2] = [172, 16];
const SOURCE_V6: [u32; 2] = [0x0100_0000u32.to_be(), 0];

/// A packet that another node has sent on.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    backend: Address,
    port: Port,
    /// Not 0: it carries the backend's address and port already.
    pub(super) is_translated: u16,
}

impl Arrived {
    pub const NONE: Arrived =
        Arrived { backend: Address::NONE, port: Port::NONE, is_translated: 0 };
}

/// What a packet from outside is.
pub(super) const ORDINARY: u8 = 0;
/// Another node has sent it on; it is as it was when that got it, but for what
/// [`Arrived::is_translated`] says.
pub(super) const SENT_ON: u8 = 1;
/// It could not be made so.
pub(super) const BROKEN: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dispatch {
    Ipip,
    Geneve,
    Option,
}

impl<E: Env, P: Packet> Way<'_, E, P> {
    #[inline(always)]
    fn dispatch(&self) -> Dispatch {
        let flags = self.state.flags;
        if flags & state_flags::SEND_ON_BY_GENEVE != 0 {
            Dispatch::Geneve
        } else if flags & state_flags::SEND_ON_BY_OPTION != 0 {
            Dispatch::Option
        } else {
            Dispatch::Ipip
        }
    }

    /// Whether the backend that was chosen, which is elsewhere, is to answer the client itself. If it
    /// is the client, it would see a packet from itself.
    #[inline(always)]
    pub(super) fn returns_directly(&self) -> bool {
        self.scratch.entry.has(conn_flags::DIRECT_RETURN)
            && self.scratch.service_flow.address != self.scratch.parsed.tuple.source
    }

    /// The first packet of a flow to the backend in `service_flow`.
    #[inline(always)]
    pub(super) fn begin_at_node(&mut self) -> Outcome {
        self.remember_backend();
        self.from_high = flow::canonical(&self.scratch.parsed.tuple, &mut self.scratch.key);
        self.scratch.entry.set(conn_flags::OUTSIDE | conn_flags::DIRECT_RETURN);
        Outcome::CREATE_AT_NODE
    }

    /// The next one: writes which backend it goes to. False if that is not known any more.
    #[inline(always)]
    pub(super) fn known_node(&mut self) -> bool {
        let env = self.env;
        let Some(flow) = env.service_flow(&self.scratch.parsed.tuple) else { return false };
        let is_tcp = self.scratch.parsed.tuple.protocol == protocol::TCP;
        if !is_tcp && !self.scratch.parsed.is_error && env.backend(flow.backend).is_none() {
            return false;
        }
        self.scratch.service_flow = *flow;
        if self.is_stale(&flow) {
            self.scratch.service_flow.last_seen_ns = self.now;
            self.remember_backend();
        }
        true
    }

    /// Sends the packet on to the node of the backend in `service_flow`.
    #[inline(never)]
    pub(super) fn send_to_node(&mut self) -> Outcome {
        let env = self.env;
        if self.scratch.parsed.ttl <= 1 {
            return Outcome::refuse(DropReason::TimeExceeded);
        }
        if self.scratch.parsed.network != NETWORK as u32 {
            // A VLAN tag in the frame.
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        self.translate_by_own();
        let ifindex = self.find_route();
        let how = self.dispatch();
        let overhead = overhead(how, self.scratch.parsed.is_v6);
        let mtu = self.mtu(ifindex);
        if self.longest() + overhead > mtu {
            return self.answer_too_big(mtu - overhead);
        }
        if how != Dispatch::Ipip && !self.translate() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        if !self.take_hop() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        let done = match (how, self.scratch.parsed.is_v6) {
            (Dispatch::Ipip, false) => self.in_ipip_v4(),
            (Dispatch::Ipip, true) => self.in_ipip_v6(),
            (Dispatch::Geneve, false) => self.in_geneve_v4(),
            (Dispatch::Geneve, true) => self.in_geneve_v6(),
            (Dispatch::Option, false) => self.with_option_v4(),
            (Dispatch::Option, true) => self.with_option_v6(),
        };
        if done.is_none() {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        env.count(metrics::FORWARDED, self.scratch.parsed.length);
        if ifindex == 0 {
            // The host's stack says why there is no route.
            return Outcome::PASS;
        }
        Outcome::neighbour(ifindex)
    }

    /// Of the interface that the packet leaves by, which is usually one of the node's own.
    #[inline(always)]
    fn mtu(&self, ifindex: u32) -> u32 {
        let mut mtu = self.mtu_of(ifindex);
        if mtu == 0 {
            mtu = self.mtu_of(self.packet.ifindex());
        }
        if mtu > 2 * V6 as u32 { mtu } else { USUAL_MTU }
    }

    /// 0 if the interface isn't one of the node's own.
    #[inline(always)]
    fn mtu_of(&self, ifindex: u32) -> u32 {
        // As in [`policy::is_host`].
        black_box(match self.env.device(ifindex) {
            Some(device) => device.mtu,
            None => 0,
        })
    }

    /// Bytes of the longest IP packet that leaves instead of this one.
    #[inline(always)]
    fn longest(&self) -> u32 {
        let segment = self.packet.segment();
        let parsed = &self.scratch.parsed;
        if segment == 0 {
            return parsed.length;
        }
        let header = if parsed.tuple.protocol == protocol::TCP {
            let offset = self.packet.read::<u8>(parsed.transport + transport::TCP_FLAGS - 1);
            u32::from(offset.unwrap_or(0) >> 4) * 4
        } else {
            UDP
        };
        parsed.transport - NETWORK as u32 + header + segment
    }

    /// Makes the packet one to its sender that says so.
    #[inline(always)]
    fn answer_too_big(&mut self, mtu: u32) -> Outcome {
        if self.scratch.parsed.is_error || self.scratch.parsed.fragmented == Fragmented::Later {
            return Outcome::refuse(DropReason::RewriteFailed);
        }
        let ifindex = self.packet.ifindex();
        let is_v6 = self.scratch.parsed.is_v6;
        let mut frame = self.packet.frame();
        let done = if is_v6 { too_big_v6(&mut frame, mtu) } else { too_big_v4(&mut frame, mtu) };
        match done {
            Some(()) => Outcome::neighbour(ifindex),
            None => Outcome::refuse(DropReason::RewriteFailed),
        }
    }

    /// The node's address on the interface that the packet came by.
    #[inline(always)]
    fn own_address(&self) -> Option<Address> {
        let device = self.env.device(self.packet.ifindex())?;
        let own = if self.scratch.parsed.is_v6 { device.v6 } else { device.v4 };
        if own.is_none() { None } else { Some(own) }
    }

    #[inline(never)]
    fn in_ipip_v4(&mut self) -> Option<()> {
        let ServiceFlow { address, port, .. } = self.scratch.service_flow;
        let [high, low] = port.to_wire().to_ne_bytes();
        let source = u32::from_ne_bytes([SOURCE_V4[0], SOURCE_V4[1], high, low]);
        let length = self.scratch.parsed.length;
        let ip = outer_v4(0, length, protocol::IPIP, source, address.v4_word());
        self.wrap(ipv4::LEN as u32, Outer::V4)?.write_head::<Ipv4, NETWORK>(&ip)
    }

    #[inline(never)]
    fn in_ipip_v6(&mut self) -> Option<()> {
        let ServiceFlow { address, port, .. } = self.scratch.service_flow;
        let [high, low] = port.to_wire().to_ne_bytes();
        let last = u32::from_ne_bytes([0, 0, high, low]);
        let source = [SOURCE_V6[0], SOURCE_V6[1], flow::hash(&self.scratch.parsed.tuple), last];
        let ip = outer_v6(0, self.scratch.parsed.length, protocol::IPV6, source, address.0);
        self.wrap(ipv6::LEN as u32, Outer::V6)?.write_head::<Ipv6, NETWORK>(&ip)
    }

    #[inline(always)]
    fn udp(&self, length: u32) -> Udp {
        // Ports that Linux gives to sockets, so that receive queues share the load.
        let spread = flow::hash(&self.scratch.parsed.tuple) as u16 | 0xc000;
        Udp {
            source: Be16::new(spread),
            destination: dsr::GENEVE_PORT,
            length: Be16::new(length as u16),
            // None is needed before a packet that has its own (RFC 6935 for IPv6).
            checksum: Be16(0),
        }
    }

    #[inline(never)]
    fn in_geneve_v4(&mut self) -> Option<()> {
        const BEFORE: u32 = UDP + geneve::LEN + dsr::GENEVE_V4_LEN;
        let (own, to) = (self.own_address()?, self.scratch.service_flow.address);
        let length = self.scratch.parsed.length + BEFORE;
        let tuple = &self.scratch.parsed.tuple;
        let option = GeneveV4::new(tuple.destination.v4_word(), tuple.destination_port.to_wire());
        let udp = self.udp(length);
        let ip = outer_v4(0, length, protocol::UDP, own.v4_word(), to.v4_word());
        let mut frame = self.wrap(ipv4::LEN as u32 + BEFORE, Outer::UdpV4)?;
        frame.write_head::<Ipv4, NETWORK>(&ip)?;
        frame.write_head::<Udp, V4>(&udp)?;
        let header = dsr::geneve(false, dsr::GENEVE_V4_LEN);
        frame.write_head::<Geneve, { V4 + UDP as usize }>(&header)?;
        frame.write_head::<GeneveV4, { V4 + (UDP + geneve::LEN) as usize }>(&option)
    }

    #[inline(never)]
    fn in_geneve_v6(&mut self) -> Option<()> {
        const BEFORE: u32 = UDP + geneve::LEN + dsr::GENEVE_V6_LEN;
        let (own, to) = (self.own_address()?, self.scratch.service_flow.address);
        let length = self.scratch.parsed.length + BEFORE;
        let tuple = &self.scratch.parsed.tuple;
        let option = GeneveV6::new(tuple.destination.0, tuple.destination_port.to_wire());
        let udp = self.udp(length);
        let ip = outer_v6(0, length, protocol::UDP, own.0, to.0);
        let mut frame = self.wrap(ipv6::LEN as u32 + BEFORE, Outer::UdpV6)?;
        frame.write_head::<Ipv6, NETWORK>(&ip)?;
        frame.write_head::<Udp, V6>(&udp)?;
        let header = dsr::geneve(true, dsr::GENEVE_V6_LEN);
        frame.write_head::<Geneve, { V6 + UDP as usize }>(&header)?;
        frame.write_head::<GeneveV6, { V6 + (UDP + geneve::LEN) as usize }>(&option)
    }

    #[inline(never)]
    fn with_option_v4(&mut self) -> Option<()> {
        let tuple = &self.scratch.parsed.tuple;
        let option = InV4::new(tuple.destination.v4_word(), tuple.destination_port.to_wire());
        let ip = self.packet.head::<Ipv4, NETWORK>()?;
        let ip = ip.with_options(dsr::IN_V4_LEN as u8 / 4, option.sum(), true)?;
        let mut frame = self.wrap(dsr::IN_V4_LEN, Outer::None)?;
        frame.write_head::<Ipv4, NETWORK>(&ip)?;
        frame.write_head::<InV4, V4>(&option)
    }

    #[inline(never)]
    fn with_option_v6(&mut self) -> Option<()> {
        let tuple = &self.scratch.parsed.tuple;
        let (address, port) = (tuple.destination.0, tuple.destination_port.to_wire());
        let mut ip = self.packet.head::<Ipv6, NETWORK>()?;
        let option = InV6::new(ip.next_header, address, port);
        ip.next_header = protocol::DESTINATION_OPTIONS;
        let length = ip.payload_length.number().wrapping_add(dsr::IN_V6_LEN as u16);
        ip.payload_length = Be16::new(length);
        let mut frame = self.wrap(dsr::IN_V6_LEN, Outer::None)?;
        frame.write_head::<Ipv6, NETWORK>(&ip)?;
        frame.write_head::<InV6, V6>(&option)
    }

    /// Makes room behind the Ethernet header, which stays.
    #[inline(always)]
    fn wrap(&mut self, bytes: u32, outer: Outer) -> Option<P::Frame<'_>> {
        let mut frame = self.packet.frame();
        let link = frame.head::<Link, 0>()?;
        frame.grow(bytes, outer)?;
        frame.write_head::<Link, 0>(&link)?;
        Some(frame)
    }

    /// Takes it away again.
    #[inline(always)]
    fn unwrap(&mut self, bytes: u32) -> Option<P::Frame<'_>> {
        let mut frame = self.packet.frame();
        let link = frame.head::<Link, 0>()?;
        frame.shrink(bytes)?;
        frame.write_head::<Link, 0>(&link)?;
        Some(frame)
    }

    /// Whether it is worth looking if another node has sent the packet on.
    #[inline(always)]
    pub(super) fn may_be_sent_on(&self) -> bool {
        let parsed = &self.scratch.parsed;
        let plain = if parsed.is_v6 { V6 } else { V4 } as u32;
        let tunnel = match parsed.tuple.protocol {
            protocol::IPIP | protocol::IPV6 => true,
            protocol::UDP => parsed.tuple.destination_port.to_wire() == dsr::GENEVE_PORT.0,
            _ => false,
        };
        parsed.network == NETWORK as u32 && (tunnel || parsed.transport > plain)
    }

    /// Makes a packet that another node has sent on what that has got from the client.
    #[inline(never)]
    pub(super) fn take_in(&mut self) -> u8 {
        let destination = self.scratch.parsed.destination;
        if self.env.endpoint(&destination).is_none() && !policy::is_host(self.env, destination) {
            return ORDINARY;
        }
        let found = if self.scratch.parsed.is_v6 { self.take_in_v6() } else { self.take_in_v4() };
        if found != SENT_ON {
            return found;
        }
        let (service, port) = (self.scratch.service_flow.address, self.scratch.service_flow.port);
        if self.examine() != EXAMINED
            || self.scratch.parsed.fragmented != Fragmented::No && !self.resolve_fragment()
        {
            return BROKEN;
        }
        let tuple = &mut self.scratch.parsed.tuple;
        if self.scratch.arrived.is_translated != 0 {
            self.scratch.arrived.backend = tuple.destination;
            self.scratch.arrived.port = tuple.destination_port;
            tuple.destination = service;
            tuple.destination_port = port;
        }
        SENT_ON
    }

    /// What the packet says of the service, or what surrounds it of the backend.
    #[inline(always)]
    fn says(&mut self, service: Address, port: u16) {
        self.scratch.arrived.is_translated = 1;
        self.scratch.service_flow.address = service;
        self.scratch.service_flow.port = Port::from_wire(port);
    }

    #[inline(never)]
    fn take_in_v4(&mut self) -> u8 {
        const OPTION: usize = V4 + (UDP + geneve::LEN) as usize;
        let Some(outer) = self.packet.head::<Ipv4, NETWORK>() else { return ORDINARY };
        if outer.version_length != 0x45 {
            let Some(option) = self.packet.head::<InV4, V4>() else { return ORDINARY };
            if option.kind != dsr::OPTION_V4 || u32::from(option.length) != dsr::IN_V4_LEN {
                return ORDINARY;
            }
            self.says(Address::from_v4_word(option.address), option.port);
            let words = dsr::IN_V4_LEN as u8 / 4;
            let Some(ip) = outer.with_options(words, option.sum(), false) else { return BROKEN };
            let Some(mut frame) = self.unwrap(dsr::IN_V4_LEN) else { return BROKEN };
            return done(frame.write_head::<Ipv4, NETWORK>(&ip));
        }
        if outer.is_fragment() {
            return ORDINARY;
        }
        if outer.protocol == protocol::IPIP {
            let [a, b, high, low] = outer.source.to_ne_bytes();
            if [a, b] != SOURCE_V4 {
                return ORDINARY;
            }
            self.scratch.arrived.backend = Address::from_v4_word(outer.destination);
            self.scratch.arrived.port = Port::from_wire(u16::from_ne_bytes([high, low]));
            return done(self.unwrap(ipv4::LEN as u32).map(|_| ()));
        }
        if outer.protocol != protocol::UDP {
            return ORDINARY;
        }
        let Some(option) = self.packet.head::<GeneveV4, OPTION>() else { return ORDINARY };
        if option.class != dsr::CLASS
            || option.kind != dsr::KIND
            || u32::from(option.length) * 4 + 4 != dsr::GENEVE_V4_LEN
        {
            return ORDINARY;
        }
        self.says(Address::from_v4_word(option.address), option.port);
        let outer = ipv4::LEN as u32 + UDP + geneve::LEN + dsr::GENEVE_V4_LEN;
        done(self.unwrap(outer).map(|_| ()))
    }

    #[inline(never)]
    fn take_in_v6(&mut self) -> u8 {
        const OPTION: usize = V6 + (UDP + geneve::LEN) as usize;
        let Some(outer) = self.packet.head::<Ipv6, NETWORK>() else { return ORDINARY };
        match outer.next_header {
            protocol::DESTINATION_OPTIONS => {
                let Some(option) = self.packet.head::<InV6, V6>() else { return ORDINARY };
                if option.kind != dsr::OPTION_V6
                    || u32::from(option.units) * 8 + 8 != dsr::IN_V6_LEN
                    || u32::from(option.length) + 4 != dsr::IN_V6_LEN
                {
                    return ORDINARY;
                }
                self.says(Address(option.address), option.port);
                let length = outer.payload_length.number().wrapping_sub(dsr::IN_V6_LEN as u16);
                let ip = Ipv6 {
                    next_header: option.next_header,
                    payload_length: Be16::new(length),
                    ..outer
                };
                let Some(mut frame) = self.unwrap(dsr::IN_V6_LEN) else { return BROKEN };
                done(frame.write_head::<Ipv6, NETWORK>(&ip))
            }
            protocol::IPV6 => {
                let [a, b, _, last] = outer.source;
                if [a, b] != SOURCE_V6 {
                    return ORDINARY;
                }
                let [_, _, high, low] = last.to_ne_bytes();
                self.scratch.arrived.backend = Address(outer.destination);
                self.scratch.arrived.port = Port::from_wire(u16::from_ne_bytes([high, low]));
                done(self.unwrap(ipv6::LEN as u32).map(|_| ()))
            }
            protocol::UDP => {
                let Some(option) = self.packet.head::<GeneveV6, OPTION>() else { return ORDINARY };
                if option.class != dsr::CLASS
                    || option.kind != dsr::KIND
                    || u32::from(option.length) * 4 + 4 != dsr::GENEVE_V6_LEN
                {
                    return ORDINARY;
                }
                self.says(Address(option.address), option.port);
                let outer = ipv6::LEN as u32 + UDP + geneve::LEN + dsr::GENEVE_V6_LEN;
                done(self.unwrap(outer).map(|_| ()))
            }
            _ => ORDINARY,
        }
    }

    /// A packet to a service that another node has sent on to its backend here.
    #[inline(never)]
    pub(super) fn sent_to_backend(&mut self) -> Outcome {
        let env = self.env;
        let to = self.scratch.arrived;
        if let Some(flow) = env.service_flow(&self.scratch.parsed.tuple)
            && flow.address == to.backend
            && flow.port == to.port
        {
            self.translate_by(&flow);
            if let Some(entry) = self.flow_of_service() {
                if self.is_stale(&flow) {
                    self.scratch.service_flow = ServiceFlow { last_seen_ns: self.now, ..*flow };
                    self.remember_backend();
                }
                return self.go_on(&entry);
            }
        }
        if self.scratch.parsed.is_error {
            return Outcome::refuse(DropReason::UnrelatedError);
        }
        let mut key = super::translation::service_key(&self.scratch.parsed.tuple, scope::OUTSIDE);
        let mut found = env.service(&key).filter(returns_directly);
        if found.is_none()
            && let Some(own) = self.own_address()
        {
            // The other node's address: a node port is one of all nodes.
            key.address = own;
            found = env.service(&key).filter(returns_directly);
        }
        let Some(found) = found else { return Outcome::refuse(DropReason::NoBackend) };
        if !service::admits(env, &found, self.scratch.parsed.tuple.source) {
            return Outcome::refuse(DropReason::SourceNotAdmitted);
        }
        self.scratch.entry = Entry::empty();
        self.scratch.service_flow = ServiceFlow {
            last_seen_ns: self.now,
            backend: 0,
            service: found.id,
            address: to.backend,
            source: Address::NONE,
            port: to.port,
            source_port: Port::NONE,
            zero: [0; 4],
        };
        self.use_backend();
        if self.is_elsewhere() {
            return Outcome::refuse(DropReason::NoBackend);
        }
        self.scratch.entry.set(conn_flags::OUTSIDE);
        let parsed = &self.scratch.parsed;
        // The backend knows an open connection by its port.
        let is_new = parsed.tuple.protocol != protocol::TCP || parsed.tcp & tcp_flags::SYN != 0;
        self.begin_service_flow(is_new)
    }
}

#[inline(always)]
fn returns_directly(service: &Service) -> bool {
    service.flags & service_flags::DIRECT_RETURN != 0
}

#[inline(always)]
fn done(result: Option<()>) -> u8 {
    match result {
        Some(()) => SENT_ON,
        None => BROKEN,
    }
}

/// Bytes by which a packet grows.
#[inline(always)]
fn overhead(how: Dispatch, is_v6: bool) -> u32 {
    let ip = if is_v6 { ipv6::LEN } else { ipv4::LEN } as u32;
    match (how, is_v6) {
        (Dispatch::Ipip, _) => ip,
        (Dispatch::Geneve, false) => ip + UDP + geneve::LEN + dsr::GENEVE_V4_LEN,
        (Dispatch::Geneve, true) => ip + UDP + geneve::LEN + dsr::GENEVE_V6_LEN,
        (Dispatch::Option, false) => dsr::IN_V4_LEN,
        (Dispatch::Option, true) => dsr::IN_V6_LEN,
    }
}

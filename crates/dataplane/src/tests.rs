//! Packets through the whole way, against a world of three endpoints.

extern crate std;

mod conntrack;
mod control;
mod direct_return;
mod errors;
mod flows;
mod outside;
mod parsing;
mod policies;
mod properties;
mod services;
mod shortcut;
mod sockets;

use crate::env::Env;
use crate::memory::{Buffer, Memory};
use crate::{Decision, Scratch, from_endpoint, to_endpoint};
use abi::conntrack::ServiceFlowKey;
use abi::drop_reason::DropReason;
use abi::endpoint::{AddressInfo, AddressKey, Endpoint, UNRESTRICTED, flags};
use abi::event::{FlowEvent, FlowKind};
use abi::policy::{PeerKey, PortKey, Rule};
use abi::service::{Backend, RING_BLOCK, RingBlock, Service, ServiceKey, scope};
use abi::{Address, Port, identity};
use core::net::IpAddr;
use std::boxed::Box;
use std::rc::Rc;
use std::vec::Vec;
use wire::build::Frame;
use wire::ip::protocol;

/// Endpoint `n` has 10.0.0.n and fd00::n, interface 10 + n, identity 300 + n and peer 30 + n.
const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;
const HOST: &str = "10.0.0.254";
const HOST6: &str = "fd00::fe";
const WORLD: &str = "8.8.8.8";
const WORLD6: &str = "2001:db8::8";

const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

struct World {
    env: Memory,
    scratch: Box<Scratch>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    ip(text).into()
}

fn v4(endpoint: u32) -> std::string::String {
    std::format!("10.0.0.{endpoint}")
}

fn v6(endpoint: u32) -> std::string::String {
    std::format!("fd00::{endpoint}")
}

fn workload_mac(endpoint: u32) -> [u8; 6] {
    [6, 0, 0, 0, 0, endpoint as u8]
}

fn between(source: &str, destination: &str) -> Frame {
    Frame::between(ip(source), ip(destination))
}

impl World {
    fn new() -> Self {
        let world = World { env: Memory::default(), scratch: Box::new(Scratch::empty()) };
        for endpoint in [A, B, C] {
            world.put(endpoint, UNRESTRICTED, UNRESTRICTED, flags::REDIRECT_PEER);
            world.name(&v4(endpoint), 128, 300 + endpoint, 30 + endpoint);
            world.name(&v6(endpoint), 128, 300 + endpoint, 30 + endpoint);
        }
        world.name(HOST, 128, identity::HOST, 1);
        world.name(HOST6, 128, identity::HOST, 1);
        world.name("0.0.0.0", 96, identity::WORLD_IPV4, 4);
        world.name("::", 0, identity::WORLD_IPV6, 6);
        world
    }

    fn put(&self, id: u32, ingress: u32, egress: u32, flags: u32) {
        let endpoint = Endpoint {
            id,
            ifindex: 10 + id,
            identity: 300 + id,
            peer: 30 + id,
            ingress,
            egress,
            workload_mac: workload_mac(id),
            host_mac: HOST_MAC,
            flags,
        };
        self.env.endpoints.insert(address(&v4(id)), Rc::new(endpoint));
        self.env.endpoints.insert(address(&v6(id)), Rc::new(endpoint));
    }

    /// Gives both directions of an endpoint a rule set.
    fn restrict(&self, id: u32, ingress: u32, egress: u32) {
        self.put(id, ingress, egress, flags::REDIRECT_PEER);
        self.raise_epoch();
    }

    fn raise_epoch(&self) {
        let mut state = self.env.state.get();
        state.policy_epoch += 1;
        self.env.state.set(state);
    }

    fn name(&self, prefix: &str, prefix_len: u32, identity: u32, peer: u32) {
        let key = AddressKey { prefix_len, address: address(prefix) };
        self.env.addresses.borrow_mut().push((key, AddressInfo { identity, peer }));
    }

    /// `port` with `bits` of its prefix; rule ids are the caller's.
    fn rule(&self, port_set: u32, protocol: u8, port: u16, bits: u32, id: u32, flags: u32) {
        let prefix_len = PortKey::PROTOCOL_BITS + bits;
        let key = PortKey { prefix_len, ..PortKey::exact(port_set, protocol, Port::new(port)) };
        self.env.ports.borrow_mut().push((key, Rule { id, flags }));
    }

    fn peer(&self, rule_set: u32, peer: u32, port_set: u32) {
        self.env.peers.insert(PeerKey { rule_set, peer }, port_set);
    }

    fn service(&self, vip: &str, port: u16, protocol: u8, flags: u32, backends: &[(&str, u16)]) {
        let value = Service { id: 70, ring_base: 7, ring_len: 0, flags, affinity_s: 0 };
        self.front_end(scope::INSIDE, (vip, port), protocol, value, backends);
    }

    /// `value` without its ring's length.
    fn front_end(
        &self,
        scope: u8,
        (vip, port): (&str, u16),
        protocol: u8,
        value: Service,
        backends: &[(&str, u16)],
    ) {
        let base = value.ring_base;
        let mut blocks = std::vec![[0; RING_BLOCK]; backends.len().div_ceil(RING_BLOCK).max(1)];
        for (index, (text, port)) in backends.iter().enumerate() {
            let id = 100 + index as u32;
            blocks[index / RING_BLOCK][index % RING_BLOCK] = id;
            let port = Port::new(*port);
            let backend = Backend { address: address(text), port, protocol, zero: 0 };
            self.env.backends.insert(id, Rc::new(backend));
        }
        for (index, backends) in blocks.into_iter().enumerate() {
            self.env.ring.insert(base + index as u32, RingBlock { backends });
        }
        let key = ServiceKey { address: address(vip), port: Port::new(port), protocol, scope };
        self.env.services.insert(key, Service { ring_len: backends.len() as u32, ..value });
    }

    /// A frame from the workload of `endpoint`.
    fn from(&mut self, endpoint: u32, frame: &Frame) -> (Decision, Vec<u8>) {
        let mut packet =
            Buffer { bytes: frame.build(), ifindex: 10 + endpoint, ..Buffer::default() };
        let decision = from_endpoint(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    /// A frame from the host's stack to the workload of `endpoint`.
    fn to(&mut self, endpoint: u32, frame: &Frame) -> (Decision, Vec<u8>) {
        self.forwarded(0, endpoint, frame)
    }

    /// A frame that entered the node by another interface, from the host's stack to the workload of
    /// `endpoint`.
    fn forwarded(
        &mut self,
        ingress_ifindex: u32,
        endpoint: u32,
        frame: &Frame,
    ) -> (Decision, Vec<u8>) {
        let (bytes, ifindex) = (frame.build(), 10 + endpoint);
        let mut packet = Buffer { bytes, ifindex, ingress_ifindex, ..Buffer::default() };
        let decision = to_endpoint(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    /// Sends from `endpoint` and expects the frame to reach endpoint `to` as `expect`, apart from
    /// the hop limit and the MAC addresses, which are checked here.
    #[track_caller]
    fn delivers(&mut self, endpoint: u32, frame: &Frame, to: u32, expect: &Frame) {
        let (decision, bytes) = self.from(endpoint, frame);
        assert_eq!(decision, Decision::RedirectPeer(10 + to), "{:?}", self.last());
        let expect = expect.clone().hop().macs(HOST_MAC, workload_mac(to)).build();
        assert_eq!(bytes, expect);
    }

    #[track_caller]
    fn drops(&mut self, endpoint: u32, frame: &Frame, reason: DropReason) {
        let (decision, _) = self.from(endpoint, frame);
        assert_eq!(decision, Decision::Drop);
        assert_eq!(self.last().map(|event| event.reason), Some(reason as u8));
        assert!(self.env.metrics.lookup(&(reason as u32)).is_some());
    }

    fn last(&self) -> Option<FlowEvent> {
        self.env.events.borrow().last().copied()
    }

    fn kinds(&self) -> Vec<FlowKind> {
        let events = self.env.events.borrow();
        events.iter().map(|event| FlowKind::from_number(event.kind).unwrap()).collect()
    }

    fn wait(&self, seconds: u64) {
        self.env.now.set(self.env.now() + seconds * 1_000_000_000);
    }
}

#[allow(dead_code, reason = "each test file uses some")]
fn tuple(source: (&str, u16), destination: (&str, u16), protocol: u8) -> ServiceFlowKey {
    ServiceFlowKey {
        source: address(source.0),
        destination: address(destination.0),
        source_port: Port::new(source.1),
        destination_port: Port::new(destination.1),
        protocol,
        zero: [0; 3],
    }
}

/// TCP from `a` to `b`.
fn tcp(a: (&str, u16), b: (&str, u16), flags: u8) -> Frame {
    between(a.0, b.0).tcp(a.1, b.1, flags)
}

/// UDP from `a` to `b`, with an odd number of bytes.
fn udp(a: (&str, u16), b: (&str, u16)) -> Frame {
    between(a.0, b.0).udp(a.1, b.1).payload(b"hello")
}

const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;

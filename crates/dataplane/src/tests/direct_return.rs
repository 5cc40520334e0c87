//! Direct return: one node sends packets on to another, which answers the client.

use super::*;
use crate::{from_outside, to_outside};
use abi::endpoint::Device;
use abi::service::service_flags::DIRECT_RETURN;
use abi::state::state_flags::{SEND_ON_BY_GENEVE, SEND_ON_BY_OPTION};
use std::collections::BTreeSet;
use std::string::{String, ToString};

const CLIENT: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const VIP: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
const OTHER_VIP: [&str; 2] = ["198.51.100.2", "2001:db8:1::2"];
/// The first node; the second is that of the other tests.
const FIRST: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];
const OUTSIDE: u32 = 5;
const ROUTE: u32 = 6;
const MTU: u32 = 1500;
const DISPATCHES: [u32; 3] = [0, SEND_ON_BY_GENEVE, SEND_ON_BY_OPTION];

type Make = fn((&str, u16), (&str, u16)) -> Frame;

const FIRST_PACKETS: [(u8, Make); 2] = [(TCP, |a, b| tcp(a, b, SYN)), (UDP, udp)];

/// The node that clients send to, and the one with the backend, [`B`].
struct Nodes {
    first: World,
    second: World,
}

fn backend(family: usize) -> String {
    if family == 0 { v4(B) } else { v6(B) }
}

fn nodes(dispatch: u32) -> Nodes {
    let first = World { env: Memory::default(), scratch: Box::new(Scratch::empty()) };
    let second = World::new();
    for (world, own) in [(&first, FIRST), (&second, [HOST, HOST6])] {
        let device = Device { v4: address(own[0]), v6: address(own[1]), mtu: MTU, flags: 0 };
        for index in [OUTSIDE, ROUTE] {
            world.env.devices.insert(index, device);
        }
        for family in [0, 1] {
            for vip in [VIP[family], OTHER_VIP[family]] {
                for protocol in [TCP, UDP] {
                    let value = Service {
                        id: 71,
                        ring_base: 7 + family as u32,
                        ring_len: 0,
                        flags: DIRECT_RETURN,
                        affinity_s: 0,
                    };
                    let backends = [(&*backend(family), 8080)];
                    world.front_end(scope::OUTSIDE, (vip, 80), protocol, value, &backends);
                    // Both families have a backend of the same number otherwise.
                    let (id, address) = (200 + family as u32, address(backends[0].0));
                    let entry = Backend { address, port: Port::new(8080), protocol, zero: 0 };
                    world.env.backends.insert(id, Rc::new(entry));
                    let mut ring = RingBlock { backends: [0; RING_BLOCK] };
                    ring.backends[0] = id;
                    world.env.ring.insert(7 + family as u32, ring);
                }
            }
        }
        let mut state = world.env.state.get();
        state.flags |= dispatch;
        world.env.state.set(state);
    }
    Nodes { first, second }
}

fn enters(world: &mut World, bytes: Vec<u8>, segment: u32) -> (Decision, Vec<u8>) {
    let route = Some(ROUTE);
    let mut packet = Buffer { bytes, ifindex: OUTSIDE, route, segment, ..Buffer::default() };
    let decision = from_outside(&world.env, &mut packet, &mut world.scratch);
    (decision, packet.bytes)
}

fn replies(world: &mut World, frame: &Frame) -> (Decision, Vec<u8>) {
    let mut packet =
        Buffer { bytes: frame.build(), ifindex: 10 + B, route: Some(ROUTE), ..Buffer::default() };
    let decision = from_endpoint(&world.env, &mut packet, &mut world.scratch);
    (decision, packet.bytes)
}

impl Nodes {
    /// Through both nodes to the backend; what was on the link between them.
    #[track_caller]
    fn pass(&mut self, frame: &Frame) -> (Decision, Vec<u8>, Vec<u8>) {
        let (decision, between) = enters(&mut self.first, frame.build(), 0);
        assert_eq!(decision, Decision::RedirectNeighbour(ROUTE), "{:?}", self.first.last());
        let (decision, bytes) = enters(&mut self.second, between.clone(), 0);
        (decision, bytes, between)
    }
}

#[test]
fn the_other_node_answers() {
    for dispatch in DISPATCHES {
        for (family, (_, make)) in
            [0, 1].into_iter().flat_map(|family| FIRST_PACKETS.map(|it| (family, it)))
        {
            let mut nodes = nodes(dispatch);
            let (client, vip, b) = (CLIENT[family], VIP[family], &*backend(family));
            let request = make((client, 4000), (vip, 80));
            for _ in 0..2 {
                let (decision, bytes, between) = nodes.pass(&request);
                assert_eq!(decision, Decision::RedirectPeer(10 + B), "{:?}", nodes.second.last());
                // One hop at each node.
                let expect = make((client, 4000), (b, 8080)).hop().hop();
                let expect = expect.macs(HOST_MAC, workload_mac(B)).build();
                assert_eq!(bytes, expect, "dispatch {dispatch}");
                assert!(between.len() > bytes.len());
            }
            let reply = make((b, 8080), (client, 4000));
            let sent = make((vip, 80), (client, 4000)).hop().build();
            let expect = (Decision::RedirectNeighbour(ROUTE), sent);
            assert_eq!(replies(&mut nodes.second, &reply), expect);
            let events = nodes.second.env.events.borrow();
            assert_eq!((events[0].service, events[0].vip), (71, address(vip)));
            assert_eq!(events[0].source, address(client));
        }
    }
}

/// The service is known by the same port at the other node's own address.
#[test]
fn a_node_port() {
    const NODE_PORT: u16 = 30_080;
    for dispatch in DISPATCHES {
        for family in [0, 1] {
            let mut nodes = nodes(dispatch);
            let (client, b) = (CLIENT[family], &*backend(family));
            for (world, own) in
                [(&nodes.first, FIRST[family]), (&nodes.second, [HOST, HOST6][family])]
            {
                let key = ServiceKey {
                    address: address(VIP[family]),
                    port: Port::new(80),
                    protocol: UDP,
                    scope: scope::OUTSIDE,
                };
                let value = world.env.services.lookup(&key).unwrap();
                let (address, port) = (address(own), Port::new(NODE_PORT));
                world.env.services.insert(ServiceKey { address, port, ..key }, value);
            }
            let to = (FIRST[family], NODE_PORT);
            for _ in 0..2 {
                let (decision, bytes, _) = nodes.pass(&udp((client, 4000), to));
                assert_eq!(decision, Decision::RedirectPeer(10 + B), "{:?}", nodes.second.last());
                let expect = udp((client, 4000), (b, 8080)).hop().hop();
                assert_eq!(bytes, expect.macs(HOST_MAC, workload_mac(B)).build());
            }
            let (_, bytes) = replies(&mut nodes.second, &udp((b, 8080), (client, 4000)));
            assert_eq!(bytes, udp(to, (client, 4000)).hop().build());
        }
    }
}

/// The outer headers, to the byte.
#[test]
fn what_is_on_the_link() {
    let sent = |dispatch, family: usize| {
        let request = udp((CLIENT[family], 4000), (VIP[family], 80));
        (request.clone().hop().build(), nodes(dispatch).pass(&request).2)
    };
    let (inner, outer) = sent(0, 0);
    assert_eq!(outer[34..], inner[14..]);
    assert_eq!(outer[23], protocol::IPIP);
    assert_eq!(outer[26..34], [172, 16, 0x1f, 0x90, 10, 0, 0, 2]);
    let (inner, outer) = sent(0, 1);
    assert_eq!(outer[54..], inner[14..]);
    assert_eq!(outer[20], protocol::IPV6);
    assert_eq!(
        (&outer[22..30], &outer[36..38]),
        (&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0x1f, 0x90][..])
    );
    // Geneve: one option of 8 bytes, critical, with address and port of the service.
    let (_, outer) = sent(SEND_ON_BY_GENEVE, 0);
    assert_eq!(outer[36..38], 6081u16.to_be_bytes());
    assert_eq!(outer[42..50], [3, 0x40, 8, 0, 0, 0, 0, 0]);
    assert_eq!(outer[50..62], [0xff, 0x5c, 0x81, 2, 198, 51, 100, 1, 0, 80, 0, 0]);
    assert_eq!(outer[62], 0x45);
    // An option in the header, whose sum is right.
    let (_, outer) = sent(SEND_ON_BY_OPTION, 0);
    assert_eq!(outer[14], 0x47);
    assert_eq!(outer[34..42], [0x9e, 8, 0, 80, 198, 51, 100, 1]);
    assert_eq!(wire::checksum::Sum::ZERO.bytes(&outer[14..42]).finish(), 0);
    let (_, outer) = sent(SEND_ON_BY_OPTION, 1);
    assert_eq!(outer[20], protocol::DESTINATION_OPTIONS);
    assert_eq!(outer[54..60], [protocol::UDP, 2, 30, 20, 0, 80]);
}

#[test]
fn one_client_port_by_two_services() {
    for dispatch in DISPATCHES {
        for family in [0, 1] {
            let mut nodes = nodes(dispatch);
            let (client, b) = (CLIENT[family], &*backend(family));
            let mut ports = BTreeSet::new();
            for vip in [VIP[family], OTHER_VIP[family]] {
                let mut port = None;
                for _ in 0..2 {
                    let (decision, bytes, _) = nodes.pass(&udp((client, 4000), (vip, 80)));
                    assert_eq!(decision, Decision::RedirectPeer(10 + B));
                    let packet = Buffer { bytes, ..Buffer::default() };
                    let mut parsed = crate::parse::Parsed::empty();
                    crate::parse::parse(&packet, &mut parsed).unwrap();
                    let now = parsed.tuple.source_port.number();
                    assert_eq!(*port.get_or_insert(now), now);
                    let expect = udp((client, now), (b, 8080)).hop().hop();
                    let expect = expect.macs(HOST_MAC, workload_mac(B)).build();
                    assert_eq!(packet.bytes, expect);
                }
                let port = port.unwrap();
                assert!(ports.insert(port));
                let (_, bytes) = replies(&mut nodes.second, &udp((b, 8080), (client, port)));
                assert_eq!(bytes, udp((vip, 80), (client, 4000)).hop().build());
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_said_to_the_client() {
    for (dispatch, overhead) in
        [(0, [20, 40]), (SEND_ON_BY_GENEVE, [48, 80]), (SEND_ON_BY_OPTION, [8, 24])]
    {
        for family in [0, 1] {
            let (client, vip) = (CLIENT[family], VIP[family]);
            let header = [20, 40][family] + 8;
            let fits = MTU as usize - overhead[family];
            let frame =
                |length| between(client, vip).udp(4000, 80).payload(&std::vec![7; length - header]);
            let mut nodes = nodes(dispatch);
            let (decision, bytes) = enters(&mut nodes.first, frame(fits).build(), 0);
            assert_eq!((decision, bytes.len()), (Decision::RedirectNeighbour(ROUTE), 14 + 1500));
            let (decision, bytes) = enters(&mut nodes.first, frame(fits + 1).build(), 0);
            assert_eq!(decision, Decision::RedirectNeighbour(OUTSIDE));
            let mtu = (fits as u16).to_be_bytes();
            let (at, kind) = if family == 0 { (34, [3, 4]) } else { (54, [2, 0]) };
            assert_eq!(bytes[at..at + 2], kind);
            assert_eq!(bytes[at + 6..at + 8], mtu);
            // The card makes packets of the right length.
            let long = between(client, vip).tcp(4000, 80, ACK).payload(&std::vec![7; 9000]);
            let segment = fits as u32 - [40, 60][family];
            let (decision, _) = enters(&mut nodes.first, long.build(), segment);
            assert_eq!(decision, Decision::RedirectNeighbour(ROUTE));
            let (decision, _) = enters(&mut nodes.first, long.build(), segment + 1);
            assert_eq!(decision, Decision::RedirectNeighbour(OUTSIDE));
        }
    }
}

/// A connection goes on though entries have been evicted, at either node.
#[test]
fn what_was_evicted() {
    for dispatch in DISPATCHES {
        let mut nodes = nodes(dispatch);
        let (client, vip, b) = (CLIENT[0], VIP[0], &*v4(B));
        let frame = |flags| tcp((client, 4000), (vip, 80), flags);
        nodes.pass(&frame(SYN));
        for forget in 0..4 {
            let world = if forget % 2 == 0 { &mut nodes.first } else { &mut nodes.second };
            if forget < 2 {
                world.env.conntrack.remove(&world.env.conntrack.entries()[0].0);
            } else {
                let key = tuple((client, 4000), (vip, 80), TCP);
                assert!(world.env.service_flows.remove(&key).is_some());
            }
            let (decision, _, _) = nodes.pass(&frame(ACK));
            assert_eq!(decision, Decision::RedirectPeer(10 + B), "{forget}");
            let (_, bytes) = replies(&mut nodes.second, &tcp((b, 8080), (client, 4000), ACK));
            assert_eq!(bytes, tcp((vip, 80), (client, 4000), ACK).hop().build());
        }
    }
}

/// What looks like a packet of another node's, but is for no service, or for nobody here.
#[test]
fn what_is_not_taken() {
    for dispatch in DISPATCHES {
        let mut nodes = nodes(dispatch);
        let (_, _, between) = nodes.pass(&udp((CLIENT[0], 4000), (VIP[0], 80)));
        // A node without the backend leaves it alone.
        let (decision, bytes) = enters(&mut nodes.first, between.clone(), 0);
        assert_eq!((decision, bytes), (Decision::Pass, between.clone()));
        // One that doesn't know the service drops it.
        for (key, _) in nodes.second.env.services.entries() {
            nodes.second.env.services.remove(&key);
        }
        for (key, _) in nodes.second.env.service_flows.entries() {
            nodes.second.env.service_flows.remove(&key);
        }
        let (decision, _) = enters(&mut nodes.second, between, 0);
        assert_eq!(decision, Decision::Drop);
        assert_eq!(nodes.second.last().unwrap().reason, DropReason::NoBackend as u8);
    }
}

/// Policy of the backend sees the client.
#[test]
fn the_policy_of_the_backend_decides() {
    for dispatch in DISPATCHES {
        let mut nodes = nodes(dispatch);
        nodes.second.restrict(B, 5, 0);
        let (decision, _, _) = nodes.pass(&udp((CLIENT[0], 4000), (VIP[0], 80)));
        assert_eq!(decision, Decision::Drop);
        assert_eq!(nodes.second.last().unwrap().reason, DropReason::PolicyDefault as u8);
    }
}

/// A backend in the other node's own network.
#[test]
fn the_node_itself_as_backend() {
    for dispatch in DISPATCHES {
        let mut nodes = nodes(dispatch);
        for world in [&nodes.first, &nodes.second] {
            let entry =
                Backend { address: address(HOST), port: Port::new(8080), protocol: TCP, zero: 0 };
            world.env.backends.insert(200, Rc::new(entry));
        }
        let request = tcp((CLIENT[0], 4000), (VIP[0], 80), SYN);
        let (decision, bytes, _) = nodes.pass(&request);
        assert_eq!(decision, Decision::Pass);
        assert_eq!(bytes, tcp((CLIENT[0], 4000), (HOST, 8080), SYN).hop().build());
        let reply = tcp((HOST, 8080), (CLIENT[0], 4000), SYN | ACK);
        let mut packet = Buffer { bytes: reply.build(), ifindex: OUTSIDE, ..Buffer::default() };
        let world = &mut nodes.second;
        let decision = to_outside(&world.env, &mut packet, &mut world.scratch);
        assert_eq!(decision, Decision::Pass);
        let expect = tcp((VIP[0].to_string().as_str(), 80), (CLIENT[0], 4000), SYN | ACK);
        assert_eq!(packet.bytes, expect.build());
    }
}

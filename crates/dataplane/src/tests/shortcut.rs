//! The shortcut does what `from_outside` does, or nothing.

use super::*;
use crate::balancer::Verdict;
use crate::shortcut::shortcut;
use crate::{Packet as _, from_outside};
use abi::endpoint::{Device, device_flags};
use abi::service::service_flags;
use proptest::prelude::*;
use wire::build::Ipv4;

const CLIENT: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const VIP: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
const NODE: [&str; 2] = [HOST, HOST6];
/// On another node.
const FAR: [&str; 2] = ["10.0.1.9", "fd00:1::9"];
/// To clients, and to other nodes.
const OUTSIDE: u32 = 5;
const INSIDE: u32 = 6;

/// Just before a second in which all goes the long way.
const START: u64 = (64 << 30) - 1;

type Make = fn((&str, u16), (&str, u16)) -> Frame;
const DATA: [(u8, Make); 2] = [(TCP, |a, b| tcp(a, b, ACK).payload(b"hello")), (UDP, udp)];

/// A flow that has been answered.
struct Flow {
    world: World,
    request: Frame,
    reply: Frame,
}

fn node() -> World {
    let world = World::new();
    world.env.now.set(START);
    for index in [OUTSIDE, INSIDE] {
        let (v4, v6) = (address(NODE[0]), address(NODE[1]));
        let device = Device { v4, v6, mtu: 1500, flags: device_flags::TAKES_FRAMES };
        world.env.devices.insert(index, device);
    }
    world
}

fn flow(family: usize, data: (u8, Make)) -> Flow {
    flow_to(family, data, 80)
}

fn flow_to(family: usize, (protocol, make): (u8, Make), port: u16) -> Flow {
    let mut world = node();
    let value = Service { id: 71, ring_base: 7, ring_len: 0, flags: 0, affinity_s: 0 };
    let (client, vip, far) = ((CLIENT[family], 4000), (VIP[family], port), (FAR[family], 8080));
    world.front_end(scope::OUTSIDE, vip, protocol, value, &[far]);
    let first = if protocol == TCP { tcp(client, vip, SYN) } else { make(client, vip) };
    assert_eq!(world.long(OUTSIDE, &first).0, Decision::RedirectNeighbour(INSIDE));
    let key = tuple(client, vip, protocol);
    let port = world.env.service_flows.lookup(&key).unwrap().source_port.number();
    let node = (NODE[family], port);
    let answer = if protocol == TCP { tcp(far, node, SYN | ACK) } else { make(far, node) };
    assert_eq!(world.long(INSIDE, &answer).0, Decision::RedirectNeighbour(OUTSIDE));
    let (request, reply) = (make(client, vip), make(far, node));
    if protocol == TCP {
        world.long(OUTSIDE, &request);
    }
    Flow { world, request, reply }
}

fn other(ifindex: u32) -> u32 {
    OUTSIDE + INSIDE - ifindex
}

impl World {
    fn long(&mut self, ifindex: u32, frame: &Frame) -> (Decision, Vec<u8>) {
        self.long_bytes(ifindex, frame.build())
    }

    fn long_bytes(&mut self, ifindex: u32, bytes: Vec<u8>) -> (Decision, Vec<u8>) {
        let route = Some(other(ifindex));
        let mut packet = Buffer { bytes, ifindex, route, ..Buffer::default() };
        let decision = from_outside(&self.env, &mut packet, &mut self.scratch);
        (decision, packet.bytes)
    }

    fn short(&self, ifindex: u32, route: Option<u32>, bytes: Vec<u8>) -> (Verdict, Vec<u8>) {
        let mut packet = Buffer { bytes, ifindex, route, ..Buffer::default() };
        let verdict = shortcut(&self.env, &mut packet.frame());
        (verdict, packet.bytes)
    }

    #[track_caller]
    fn leaves_alone(&self, frame: &Frame) {
        let bytes = frame.build();
        let kept = (Verdict::Pass, bytes.clone());
        assert_eq!(self.short(OUTSIDE, Some(INSIDE), bytes), kept);
    }

    /// Packets and bytes of both directions of the flow.
    fn counted(&self) -> Vec<(u64, u64)> {
        let entries = self.env.conntrack.entries();
        let both = entries.iter().flat_map(|(_, entry)| [&entry.original, &entry.reply]);
        both.map(|count| (count.packets.get(), count.bytes.get())).collect()
    }
}

/// What was counted meanwhile.
fn added(old: &[(u64, u64)], new: &[(u64, u64)]) -> Vec<(u64, u64)> {
    old.iter().zip(new).map(|(old, new)| (new.0 - old.0, new.1 - old.1)).collect()
}

#[test]
fn it_gives_what_the_long_way_gives() {
    for (family, data) in [0, 1].into_iter().flat_map(|family| DATA.map(|it| (family, it))) {
        let Flow { mut world, request, reply } = flow(family, data);
        for (ifindex, frame) in [(OUTSIDE, &request), (INSIDE, &reply)] {
            let before = world.counted();
            let (verdict, short) = world.short(ifindex, Some(other(ifindex)), frame.build());
            let between = world.counted();
            let (_, long) = world.long(ifindex, frame);
            assert_eq!(verdict, Verdict::Redirect);
            // By the neighbour's address, which the long way leaves to the kernel.
            assert_ne!(short[..12], long[..12]);
            assert_eq!(short[12..], long[12..]);
            assert_eq!(added(&before, &between), added(&between, &world.counted()));
            // Back by where it has come from.
            let (verdict, _) = world.short(ifindex, Some(ifindex), frame.build());
            assert_eq!(verdict, Verdict::Transmit);
        }
    }
}

#[test]
fn what_is_not_for_it() {
    for (family, data) in [0, 1].into_iter().flat_map(|family| DATA.map(|it| (family, it))) {
        let Flow { world, request, .. } = flow(family, data);
        let (client, vip) = (CLIENT[family], VIP[family]);
        let taken = world.short(OUTSIDE, Some(INSIDE), request.build()).0;
        assert_eq!(taken, Verdict::Redirect);
        // Other packets.
        world.leaves_alone(&request.clone().ttl(1));
        world.leaves_alone(&data.1((client, 4001), (vip, 80)));
        world.leaves_alone(&data.1((client, 4000), (vip, 81)));
        for flags in [SYN, FIN | ACK, RST] {
            world.leaves_alone(&tcp((client, 4000), (vip, 80), flags));
        }
        let bytes = request.build();
        let cut = bytes[..bytes.len() - 1].to_vec();
        let kept = (Verdict::Pass, cut.clone());
        assert_eq!(world.short(OUTSIDE, Some(INSIDE), cut), kept);
        // Ways that it doesn't know, or that don't take frames.
        for route in [None, Some(9)] {
            assert_eq!(world.short(OUTSIDE, route, bytes.clone()).0, Verdict::Pass);
        }
        let device = world.env.devices.lookup(&INSIDE).unwrap();
        world.env.devices.insert(INSIDE, Device { flags: 0, ..device });
        world.leaves_alone(&request);
        world.env.devices.insert(INSIDE, device);
        // What one in generic mode sends are socket buffers, which any takes.
        let other = world.env.devices.lookup(&OUTSIDE).unwrap();
        let (native, generic) = (device_flags::TAKES_FRAMES, device_flags::GENERIC);
        for (from, to, expected) in [
            (native, generic, Verdict::Pass),
            (generic, generic, Verdict::Redirect),
            (generic, native, Verdict::Redirect),
            (0, generic, Verdict::Pass),
        ] {
            world.env.devices.insert(OUTSIDE, Device { flags: from, ..other });
            world.env.devices.insert(INSIDE, Device { flags: to, ..device });
            assert_eq!(world.short(OUTSIDE, Some(INSIDE), bytes.clone()).0, expected);
        }
        world.env.devices.insert(OUTSIDE, other);
        world.env.devices.insert(INSIDE, device);
        // The neighbours are to be asked after.
        world.env.now.set(START + 1);
        world.leaves_alone(&request);
        world.env.now.set(START + (1 << 30) + 1);
        assert_eq!(world.short(OUTSIDE, Some(INSIDE), bytes.clone()).0, Verdict::Redirect);
        world.env.now.set(START);
        // The checksum is the pseudo-header's.
        let mut partial = bytes.clone();
        let (transport, field) =
            (if family == 0 { 34 } else { 54 }, if data.0 == TCP { 16 } else { 6 });
        let addresses = &bytes[if family == 0 { 26..34 } else { 22..54 }];
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        let length = (bytes.len() - transport) as u32;
        let sum = wire::checksum::Sum::pseudo_header(source, destination, data.0, length).fold();
        partial[transport + field..][..2].copy_from_slice(&sum.to_ne_bytes());
        let kept = (Verdict::Pass, partial.clone());
        assert_eq!(world.short(OUTSIDE, Some(INSIDE), partial), kept);
        // The policy has changed since.
        let state = world.env.state.get();
        world.raise_epoch();
        world.leaves_alone(&request);
        world.env.state.set(state);
        // It is time to write when the flow was last seen.
        world.wait(61);
        world.leaves_alone(&request);
    }
    let Flow { world, request, .. } = flow(0, DATA[1]);
    let key = tuple((CLIENT[0], 4000), (VIP[0], 80), UDP);
    let backend = world.env.service_flows.lookup(&key).unwrap().backend;
    assert!(world.env.backends.remove(&backend).is_some());
    world.leaves_alone(&request);
    let fragment = Ipv4 {
        more_fragments: true,
        ..Ipv4::between(CLIENT[0].parse().unwrap(), VIP[0].parse().unwrap())
    };
    world.leaves_alone(&Frame::new([0; 6], [0; 6]).ipv4(fragment).udp(4000, 80));
}

/// The first reply is told of; the second isn't.
#[test]
fn the_first_reply_goes_the_long_way() {
    let mut world = flow(0, DATA[1]).world;
    let (client, vip) = ((CLIENT[0], 4001), (VIP[0], 80));
    world.long(OUTSIDE, &udp(client, vip));
    let key = tuple(client, vip, UDP);
    let port = world.env.service_flows.lookup(&key).unwrap().source_port.number();
    let reply = udp((FAR[0], 8080), (NODE[0], port));
    assert_eq!(world.short(INSIDE, Some(OUTSIDE), reply.build()).0, Verdict::Pass);
    world.long(INSIDE, &reply);
    assert_eq!(world.short(INSIDE, Some(OUTSIDE), reply.build()).0, Verdict::Redirect);
}

/// Packets that look as if they had an IPv4 flow's addresses, those that may be in Geneve, and those of
/// flows with direct return.
#[test]
fn flows_of_others() {
    let world = flow(0, DATA[1]).world;
    let mapped = |address: &str| std::format!("::ffff:{address}");
    let (client, vip) = (mapped(CLIENT[0]), mapped(VIP[0]));
    world.leaves_alone(&udp((&client, 4000), (&vip, 80)));
    for family in [0, 1] {
        let Flow { world, request, .. } = flow_to(family, DATA[1], 6081);
        world.leaves_alone(&request);
    }
    for (family, data) in [0, 1].into_iter().flat_map(|family| DATA.map(|it| (family, it))) {
        let mut world = node();
        let flags = service_flags::DIRECT_RETURN;
        let value = Service { id: 71, ring_base: 7, ring_len: 0, flags, affinity_s: 0 };
        let (client, vip) = ((CLIENT[family], 4000), (VIP[family], 80));
        world.front_end(scope::OUTSIDE, vip, data.0, value, &[(FAR[family], 8080)]);
        let request = data.1(client, vip);
        for _ in 0..2 {
            assert_eq!(world.long(OUTSIDE, &request).0, Decision::RedirectNeighbour(INSIDE));
        }
        world.leaves_alone(&request);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever the frame: what it sends on is what the long way sends on, counted likewise; all else it
    /// leaves as it was.
    #[test]
    fn no_frame_fares_otherwise(
        family in 0..2usize,
        which in 0..2usize,
        is_reply: bool,
        changes in prop::collection::vec((12..80usize, any::<u8>()), 0..3),
        kept in 0..80usize,
        cut: bool,
    ) {
        let Flow { mut world, request, reply } = flow(family, DATA[which]);
        let (ifindex, frame) = if is_reply { (INSIDE, reply) } else { (OUTSIDE, request) };
        let mut bytes = frame.build();
        for (offset, value) in changes {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = value;
            }
        }
        if cut {
            bytes.truncate(kept);
        }
        let before = world.counted();
        let (verdict, short) = world.short(ifindex, Some(other(ifindex)), bytes.clone());
        let between = world.counted();
        if verdict != Verdict::Redirect {
            prop_assert_eq!(verdict, Verdict::Pass);
            prop_assert_eq!((short, between), (bytes, before));
            return Ok(());
        }
        let events = world.env.events.borrow().len();
        let (decision, long) = world.long_bytes(ifindex, bytes);
        prop_assert_eq!(decision, Decision::RedirectNeighbour(other(ifindex)));
        prop_assert_eq!(&short[12..], &long[12..]);
        prop_assert_eq!(added(&before, &between), added(&between, &world.counted()));
        prop_assert_eq!(world.env.events.borrow().len(), events);
    }
}

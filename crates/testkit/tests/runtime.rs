//! Skep's own objects in the runtime: the datapath's programs over tables, on packets.

use std::sync::Arc;

use abi::endpoint::{AddressInfo, AddressKey, Endpoint, flags};
use abi::event::{FlowEvent, FlowKind};
use abi::state::{State, Timeouts, state_flags};
use abi::{ABI_VERSION, Address};
use bpf_object::Object;
use bpf_vm::context::{Skb, Socket, SocketAddress};
use bpf_vm::map::update;
use bpf_vm::{Clock, Engine, Instance, Packet, ProgramHandle, Redirect, Runtime, context};
use zerocopy::{FromBytes, IntoBytes};

const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const STRANGER: [u8; 4] = [10, 0, 0, 99];

fn endpoint(number: u32) -> Endpoint {
    Endpoint {
        id: number,
        ifindex: 100 + number,
        identity: 1000 + number,
        peer: 1000 + number,
        ingress: abi::endpoint::UNRESTRICTED,
        egress: abi::endpoint::UNRESTRICTED,
        workload_mac: [2, 0, 0, 0, 1, number as u8],
        host_mac: [2, 0, 0, 0, 2, number as u8],
        flags: flags::REDIRECT_PEER,
    }
}

fn put(instance: &Instance, map: &str, key: &[u8], value: &[u8]) {
    let map = instance.map(map).unwrap_or_else(|| panic!("no map {map}"));
    map.update(key, value, update::ANY).unwrap_or_else(|e| panic!("{}: {e}", map.name()));
}

/// Two endpoints on the node, without policy.
fn datapath(runtime: &Runtime) -> Instance {
    let object = Object::parse(objects::ENDPOINT).unwrap();
    let instance = runtime.load(&object).unwrap();
    let state = State {
        abi_version: ABI_VERSION,
        policy_epoch: 1,
        flags: state_flags::REDIRECT_PEER,
        flow_events_per_second: 0,
        drop_events_per_second: 0,
        timeouts: Timeouts::DEFAULT,
        zero: 0,
    };
    put(&instance, "state", &0u32.to_ne_bytes(), state.as_bytes());
    for (number, address) in [(1, A), (2, B)] {
        let address = Address::from_v4(address);
        let endpoint = endpoint(number);
        put(&instance, "endpoints", address.as_bytes(), endpoint.as_bytes());
        let info = AddressInfo { identity: endpoint.identity, peer: endpoint.peer };
        put(&instance, "addresses", AddressKey::exact(address).as_bytes(), info.as_bytes());
    }
    instance
}

/// A TCP packet from one endpoint's workload to an address.
fn tcp(from: [u8; 4], to: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(endpoint(1).host_mac);
    packet.extend(endpoint(1).workload_mac);
    packet.extend([8, 0]);
    let mut ip = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from);
    ip.extend(to);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(ip);
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet
}

/// The sum of the header's words, not inverted.
fn sum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

const SYN: u8 = 2;

fn events(instance: &Instance) -> Vec<FlowEvent> {
    let records = instance.map("events").unwrap().records();
    records.iter().map(|record| FlowEvent::read_from_bytes(record).unwrap()).collect()
}

fn check(engine: Engine) {
    let runtime = Runtime::builder().clock(Clock::Manual(5_000_000_000)).engine(engine).build();
    let instance = datapath(&runtime);
    let program = instance.program("from_endpoint").unwrap();
    let run = |program: &ProgramHandle, bytes: &[u8], ifindex: u32| {
        let mut packet = Packet::guarded(bytes).unwrap();
        let context = Skb { ifindex, ingress_ifindex: ifindex, ..Skb::default() };
        (program.run_skb(&mut packet, &context).unwrap(), packet.bytes())
    };
    // To the other endpoint: handed over, with that one's addresses.
    let syn = tcp(A, B, (40000, 80), SYN);
    let (outcome, after) = run(&program, &syn, 101);
    assert_eq!(outcome.action(), TC_ACT_REDIRECT);
    assert_eq!(outcome.redirect, Some(Redirect::Peer { ifindex: 102 }));
    assert_eq!(after[..6], endpoint(2).workload_mac);
    // One hop further, with the checksum of that.
    assert_eq!((after[22], after[34..] == syn[34..]), (63, true));
    assert_eq!(sum(&after[14..34]), 0xffff);
    let [start] = events(&instance)[..] else { panic!("one event") };
    assert_eq!(FlowKind::from_number(start.kind), Some(FlowKind::Start));
    assert_eq!((start.source, start.destination), (Address::from_v4(A), Address::from_v4(B)));
    assert_eq!((start.source_identity, start.destination_identity), (1001, 1002));
    assert_eq!(start.time_ns, 5_000_000_000);
    assert_eq!(instance.map("conntrack").unwrap().count(), 1);
    // A source that isn't the endpoint's.
    let (outcome, after) = run(&program, &tcp(STRANGER, B, (1, 2), SYN), 101);
    assert_eq!(outcome.action(), TC_ACT_SHOT);
    assert_eq!(after, tcp(STRANGER, B, (1, 2), SYN));
    let [drop] = events(&instance)[..] else { panic!("one event") };
    assert_eq!(FlowKind::from_number(drop.kind), Some(FlowKind::Drop));
    // What is cut off anywhere must not be read past its end, which is a page without access.
    for length in 0..syn.len() {
        run(&program, &syn[..length], 101);
    }
}

#[test]
fn packets_between_endpoints() {
    check(Engine::Interpreter);
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn packets_between_endpoints_compiled() {
    check(Engine::Jit);
}

#[test]
fn programs_on_several_threads_over_shared_maps() {
    let runtime = Runtime::builder().cpus(4).build();
    let instance = datapath(&runtime);
    let program = Arc::new(instance.program("from_endpoint").unwrap());
    std::thread::scope(|scope| {
        for cpu in 0..4u32 {
            let program = program.clone();
            scope.spawn(move || {
                let environment = bpf_vm::Environment { cpu, ..Default::default() };
                let program = (*program).clone().within(environment);
                let mut packet = Packet::new(&[]).unwrap();
                let context = Skb { ifindex: 101, ingress_ifindex: 101, ..Skb::default() };
                for port in 0..2000u16 {
                    packet.set(&tcp(A, B, (1000 + port, cpu as u16 + 1), SYN)).unwrap();
                    let outcome = program.run_skb(&mut packet, &context).unwrap();
                    assert_eq!(outcome.action(), TC_ACT_REDIRECT);
                }
            });
        }
    });
    assert_eq!(instance.map("conntrack").unwrap().count(), 8000);
}

#[test]
fn calls_on_sockets() {
    let runtime = Runtime::default();
    let object = Object::parse(objects::SOCK).unwrap();
    let instance = runtime.load(&object).unwrap();
    let nowhere = context::Endpoint::default();
    let socket = Socket::tcp(77, nowhere, nowhere);
    let to = context::Endpoint::new(std::net::Ipv4Addr::from(B), 80);
    let connect = instance.programs().find(|name| name.contains("connect4")).unwrap().to_owned();
    let call = SocketAddress::new(socket, to);
    let outcome = instance.program(&connect).unwrap().run_socket_address(&call).unwrap();
    // Allowed, and no service's address is left as it is.
    assert_eq!(outcome.value, 1);
    assert_eq!(outcome.address.unwrap().user, to);
}

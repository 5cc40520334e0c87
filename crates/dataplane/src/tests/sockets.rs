//! Translation at the socket.

use super::*;
use crate::socket::{self, Asked, Peer, Socket};
use abi::service::service_flags::MAGLEV;
use abi::service::{SocketTranslation, SocketTranslationKey};
use std::collections::HashMap;

const VIP: &str = "10.96.0.1";

struct Call {
    protocol: u8,
    cookie: u64,
    peer: Peer,
    asked: Option<Asked>,
    translations: HashMap<SocketTranslationKey, SocketTranslation>,
}

impl Socket for Call {
    fn protocol(&self) -> u8 {
        self.protocol
    }
    fn cookie(&self) -> u64 {
        self.cookie
    }
    fn netns_cookie(&self) -> u64 {
        // All sockets of these tests are in one namespace.
        7
    }
    fn peer(&self) -> Peer {
        self.peer
    }
    fn set_peer(&mut self, peer: Peer) {
        self.peer = peer;
    }
    fn asked(&self) -> Option<Asked> {
        self.asked
    }
    fn remember(&mut self, asked: Option<Asked>) {
        self.asked = asked;
    }
    fn translation(&self, key: &SocketTranslationKey) -> Option<SocketTranslation> {
        self.translations.get(key).copied()
    }
    fn remember_translation(&mut self, key: &SocketTranslationKey, value: &SocketTranslation) {
        self.translations.insert(*key, *value);
    }
}

fn peer(text: &str, port: u16) -> Peer {
    Peer { address: address(text), port: Port::new(port) }
}

fn call(protocol: u8, cookie: u64, to: Peer) -> Call {
    Call { protocol, cookie, peer: to, asked: None, translations: HashMap::new() }
}

#[test]
fn connect_and_back() {
    for protocol in [TCP, UDP] {
        let world = World::new();
        world.service(VIP, 80, protocol, 0, &[("10.0.0.2", 8080)]);
        let mut call = call(protocol, 5, peer(VIP, 80));
        socket::connect(&world.env, &mut call);
        assert_eq!(call.peer, peer("10.0.0.2", 8080));
        assert_eq!(call.asked, Some(Asked { vip: peer(VIP, 80), service: 70, backend: 100 }));
        socket::peer_name(&mut call);
        assert_eq!(call.peer, peer(VIP, 80));
        call.peer = peer("10.0.0.2", 8080);
        socket::receive(&mut call);
        let expect = if protocol == UDP { peer(VIP, 80) } else { peer("10.0.0.2", 8080) };
        assert_eq!(call.peer, expect);
    }
}

#[test]
fn what_is_no_service_is_left_alone() {
    let world = World::new();
    world.service(VIP, 80, TCP, 0, &[("10.0.0.2", 8080)]);
    world.service("10.96.0.2", 80, TCP, 0, &[]);
    world.service("10.96.0.3", 80, TCP, 0, &[("fd00::2", 80)]);
    for (protocol, to) in [
        (UDP, peer(VIP, 80)),
        (TCP, peer(VIP, 81)),
        (TCP, peer("10.96.0.2", 80)),
        (TCP, peer("10.96.0.3", 80)),
    ] {
        let mut call = call(protocol, 5, to);
        socket::connect(&world.env, &mut call);
        assert_eq!((call.peer, call.asked), (to, None));
        socket::send(&world.env, &mut call);
        assert_eq!(call.peer, to);
    }
}

#[test]
fn connecting_elsewhere_forgets() {
    let world = World::new();
    world.service(VIP, 53, UDP, 0, &[("10.0.0.2", 5353)]);
    let mut call = call(UDP, 5, peer(VIP, 53));
    socket::connect(&world.env, &mut call);
    call.peer = peer(WORLD, 53);
    socket::connect(&world.env, &mut call);
    assert_eq!(call.asked, None);
    socket::peer_name(&mut call);
    assert_eq!(call.peer, peer(WORLD, 53));
}

#[test]
fn an_unconnected_socket_keeps_its_backend() {
    let world = World::new();
    world.service(VIP, 53, UDP, 0, &[("10.0.0.1", 53), ("10.0.0.2", 53), ("10.0.0.3", 53)]);
    let backend = |cookie| {
        let mut call = call(UDP, cookie, peer(VIP, 53));
        socket::send(&world.env, &mut call);
        let sent_to = call.peer;
        socket::receive(&mut call);
        assert_eq!(call.peer, peer(VIP, 53));
        sent_to
    };
    let mut counts = HashMap::new();
    for cookie in 0..300 {
        assert_eq!(backend(cookie), backend(cookie));
        *counts.entry(backend(cookie).address).or_insert(0) += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 60), "{counts:?}");
    // Nothing comes back from where nothing was sent.
    let mut call = call(UDP, 1, peer("10.0.0.2", 53));
    socket::receive(&mut call);
    assert_eq!(call.peer, peer("10.0.0.2", 53));
}

#[test]
fn maglev_by_socket() {
    let world = World::new();
    world.service(VIP, 80, TCP, MAGLEV, &[("10.0.0.2", 80), ("10.0.0.3", 80)]);
    let backend = |cookie| {
        let mut call = call(TCP, cookie, peer(VIP, 80));
        socket::connect(&world.env, &mut call);
        call.peer
    };
    assert!((0..50).all(|cookie| backend(cookie) == backend(cookie)));
    assert!((0..50).any(|cookie| backend(cookie) != backend(0)));
}

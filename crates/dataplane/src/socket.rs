//! Translation of services at the socket, so that no packet needs it.
//!
//! | call | what is done |
//! |---|---|
//! | connect | the service's address becomes a backend's; the socket remembers what it asked for |
//! | sendmsg with an address | the same, each time; every socket keeps to one backend while the ring is the same |
//! | recvmsg | the backend's address becomes the service's again, if the socket has sent there |
//! | getpeername | the same for what was connected |
//!
//! A service without backends is left alone: its packets are then dropped with that reason. So is
//! one that takes certain sources only.

use crate::env::Env;
use crate::flow;
use crate::service::{self, Choice};
use abi::service::{
    Service, ServiceKey, SocketTranslation, SocketTranslationKey, scope, service_flags,
};
use abi::{Address, Port, metrics};
use wire::ip::protocol;

/// The other end, as a socket call names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: Address,
    pub port: Port,
}

/// What a connected socket remembers of its connect(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub vip: Peer,
    pub service: u32,
    pub backend: u32,
}

/// The socket that a program makes a call with.
pub trait Socket {
    /// IP protocol number.
    fn protocol(&self) -> u8;
    fn cookie(&self) -> u64;
    /// That of its network namespace.
    fn netns_cookie(&self) -> u64;
    fn peer(&self) -> Peer;
    fn set_peer(&mut self, peer: Peer);

    fn asked(&self) -> Option<Asked>;
    /// `None` forgets what was remembered.
    fn remember(&mut self, asked: Option<Asked>);
    fn translation(&self, key: &SocketTranslationKey) -> Option<SocketTranslation>;
    fn remember_translation(&mut self, key: &SocketTranslationKey, value: &SocketTranslation);
}

#[inline(always)]
pub fn connect(env: &impl Env, socket: &mut impl Socket) {
    let peer = socket.peer();
    let Some((found, choice)) = backend(env, socket, peer, false) else {
        socket.remember(None);
        return;
    };
    socket.remember(Some(Asked { vip: peer, service: found.id, backend: choice.backend }));
    translate(env, socket, peer, &found, &choice);
}

#[inline(always)]
pub fn send(env: &impl Env, socket: &mut impl Socket) {
    let peer = socket.peer();
    if let Some((found, choice)) = backend(env, socket, peer, true) {
        translate(env, socket, peer, &found, &choice);
    }
}

#[inline(always)]
pub fn receive(socket: &mut impl Socket) {
    let key = translation_key(socket, socket.peer());
    if let Some(SocketTranslation { address, port, .. }) = socket.translation(&key) {
        socket.set_peer(Peer { address, port });
    }
}

#[inline(always)]
pub fn peer_name(socket: &mut impl Socket) {
    if let Some(Asked { vip, .. }) = socket.asked() {
        socket.set_peer(vip);
    }
}

#[inline(always)]
fn backend(
    env: &impl Env,
    socket: &impl Socket,
    peer: Peer,
    sticky: bool,
) -> Option<(Service, Choice)> {
    let protocol = socket.protocol();
    let Peer { address, port } = peer;
    let mut found = env.service(&ServiceKey { address, port, protocol, scope: scope::INSIDE })?;
    if found.flags & service_flags::SOURCE_RANGES != 0 {
        // Which source the socket will have is known when it sends.
        return None;
    }
    if sticky {
        found.flags |= service_flags::MAGLEV;
    }
    let client = match found.affinity_s {
        0 => Address::NONE,
        _ => Address::from_number(socket.netns_cookie()),
    };
    let choice = service::choose(env, &found, client, hash(socket.cookie(), peer))?;
    // A socket of one family can't reach a backend of the other.
    (choice.address.is_v4() == address.is_v4()).then_some((found, choice))
}

#[inline(always)]
fn translate(
    env: &impl Env,
    socket: &mut impl Socket,
    peer: Peer,
    found: &Service,
    choice: &Choice,
) {
    let to = Peer { address: choice.address, port: choice.port };
    if socket.protocol() == protocol::UDP {
        let key = translation_key(socket, to);
        let value = SocketTranslation {
            address: peer.address,
            port: peer.port,
            zero: 0,
            service: found.id,
            backend: choice.backend,
        };
        socket.remember_translation(&key, &value);
    }
    socket.set_peer(to);
    env.count(metrics::SOCKET_TRANSLATED, 0);
}

#[inline(always)]
fn translation_key(socket: &impl Socket, peer: Peer) -> SocketTranslationKey {
    SocketTranslationKey {
        cookie: socket.cookie(),
        backend: peer.address,
        port: peer.port,
        protocol: socket.protocol(),
        zero: [0; 5],
    }
}

/// Spreads sockets, and keeps each at its place.
#[inline(always)]
fn hash(cookie: u64, peer: Peer) -> u32 {
    let hash = flow::mix(cookie as u32, (cookie >> 32) as u32);
    let hash = flow::mix(hash, peer.address.v4_word());
    flow::finish(flow::mix(hash, peer.port.number().into()))
}

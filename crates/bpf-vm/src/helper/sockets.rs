//! Sockets: those of the world that the runtime was given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::context::{Endpoint, Socket, sk_lookup};
use crate::map::Content;
use crate::memory::Region;
use crate::slab::Slab;
use crate::state::{Kind, lend_socket};

/// `BPF_LOCAL_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

pub(super) fn cookie(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    Ok(call.state::<State>()?.socket_at(address).map_or(0, |socket| socket.cookie))
}

/// `overflowuid`, for packets without a socket.
const NOBODY: u64 = 65534;

pub(super) fn uid(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let socket = call.state::<State>()?.socket_at(address);
    Ok(socket.map_or(NOBODY, |socket| socket.uid.into()))
}

pub(super) fn cgroup(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    Ok(call.state::<State>()?.socket_at(address).map_or(0, |socket| socket.cgroup_id))
}

pub(super) fn skb_cgroup(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let socket = call.state::<State>()?.context_socket.as_ref();
    Ok(socket.map_or(0, |socket| socket.cgroup_id))
}

pub(super) fn full(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let socket = call.state::<State>()?.socket_at(address);
    Ok(if socket.is_some_and(|socket| socket.full) { address } else { 0 })
}

/// The listening socket that stands for a request: itself if it listens, else one of the world at
/// the same end.
pub(super) fn listener(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let Some(socket) = call.state::<State>()?.socket_at(address).cloned() else { return Ok(0) };
    if socket.listens() {
        return Ok(address);
    }
    if socket.full {
        return Ok(0);
    }
    let found = {
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        let at_end = |other: &&Socket| other.listens() && other.local.port == socket.local.port;
        world.sockets.iter().find(at_end).cloned()
    };
    found.map_or(Ok(0), |found| lend_socket(call, found, false))
}

pub(super) fn lend_by_cookie(shared: &Shared, call: &mut Call<'_, '_>, cookie: u64) -> Outcome {
    let found = {
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        world.sockets.iter().find(|socket| socket.cookie == cookie).cloned()
    };
    found.map_or(Ok(0), |found| lend_socket(call, found, true))
}

/// `BPF_F_CURRENT_NETNS`: the only one that is known.
fn is_here(netns: u64) -> bool {
    netns as i64 == -1 || netns as u32 == u32::MAX
}

fn lookup(shared: &Shared, call: &mut Call<'_, '_>, protocol: u8) -> Outcome {
    let [_, tuple, size, netns, flags] = call.arguments;
    let bytes = match size as u32 {
        12 | 36 => read_bytes(call, tuple, size)?,
        _ => return Ok(0),
    };
    if flags != 0 || !(is_here(netns) || netns == 0) {
        return Ok(0);
    }
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    // Source and destination as in a packet that arrives: the socket's remote end comes first.
    let (remote, local): ((IpAddr, u16), (IpAddr, u16)) = if bytes.len() == 12 {
        let address = |at: usize| {
            let octets: [u8; 4] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            IpAddr::V4(Ipv4Addr::from(octets))
        };
        ((address(0), port(8)), (address(4), port(10)))
    } else {
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[at..at + 16]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        ((address(0), port(32)), (address(16), port(34)))
    };
    let found = {
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        world.socket(protocol, local, remote).cloned()
    };
    found.map_or(Ok(0), |found| lend_socket(call, found, true))
}

pub(super) fn lookup_tcp(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    lookup(shared, call, 6)
}

pub(super) fn lookup_udp(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    lookup(shared, call, 17)
}

pub(super) fn release(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let state = call.state::<State>()?;
    let lent = state.sockets.iter_mut().find(|lent| lent.image.address() == address);
    match lent.filter(|lent| lent.references > 0) {
        // It can still be read, as sockets can until a grace period is over.
        Some(lent) => {
            lent.references -= 1;
            Ok(0)
        }
        None => Err(Reason::Helper("this is no socket that must be released".to_owned()).into()),
    }
}

pub(super) fn assign(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, socket, flags, ..] = call.arguments;
    let state = call.state::<State>()?;
    let Some(cookie) = state.socket_at(socket).map(|socket| socket.cookie) else {
        // A program of sk_lookup may take back its choice.
        if socket == 0 && !state.is_skb() {
            state.assigned = None;
            show_choice(state, 0);
            return Ok(0);
        }
        return code(Err(Errno::EINVAL));
    };
    if state.is_skb() {
        if flags != 0 {
            return code(Err(Errno::EINVAL));
        }
    } else {
        /// `BPF_SK_LOOKUP_F_REPLACE` and `BPF_SK_LOOKUP_F_NO_REUSEPORT`.
        const KNOWN: u64 = 3;
        if flags & !KNOWN != 0 {
            return code(Err(Errno::EINVAL));
        }
        if state.assigned.is_some() && flags & 1 == 0 {
            return code(Err(Errno::EEXIST));
        }
    }
    state.assigned = Some(cookie);
    show_choice(state, socket);
    Ok(0)
}

/// A program of sk_lookup finds its choice in its context.
fn show_choice(state: &State, socket: u64) {
    if state.kind == Kind::SocketLookup {
        state.image.set_double(sk_lookup::SK, socket);
    }
}

/// The value of an owner in a map of storage, made if the flags ask for it.
pub(super) fn storage_of(
    shared: &Shared,
    call: &mut Call<'_, '_>,
    map: u64,
    owner: u64,
    initial: u64,
    flags: u64,
) -> Outcome {
    if flags & !CREATE != 0 {
        return Ok(0);
    }
    let map = shared.map(map)?;
    let Content::Storage(storage) = map.content() else { return Ok(0) };
    let size = map.definition().value_size;
    let slab = if flags & CREATE != 0 {
        let bytes = match initial {
            0 => vec![0; size as usize],
            address => read_bytes(call, address, size.into())?,
        };
        let make = || {
            let slab = Slab::new(size.into())?;
            slab.store(0, &bytes);
            Ok(slab)
        };
        storage.find_or_insert(owner, make).ok()
    } else {
        storage.find(owner)
    };
    let Some(slab) = slab else { return Ok(0) };
    let region = Region { start: slab.address(), length: size.into(), writable: true };
    if call.state::<State>()?.keep(slab).is_err() {
        return Ok(0);
    }
    call.memory().add(region);
    Ok(region.start)
}

pub(super) fn storage_get(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, socket, initial, flags, _] = call.arguments;
    let state = call.state::<State>()?;
    let Some(owner) = state.socket_at(socket).filter(|s| s.full).map(|s| s.cookie) else {
        return Ok(0);
    };
    storage_of(shared, call, map, owner, initial, flags)
}

pub(super) fn storage_delete(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [map, socket, ..] = call.arguments;
    let Some(owner) = call.state::<State>()?.socket_at(socket).map(|socket| socket.cookie) else {
        return code(Err(Errno::EINVAL));
    };
    code(shared.map(map)?.delete_owner(owner))
}

/// Socket options are recorded, and read back as they were recorded.
pub(super) fn set_option(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, level, name, address, size] = call.arguments;
    let value = read_bytes(call, address, size & 0xffff_ffff)?;
    let state = call.state::<State>()?;
    let (level, name) = (level as u32, name as u32);
    state.options.retain(|(l, n, _)| (*l, *n) != (level, name));
    state.options.push((level, name, value));
    Ok(0)
}

pub(super) fn option(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, level, name, address, size] = call.arguments;
    let size = size as u32 as usize;
    call.check(address, size as u64, true)?;
    let state = call.state::<State>()?;
    let wanted = (level as u32, name as u32);
    let known = state.options.iter().find(|(level, name, _)| (*level, *name) == wanted);
    let mut bytes = known.map(|(.., value)| value.clone());
    let found = bytes.is_some();
    let bytes = bytes.get_or_insert_default();
    bytes.resize(size, 0);
    call.write(address, bytes)?;
    code(if found { Ok(()) } else { Err(Errno::ENOPROTOOPT) })
}

pub(super) fn callback_flags(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_SOCK_OPS_ALL_CB_FLAGS`.
    const ALL: u32 = 0x7f;
    let flags = call.arguments[1] as u32;
    let state = call.state::<State>()?;
    if !state.context_socket.as_ref().is_some_and(|socket| socket.full) {
        return code(Err(Errno::EINVAL));
    }
    state.callback_flags = flags & ALL;
    state.image.set_word(crate::context::sock_ops::CB_FLAGS, flags & ALL);
    // What isn't supported is returned.
    Ok((flags & !ALL).into())
}

pub(super) fn bind(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    const INET: u16 = 2;
    const INET6: u16 = 10;
    let [_, address, size, ..] = call.arguments;
    let bytes = read_bytes(call, address, size & 0xffff_ffff)?;
    if bytes.len() < 2 {
        return code(Err(Errno::EINVAL));
    }
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    let endpoint = match u16::from_ne_bytes([bytes[0], bytes[1]]) {
        INET if bytes.len() >= 16 => {
            let octets: [u8; 4] = [bytes[4], bytes[5], bytes[6], bytes[7]];
            Endpoint { address: Ipv4Addr::from(octets).into(), port: port(&bytes) }
        }
        INET6 if bytes.len() >= 24 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[8..24]);
            Endpoint { address: Ipv6Addr::from(octets).into(), port: port(&bytes) }
        }
        INET | INET6 => return code(Err(Errno::EINVAL)),
        _ => return code(Err(Errno::EAFNOSUPPORT)),
    };
    call.state::<State>()?.bound = Some(endpoint);
    Ok(0)
}

//! What programs learn of a TCP socket, and other types of the same socket.

use super::*;
use crate::context::Socket;
use crate::memory::Region;
use crate::slab::Slab;

/// Protocols and states (include/net/tcp_states.h).
const TCP: u8 = 6;
const UDP: u8 = 17;
const TIME_WAIT: u8 = 6;
const NEW_REQUEST: u8 = 12;
const INET6: u32 = 10;
/// `sizeof(struct bpf_tcp_sock)`.
const SIZE: u64 = 112;

/// `struct bpf_tcp_sock`: nothing has been sent yet.
pub(super) fn tcp_sock(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    let state = call.state::<State>()?;
    if !state.socket_at(address).is_some_and(|socket| socket.full && socket.protocol == TCP) {
        return Ok(0);
    }
    let Ok(slab) = Slab::new(SIZE).map(Arc::new) else { return Ok(0) };
    /// The initial window (`TCP_INIT_CWND`), and the threshold that there is none yet.
    const WINDOW: (u64, u32) = (0, 10);
    const THRESHOLD: (u64, u32) = (12, 0x7fff_ffff);
    for (at, value) in [WINDOW, THRESHOLD] {
        slab.store(at, &value.to_ne_bytes());
    }
    let region = Region { start: slab.address(), length: SIZE, writable: false };
    if state.keep(slab).is_err() {
        return Ok(0);
    }
    call.memory().add(region);
    Ok(region.start)
}

/// The same pointer, if the socket is what the caller takes it for.
fn cast(call: &mut Call<'_, '_>, is_it: fn(&Socket) -> bool) -> Outcome {
    let address = call.arguments[0];
    let socket = call.state::<State>()?.socket_at(address);
    Ok(if socket.is_some_and(is_it) { address } else { 0 })
}

pub(super) fn to_tcp6(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    cast(call, |socket| socket.full && socket.protocol == TCP && socket.family() == INET6)
}

pub(super) fn to_tcp(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    cast(call, |socket| socket.full && socket.protocol == TCP)
}

pub(super) fn to_timewait(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    cast(call, |socket| socket.protocol == TCP && socket.state == TIME_WAIT)
}

pub(super) fn to_request(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    cast(call, |socket| socket.protocol == TCP && socket.state == NEW_REQUEST)
}

pub(super) fn to_udp6(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    cast(call, |socket| socket.full && socket.protocol == UDP && socket.family() == INET6)
}

/// Sockets of UNIX and of MPTCP are not there.
pub(super) fn to_none(_: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(0)
}

/// `bpf_sock_map_update` and `bpf_sock_hash_update`: puts the socket of an event into a map.
pub(super) fn map_update(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, map, key, flags, _] = call.arguments;
    let map = shared.map(map)?.clone();
    let key = read_bytes(call, key, map.definition().key_size.into())?;
    let Some(socket) = call.state::<State>()?.context_socket.clone() else {
        return code(Err(Errno::EINVAL));
    };
    if !matches!(
        map.definition().kind,
        bpf_object::MapType::SOCKET_MAP | bpf_object::MapType::SOCKET_HASH
    ) || !socket.full
    {
        return code(Err(Errno::EOPNOTSUPP));
    }
    code(map.update_reference(&key, &socket.cookie.to_ne_bytes(), flags))
}

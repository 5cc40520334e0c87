//! Where packets go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bpf_object::MapType;

use super::*;
use crate::state::{Kind, Redirect};
use crate::world::RouteKind;

/// Actions of classifiers and of XDP programs.
const TC_SHOT: u64 = 2;
const TC_REDIRECT: u64 = 7;
const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;

/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;

pub(super) fn redirect(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [ifindex, flags, ..] = call.arguments;
    Ok(to_interface(call.state()?, ifindex as u32, flags))
}

/// `bpf_redirect`; the action.
pub(crate) fn to_interface(state: &mut State, ifindex: u32, flags: u64) -> u64 {
    let is_xdp = state.kind == Kind::Xdp;
    let allowed = if is_xdp { 0 } else { INGRESS };
    if flags & !allowed != 0 {
        return if is_xdp { XDP_ABORTED } else { TC_SHOT };
    }
    state.redirect = Some(Redirect::Interface { ifindex, ingress: flags & INGRESS != 0 });
    if is_xdp { XDP_REDIRECT } else { TC_REDIRECT }
}

pub(super) fn redirect_peer(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [ifindex, flags, ..] = call.arguments;
    Ok(to_peer(call.state()?, ifindex as u32, flags))
}

/// `bpf_redirect_peer`; the action.
pub(crate) fn to_peer(state: &mut State, ifindex: u32, flags: u64) -> u64 {
    if flags != 0 {
        return TC_SHOT;
    }
    state.redirect = Some(Redirect::Peer { ifindex });
    TC_REDIRECT
}

/// `AF_INET` and `AF_INET6`.
const INET: u32 = 2;
const INET6: u32 = 10;

pub(super) fn redirect_neighbour(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `sizeof(struct bpf_redir_neigh)`.
    const PARAMETERS: u64 = 20;
    let [ifindex, parameters, size, flags, _] = call.arguments;
    let size = size & 0xffff_ffff;
    if flags != 0 || (size != 0 && size < PARAMETERS) {
        return Ok(TC_SHOT);
    }
    let next_hop = if size == 0 {
        None
    } else {
        let bytes = read_bytes(call, parameters, size)?;
        match word(&bytes, 0) {
            INET => Some(v4(&bytes, 4)),
            INET6 => Some(v6(&bytes, 4)),
            _ => return Ok(TC_SHOT),
        }
    };
    let ifindex = ifindex as u32;
    call.state::<State>()?.redirect = Some(Redirect::Neighbour { ifindex, next_hop });
    Ok(TC_REDIRECT)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn v4(bytes: &[u8], at: usize) -> IpAddr {
    let octets = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
    Ipv4Addr::from(octets).into()
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let octets = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>).copied().unwrap_or_default();
    Ipv6Addr::from(octets).into()
}

pub(super) fn redirect_map(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// The action if there is no entry.
    const ACTIONS: u64 = 3;
    /// `BPF_F_BROADCAST` and `BPF_F_EXCLUDE_INGRESS`, of maps of devices.
    const BROADCAST: u64 = 1 << 3;
    const EXCLUDE_INGRESS: u64 = 1 << 4;
    let [map, key, flags, ..] = call.arguments;
    let map = shared.map(map)?;
    let kind = map.definition().kind;
    let allowed = match kind {
        MapType::DEVICE_MAP | MapType::DEVICE_HASH => ACTIONS | BROADCAST | EXCLUDE_INGRESS,
        MapType::CPU_MAP | MapType::XSK_MAP => ACTIONS,
        _ => return Ok(XDP_ABORTED),
    };
    if flags & !allowed != 0 {
        return Ok(XDP_ABORTED);
    }
    let key = key as u32;
    let broadcast = flags & BROADCAST != 0;
    let target = map.reference_of(&key.to_ne_bytes()) & 0xffff_ffff;
    let state = call.state::<State>()?;
    if target == 0 && !broadcast {
        state.redirect = None;
        return Ok(flags & ACTIONS);
    }
    let name = map.name().to_owned();
    let key = (!broadcast).then_some(key);
    let target = if broadcast { 0 } else { target };
    let flags = flags & !ACTIONS;
    state.redirect = Some(Redirect::Map { map: name, key, target, flags });
    Ok(XDP_REDIRECT)
}

/// `bpf_sk_redirect_map` and `bpf_sk_redirect_hash`: SK_PASS if there is such a socket.
pub(super) fn sk_redirect_map(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    const DROP: u64 = 0;
    const PASS: u64 = 1;
    let [_, map, key, flags, _] = call.arguments;
    let map = shared.map(map)?;
    if flags & !INGRESS != 0 {
        return Ok(DROP);
    }
    let key = match map.definition().kind {
        MapType::SOCKET_HASH => read_bytes(call, key, map.definition().key_size.into())?,
        _ => (key as u32).to_ne_bytes().to_vec(),
    };
    let cookie = map.reference_of(&key);
    if cookie == 0 {
        return Ok(DROP);
    }
    let ingress = flags & INGRESS != 0;
    let redirect = Redirect::Socket { map: map.name().to_owned(), cookie, ingress };
    call.state::<State>()?.redirect = Some(redirect);
    Ok(PASS)
}

pub(super) fn clone_redirect(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, ifindex, flags, ..] = call.arguments;
    if flags & !INGRESS != 0 {
        return code(Err(Errno::EINVAL));
    }
    let ifindex = ifindex as u32;
    {
        // Interfaces that nobody has described may exist.
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        if !world.interfaces.is_empty() && world.interface(ifindex).is_none() {
            return code(Err(Errno::EINVAL));
        }
    }
    let redirect = Redirect::Interface { ifindex, ingress: flags & INGRESS != 0 };
    code(call.state::<State>()?.send_copy(redirect))
}

/// `struct bpf_fib_lookup`.
mod fib {
    pub const FAMILY: usize = 0;
    pub const MTU: usize = 6;
    pub const LENGTH: usize = 6;
    pub const IFINDEX: usize = 8;
    pub const METRIC: usize = 12;
    pub const SOURCE: usize = 16;
    pub const DESTINATION: usize = 32;
    pub const TABLE: usize = 48;
    pub const SMAC: usize = 52;
    pub const DMAC: usize = 58;
    pub const SIZE: usize = 64;

    pub const SKIP_NEIGHBOUR: u64 = 1 << 2;
    pub const WITH_TABLE: u64 = 1 << 3;
    pub const WITH_SOURCE: u64 = 1 << 4;
    pub const KNOWN: u64 = 0x3f;

    pub const SUCCESS: u64 = 0;
    pub const BLACKHOLE: u64 = 1;
    pub const UNREACHABLE: u64 = 2;
    pub const PROHIBIT: u64 = 3;
    pub const NOT_FORWARDED: u64 = 4;
    pub const FORWARDING_DISABLED: u64 = 5;
    pub const NO_NEIGHBOUR: u64 = 7;
    pub const FRAGMENT_NEEDED: u64 = 8;
    pub const NO_SOURCE: u64 = 9;
}

/// Over the routes, neighbours and interfaces of the world.
pub(super) fn fib_lookup(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, at, size, flags, _] = call.arguments;
    let flags = flags & 0xffff_ffff;
    if (size as u32 as usize) < fib::SIZE || flags & !fib::KNOWN != 0 {
        return code(Err(Errno::EINVAL));
    }
    let mut bytes = read_bytes(call, at, fib::SIZE as u64)?;
    let is_v4 = match u32::from(bytes[fib::FAMILY]) {
        INET => true,
        INET6 => false,
        _ => return code(Err(Errno::EAFNOSUPPORT)),
    };
    let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
    // The interface that the packet came from must exist.
    let from = word(&bytes, fib::IFINDEX);
    if !world.interfaces.is_empty() && world.interface(from).is_none() {
        return code(Err(Errno::ENODEV));
    }
    if !world.forwarding {
        return Ok(fib::FORWARDING_DISABLED);
    }
    let destination =
        if is_v4 { v4(&bytes, fib::DESTINATION) } else { v6(&bytes, fib::DESTINATION) };
    let table = (flags & fib::WITH_TABLE != 0).then(|| word(&bytes, fib::TABLE));
    let Some(route) = world.route(destination, table) else { return Ok(fib::NOT_FORWARDED) };
    let (ifindex, gateway) = match route.what {
        RouteKind::Unicast { ifindex, gateway } => (ifindex, gateway),
        RouteKind::Blackhole => return Ok(fib::BLACKHOLE),
        RouteKind::Unreachable => return Ok(fib::UNREACHABLE),
        RouteKind::Prohibit => return Ok(fib::PROHIBIT),
        RouteKind::Local => return Ok(fib::NOT_FORWARDED),
    };
    let put = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let interface = world.interface(ifindex);
    let length = u16::from_ne_bytes([bytes[fib::LENGTH], bytes[fib::LENGTH + 1]]);
    let mut result = fib::SUCCESS;
    if let Some(interface) = interface {
        let mtu = (interface.mtu.min(0xffff) as u16).to_ne_bytes();
        if u32::from(length) > interface.mtu {
            put(&mut bytes, fib::MTU, &mtu);
            result = fib::FRAGMENT_NEEDED;
        } else {
            put(&mut bytes, fib::MTU, &mtu);
        }
    }
    if result == fib::SUCCESS {
        put(&mut bytes, fib::IFINDEX, &ifindex.to_ne_bytes());
        put(&mut bytes, fib::METRIC, &route.metric.to_ne_bytes());
        if flags & fib::WITH_SOURCE != 0 {
            match route.source {
                Some(source) => put(&mut bytes, fib::SOURCE, &octets(source)),
                None => result = fib::NO_SOURCE,
            }
        }
        let next = gateway.unwrap_or(destination);
        if result == fib::SUCCESS && gateway.is_some() {
            put(&mut bytes, fib::DESTINATION, &octets(next));
        }
        if result == fib::SUCCESS && flags & fib::SKIP_NEIGHBOUR == 0 {
            match world.neighbour(next, ifindex) {
                Some(neighbour) => {
                    put(&mut bytes, fib::DMAC, &neighbour.mac);
                    let own = interface.map_or([0; 6], |interface| interface.mac);
                    put(&mut bytes, fib::SMAC, &own);
                    // No tag of a VLAN.
                    put(&mut bytes, fib::TABLE, &[0; 4]);
                }
                None => result = fib::NO_NEIGHBOUR,
            }
        }
    }
    drop(world);
    call.write(at, &bytes)?;
    Ok(result)
}

/// Whether a packet fits an interface (`bpf_skb_check_mtu` and `bpf_xdp_check_mtu`,
/// net/core/filter.c, Linux 6.18).
pub(super) fn check_mtu(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_MTU_CHK_SEGS`.
    const SEGMENTS: u64 = 1;
    const FITS: u64 = 0;
    const FRAGMENT_NEEDED: u64 = 1;
    /// Of interfaces that nobody has described: the loopback's, and others'.
    const LOOPBACK: u32 = 65536;
    const ETHERNET: u32 = 1500;
    const HEADER: i32 = 14;
    let [_, ifindex, at, difference, flags] = call.arguments;
    let known = u32::from_ne_bytes(call.read_array::<4>(at)?);
    let (difference, ifindex) = (difference as i32, ifindex as u32);
    let state = call.state::<State>()?;
    let (is_skb, length) = (state.is_skb(), state.packet.map_or(0, |bounds| bounds.len()));
    let own = match is_skb {
        true => state.image.word(crate::context::sk_buff::IFINDEX),
        false => state.image.word(crate::context::xdp_md::INGRESS_IFINDEX),
    };
    let is_wrong = match is_skb {
        true => flags & !SEGMENTS != 0 || flags & SEGMENTS != 0 && (difference != 0 || known != 0),
        false => flags != 0,
    };
    if is_wrong {
        return code(Err(Errno::EINVAL));
    }
    let ifindex = if ifindex == 0 { own } else { ifindex };
    let mtu = {
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        match world.interface(ifindex) {
            Some(interface) => Some(interface.mtu),
            None if world.interfaces.is_empty() => {
                Some(if ifindex == 1 { LOOPBACK } else { ETHERNET })
            }
            None => None,
        }
    };
    let Some(mtu) = mtu else { return code(Err(Errno::ENODEV)) };
    let length = if known == 0 { length as i32 } else { (known as i32).wrapping_add(HEADER) };
    let fits = length.wrapping_add(difference) <= (mtu as i32).wrapping_add(HEADER);
    call.write(at, &mtu.to_ne_bytes())?;
    Ok(if fits { FITS } else { FRAGMENT_NEEDED })
}

//! Reading and changing packets (net/core/filter.c, Linux 6.18).

use super::*;
use crate::context::sk_buff as s;
use crate::packet::{Bounds, LONGEST};
use crate::state::{ETHERNET, Kind, packet_moved};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// `sizeof(struct xdp_frame)`, which the kernel keeps at the start of a frame.
const XDP_FRAME: u32 = 40;
/// `BPF_F_INVALIDATE_HASH`; `BPF_F_RECOMPUTE_CSUM` is 1.
const INVALIDATE_HASH: u64 = 2;
/// The longest packet that helpers make (`BPF_SKB_MAX_LEN`).
const SKB_MAX: u32 = 16 << 10;

/// A change of the packet that may be refused, after which its bounds are shown.
fn change(
    call: &mut Call<'_, '_>,
    act: impl FnOnce(&mut State, &mut Bounds) -> Result<(), Errno>,
) -> Outcome {
    let state = call.state::<State>()?;
    let Some(mut bounds) = state.packet else { return code(Err(Errno::EINVAL)) };
    let result = act(state, &mut bounds);
    if result.is_ok() {
        state.packet = Some(bounds);
        packet_moved(call)?;
    }
    code(result)
}

/// Where so many of the packet's bytes lie, if it has them.
fn place(
    call: &mut Call<'_, '_>,
    offset: Option<u64>,
    length: u64,
) -> Result<Option<(Bounds, u32)>, Stop> {
    let Some(bounds) = call.state::<State>()?.packet else { return Ok(None) };
    let is_there =
        |offset: &u64| offset.checked_add(length).is_some_and(|end| end <= bounds.len().into());
    Ok(offset.filter(is_there).map(|offset| (bounds, bounds.data + offset as u32)))
}

/// Fills the program's memory from the packet, or with zeroes.
fn load(call: &mut Call<'_, '_>, offset: Option<u64>, to: u64, length: u64) -> Outcome {
    let length = length & 0xffff_ffff;
    call.check(to, length, true)?;
    match place(call, offset, length)? {
        Some((packet, at)) => {
            call.write_from(to, &packet, at, length as u32)?;
            Ok(0)
        }
        None => {
            call.write(to, &vec![0; length as usize])?;
            code(Err(Errno::EFAULT))
        }
    }
}

pub(super) fn skb_load_bytes(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, to, length, _] = call.arguments;
    let offset = offset & 0xffff_ffff;
    load(call, (offset <= i32::MAX as u64).then_some(offset), to, length)
}

/// Where `bpf_skb_load_bytes` finds so many bytes.
#[inline]
pub(crate) fn to_load(state: &State, offset: u64, length: u32) -> Result<*const u8, Errno> {
    place_of(state, offset, length).map(<*mut u8>::cast_const)
}

#[inline]
fn place_of(state: &State, offset: u64, length: u32) -> Result<*mut u8, Errno> {
    let offset = offset & 0xffff_ffff;
    let bounds = state.packet.as_ref().ok_or(Errno::EFAULT)?;
    if offset > i32::MAX as u64 || offset + u64::from(length) > u64::from(bounds.len()) {
        return Err(Errno::EFAULT);
    }
    Ok(bounds.pointer(bounds.data + offset as u32, length as usize))
}

pub(super) fn load_bytes_relative(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, to, length, from] = call.arguments;
    let offset = offset & 0xffff_ffff;
    let network = u64::from(call.state::<State>()?.link_header());
    // `BPF_HDR_START_MAC` and `BPF_HDR_START_NET`.
    let start = match from as u32 {
        0 => Some(offset),
        1 => Some(offset + network),
        _ => None,
    };
    load(call, start.filter(|_| offset <= 0xffff), to, length)
}

pub(super) fn xdp_load_bytes(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, to, length, _] = call.arguments;
    let (offset, length) = (offset & 0xffff_ffff, length & 0xffff_ffff);
    call.check(to, length, true)?;
    if offset > 0xffff || length > 0xffff {
        return code(Err(Errno::EFAULT));
    }
    match place(call, Some(offset), length)? {
        Some((packet, at)) => {
            call.write_from(to, &packet, at, length as u32)?;
            Ok(0)
        }
        None => code(Err(Errno::EINVAL)),
    }
}

fn store(call: &mut Call<'_, '_>, offset: u64, from: u64, length: u64, error: Errno) -> Outcome {
    call.check(from, length, false)?;
    if call.state::<State>()?.packet.is_none() {
        return code(Err(Errno::EINVAL));
    }
    let Some((packet, at)) = place(call, Some(offset), length)? else { return code(Err(error)) };
    call.read_into(from, &packet, at, length as u32)?;
    Ok(0)
}

pub(super) fn xdp_store_bytes(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, from, length, _] = call.arguments;
    let (offset, length) = (offset & 0xffff_ffff, length & 0xffff_ffff);
    if offset > 0xffff || length > 0xffff {
        return code(Err(Errno::EFAULT));
    }
    store(call, offset, from, length, Errno::EINVAL)
}

pub(super) fn skb_store_bytes(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, from, length, flags] = call.arguments;
    let (offset, length) = (offset & 0xffff_ffff, length & 0xffff_ffff);
    if flags & !(1 | INVALIDATE_HASH) != 0 {
        return code(Err(Errno::EINVAL));
    }
    if offset > i32::MAX as u64 {
        return code(Err(Errno::EFAULT));
    }
    let result = store(call, offset, from, length, Errno::EFAULT)?;
    if result == 0 {
        stored(call.state()?, flags);
    }
    Ok(result)
}

/// Where `bpf_skb_store_bytes` puts so many bytes.
#[inline]
pub(crate) fn to_store(
    state: &State,
    offset: u64,
    length: u32,
    flags: u64,
) -> Result<*mut u8, Errno> {
    if flags & !(1 | INVALIDATE_HASH) != 0 || state.packet.is_none() {
        return Err(Errno::EINVAL);
    }
    place_of(state, offset, length)
}

/// What else changes when bytes of a packet do.
#[inline]
pub(crate) fn stored(state: &mut State, flags: u64) {
    if flags & INVALIDATE_HASH != 0 {
        state.is_used = true;
        state.image.set_word(s::HASH, 0);
    }
}

/// `bpf_skb_pull_data`: packets lie in one piece.
pub(crate) fn pull(state: &State, length: u32) -> Result<(), Errno> {
    let bounds = state.packet.as_ref().ok_or(Errno::EINVAL)?;
    if length > bounds.len() { Err(Errno::ENOMEM) } else { Ok(()) }
}

pub(super) fn pull_data(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let length = call.arguments[1] as u32;
    change(call, |state, _| pull(state, length))
}

pub(super) fn length(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(call.state::<State>()?.packet.map_or(0, |bounds| bounds.len().into()))
}

pub(super) fn change_tail(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, length, flags, ..] = call.arguments;
    let length = length as u32;
    change(call, |state, bounds| {
        if flags != 0 || length > SKB_MAX.max(bounds.len()) || length < least(state) {
            return Err(Errno::EINVAL);
        }
        if state.encapsulated {
            return Err(Errno::ENOTSUPP);
        }
        let end = bounds.data + length;
        if end > bounds.length {
            return Err(Errno::ENOMEM);
        }
        if end > bounds.end {
            bounds.clear(bounds.end, end - bounds.end);
        }
        bounds.end = end;
        bounds.meta = bounds.data;
        Ok(())
    })
}

/// To what a packet can be cut (`__bpf_skb_min_len`).
fn least(state: &State) -> u32 {
    if state.transport != 0 { state.transport } else { state.link_header() }
}

pub(super) fn change_head(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, room, flags, ..] = call.arguments;
    let room = room as u32;
    change(call, |state, bounds| {
        if flags != 0
            || u64::from(bounds.len()) + u64::from(room) > SKB_MAX.max(bounds.len()).into()
        {
            return Err(Errno::EINVAL);
        }
        bounds.data = bounds.data.checked_sub(room).ok_or(Errno::ENOMEM)?;
        bounds.clear(bounds.data, room);
        bounds.meta = bounds.data;
        state.network += room;
        if state.transport != 0 {
            state.transport += room;
        }
        Ok(())
    })
}

/// Inserts zeroes at an offset, by moving what lies before it.
fn insert(bounds: &mut Bounds, at: u32, length: u32) -> Result<(), Errno> {
    if at > bounds.len() {
        return Err(Errno::EFAULT);
    }
    let data = bounds.data.checked_sub(length).ok_or(Errno::ENOMEM)?;
    bounds.shift(bounds.data, data, at);
    bounds.data = data;
    bounds.meta = data;
    bounds.clear(data + at, length);
    Ok(())
}

/// Takes bytes out at an offset, by moving what lies before them.
fn cut(bounds: &mut Bounds, at: u32, length: u32) -> Result<(), Errno> {
    if at + length > bounds.len() {
        return Err(Errno::ENOMEM);
    }
    bounds.shift(bounds.data, bounds.data + length, at);
    bounds.data += length;
    bounds.meta = bounds.data;
    Ok(())
}

fn protocol(state: &State) -> u16 {
    u16::from_be(state.image.word(s::PROTOCOL) as u16)
}

fn set_protocol(state: &State, protocol: u16) {
    state.image.set_word(s::PROTOCOL, protocol.to_be().into());
}

pub(super) fn change_protocol(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// By so much is an IPv6 header longer.
    const DIFFERENCE: u32 = 20;
    let [_, wanted, flags, ..] = call.arguments;
    let wanted = u16::from_be(wanted as u16);
    change(call, |state, bounds| {
        if flags & !1 != 0 {
            return Err(Errno::EINVAL);
        }
        let at = state.link_header();
        match (protocol(state), wanted) {
            (IPV4, IPV6) => insert(bounds, at, DIFFERENCE)?,
            (IPV6, IPV4) => cut(bounds, at, DIFFERENCE)?,
            _ => return Err(Errno::ENOTSUPP),
        }
        set_protocol(state, wanted);
        state.image.set_word(s::HASH, 0);
        Ok(())
    })
}

pub(super) fn change_type(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `PACKET_OTHERHOST`.
    const LAST: u32 = 3;
    let wanted = call.arguments[1] as u32;
    let state = call.state::<State>()?;
    if state.image.word(s::PKT_TYPE) > LAST || wanted > LAST {
        return code(Err(Errno::EINVAL));
    }
    state.image.set_word(s::PKT_TYPE, wanted);
    Ok(0)
}

pub(super) fn vlan_push(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, wanted, tci, ..] = call.arguments;
    let wanted = u16::from_be(wanted as u16);
    let wanted = if VLAN.contains(&wanted) { wanted } else { VLAN[0] };
    change(call, |state, bounds| {
        let image = &state.image;
        if image.word(s::VLAN_PRESENT) != 0 {
            // The tag that is there goes into the packet.
            let outer = u16::from_be(image.word(s::VLAN_PROTO) as u16);
            // The network header is now where this tag begins, as far from the start as before.
            insert(bounds, 12, 4)?;
            if state.transport != 0 {
                state.transport += 4;
            }
            let tci = image.word(s::VLAN_TCI) as u16;
            bounds.write(bounds.data + 12, &outer.to_be_bytes());
            bounds.write(bounds.data + 14, &tci.to_be_bytes());
            set_protocol(state, outer);
        }
        show_tag(state, wanted, tci as u16);
        Ok(())
    })
}

fn show_tag(state: &State, protocol: u16, tci: u16) {
    state.image.set_word(s::VLAN_PRESENT, 1);
    state.image.set_word(s::VLAN_PROTO, protocol.to_be().into());
    state.image.set_word(s::VLAN_TCI, tci.into());
}

/// Takes the tag out of the packet's bytes.
fn cut_tag(state: &mut State, bounds: &mut Bounds) -> Result<u16, Errno> {
    if bounds.len() < ETHERNET + 4 {
        return Err(Errno::ENOMEM);
    }
    let mut tag = [0; 6];
    let behind = if bounds.len() < ETHERNET + 6 { 4 } else { 6 };
    bounds.read(bounds.data + 14, &mut tag[..behind]);
    cut(bounds, 12, 4)?;
    state.network = state.network.saturating_sub(4).max(ETHERNET);
    state.transport = state.transport.saturating_sub(4);
    let [a, b, c, d, e, f] = tag;
    let inner = match u16::from_be_bytes([c, d]) {
        // A length and not a type (`vlan_set_encap_proto`).
        length if length < LEAST_TYPE && [e, f] == [0xff; 2] => IEEE_802_3,
        length if length < LEAST_TYPE => IEEE_802_2,
        kind => kind,
    };
    set_protocol(state, inner);
    Ok(u16::from_be_bytes([a, b]))
}

/// From here on the number behind the addresses of a frame is a type (IEEE 802.3).
const LEAST_TYPE: u16 = 1536;
/// How the kernel calls frames that have a length there (include/uapi/linux/if_ether.h).
const IEEE_802_3: u16 = 1;
const IEEE_802_2: u16 = 4;

pub(super) fn vlan_pop(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    change(call, |state, bounds| {
        if state.image.word(s::VLAN_PRESENT) != 0 {
            for field in [s::VLAN_PRESENT, s::VLAN_PROTO, s::VLAN_TCI] {
                state.image.set_word(field, 0);
            }
        } else if VLAN.contains(&protocol(state)) {
            cut_tag(state, bounds)?;
        } else {
            return Ok(());
        }
        // The next tag takes its place.
        let outer = protocol(state);
        if VLAN.contains(&outer) {
            let tci = cut_tag(state, bounds)?;
            show_tag(state, outer, tci);
        }
        Ok(())
    })
}

/// A number that depends on the flow alone. The kernel's depends on a secret, too.
pub(super) fn hash(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let state = call.state::<State>()?;
    let known = state.image.word(s::HASH);
    let Some(bounds) = state.packet.filter(|_| known == 0) else { return Ok(known.into()) };
    let mut packet = vec![0; bounds.len() as usize];
    bounds.read(bounds.data, &mut packet);
    let network = packet.get(state.link_header() as usize..).unwrap_or_default();
    let hash = flow(network)
        .iter()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let hash = (hash ^ hash >> 15).max(1);
    state.image.set_word(s::HASH, hash);
    Ok(hash.into())
}

/// Addresses, protocol and ports.
fn flow(network: &[u8]) -> Vec<u8> {
    let (addresses, protocol, ports) = match network.first().map(|byte| byte >> 4) {
        Some(4) => {
            let length = usize::from(network[0] & 0xf) * 4;
            (network.get(12..20), network.get(9), network.get(length..length + 4))
        }
        Some(6) => (network.get(8..40), network.get(6), network.get(40..44)),
        _ => (None, None, None),
    };
    let mut flow = addresses.unwrap_or_default().to_vec();
    flow.extend(protocol);
    if matches!(protocol, Some(6 | 17 | 132)) {
        flow.extend(ports.unwrap_or_default());
    }
    flow
}

pub(super) fn forget_hash(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    call.state::<State>()?.image.set_word(s::HASH, 0);
    Ok(0)
}

pub(super) fn set_hash(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let hash = call.arguments[1] as u32;
    call.state::<State>()?.image.set_word(s::HASH, hash);
    Ok(0)
}

/// Flags of `bpf_skb_adjust_room`.
mod room {
    pub const ENCAP_L3_IPV4: u64 = 1 << 1;
    pub const ENCAP_L3_IPV6: u64 = 1 << 2;
    pub const ENCAP_L4_GRE: u64 = 1 << 3;
    pub const ENCAP_L4_UDP: u64 = 1 << 4;
    pub const ENCAP_L2_ETH: u64 = 1 << 6;
    pub const DECAP_L3_IPV4: u64 = 1 << 7;
    pub const DECAP_L3_IPV6: u64 = 1 << 8;
    /// `FIXED_GSO`, `NO_CSUM_RESET`, and what takes headers away.
    pub const SHRINKING: u64 = 1 | 1 << 5 | DECAP_L3_IPV4 | DECAP_L3_IPV6;
    /// All, with the length of an inner link header.
    pub const KNOWN: u64 = 0x1ff | 0xff << 56;
    /// `BPF_ADJ_ROOM_NET` and `BPF_ADJ_ROOM_MAC`.
    pub const NET: u32 = 0;
    pub const MAC: u32 = 1;
}

pub(super) fn adjust_room(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, difference, mode, flags, _] = call.arguments;
    let difference = difference as i32;
    change(call, |state, bounds| {
        let length = difference.unsigned_abs();
        let shrinks = difference < 0;
        if flags & !room::KNOWN != 0 {
            return Err(Errno::EINVAL);
        }
        if length > 0xfff {
            return Err(Errno::EFAULT);
        }
        let network = state.link_header();
        let (base, mut least) = match protocol(state) {
            IPV4 => (20, 20),
            IPV6 => (40, 40),
            _ => return Err(Errno::ENOTSUPP),
        };
        let at = match mode as u32 {
            room::NET => network + base,
            room::MAC => network,
            _ => return Err(Errno::ENOTSUPP),
        };
        let decapsulates = flags & (room::DECAP_L3_IPV4 | room::DECAP_L3_IPV6);
        if decapsulates != 0 {
            if !shrinks {
                return Err(Errno::EINVAL);
            }
            least = match decapsulates {
                room::DECAP_L3_IPV4 => 20,
                room::DECAP_L3_IPV6 => 40,
                _ => return Err(Errno::EINVAL),
            };
        }
        let present = bounds.len().saturating_sub(network);
        if shrinks && (length >= present || present - length < least) {
            return Err(Errno::ENOTSUPP);
        }
        if !shrinks && bounds.len() + length > SKB_MAX.max(bounds.len()) {
            return Err(Errno::ENOTSUPP);
        }
        let (v4, v6) = (flags & room::ENCAP_L3_IPV4 != 0, flags & room::ENCAP_L3_IPV6 != 0);
        let encapsulates = !shrinks && (v4 || v6);
        if shrinks && flags & !room::SHRINKING != 0 {
            return Err(Errno::EINVAL);
        }
        if encapsulates {
            let both = room::ENCAP_L4_GRE | room::ENCAP_L4_UDP;
            let inner = (flags >> 56) as u32;
            let no_link = flags & room::ENCAP_L2_ETH != 0 && inner < ETHERNET;
            if (v4 && v6) || flags & both == both || no_link {
                return Err(Errno::EINVAL);
            }
            if state.encapsulated {
                return Err(Errno::EALREADY);
            }
            if inner > length {
                return Err(Errno::EINVAL);
            }
            state.encapsulated = true;
        }
        if shrinks {
            cut(bounds, at, length)?
        } else {
            insert(bounds, at, length)?
        }
        if encapsulates {
            set_protocol(state, if v6 { IPV6 } else { IPV4 });
            state.transport = network + if v6 { 40 } else { 20 };
        }
        match decapsulates {
            room::DECAP_L3_IPV4 => set_protocol(state, IPV4),
            room::DECAP_L3_IPV6 => set_protocol(state, IPV6),
            _ => {}
        }
        state.image.set_word(s::HASH, 0);
        Ok(())
    })
}

pub(super) fn adjust_head(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arguments[1] as i32;
    change(call, |state, bounds| move_head(state.kind, bounds, delta))
}

/// `bpf_xdp_adjust_head`.
pub(crate) fn move_head(kind: Kind, bounds: &mut Bounds, delta: i32) -> Result<(), Errno> {
    let meta = bounds.data - bounds.meta;
    let data = i64::from(bounds.data) + i64::from(delta);
    let lowest = i64::from(bounds.floor + XDP_FRAME + meta);
    if kind != Kind::Xdp || data < lowest || data > i64::from(bounds.end) - i64::from(ETHERNET) {
        return Err(Errno::EINVAL);
    }
    let data = data as u32;
    if meta > 0 {
        bounds.shift(bounds.meta, data - meta, meta);
    }
    bounds.data = data;
    bounds.meta = data - meta;
    Ok(())
}

pub(super) fn adjust_meta(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arguments[1] as i32;
    change(call, |_, bounds| move_meta(bounds, delta))
}

/// `bpf_xdp_adjust_meta`.
pub(crate) fn move_meta(bounds: &mut Bounds, delta: i32) -> Result<(), Errno> {
    /// `skb_shared_info.meta_len` has 8 bits.
    const LONGEST_META: u32 = 255;
    let meta = i64::from(bounds.meta) + i64::from(delta);
    if meta < i64::from(bounds.floor + XDP_FRAME) || meta > i64::from(bounds.data) {
        return Err(Errno::EINVAL);
    }
    let length = bounds.data - meta as u32;
    if !length.is_multiple_of(4) || length > LONGEST_META {
        return Err(Errno::EACCES);
    }
    bounds.meta = meta as u32;
    Ok(())
}

pub(super) fn adjust_tail(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let delta = call.arguments[1] as i32;
    change(call, |_, bounds| move_tail(bounds, delta))
}

/// `bpf_xdp_adjust_tail`.
pub(crate) fn move_tail(bounds: &mut Bounds, delta: i32) -> Result<(), Errno> {
    let end = i64::from(bounds.end) + i64::from(delta);
    if end > bounds.ceiling.into() || end < i64::from(bounds.data + ETHERNET) {
        return Err(Errno::EINVAL);
    }
    let end = end as u32;
    if end > bounds.end {
        bounds.clear(bounds.end, end - bounds.end);
    }
    bounds.end = end;
    Ok(())
}

/// `struct bpf_tunnel_key`, and the lengths that older programs have of it.
const KEY: usize = 44;
const OLDER_KEYS: [usize; 4] = [28, 24, 22, 8];
/// `BPF_F_TUNINFO_IPV6`.
const IPV6_TUNNEL: u64 = 1;

pub(super) fn get_tunnel_key(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// `BPF_F_TUNINFO_FLAGS`.
    const WITH_FLAGS: u64 = 1 << 4;
    let [_, to, size, flags, _] = call.arguments;
    let size = size as u32 as usize;
    call.check(to, size as u64, true)?;
    let state = call.state::<State>()?;
    let known = state.received_tunnel.clone();
    let result = match known {
        _ if flags & !(IPV6_TUNNEL | WITH_FLAGS) != 0 => Err(Errno::EINVAL),
        None => Err(Errno::EINVAL),
        Some(key) if key.is_v6 != (flags & IPV6_TUNNEL != 0) => Err(Errno::EPROTO),
        Some(key) if size == KEY || OLDER_KEYS.contains(&size) => Ok(key),
        Some(_) => Err(Errno::EINVAL),
    };
    match result {
        Ok(key) => {
            call.write(to, &key.bytes[..size])?;
            Ok(0)
        }
        Err(error) => {
            call.write(to, &vec![0; size])?;
            code(Err(error))
        }
    }
}

pub(super) fn set_tunnel_key(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    /// With `ZERO_CSUM_TX`, `DONT_FRAGMENT`, `SEQ_NUMBER` and `NO_TUNNEL_KEY`.
    const KNOWN: u64 = 0x1f;
    let [_, from, size, flags, _] = call.arguments;
    let size = size & 0xffff_ffff;
    let bytes = read_bytes(call, from, size)?;
    if flags & !KNOWN != 0 || !(bytes.len() == KEY || OLDER_KEYS.contains(&bytes.len())) {
        return code(Err(Errno::EINVAL));
    }
    let mut key = [0; KEY];
    key[..bytes.len()].copy_from_slice(&bytes);
    let is_v6 = flags & IPV6_TUNNEL != 0;
    // A label is of IPv6, and what pads is zero.
    let label = u32::from_ne_bytes([key[24], key[25], key[26], key[27]]);
    if !is_v6 && label != 0 || label & !0xf_ffff != 0 {
        return code(Err(Errno::EINVAL));
    }
    call.state::<State>()?.tunnel = Some(TunnelKey { bytes: key, is_v6 });
    Ok(0)
}

/// The longest options (`IP_TUNNEL_OPTS_MAX`).
const OPTIONS: u64 = 255;

pub(super) fn get_tunnel_options(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, to, size, ..] = call.arguments;
    let size = size as u32 as usize;
    call.check(to, size as u64, true)?;
    let options = call.state::<State>()?.received_options.clone();
    let result = if options.is_empty() {
        Err(Errno::ENOENT)
    } else if size < options.len() {
        Err(Errno::ENOMEM)
    } else {
        Ok(options.len() as u64)
    };
    let mut bytes = if result.is_ok() { options } else { Vec::new() };
    bytes.resize(size, 0);
    call.write(to, &bytes)?;
    value(result)
}

pub(super) fn set_tunnel_options(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, from, size, ..] = call.arguments;
    let size = size & 0xffff_ffff;
    let bytes = read_bytes(call, from, size)?;
    let state = call.state::<State>()?;
    if state.tunnel.is_none() || size % 4 != 0 {
        return code(Err(Errno::EINVAL));
    }
    if size > OPTIONS {
        return code(Err(Errno::ENOMEM));
    }
    state.tunnel_options = bytes;
    Ok(0)
}

/// What a tunnel device is told of a packet, or has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelKey {
    /// `struct bpf_tunnel_key`.
    pub bytes: [u8; KEY],
    pub is_v6: bool,
}

// A packet with as much before it as helpers may insert at once fits the buffer.
const _: () = assert!(SKB_MAX as usize <= LONGEST);

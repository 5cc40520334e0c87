//! A socket buffer as the packet of decisions.

use crate::balancer::SkbFrame;
use crate::maps;
use abi::Address;
use abi::process::SocketOwner;
use abi::service::{SocketTranslation, SocketTranslationKey};
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_FIB_LKUP_RET_NO_NEIGH,
    BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query,
};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_csum_update, bpf_fib_lookup, bpf_get_listener_sock, bpf_get_socket_cookie,
    bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_sk_fullsock, bpf_sk_storage_get,
    bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use core::ffi::{c_long, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use dataplane::env::Owner;
use dataplane::flow::Tuple;
use dataplane::packet::{Checksum, Packet, RewriteFailed, Size};
use wire::ip::protocol;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Headers up to here are read in place: Ethernet, one VLAN tag, IPv6, TCP up to its flags.
const LINEAR: u32 = 14 + 4 + 40 + 14;

/// Address families as the kernel numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[derive(Debug)]
pub struct Skb {
    skb: *mut __sk_buff,
}

/// Reads a field of the context once, as the verifier wants it: with its own width and offset.
macro_rules! field {
    ($skb:expr, $($field:tt)+) => {
        // SAFETY: the kernel gives every tc program a valid context.
        unsafe { ptr::read_volatile(&raw const (*$skb.skb).$($field)+) }
    };
}

impl Skb {
    /// Takes the context of a tc program, and makes sure that the headers which are read in place
    /// are in the linear part.
    ///
    /// # Safety
    /// `skb` is the context that the kernel gave the running program.
    #[inline(always)]
    pub unsafe fn new(skb: *mut __sk_buff) -> Self {
        let packet = Skb { skb };
        let length = field!(packet, len);
        let linear = field!(packet, data_end).wrapping_sub(field!(packet, data));
        if linear < LINEAR && linear < length {
            let wanted = if length < LINEAR { length } else { LINEAR };
            // SAFETY: a valid context. If it fails the headers read as absent.
            unsafe { bpf_skb_pull_data(skb, wanted) };
        }
        packet
    }

    #[inline(always)]
    pub fn set_mark(&mut self, mark: u32) {
        // SAFETY: a valid context, of which the mark is writable.
        unsafe { (*self.skb).mark = mark };
    }

    #[inline(always)]
    fn store<T>(&mut self, offset: u32, value: &T) -> Result<(), RewriteFailed> {
        let value: *const c_void = ptr::from_ref(value).cast();
        // SAFETY: a valid context; the helper reads as many bytes as a `T` has.
        done(unsafe { bpf_skb_store_bytes(self.skb, offset, value, size_of::<T>() as u32, 0) })
    }
}

#[inline(always)]
fn done(result: c_long) -> Result<(), RewriteFailed> {
    if result < 0 { Err(RewriteFailed) } else { Ok(()) }
}

#[inline(always)]
fn checksum_flags(checksum: Checksum) -> u64 {
    let mut flags = 0;
    if checksum.pseudo {
        flags |= u64::from(BPF_F_PSEUDO_HDR);
    }
    if checksum.zero_is_none {
        flags |= u64::from(BPF_F_MARK_MANGLED_0);
    }
    flags
}

impl Packet for Skb {
    type Frame<'a> = SkbFrame;

    #[inline(always)]
    fn frame(&mut self) -> SkbFrame {
        // SAFETY: the context of the running program.
        unsafe { SkbFrame::of(self.skb) }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        field!(self, ifindex)
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // The kernel writes it at every entry, a bridge's or a tunnel's included, clears it between
        // namespaces, and keeps it while it forwards.
        field!(self, ingress_ifindex)
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        field!(self, mark)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        field!(self, len)
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        field!(self, gso_size)
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T> {
        let data = field!(self, data) as usize;
        let end = field!(self, data_end) as usize;
        if data + OFFSET + size_of::<T>() > end {
            return None;
        }
        // SAFETY: within the packet, as just checked (and as the verifier checks again), and any
        // bytes are a `T`. It may be misaligned: the eBPF machine on x86-64 and arm64 reads words
        // at any address, and the compiler for it splits no access of a type's own alignment.
        Some(unsafe { *((data + OFFSET) as *const T) })
    }

    #[inline(always)]
    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let mut header = MaybeUninit::<T>::uninit();
        let to = header.as_mut_ptr().cast();
        // SAFETY: a valid context; the helper writes as many bytes as a `T` has.
        let result =
            unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to, size_of::<T>() as u32) };
        if result < 0 {
            return None;
        }
        // SAFETY: the helper has written all of it (zeros if it fails), and any bytes are a `T`.
        Some(unsafe { header.assume_init() })
    }

    #[inline(always)]
    fn owner(&self, tuple: &Tuple) -> Option<Owner> {
        let socket = field!(self, __bindgen_anon_2.sk);
        if socket.is_null() {
            return None;
        }
        // SAFETY: the kernel's own socket pointer, not null. A handshake is answered before there
        // is a full socket: then the listening one stands for it.
        let mut full = unsafe { bpf_sk_fullsock(socket) };
        if full.is_null() {
            // SAFETY: as above.
            full = unsafe { bpf_get_listener_sock(socket) };
            if full.is_null() {
                return None;
            }
        }
        // SAFETY: a full socket, and a map of socket storage; nothing is created.
        let owner: *const SocketOwner = unsafe {
            bpf_sk_storage_get(maps::SOCKET_OWNERS.as_ptr(), full.cast(), ptr::null_mut(), 0)
        }
        .cast();
        if owner.is_null() {
            return None;
        }
        // SAFETY: not null, so it is the socket's value in that map.
        let SocketOwner { process, vip, vip_port, service, backend, .. } = unsafe { *owner };
        if vip.is_none() && tuple.protocol == protocol::UDP {
            let key = SocketTranslationKey {
                // SAFETY: a valid context.
                cookie: unsafe { bpf_get_socket_cookie(self.skb.cast()) },
                backend: tuple.destination,
                port: tuple.destination_port,
                protocol: tuple.protocol,
                zero: [0; 5],
            };
            if let Some(found) = maps::SOCKET_TRANSLATIONS.copy(&key) {
                let SocketTranslation { address, port, service, backend, .. } = found;
                return Some(Owner { process, vip: address, vip_port: port, service, backend });
            }
        }
        Some(Owner { process, vip, vip_port, service, backend })
    }

    #[inline(always)]
    fn route(&self, tuple: &Tuple) -> Option<u32> {
        // SAFETY: all fields are numbers, for which zeros are valid.
        let mut query: Query = unsafe { MaybeUninit::zeroed().assume_init() };
        query.family = if tuple.source.is_v4() { AF_INET } else { AF_INET6 };
        query.l4_protocol = tuple.protocol;
        query.ifindex = field!(self, ifindex);
        if tuple.source.is_v4() {
            query.__bindgen_anon_3.ipv4_src = tuple.source.v4_word();
            query.__bindgen_anon_4.ipv4_dst = tuple.destination.v4_word();
        } else {
            query.__bindgen_anon_3.ipv6_src = tuple.source.0;
            query.__bindgen_anon_4.ipv6_dst = tuple.destination.0;
        }
        // SAFETY: a valid context, and a query of that size.
        let result = unsafe {
            bpf_fib_lookup(self.skb.cast(), &raw mut query, size_of::<Query>() as i32, 0)
        };
        // Without a neighbour's address the route is known all the same.
        let found = [BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_NO_NEIGH].map(c_long::from);
        let found = found.contains(&result);
        found.then_some(query.ifindex)
    }

    #[inline(always)]
    fn store_head<T: IntoBytes + Immutable>(&mut self, head: &T) -> Result<(), RewriteFailed> {
        self.store(0, head)
    }

    #[inline(always)]
    fn set_macs(&mut self, destination: [u8; 6], source: [u8; 6]) -> Result<(), RewriteFailed> {
        self.store(0, &[destination, source])
    }

    #[inline(always)]
    fn store_byte(&mut self, offset: u32, value: u8) -> Result<(), RewriteFailed> {
        self.store(offset, &value)
    }

    #[inline(always)]
    fn store_half(&mut self, offset: u32, value: u16) -> Result<(), RewriteFailed> {
        self.store(offset, &value)
    }

    #[inline(always)]
    fn store_word(&mut self, offset: u32, value: u32) -> Result<(), RewriteFailed> {
        self.store(offset, &value)
    }

    #[inline(always)]
    fn store_address(&mut self, offset: u32, value: &Address) -> Result<(), RewriteFailed> {
        self.store(offset, value)
    }

    #[inline(always)]
    fn correct_header(
        &mut self,
        checksum: u32,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed> {
        // SAFETY: a valid context.
        done(unsafe {
            bpf_l3_csum_replace(self.skb, checksum, from.into(), to.into(), size as u64)
        })
    }

    #[inline(always)]
    fn correct(
        &mut self,
        checksum: Checksum,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed> {
        let flags = checksum_flags(checksum) | size as u64;
        // SAFETY: a valid context.
        done(unsafe {
            bpf_l4_csum_replace(self.skb, checksum.offset, from.into(), to.into(), flags)
        })
    }

    #[inline(always)]
    fn correct_v6(
        &mut self,
        checksum: Checksum,
        from: &Address,
        to: &Address,
    ) -> Result<(), RewriteFailed> {
        const LEN: u32 = size_of::<Address>() as u32;
        let (from, to) =
            (ptr::from_ref(from).cast_mut().cast(), ptr::from_ref(to).cast_mut().cast());
        // SAFETY: both are addresses of that many bytes, a multiple of 4.
        let difference = unsafe { bpf_csum_diff(from, LEN, to, LEN, 0) };
        if difference < 0 {
            return Err(RewriteFailed);
        }
        let flags = checksum_flags(checksum);
        // SAFETY: a valid context.
        done(unsafe {
            bpf_l4_csum_replace(self.skb, checksum.offset, 0, difference as u64, flags)
        })?;
        if checksum.pseudo {
            // For a sum over the whole packet that the network card has made, the helper assumes
            // that an IP header's checksum balances the address. IPv6 has none (and the helper's
            // flag for that is of Linux 6.16), so the difference is put back. Without such a sum
            // this does nothing.
            // SAFETY: a valid context.
            unsafe { bpf_csum_update(self.skb, difference as u32) };
        }
        Ok(())
    }
}

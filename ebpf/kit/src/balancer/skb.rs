//! A frame as a socket buffer, for the tc programs.

use super::xdp::route;
use abi::Address;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_RECOMPUTE_CSUM, TC_ACT_REDIRECT,
    bpf_adj_room_mode,
};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail,
    bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;
use dataplane::balancer::{Frame, Hop, MatchSource, Outer, Route, Verdict};
use wire::checksum::Sum;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Debug)]
pub struct SkbFrame {
    skb: *mut __sk_buff,
}

/// Reads a field of the context once, as the verifier wants it.
macro_rules! field {
    ($frame:expr, $field:ident) => {
        // SAFETY: the kernel gives every tc program a valid context.
        unsafe { ptr::read_volatile(&raw const (*$frame.skb).$field) }
    };
}

impl SkbFrame {
    /// Makes sure that the first `linear` bytes are read in place, as far as there are so many.
    ///
    /// # Safety
    /// `skb` is the context that the kernel gave the running program.
    #[inline(always)]
    pub unsafe fn new(skb: *mut __sk_buff, linear: u32) -> Self {
        let frame = SkbFrame { skb };
        let there = field!(frame, data_end).wrapping_sub(field!(frame, data));
        let length = field!(frame, len);
        if there < linear && there < length {
            let wanted = if length < linear { length } else { linear };
            // SAFETY: a valid context. If it fails the headers read as absent.
            unsafe { bpf_skb_pull_data(skb, wanted) };
        }
        frame
    }

    /// The frame of a program whose packet is linear already as far as it reads it in place.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    #[inline(always)]
    pub(crate) unsafe fn of(skb: *mut __sk_buff) -> Self {
        SkbFrame { skb }
    }

    #[inline(always)]
    pub fn mark(&self) -> u32 {
        field!(self, mark)
    }

    #[inline(always)]
    pub fn set_mark(&mut self, mark: u32) {
        // SAFETY: a valid context, of which the mark is writable.
        unsafe { (*self.skb).mark = mark };
    }

    #[inline(always)]
    fn store<T>(&mut self, offset: u32, value: &T, flags: u64) -> Option<()> {
        let value: *const c_void = ptr::from_ref(value).cast();
        let size = size_of::<T>() as u32;
        // SAFETY: a valid context; the helper reads as many bytes as a `T` has.
        done(unsafe { bpf_skb_store_bytes(self.skb, offset, value, size, flags) })
    }
}

#[inline(always)]
fn done(result: i64) -> Option<()> {
    if result < 0 { None } else { Some(()) }
}

impl Frame for SkbFrame {
    #[inline(always)]
    fn length(&self) -> u32 {
        field!(self, len)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        field!(self, ifindex)
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T> {
        let start = field!(self, data) as usize + OFFSET;
        if start + size_of::<T>() > field!(self, data_end) as usize {
            return None;
        }
        // SAFETY: within the linear part, as just checked, and any bytes are a `T`. It may be
        // misaligned, which the machines that run this don't mind.
        Some(unsafe { *(start as *const T) })
    }

    #[inline(always)]
    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast();
        let size = size_of::<T>() as u32;
        // SAFETY: a valid context; the helper writes as many bytes as a `T` has.
        let result = unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to, size) };
        if result < 0 {
            return None;
        }
        // SAFETY: the helper has written all of it, and any bytes are a `T`.
        Some(unsafe { value.assume_init() })
    }

    #[inline(always)]
    fn write_head<T: IntoBytes + Immutable + Copy, const OFFSET: usize>(
        &mut self,
        value: &T,
    ) -> Option<()> {
        self.store(OFFSET as u32, value, 0)
    }

    #[inline(always)]
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: u32, value: &T) -> Option<()> {
        self.store(offset, value, 0)
    }

    #[inline(always)]
    fn grow(&mut self, bytes: u32, outer: Outer) -> Option<()> {
        let flags = match outer {
            Outer::None => 0,
            Outer::V4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
            Outer::V6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
            Outer::UdpV4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
            Outer::UdpV6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
        };
        let flags = u64::from(flags) | u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
        let mode = bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
        // SAFETY: a valid context.
        done(unsafe { bpf_skb_adjust_room(self.skb, bytes as i32, mode, flags) })
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: u32) -> Option<()> {
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
        let mode = bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
        // SAFETY: a valid context.
        done(unsafe { bpf_skb_adjust_room(self.skb, -(bytes as i32), mode, flags) })
    }

    #[inline(always)]
    fn truncate(&mut self, length: u32) -> Option<()> {
        if length > self.length() {
            return None;
        }
        // SAFETY: a valid context. What is left is made linear, to be read in place.
        done(unsafe { bpf_skb_change_tail(self.skb, length, 0) })?;
        // SAFETY: a valid context.
        done(unsafe { bpf_skb_pull_data(self.skb, length) })
    }

    #[inline(always)]
    fn sum<const OFFSET: usize, const LENGTH: usize>(&self) -> Option<Sum> {
        let start = field!(self, data) as usize + OFFSET;
        if start + LENGTH > field!(self, data_end) as usize {
            return None;
        }
        let at = start as *mut u32;
        // SAFETY: the helper reads that many bytes, a multiple of 4, of the linear part.
        let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, at, LENGTH as u32, 0) };
        if sum < 0 { None } else { Some(Sum::ZERO.double(sum as u32)) }
    }

    #[inline(always)]
    fn redirect(&mut self, ifindex: u32) -> Verdict {
        // SAFETY: the helper has no preconditions: what it can't do ends in a drop.
        match unsafe { bpf_redirect(ifindex, 0) } as i32 {
            TC_ACT_REDIRECT => Verdict::Redirect,
            _ => Verdict::Drop,
        }
    }

    #[inline(never)]
    fn route(&self, query: &Route) -> Option<Hop> {
        // SAFETY: the context of the running program.
        unsafe { route(self.skb.cast(), self.ifindex(), query) }
    }
}

impl MatchSource for SkbFrame {
    #[inline(always)]
    fn replace_address(
        &mut self,
        offset: u32,
        checksum: u32,
        from: &Address,
        to: &Address,
    ) -> Option<()> {
        const WORD: u64 = 4;
        for word in 0..4 {
            let (from, to) = (u64::from(from.0[word]), u64::from(to.0[word]));
            // SAFETY: a valid context.
            done(unsafe { bpf_l4_csum_replace(self.skb, checksum, from, to, WORD) })?;
        }
        self.store(offset, to, u64::from(BPF_F_RECOMPUTE_CSUM))
    }
}

//! A frame before the kernel has made a socket buffer of it.

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_fib_lookup, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use core::mem::MaybeUninit;
use core::ptr;
use dataplane::balancer::{Frame, Hop, Outer, Route, Verdict};
use wire::checksum::Sum;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Debug)]
pub struct XdpFrame {
    context: *mut xdp_md,
}

/// Headers lie below this offset.
const REACH: u32 = 0x0fff;

/// Reads a field of the context once, as the verifier wants it.
macro_rules! field {
    ($frame:expr, $field:ident) => {
        // SAFETY: the kernel gives every XDP program a valid context.
        unsafe { ptr::read_volatile(&raw const (*$frame.context).$field) }
    };
}

impl XdpFrame {
    /// # Safety
    /// `context` is the one that the kernel gave the running program.
    #[inline(always)]
    pub unsafe fn new(context: *mut xdp_md) -> Self {
        XdpFrame { context }
    }

    /// Where `T` lies at `offset`, if the frame reaches so far.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = field!(self, data) as usize + offset;
        let mut after = start + size_of::<T>();
        if size_of::<T>() == 1 {
            // Or the compiler would compare the start instead, from which the verifier concludes
            // nothing.
            // SAFETY: moves a register to itself.
            unsafe {
                core::arch::asm!("{0} = {0}", inout(reg) after, options(pure, nomem, nostack));
            }
        }
        if after > field!(self, data_end) as usize {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn length(&self) -> u32 {
        let end = field!(self, data_end) as usize;
        let mut length = end.wrapping_sub(field!(self, data) as usize);
        // Or the compiler would mix the subtraction with what is done with its result: the verifier
        // takes the difference of both pointers and no other arithmetic on the end.
        // SAFETY: moves a register to itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) length, options(pure, nomem, nostack)) };
        length as u32
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        field!(self, ingress_ifindex)
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T> {
        let at = self.at::<T>(OFFSET)?;
        // SAFETY: within the frame, as just checked (and as the verifier checks again), and any
        // bytes are a `T`. It may be misaligned, which the machines that run this don't mind.
        Some(unsafe { *at })
    }

    #[inline(always)]
    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let at = self.at::<T>((offset & REACH) as usize)?;
        // SAFETY: as above.
        Some(unsafe { *at })
    }

    #[inline(always)]
    fn write_head<T: IntoBytes + Immutable + Copy, const OFFSET: usize>(
        &mut self,
        value: &T,
    ) -> Option<()> {
        let at = self.at::<T>(OFFSET)?;
        // SAFETY: within the frame, as just checked.
        unsafe { *at = *value };
        Some(())
    }

    #[inline(always)]
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: u32, value: &T) -> Option<()> {
        let at = self.at::<T>((offset & REACH) as usize)?;
        // SAFETY: within the frame, as just checked.
        unsafe { *at = *value };
        Some(())
    }

    #[inline(always)]
    fn grow(&mut self, bytes: u32, _: Outer) -> Option<()> {
        // SAFETY: a valid context.
        let failed = unsafe { bpf_xdp_adjust_head(self.context, -(bytes as i32)) };
        if failed == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: u32) -> Option<()> {
        // SAFETY: a valid context.
        let failed = unsafe { bpf_xdp_adjust_head(self.context, bytes as i32) };
        if failed == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn truncate(&mut self, length: u32) -> Option<()> {
        let cut = self.length().wrapping_sub(length) as i32;
        if cut < 0 {
            return None;
        }
        // SAFETY: a valid context.
        let failed = unsafe { bpf_xdp_adjust_tail(self.context, -cut) };
        if failed == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn sum<const OFFSET: usize, const LENGTH: usize>(&self) -> Option<Sum> {
        let at = self.at::<[u8; LENGTH]>(OFFSET)?;
        // SAFETY: the helper reads that many bytes, a multiple of 4, of the frame.
        let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, at.cast(), LENGTH as u32, 0) };
        if sum < 0 { None } else { Some(Sum::ZERO.double(sum as u32)) }
    }

    #[inline(always)]
    fn redirect(&mut self, ifindex: u32) -> Verdict {
        const XDP_REDIRECT: i64 = 4;
        // SAFETY: the helper has no preconditions: what it can't do ends in a drop.
        match unsafe { bpf_redirect(ifindex, 0) } {
            XDP_REDIRECT => Verdict::Redirect,
            _ => Verdict::Drop,
        }
    }

    #[inline(never)]
    fn route(&self, query: &Route) -> Option<Hop> {
        // SAFETY: the context of the running program.
        unsafe { route(self.context.cast(), self.ifindex(), query) }
    }
}

/// Asks the kernel's routes and neighbours.
///
/// # Safety
/// `context` is that of the running program, of XDP or tc.
#[inline(always)]
pub(super) unsafe fn route(
    context: *mut core::ffi::c_void,
    ifindex: u32,
    query: &Route,
) -> Option<Hop> {
    const INET: u8 = 2;
    const INET6: u8 = 10;
    let mut asked = MaybeUninit::<FibLookup>::zeroed();
    // SAFETY: zeros are valid for every field; the addresses are words of network order in both.
    let hop = unsafe {
        let fib = asked.assume_init_mut();
        fib.family = if query.v6 { INET6 } else { INET };
        fib.__bindgen_anon_1.tot_len = query.length;
        fib.ifindex = ifindex;
        if query.v6 {
            fib.__bindgen_anon_3.ipv6_src = query.source.0;
            fib.__bindgen_anon_4.ipv6_dst = query.destination.0;
        } else {
            fib.__bindgen_anon_3.ipv4_src = query.source.v4_word();
            fib.__bindgen_anon_4.ipv4_dst = query.destination.v4_word();
        }
        let size = size_of::<FibLookup>() as i32;
        let result = bpf_fib_lookup(context, fib, size, 0);
        if result != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
            return None;
        }
        let halves = |mac: [u8; 6]| abi::balancer::Mac::from(mac).0;
        Hop { ifindex: fib.ifindex, destination: halves(fib.dmac), source: halves(fib.smac) }
    };
    Some(hop)
}

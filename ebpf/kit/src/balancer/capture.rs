//! Captured packets: as they came, as they leave, and what was decided in between.

use super::{CAPTURE, CAPTURE_SCRATCH, CAPTURED, TellingKernel, XdpFrame};
use crate::map::held;
use abi::balancer::capture::{CaptureFilter, Captured, KEPT, KEPT_AFTER};
use abi::balancer::counter;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_ringbuf_output, bpf_xdp_load_bytes};
use core::ptr;
use dataplane::balancer::{Env as _, Frame as _, Packet, Verdict, capture};

/// The packet in hand.
#[derive(Debug)]
pub struct Capture {
    record: *mut Captured,
}

/// What the program in hand has counted last.
#[inline(always)]
pub(super) fn tell(counter: u32) {
    let record = CAPTURE_SCRATCH.lookup(&0);
    if !record.is_null() {
        // SAFETY: not null, so it is this CPU's element, which only the program in hand writes.
        unsafe { (*record).counted = counter };
    }
}

/// Copies the beginning of the frame, and gives its whole length.
///
/// # Safety
/// `context` is that of the running program, `to` has room for `most` bytes.
#[inline(always)]
unsafe fn keep(context: *mut xdp_md, frame: &XdpFrame, to: *mut u8, most: u32) -> u32 {
    let length = frame.length();
    let mut kept = u64::from(length);
    // In one piece, or the compiler would compare one register and pass another, of which the
    // verifier then knows nothing.
    // SAFETY: jumps over one instruction each, and changes its own register only.
    unsafe {
        core::arch::asm!(
            "if {kept} <= {most} goto +1",
            "{kept} = {most}",
            "if {kept} >= 1 goto +1",
            "{kept} = 1",
            kept = inout(reg) kept,
            most = in(reg) u64::from(most),
            options(pure, nomem, nostack),
        );
        // The helper reads so much of the frame, or fails; there is room, as the caller says.
        bpf_xdp_load_bytes(context, 0, to.cast(), kept as u32);
    }
    length
}

impl Capture {
    /// Before the packet is changed.
    ///
    /// # Safety
    /// `context` is that of the running program.
    #[inline(always)]
    pub unsafe fn begin(context: *mut xdp_md, frame: &XdpFrame) -> Option<Self> {
        let record = CAPTURE_SCRATCH.lookup(&0);
        if record.is_null() {
            return None;
        }
        // SAFETY: not null, so it is this CPU's element, which only the program in hand writes.
        unsafe {
            (*record).counted = 0;
            let to = (&raw mut (*record).before).cast();
            (*record).before_length = keep(context, frame, to, KEPT as u32);
        }
        Some(Capture { record })
    }

    /// After it, if the packet is wanted.
    ///
    /// # Safety
    /// As for [`begin`](Self::begin).
    #[inline(always)]
    pub unsafe fn end(
        self,
        context: *mut xdp_md,
        frame: &XdpFrame,
        packet: &Packet,
        verdict: Verdict,
        action: u32,
    ) {
        // SAFETY: the map's own type; the agent doesn't write it while a program captures.
        let filter: Option<&CaptureFilter> = unsafe { held(&CAPTURE, &0) };
        let Some(filter) = filter else { return };
        let kernel = TellingKernel {};
        // SAFETY: as in `begin`.
        let record = unsafe { &mut *self.record };
        if !capture::wanted(&kernel, filter, packet, verdict, record.counted) {
            return;
        }
        record.time_ns = kernel.now();
        record.ifindex = frame.ifindex();
        record.action = action;
        record.vip = packet.vip;
        record.backend = packet.backend;
        record.kinds = capture::kinds_of(packet, verdict);
        // SAFETY: as in `begin`; the ring takes any bytes.
        unsafe {
            let to = (&raw mut record.after).cast();
            record.after_length = keep(context, frame, to, KEPT_AFTER as u32);
            let data = ptr::from_mut(record).cast();
            let ring = CAPTURED.as_ptr();
            if bpf_ringbuf_output(ring, data, size_of::<Captured>() as u64, 0) != 0 {
                kernel.count(counter::CAPTURE_LOST);
            }
        }
    }
}

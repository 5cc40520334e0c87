//! The programs of the edge balancer, and of the backends behind it.

#![no_std]
#![no_main]

use aya_ebpf::bindings::{TC_ACT_PIPE, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use dataplane::balancer::{self, Check, Frame as _, Packet, Verdict};
use kit::balancer::{Capture, Kernel, SkbFrame, TellingKernel, XdpFrame};
use kit::map::PerCpuArray;

/// Working memory of the frame in hand: no other program interrupts these on their CPU.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "lb_scratch")]
static SCRATCH: PerCpuArray<[u64; size_of::<Packet>().div_ceil(8)], 2> = PerCpuArray::new();

/// XDP and tc have one each: a frame that XDP lets through may meet the other.
#[inline(always)]
fn scratch(index: u32) -> Option<&'static mut Packet> {
    // SAFETY: an element of that size and alignment, which only this CPU uses and only until the
    // program ends. The zeros that it starts with are valid for every field of `Packet`.
    unsafe { SCRATCH.lookup(&index).cast::<Packet>().as_mut() }
}

#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Redirect => xdp_action::XDP_REDIRECT,
    }
}

/// Frames from outside, on the interfaces that VIPs are reached by.
#[xdp]
pub fn balance(ctx: XdpContext) -> u32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { XdpFrame::new(ctx.ctx) };
    action(balancer::balance(&Kernel {}, &mut frame, || scratch(0)))
}

/// In the place of `balance` while packets are captured.
#[xdp]
pub fn balance_and_capture(ctx: XdpContext) -> u32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { XdpFrame::new(ctx.ctx) };
    let Some(packet) = scratch(0) else { return xdp_action::XDP_PASS };
    // SAFETY: the context of this program.
    let capture = unsafe { Capture::begin(ctx.ctx, &frame) };
    let verdict = balancer::balance_and_tell(&TellingKernel {}, &mut frame, packet);
    let action = action(verdict);
    if let Some(capture) = capture {
        // SAFETY: as above.
        unsafe { capture.end(ctx.ctx, &frame, packet, verdict, action) };
    }
    action
}

/// As `balance`, on interfaces that take no XDP programs.
#[classifier]
pub fn balance_tc(ctx: TcContext) -> i32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { SkbFrame::new(ctx.skb.skb, 14 + 4 + 40 + 20) };
    match balancer::balance(&Kernel {}, &mut frame, || scratch(1)) {
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
        // SAFETY: the helper has no preconditions: what it can't do ends in a drop.
        Verdict::Transmit => unsafe { bpf_redirect(frame.ifindex(), 0) as i32 },
        Verdict::Redirect => TC_ACT_REDIRECT,
    }
}

/// On a backend: takes packets of a balancer out of IPIP and GUE.
#[xdp]
pub fn decapsulate(ctx: XdpContext) -> u32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { XdpFrame::new(ctx.ctx) };
    action(balancer::decapsulate(&Kernel {}, &mut frame))
}

/// Packets that leave this host: those whose mark names a backend are encapsulated to it.
#[classifier]
pub fn check(ctx: TcContext) -> i32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { SkbFrame::new(ctx.skb.skb, 14) };
    let mark = frame.mark();
    match balancer::encapsulate_check(&Kernel {}, &mut frame, mark) {
        Check::None => TC_ACT_UNSPEC,
        Check::Drop => TC_ACT_SHOT,
        Check::Send(ifindex) => {
            // Or it would be encapsulated again where it leaves.
            frame.set_mark(0);
            // SAFETY: the helper has no preconditions: what it can't do ends in a drop.
            unsafe { bpf_redirect(ifindex, 0) as i32 }
        }
    }
}

/// On a backend whose clients are behind address translation: gives the inner packet of GUE to port
/// 9887 the source that the outer one has.
#[classifier]
pub fn match_source(ctx: TcContext) -> i32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { SkbFrame::new(ctx.skb.skb, 14 + 40 + 8 + 40 + 20) };
    // What it isn't for goes on as it is.
    let _ = balancer::match_source(&mut frame);
    TC_ACT_PIPE
}

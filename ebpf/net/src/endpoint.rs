//! The programs on a workload's interface, on the host's side, and on the node's own interfaces to
//! the outside.

#![no_std]
#![no_main]

use abi::state::MARK_DECIDED;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::{bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use core::ptr;
use dataplane::balancer::Verdict;
use dataplane::{Decision, Scratch};
use kit::balancer::XdpFrame;
use kit::map::PerCpuArray;
use kit::{Kernel, Skb};

/// Lets the packet through to the programs of others on the same interface, and if there are none
/// to the stack. TCX calls this number `TCX_NEXT`; for a clsact filter with direct action it means
/// that the next filter is asked.
const NEXT: i32 = TC_ACT_UNSPEC;

/// Working memory of the packet in hand: tc programs are not interrupted by others on their CPU.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "scratch")]
static SCRATCH: PerCpuArray<[u64; size_of::<Scratch>().div_ceil(8)], 1> = PerCpuArray::new();

/// Packets from the workload: attached where they enter the host (ingress).
#[classifier]
pub fn from_endpoint(ctx: TcContext) -> i32 {
    run(ctx, dataplane::from_endpoint)
}

/// Packets to the workload from the host's stack: attached where they leave the host (egress).
#[classifier]
pub fn to_endpoint(ctx: TcContext) -> i32 {
    run(ctx, dataplane::to_endpoint)
}

/// Packets that enter the node by one of its own interfaces (ingress).
#[classifier]
pub fn from_outside(ctx: TcContext) -> i32 {
    run(ctx, dataplane::from_outside)
}

/// Packets that leave the node by one of its own interfaces (egress).
#[classifier]
pub fn to_outside(ctx: TcContext) -> i32 {
    run(ctx, dataplane::to_outside)
}

/// Frames that enter the node by one of its own interfaces, before all else.
#[xdp]
pub fn shortcut(ctx: XdpContext) -> u32 {
    // SAFETY: the context of this program.
    let mut frame = unsafe { XdpFrame::new(ctx.ctx) };
    match dataplane::shortcut::shortcut(&Kernel, &mut frame) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Redirect => xdp_action::XDP_REDIRECT,
    }
}

#[inline(always)]
fn run(ctx: TcContext, decide: impl FnOnce(&Kernel, &mut Skb, &mut Scratch) -> Decision) -> i32 {
    let scratch: *mut Scratch = SCRATCH.lookup(&0).cast();
    if scratch.is_null() {
        return TC_ACT_SHOT;
    }
    // SAFETY: an element of this size and alignment (8) that only this CPU uses, and only until the
    // program ends. The zeros that it starts with are valid for every field of `Scratch`.
    let scratch = unsafe { &mut *scratch };
    // SAFETY: the context of this program.
    let mut packet = unsafe { Skb::new(ctx.skb.skb) };
    match decide(&Kernel, &mut packet, scratch) {
        Decision::Pass => NEXT,
        Decision::PassDecided => {
            packet.set_mark(MARK_DECIDED);
            NEXT
        }
        // SAFETY: the helper has no preconditions: what it can't do ends in a drop.
        Decision::RedirectPeer(ifindex) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
        // SAFETY: the same; without parameters the kernel looks the neighbour up.
        Decision::RedirectNeighbour(ifindex) => unsafe {
            bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) as i32
        },
        Decision::Drop => TC_ACT_SHOT,
    }
}

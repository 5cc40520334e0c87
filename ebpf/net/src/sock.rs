//! The programs on socket calls of a cgroup: a workload's, or the node's own.
//!
//! Those of the node may be on a cgroup that has those of workloads inside. The kernel runs the
//! programs of the inner one first (`compute_effective_progs`, kernel/bpf/cgroup.c, Linux 6.18), so
//! they leave alone what isn't in the node's network, and what is translated already.
//!
//! Every one of them lets the call go on: a call is translated, never refused.

#![no_std]
#![no_main]

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_get_netns_cookie;
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use dataplane::socket::{self, Socket};
use kit::Kernel;
use kit::process;
use kit::sock_addr::{Call, Family, V4, V6};

const ALLOW: i32 = 1;

/// The only network namespace whose sockets these programs are for, by its cookie; 0 for all.
#[unsafe(no_mangle)]
static ONLY_NETNS: Global<u64> = Global::new(0);

#[inline(always)]
fn is_everywhere() -> bool {
    ONLY_NETNS.load() == 0
}

#[inline(always)]
fn is_ours<F: Family>(call: &Call<F>) -> bool {
    is_everywhere() || call.netns_cookie() == ONLY_NETNS.load()
}

#[inline(always)]
fn connect<F: Family>(call: &mut Call<F>) {
    if is_everywhere() || !call.is_translated() {
        socket::connect(&Kernel, call);
    }
}

macro_rules! calls {
    ($($name:ident = $hook:ident, $family:ident, |$call:ident| $body:expr;)*) => {$(
        #[cgroup_sock_addr($hook)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            // SAFETY: the context of this program, whose hook is of that family.
            let $call = &mut unsafe { Call::<$family>::new(ctx.sock_addr) };
            if is_ours($call) {
                $body;
            }
            ALLOW
        }
    )*};
}

calls! {
    connect4 = connect4, V4, |call| connect(call);
    connect6 = connect6, V6, |call| connect(call);
    sendmsg4 = sendmsg4, V4, |call| socket::send(&Kernel, call);
    sendmsg6 = sendmsg6, V6, |call| socket::send(&Kernel, call);
    recvmsg4 = recvmsg4, V4, |call| socket::receive(call);
    recvmsg6 = recvmsg6, V6, |call| socket::receive(call);
    getpeername4 = getpeername4, V4, |call| socket::peer_name(call);
    getpeername6 = getpeername6, V6, |call| socket::peer_name(call);
}

/// Makes the socket remember who opened it.
#[cgroup_sock(sock_create)]
pub fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the context of this program is a socket.
    if is_everywhere() || unsafe { bpf_get_netns_cookie(ctx.sock.cast()) } == ONLY_NETNS.load() {
        // SAFETY: the socket of this program's context.
        unsafe { process::own(ctx.sock) };
    }
    ALLOW
}

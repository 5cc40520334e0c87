//! The programs on socket calls of a workload's cgroup.
//!
//! Every one of them lets the call go on: a call is translated, never refused.

#![no_std]
#![no_main]

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use dataplane::socket;
use kit::Kernel;
use kit::process;
use kit::sock_addr::{Call, V4, V6};

const ALLOW: i32 = 1;

macro_rules! calls {
    ($($name:ident = $hook:ident, $family:ident, |$call:ident| $body:expr;)*) => {$(
        #[cgroup_sock_addr($hook)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            // SAFETY: the context of this program, whose hook is of that family.
            let $call = &mut unsafe { Call::<$family>::new(ctx.sock_addr) };
            $body;
            ALLOW
        }
    )*};
}

calls! {
    connect4 = connect4, V4, |call| socket::connect(&Kernel, call);
    connect6 = connect6, V6, |call| socket::connect(&Kernel, call);
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
    // SAFETY: the socket of this program's context.
    unsafe { process::own(ctx.sock) };
    ALLOW
}

//! What every eBPF program of Skep stands on: maps, the kernel's helpers as [`dataplane`]'s `Env`
//! and `Packet`, reading of kernel structures, and the panic handler.
//!
//! It knows how to ask the kernel, and nothing of what is decided with the answers.

#![no_std]
#![feature(asm_experimental_arch)]

/// Maps, each with its name in the object.
macro_rules! maps {
    ($($name:literal $symbol:ident: $ty:ty;)*) => {$(
        #[unsafe(link_section = ".maps")]
        #[unsafe(export_name = $name)]
        pub static $symbol: $ty = <$ty>::new();
    )*};
}

pub mod balancer;
pub mod kernel;
pub mod map;
pub mod maps;
pub mod process;
pub mod skb;
pub mod sock_addr;
pub mod task;

pub use kernel::Kernel;
pub use skb::Skb;

/// Nothing here panics: the verifier would have to be shown an end to it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the programs call helpers that only GPL-compatible ones may.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

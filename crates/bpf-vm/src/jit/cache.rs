//! What processors remember of memory that becomes code.

/// From now on, whoever executes these bytes sees what was written there.
///
/// Nothing to do: these processors watch what they have fetched.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn forget(_: &[u8]) {}

#[cfg(all(target_arch = "aarch64", target_vendor = "apple"))]
pub(super) fn forget(code: &[u8]) {
    unsafe extern "C" {
        /// Of libSystem: `libkern/OSCacheControl.h`.
        safe fn sys_icache_invalidate(start: *mut std::ffi::c_void, length: usize);
    }
    sys_icache_invalidate(code.as_ptr().cast_mut().cast(), code.len());
}

/// From now on, whoever executes these bytes sees what was written there.
///
/// Caches of data and of instructions meet at a point behind both: what was written goes there, what
/// was fetched is dropped, and then instructions that are being decoded, on all processors.
#[cfg(all(target_arch = "aarch64", not(target_vendor = "apple")))]
pub(super) fn forget(code: &[u8]) {
    use std::arch::asm;

    let types: u64;
    // SAFETY: reads a register that programs may read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) };
    // Lengths of the shortest lines, as powers of two of words.
    let (instructions, data) = (4usize << (types & 15), 4usize << (types >> 16 & 15));
    let (start, end) = (code.as_ptr().addr(), code.as_ptr().addr() + code.len());
    for line in (start & !(data - 1)..end).step_by(data) {
        // SAFETY: changes no memory, and the line is part of the code.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in (start & !(instructions - 1)..end).step_by(instructions) {
        // SAFETY: as above.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
    #[cfg(target_os = "linux")]
    on_all_processors();
}

/// Addresses may have been those of other code, of which another thread still has instructions.
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
fn on_all_processors() {
    use std::sync::LazyLock;

    // Kernels before 4.16 can't, and then don't do more than this for any program.
    static REGISTERED: LazyLock<bool> =
        LazyLock::new(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE));
    if *REGISTERED {
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
    }
}

/// Whether the kernel has done it.
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes numbers, and changes nothing but what processors remember.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0) == 0 }
}

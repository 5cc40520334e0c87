//! What the C library does with memory that is free again.
//!
//! Its defaults are for speed: an arena per thread that allocates, and a threshold for giving
//! memory back that grows with the largest block ever freed. An agent that reads a large set of
//! manifests once, and then waits, would stay as large as it ever was: with 10,000 services of 10
//! backends 148 MiB instead of 84.

/// From now on memory that is free goes back to the kernel. To be called before threads start.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
pub fn give_back_early() {
    /// glibc's own initial value of both thresholds; setting it keeps it from growing.
    const THRESHOLD: libc::c_int = 128 * 1024;
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, THRESHOLD),
        (libc::M_TRIM_THRESHOLD, THRESHOLD),
    ] {
        // SAFETY: it takes plain numbers and may be called at any time. What it doesn't take, it
        // leaves as it is, so its answer doesn't matter.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other C libraries have nothing to set.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_early() {}

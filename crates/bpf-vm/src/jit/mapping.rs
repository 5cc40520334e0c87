//! Memory that is first written, then executed, and never both.
//!
//! On Linux, code is written to a file without a name, which is then mapped to be read and
//! executed: so the mapping can't be written at any time, and no other processor has to forget what
//! it knew of its pages, as it would if their protection were changed (that costs more than the
//! compilation). Where there are no such files, or they are forbidden, pages are written whose
//! protection is changed then; on Apple's own processors the system wants to know beforehand which
//! pages that will be, and each thread may either write or execute them. (A process under Apple's
//! hardened runtime needs the entitlement `com.apple.security.cs.allow-jit` for that.)

use std::io;
use std::ptr::{self, NonNull};

use super::cache;

/// Machine code.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is only read and executed until it is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

const EXECUTABLE: i32 = libc::PROT_READ | libc::PROT_EXEC;

impl Mapping {
    pub fn new(code: &[u8]) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let mapping = Self::of_file(code).or_else(|_| Self::of_pages(code))?;
        #[cfg(not(target_os = "linux"))]
        let mapping = Self::of_pages(code)?;
        cache::forget(mapping.bytes());
        Ok(mapping)
    }

    #[cfg(target_os = "linux")]
    fn of_file(code: &[u8]) -> io::Result<Self> {
        use std::io::Write as _;
        use std::os::fd::{AsRawFd as _, FromRawFd as _};

        // SAFETY: the name is a string that ends with a zero byte.
        let fd = unsafe { libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
        file.write_all(code)?;
        Self::map(code.len(), EXECUTABLE, libc::MAP_PRIVATE, file.as_raw_fd())
    }

    #[cfg(all(target_vendor = "apple", target_arch = "aarch64"))]
    fn of_pages(code: &[u8]) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_JIT;
        let mapping = Self::map(code.len(), EXECUTABLE | libc::PROT_WRITE, flags, -1)?;
        // SAFETY: this thread executes no code of such pages until they are protected again, below.
        unsafe { libc::pthread_jit_write_protect_np(0) };
        // SAFETY: the mapping is as long, this thread may write it, and it is nobody else's.
        unsafe { mapping.start.copy_from_nonoverlapping(NonNull::from(code).cast(), code.len()) };
        // SAFETY: nothing more is written.
        unsafe { libc::pthread_jit_write_protect_np(1) };
        Ok(mapping)
    }

    #[cfg(not(all(target_vendor = "apple", target_arch = "aarch64")))]
    fn of_pages(code: &[u8]) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        let mapping = Self::map(code.len(), protection, flags, -1)?;
        // SAFETY: the mapping is as long, writable and nobody else's.
        unsafe { mapping.start.copy_from_nonoverlapping(NonNull::from(code).cast(), code.len()) };
        // SAFETY: the mapping is ours, and nothing in it is borrowed.
        let result =
            unsafe { libc::mprotect(mapping.start.as_ptr().cast(), mapping.length, EXECUTABLE) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    fn map(length: usize, protection: i32, flags: i32, fd: i32) -> io::Result<Self> {
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, length })
    }

    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: readable, written when it was made, and not written any more.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; code in it runs only while it is borrowed. There is nothing
        // to do about a failure: the memory stays mapped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_hold_what_was_written_and_cannot_be_written() {
        for make in [Mapping::of_file, Mapping::of_pages] {
            let mapping = make(&[0xc3; 100]).expect("memory");
            assert_eq!(mapping.bytes(), [0xc3; 100]);
            let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
            let start = format!("{:x}-", mapping.address());
            let line = maps.lines().find(|line| line.starts_with(&start)).expect("mapped");
            assert!(line.contains(" r-xp "), "{line}");
        }
    }
}

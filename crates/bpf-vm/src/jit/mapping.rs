//! Memory that is first written, then executed, and never both at a time.

use std::io;
use std::ptr::{self, NonNull};

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

impl Mapping {
    pub fn new(code: &[u8]) -> io::Result<Self> {
        let length = code.len().max(1);
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { start, length };
        // SAFETY: the mapping is at least as long, writable and nobody else's.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(code).cast(), code.len()) };
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the mapping is ours, and nothing in it is borrowed.
        if unsafe { libc::mprotect(start.as_ptr().cast(), length, protection) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: readable, initialised (new mappings are zero), and not written any more.
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

//! Memory at an address that doesn't change, which programs, helpers and the host access alike.
//!
//! Nobody holds a reference to its bytes: programs on other threads may write them at any time.
//! The host's side copies word by word with relaxed atomics, so that what it sees may be mixed of
//! two writes, as in the kernel, but is never undefined.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::errno::Errno;
use crate::memory::{Area, Region};

/// Zeroed at first; pages that nobody touches cost nothing.
#[derive(Debug)]
pub(crate) struct Slab {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned, and accessed through atomics and raw pointers only.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// At least so many bytes, aligned to 16.
    pub fn new(bytes: u64) -> Result<Self, Errno> {
        let size = usize::try_from(bytes.max(16)).map_err(|_| Errno::ENOMEM)?;
        let size = size.checked_next_multiple_of(16).ok_or(Errno::ENOMEM)?;
        let layout = Layout::from_size_align(size, 16).map_err(|_| Errno::ENOMEM)?;
        // SAFETY: the size is above zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Errno::ENOMEM)?;
        start.as_ptr().expose_provenance();
        Ok(Self { start, layout })
    }

    pub fn address(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    pub fn len(&self) -> u64 {
        self.layout.size() as u64
    }

    /// All of it, as elements `stride` apart of which the first `size` bytes may be accessed.
    pub fn area(&self, stride: u32, size: u32, writable: bool) -> Area {
        let region = Region { start: self.address(), length: self.len(), writable };
        Area { region, stride, size }
    }

    /// The slab as numbers. Only for slabs that no program can access in other sizes.
    pub fn words(&self) -> &[AtomicU64] {
        let length = self.layout.size() / 8;
        // SAFETY: the memory is aligned to 16, zeroed at first, and written as atomics only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), length) }
    }

    /// As [`Self::words`].
    pub fn halves(&self) -> &[AtomicU32] {
        let length = self.layout.size() / 4;
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), length) }
    }

    /// As [`Self::words`].
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.layout.size()) }
    }

    #[inline]
    fn check(&self, offset: u64, length: usize) -> usize {
        let end = offset.checked_add(length as u64);
        assert!(end.is_some_and(|end| end <= self.len()), "access behind the end of a slab");
        offset as usize
    }

    /// Copies from the slab.
    pub fn load(&self, offset: u64, into: &mut [u8]) {
        let offset = self.check(offset, into.len());
        // SAFETY: `check` has found the bytes to lie in the slab.
        unsafe { copy_from(self.start.as_ptr().add(offset), into) }
    }

    /// Copies into the slab.
    pub fn store(&self, offset: u64, bytes: &[u8]) {
        let offset = self.check(offset, bytes.len());
        // SAFETY: as above.
        unsafe { copy_to(self.start.as_ptr().add(offset), bytes) }
    }

    /// Copies into the slab while nobody else can look at it.
    pub fn overwrite(&mut self, bytes: &[u8]) {
        let offset = self.check(0, bytes.len());
        // SAFETY: `check` has found the bytes to lie in the slab, and `bytes` isn't part of it, since
        // the slab is borrowed exclusively.
        unsafe {
            self.start.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    pub fn clear(&self, offset: u64, length: usize) {
        let offset = self.check(offset, length);
        // SAFETY: as above.
        unsafe { fill(self.start.as_ptr().add(offset), length) }
    }

    /// The word at an offset, for locks and the like in values.
    #[inline]
    pub fn half_at(&self, offset: u64) -> &AtomicU32 {
        let offset = self.check(offset, 4);
        assert!(offset.is_multiple_of(4), "words are aligned");
        // SAFETY: within the slab and aligned; the slab outlives the reference.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody else frees it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// # Safety
///
/// As many bytes as `into` has can be read at `from`.
pub(crate) unsafe fn copy_from(from: *mut u8, into: &mut [u8]) {
    let mut at = 0;
    while at < into.len() {
        let (address, rest) = (from.addr() + at, &mut into[at..]);
        if address.is_multiple_of(8)
            && let Some((bytes, _)) = rest.split_first_chunk_mut()
        {
            // SAFETY: within what the caller promises, aligned to 8.
            let word = unsafe { AtomicU64::from_ptr(from.add(at).cast()) }.load(Relaxed);
            *bytes = word.to_ne_bytes();
            at += 8;
        } else if address.is_multiple_of(4)
            && let Some((bytes, _)) = rest.split_first_chunk_mut()
        {
            // SAFETY: within what the caller promises, aligned to 4.
            let word = unsafe { AtomicU32::from_ptr(from.add(at).cast()) }.load(Relaxed);
            *bytes = word.to_ne_bytes();
            at += 4;
        } else {
            // SAFETY: within what the caller promises.
            rest[0] = unsafe { AtomicU8::from_ptr(from.add(at)) }.load(Relaxed);
            at += 1;
        }
    }
}

/// # Safety
///
/// As many bytes as `bytes` has can be written at `to`.
pub(crate) unsafe fn copy_to(to: *mut u8, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let (address, rest) = (to.addr() + at, &bytes[at..]);
        if address.is_multiple_of(8)
            && let Some((word, _)) = rest.split_first_chunk()
        {
            // SAFETY: within what the caller promises, aligned to 8.
            unsafe { AtomicU64::from_ptr(to.add(at).cast()) }
                .store(u64::from_ne_bytes(*word), Relaxed);
            at += 8;
        } else if address.is_multiple_of(4)
            && let Some((word, _)) = rest.split_first_chunk()
        {
            // SAFETY: within what the caller promises, aligned to 4.
            unsafe { AtomicU32::from_ptr(to.add(at).cast()) }
                .store(u32::from_ne_bytes(*word), Relaxed);
            at += 4;
        } else {
            // SAFETY: within what the caller promises.
            unsafe { AtomicU8::from_ptr(to.add(at)) }.store(rest[0], Relaxed);
            at += 1;
        }
    }
}

/// # Safety
///
/// So many bytes can be written at `to`.
unsafe fn fill(to: *mut u8, length: usize) {
    // SAFETY: the caller's promise. Elements are filled before anybody can find them.
    unsafe { ptr::write_bytes(to, 0, length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_any_length_and_alignment() {
        let slab = Slab::new(64).unwrap();
        let bytes: Vec<u8> = (1..=40).collect();
        for offset in [0u64, 1, 4, 7, 8, 12, 16] {
            for length in [0, 1, 4, 7, 8, 9, 12, 13, 40] {
                slab.clear(0, 64);
                slab.store(offset, &bytes[..length]);
                let mut read = [0; 64];
                slab.load(0, &mut read);
                assert_eq!(read[offset as usize..][..length], bytes[..length]);
                assert!(read[offset as usize + length..].iter().all(|byte| *byte == 0));
            }
        }
    }
}

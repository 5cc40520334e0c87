//! Reading a ring buffer.
//!
//! A forced wake-up costs a program 13.7 µs, so ours submit with `BPF_RB_NO_WAKEUP` and wake the
//! reader only when the buffer fills past a watermark. The reader therefore also looks by the clock.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

use nix::{
    libc::c_void,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use crate::{
    Error,
    map::{Map, MapKind},
};

/// Still being written.
const BUSY: u32 = 1 << 31;
/// Given up by the program.
const DISCARDED: u32 = 1 << 30;
/// Length and offset before every record.
const RECORD_HEADER: usize = 8;

/// The reading end of a ring buffer. There must be one reader only.
#[derive(Debug)]
pub struct Ring {
    name: String,
    fd: OwnedFd,
    consumer: Mapping,
    producer: Mapping,
    size: usize,
    page: usize,
}

/// A ring whose reader sleeps in the runtime.
#[derive(Debug)]
pub struct AsyncRing {
    name: String,
    ready: AsyncFd<OwnedFd>,
    ring: Ring,
}

impl Ring {
    pub fn new(map: &Map) -> Result<Self, Error> {
        if map.layout().kind != MapKind::RingBuffer {
            return Err(Error::MapTypes {
                map: map.name().to_owned(),
                actual: map.layout().to_string(),
                expected: "a ring buffer".to_owned(),
            });
        }
        Self::map(map).map_err(|source| Error::Ring { map: map.name().to_owned(), source })
    }

    fn map(map: &Map) -> io::Result<Self> {
        // SAFETY: sysconf reads a number and has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.layout().max_entries as usize;
        let fd = map.as_fd().try_clone_to_owned()?;
        // kernel/bpf/ringbuf.c: a page of ours, a page of the kernel's, and the data twice in a row
        // so that no record is ever split.
        let consumer = Mapping::new(&fd, 0, page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        let producer = Mapping::new(&fd, page, page + 2 * size, ProtFlags::PROT_READ)?;
        Ok(Self { name: map.name().to_owned(), fd, consumer, producer, size, page })
    }

    /// Calls `each` with the records there are, at most `limit`; returns how many it was called
    /// with.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let (consumer, producer) = (self.position(&self.consumer), self.position(&self.producer));
        // Only we write this position.
        let mut at = consumer.load(Ordering::Relaxed);
        let mut count = 0;
        while count < limit && at != producer.load(Ordering::Acquire) {
            let offset = self.page + (at & (self.size - 1));
            // SAFETY: `offset` is below `page + size` and 8-byte aligned; the mapping reaches a
            // whole `size` further. The kernel writes the header atomically.
            let header = unsafe { self.producer.at.byte_add(offset).cast::<AtomicU32>().as_ref() }
                .load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let length = (header & !DISCARDED) as usize;
            if length > self.size - RECORD_HEADER {
                // The kernel never writes that; going on would read beyond the mapping.
                break;
            }
            if header & DISCARDED == 0 {
                // SAFETY: the record lies within the doubled data, is complete (not busy), and
                // stays untouched until the position below is moved past it.
                let record = unsafe {
                    let start = self.producer.at.byte_add(offset + RECORD_HEADER).cast::<u8>();
                    std::slice::from_raw_parts(start.as_ptr(), length)
                };
                each(record);
                count += 1;
            }
            at = at.wrapping_add((RECORD_HEADER + length).next_multiple_of(8));
            consumer.store(at, Ordering::Release);
        }
        count
    }

    /// Bytes written and not yet read: how far the reader is behind.
    pub fn waiting(&self) -> usize {
        let consumed = self.position(&self.consumer).load(Ordering::Relaxed);
        self.position(&self.producer).load(Ordering::Acquire).wrapping_sub(consumed)
    }

    /// The size of the buffer in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    fn position<'a>(&self, mapping: &'a Mapping) -> &'a AtomicUsize {
        // SAFETY: each mapping begins with a position, an aligned word the kernel and we access
        // atomically, and lives as long as the borrow.
        unsafe { mapping.at.cast::<AtomicUsize>().as_ref() }
    }

    /// Ties the ring to the current tokio runtime.
    pub fn into_async(self) -> Result<AsyncRing, Error> {
        let failed = |source| Error::Ring { map: self.name.clone(), source };
        let fd = self.fd.try_clone().map_err(failed)?;
        // SAFETY: an `OwnedFd` stays the same open descriptor as long as it lives, and the
        // `AsyncFd` keeps it until it is dropped.
        let ready = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
            .map_err(|error| failed(error.into_parts().1))?;
        Ok(AsyncRing { name: self.name.clone(), ready, ring: self })
    }
}

impl AsyncRing {
    /// Waits until a program wakes the reader or `interval` has passed, then drains all there is.
    /// Returns the number of records. Dropping the future loses nothing.
    pub async fn next(
        &mut self,
        interval: Duration,
        each: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        match timeout(interval, self.ready.readable()).await {
            // Cleared before draining: a wake-up during the drain is then not lost.
            Ok(Ok(mut guard)) => guard.clear_ready(),
            Ok(Err(source)) => return Err(Error::Ring { map: self.name.clone(), source }),
            Err(_) => {}
        }
        // As many as fit, so that a program that never pauses cannot keep us here.
        Ok(self.ring.drain(self.ring.size() / RECORD_HEADER, each))
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }
}

/// Shared memory that is unmapped with its owner.
#[derive(Debug)]
struct Mapping {
    at: NonNull<c_void>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping alone and is accessed through atomics, or read where the
// kernel has finished writing; nothing ties it to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; the reads that move the position need `&mut Ring`.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, offset: usize, length: usize, access: ProtFlags) -> io::Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address the kernel chooses touches no memory of ours.
        let at = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, fd, offset as i64)? };
        Ok(Self { at, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and nothing borrows from it any more.
        if let Err(error) = unsafe { munmap(self.at, self.length) } {
            tracing::error!(%error, "ring buffer stays mapped");
        }
    }
}

//! Ring buffers: records from programs, and samples for them.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::errno::Errno;
use crate::memory::Region;
use crate::slab::Slab;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Before each record, as in the kernel: so that as many records fit as there.
const HEADER: u64 = 8;

/// Flags of `bpf_ringbuf_query`.
const AVAILABLE: u64 = 0;
const SIZE: u64 = 1;
const CONSUMER: u64 = 2;
const PRODUCER: u64 = 3;

pub(crate) const NO_WAKEUP: u64 = 1;
pub(crate) const FORCE_WAKEUP: u64 = 2;

/// Records lie where the kernel would put them. One that goes past the end of the ring goes on
/// behind it, in memory that is otherwise unused, instead of at the mirrored beginning. The
/// headers are kept apart, where no program reaches them.
#[derive(Debug)]
pub(crate) struct Ring {
    size: u64,
    data: Slab,
    headers: Slab,
    producer: AtomicU64,
    consumer: AtomicU64,
    reserving: Mutex<()>,
    consuming: Mutex<()>,
    wakeups: Mutex<u64>,
    woken: Condvar,
}

impl Ring {
    pub fn new(size: u32) -> Result<Self, Errno> {
        let size = u64::from(size);
        Ok(Self {
            size,
            data: Slab::new(size * 2)?,
            headers: Slab::new(size / 8 * 4)?,
            producer: AtomicU64::new(0),
            consumer: AtomicU64::new(0),
            reserving: Mutex::default(),
            consuming: Mutex::default(),
            wakeups: Mutex::default(),
            woken: Condvar::new(),
        })
    }

    fn header(&self, position: u64) -> &AtomicU32 {
        &self.headers.halves()[((position % self.size) / 8) as usize]
    }

    /// Memory for a record, and where the ring has it.
    pub fn reserve(&self, length: u64) -> Result<(u64, Region), Errno> {
        if length > u64::from(u32::MAX / 4) {
            return Err(Errno::E2BIG);
        }
        let whole = (length + HEADER).next_multiple_of(8);
        if whole > self.size {
            return Err(Errno::E2BIG);
        }
        let _guard = lock(&self.reserving);
        let position = self.producer.load(Relaxed);
        if position + whole - self.consumer.load(Acquire) > self.size - 1 {
            return Err(Errno::EAGAIN);
        }
        self.header(position).store(length as u32 | BUSY, Relaxed);
        self.producer.store(position + whole, Release);
        let start = self.data.address() + position % self.size + HEADER;
        Ok((position, Region { start, length, writable: true }))
    }

    /// Gives a reserved record to the consumer, or drops it.
    pub fn commit(&self, position: u64, discard: bool, flags: u64) {
        let header = self.header(position);
        let length = header.load(Relaxed) & !(BUSY | DISCARDED);
        header.store(length | if discard { DISCARDED } else { 0 }, Release);
        let consumed = self.consumer.load(Relaxed) == position;
        if flags & FORCE_WAKEUP != 0 || (consumed && flags & NO_WAKEUP == 0) {
            *lock(&self.wakeups) += 1;
            self.woken.notify_all();
        }
    }

    pub fn output(&self, bytes: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        let (position, region) = self.reserve(bytes.len() as u64)?;
        self.data.store(region.start - self.data.address(), bytes);
        self.commit(position, false, flags);
        Ok(())
    }

    pub fn query(&self, what: u64) -> u64 {
        let (consumer, producer) = (self.consumer.load(Acquire), self.producer.load(Acquire));
        match what {
            AVAILABLE => producer - consumer,
            SIZE => self.size,
            CONSUMER => consumer,
            PRODUCER => producer,
            _ => 0,
        }
    }

    /// Gives the records that are ready to `take`, in order; returns how many.
    pub fn consume(&self, mut take: impl FnMut(&[u8])) -> usize {
        let _guard = lock(&self.consuming);
        let mut count = 0;
        let mut position = self.consumer.load(Relaxed);
        while position < self.producer.load(Acquire) {
            let header = self.header(position).load(Acquire);
            if header & BUSY != 0 {
                break;
            }
            let length = header & !DISCARDED;
            if header & DISCARDED == 0 {
                let mut record = vec![0; length as usize];
                self.data.load(position % self.size + HEADER, &mut record);
                take(&record);
                count += 1;
            }
            position += (u64::from(length) + HEADER).next_multiple_of(8);
            self.consumer.store(position, Release);
        }
        count
    }

    /// How often a waiting consumer was to be woken.
    pub fn wakeups(&self) -> u64 {
        *lock(&self.wakeups)
    }

    /// Waits until a record wakes the consumer; false if none did in time.
    pub fn wait(&self, seen: u64, timeout: Duration) -> bool {
        let wakeups = lock(&self.wakeups);
        let waited = self.woken.wait_timeout_while(wakeups, timeout, |wakeups| *wakeups == seen);
        let (wakeups, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *wakeups != seen
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples from the host for programs.
#[derive(Debug)]
pub(crate) struct UserRing {
    size: u64,
    state: Mutex<Samples>,
    draining: AtomicU32,
}

#[derive(Debug, Default)]
struct Samples {
    waiting: VecDeque<Vec<u8>>,
    used: u64,
}

impl UserRing {
    pub fn new(size: u32) -> Self {
        Self { size: size.into(), state: Mutex::default(), draining: AtomicU32::new(0) }
    }

    pub fn produce(&self, sample: &[u8]) -> Result<(), Errno> {
        let whole = (sample.len() as u64 + HEADER).next_multiple_of(8);
        if whole > self.size {
            return Err(Errno::E2BIG);
        }
        let mut state = lock(&self.state);
        if state.used + whole > self.size {
            return Err(Errno::ENOSPC);
        }
        state.used += whole;
        state.waiting.push_back(sample.to_vec());
        Ok(())
    }

    pub fn take(&self) -> Option<Vec<u8>> {
        let mut state = lock(&self.state);
        let sample = state.waiting.pop_front()?;
        state.used -= (sample.len() as u64 + HEADER).next_multiple_of(8);
        Some(sample)
    }

    /// One drains at a time.
    pub fn begin(&self) -> Result<(), Errno> {
        match self.draining.compare_exchange(0, 1, AcqRel, Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::EBUSY),
        }
    }

    pub fn end(&self) {
        self.draining.store(0, Release);
    }
}

/// Records from programs by CPU, of which as many are kept as fit.
#[derive(Debug)]
pub(crate) struct Events {
    entries: Box<[Mutex<VecDeque<Vec<u8>>>]>,
    lost: AtomicU64,
}

/// Records that wait in one entry, at most: what a buffer of 64 pages holds of small ones.
const WAITING: usize = 1 << 14;

impl Events {
    pub fn new(max_entries: u32) -> Result<Self, Errno> {
        let entries = super::many(max_entries, Mutex::default)?;
        Ok(Self { entries, lost: AtomicU64::new(0) })
    }

    pub fn output(&self, index: u32, record: Vec<u8>) -> Result<(), Errno> {
        let mut entry = lock(self.entries.get(index as usize).ok_or(Errno::E2BIG)?);
        if entry.len() == WAITING {
            self.lost.fetch_add(1, Relaxed);
            return Err(Errno::ENOSPC);
        }
        entry.push_back(record);
        Ok(())
    }

    pub fn take(&self) -> Vec<(u32, Vec<u8>)> {
        let all = self.entries.iter().enumerate();
        all.flat_map(|(index, entry)| {
            let records = std::mem::take(&mut *lock(entry));
            records.into_iter().map(move |record| (index as u32, record))
        })
        .collect()
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

//! Many entries in one system call, with single calls where the kernel has no batch for the map.
//!
//! Batches came for hash and array maps with Linux 5.6, for LPM tries and per-CPU arrays with 5.13.
//! A kernel without says EINVAL or ENOTSUPP, then the same work is done entry by entry.

use std::{io, os::fd::AsFd as _};

use super::Map;
use crate::{
    Error,
    sys::{self, Command},
};

/// The kernel's own "not supported", which libc does not name.
const ENOTSUPP: i32 = 524;
/// Entries per call: large enough that the call's price vanishes, small enough for one allocation.
const BATCH: usize = 4096;

fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL | libc::EOPNOTSUPP))
}

impl Map {
    fn batch(&self, keys: &mut [u8], values: &mut [u8], count: u32) -> sys::MapBatch {
        sys::MapBatch {
            keys: sys::address_mut(keys),
            values: sys::address_mut(values),
            count,
            map_fd: sys::raw(self.as_fd()),
            ..Default::default()
        }
    }

    /// Whether the kernel has batches for this kind of map, found by reading none of its entries.
    pub(crate) fn has_batches(&self) -> bool {
        let mut position = vec![0u8; (self.layout.key_size as usize).max(4)];
        let mut attr = self.batch(&mut [], &mut [], 0);
        attr.out_batch = sys::address_mut(position.as_mut_slice());
        // SAFETY: with a count of zero nothing is written but possibly the cursor.
        match unsafe { sys::bpf(Command::MapLookupBatch, &mut attr) } {
            Ok(_) => true,
            Err(error) => !unsupported(&error),
        }
    }

    pub(super) fn update_all<'a>(
        &self,
        mut entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        mut left: usize,
    ) -> Result<(), Error> {
        let failed = |error| self.failed("setting entries", error);
        let (key_size, value_size) = (self.layout.key_size as usize, self.value_bytes());
        let mut keys = Vec::with_capacity(left.min(BATCH) * key_size);
        let mut values = Vec::with_capacity(left.min(BATCH) * value_size);
        while left > 0 {
            let count = left.min(BATCH);
            left -= count;
            keys.clear();
            values.clear();
            for (key, value) in entries.by_ref().take(count) {
                self.check(key, Some(value));
                keys.extend_from_slice(key);
                values.extend_from_slice(value);
            }
            let mut attr = self.batch(&mut keys, &mut values, count as u32);
            // SAFETY: both buffers hold `count` entries of the sizes that `check` compared.
            match unsafe { sys::bpf(Command::MapUpdateBatch, &mut attr) } {
                Ok(_) => continue,
                Err(error) if unsupported(&error) => {}
                Err(error) => return Err(failed(error)),
            }
            for (key, value) in keys.chunks_exact(key_size).zip(values.chunks_exact(value_size)) {
                self.update(key, value, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(super) fn delete_all<'a>(
        &self,
        mut keys: impl Iterator<Item = &'a [u8]>,
        mut left: usize,
    ) -> Result<usize, Error> {
        let key_size = self.layout.key_size as usize;
        let mut buffer = Vec::with_capacity(left.min(BATCH) * key_size);
        let mut removed = 0;
        while left > 0 {
            let count = left.min(BATCH);
            left -= count;
            buffer.clear();
            for key in keys.by_ref().take(count) {
                self.check(key, None);
                buffer.extend_from_slice(key);
            }
            removed += self.delete_batch(&mut buffer, key_size)?;
        }
        Ok(removed)
    }

    fn delete_batch(&self, keys: &mut [u8], key_size: usize) -> Result<usize, Error> {
        let mut removed = 0;
        let mut from = 0;
        while from < keys.len() {
            let rest = &mut keys[from..];
            let count = rest.len() / key_size;
            let mut attr = self.batch(rest, &mut [], count as u32);
            // SAFETY: the buffer holds `count` keys of the map's key size; values are not used.
            match unsafe { sys::bpf(Command::MapDeleteBatch, &mut attr) } {
                Ok(_) => return Ok(removed + count),
                // The batch stops at a key that is not there: go on behind it.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    let done = (attr.count as usize).min(count);
                    removed += done;
                    from += (done + 1) * key_size;
                }
                Err(error) if unsupported(&error) => {
                    for key in rest.chunks_exact(key_size) {
                        removed += usize::from(self.delete(key)?);
                    }
                    return Ok(removed);
                }
                Err(error) => return Err(self.failed("deleting entries", error)),
            }
        }
        Ok(removed)
    }

    pub(super) fn for_each_bytes(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Error> {
        let (key_size, value_size) = (self.layout.key_size as usize, self.value_bytes());
        // Where the next batch begins: a bucket number (hash) or a key (the others).
        let cursor_size = key_size.max(4);
        let (mut position, mut next) = (vec![0u8; cursor_size], vec![0u8; cursor_size]);
        let mut capacity = BATCH.min(self.layout.max_entries.max(1) as usize);
        let (mut keys, mut values) = (vec![0; capacity * key_size], vec![0; capacity * value_size]);
        let mut first = true;
        loop {
            let mut attr = self.batch(&mut keys, &mut values, capacity as u32);
            attr.in_batch = if first { 0 } else { sys::address(position.as_slice()) };
            attr.out_batch = sys::address_mut(next.as_mut_slice());
            // SAFETY: both buffers have room for `capacity` entries, both cursors for what the
            // kernel keeps there: a `u32` for hash maps, a key for the others.
            let result = unsafe { sys::bpf(Command::MapLookupBatch, &mut attr) };
            let last = match &result {
                Ok(_) => false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => true,
                    // A bucket of the hash holds more entries than the buffer.
                    Some(libc::ENOSPC) if capacity < self.layout.max_entries as usize * 2 => {
                        capacity *= 2;
                        keys.resize(capacity * key_size, 0);
                        values.resize(capacity * value_size, 0);
                        continue;
                    }
                    // Entries were deleted under the kernel's hands: ask again from there.
                    Some(libc::EINTR) => continue,
                    _ if first && unsupported(error) => return self.walk(each),
                    _ => {
                        let source =
                            io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(0));
                        return Err(self.failed("listing the entries", source));
                    }
                },
            };
            let count = (attr.count as usize).min(capacity);
            let pairs = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
            for (key, value) in pairs.take(count) {
                each(key, value);
            }
            if last {
                return Ok(());
            }
            first = false;
            std::mem::swap(&mut position, &mut next);
        }
    }

    /// Key by key. A key that a program deletes meanwhile would send the walk back to the first, so
    /// all keys are collected, at most as many as the map can hold, before any value is read.
    fn walk(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Error> {
        let key_size = self.layout.key_size as usize;
        let mut keys: Vec<u8> = Vec::new();
        let mut next = vec![0; key_size];
        let mut previous: Option<Vec<u8>> = None;
        for _ in 0..self.layout.max_entries {
            if !self.next_key(previous.as_deref(), &mut next)? {
                break;
            }
            keys.extend_from_slice(&next);
            previous = Some(next.clone());
        }
        let mut value = vec![0; self.value_bytes()];
        for key in keys.chunks_exact(key_size) {
            if self.lookup(key, &mut value)? {
                each(key, &value);
            }
        }
        Ok(())
    }
}

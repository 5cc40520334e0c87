//! The maps of a runtime by number: programs name maps by opaque handles.
//!
//! Maps are added and never removed, so that a look-up takes no lock and a handle never means
//! another map. They go with the runtime.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Map;

/// The highest half of handles. No machine has memory there.
const HANDLE: u64 = 0x00c0_ffee << 32;

/// Maps in the first chunk; each further one is twice as large.
const FIRST: usize = 32;
const CHUNKS: usize = 24;

type Chunk = Box<[OnceLock<Arc<Map>>]>;

#[derive(Debug)]
pub(crate) struct MapTable {
    id: u64,
    chunks: [OnceLock<Chunk>; CHUNKS],
    length: Mutex<usize>,
}

fn place(index: usize) -> (usize, usize) {
    let number = index / FIRST + 1;
    let chunk = number.ilog2() as usize;
    (chunk, index - ((1 << chunk) - 1) * FIRST)
}

impl MapTable {
    pub fn new() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        Self {
            id: IDS.fetch_add(1, Relaxed),
            chunks: std::array::from_fn(|_| OnceLock::new()),
            length: Mutex::new(0),
        }
    }

    /// The map's handle; it gets one if it has none. `None` if there are too many maps.
    pub fn handle(&self, map: &Arc<Map>) -> Option<u64> {
        if let Some((table, handle)) = map.home.get()
            && *table == self.id
        {
            return Some(*handle);
        }
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        // A map whose home is another runtime, or one that was added meanwhile.
        let known = (0..*length).find(|index| self.at(*index).is_some_and(|m| Arc::ptr_eq(m, map)));
        if let Some(index) = known {
            return Some(HANDLE | (index as u64) << 4);
        }
        let (chunk, offset) = place(*length);
        let new = || (0..FIRST << chunk).map(|_| OnceLock::new()).collect();
        self.chunks.get(chunk)?.get_or_init(new).get(offset)?.set(map.clone()).ok()?;
        let handle = HANDLE | (*length as u64) << 4;
        *length += 1;
        map.runtimes.fetch_add(1, Relaxed);
        // It keeps its first home.
        let _ = map.home.set((self.id, handle));
        Some(handle)
    }

    #[inline]
    fn at(&self, index: usize) -> Option<&Arc<Map>> {
        let (chunk, offset) = place(index);
        self.chunks.get(chunk)?.get()?.get(offset)?.get()
    }

    /// All maps, in the order in which they came.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Map>> {
        (0..).map_while(|index| self.at(index))
    }

    /// Of these maps those that no other runtime has. The runtime is going, and doesn't count any more.
    pub fn abandon(&self) -> impl Iterator<Item = &Arc<Map>> {
        self.all().filter(|map| map.runtimes.fetch_sub(1, AcqRel) == 1)
    }

    /// The map that a program means.
    #[inline]
    pub fn resolve(&self, handle: u64) -> Option<&Arc<Map>> {
        if handle & !u64::from(u32::MAX) != HANDLE || handle & 0xf != 0 {
            return None;
        }
        self.at((handle as u32 >> 4) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other() {
        let places: Vec<_> = [0, 31, 32, 95, 96, 223, 224].map(place).into();
        assert_eq!(places, [(0, 0), (0, 31), (1, 0), (1, 63), (2, 0), (2, 127), (3, 0)]);
    }
}

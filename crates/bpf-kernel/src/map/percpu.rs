//! Typed access to per-CPU hash and array maps: counters, mostly.

use std::{marker::PhantomData, path::Path};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Map, table::check_types};
use crate::Error;

/// A map with a value of its own for every possible CPU.
#[derive(Debug)]
pub struct PerCpu<K, V> {
    map: Map,
    types: PhantomData<fn(K) -> V>,
}

/// Typed access to a map whose types are known at the call alone.
impl Map {
    /// As [`PerCpu::get`].
    pub fn of_all_cpus<K, V>(&self, key: &K) -> Result<Option<Vec<V>>, Error>
    where
        K: IntoBytes + Immutable,
        V: FromBytes,
    {
        check_types::<K, V>(self, true)?;
        let mut bytes = vec![0; self.value_bytes()];
        Ok(self.lookup(key.as_bytes(), &mut bytes)?.then(|| split(&bytes)))
    }

    /// As [`PerCpu::set_all_cpus`].
    pub fn set_all_cpus<K, V>(&self, key: &K, value: &V) -> Result<(), Error>
    where
        K: IntoBytes + Immutable,
        V: IntoBytes + Immutable,
    {
        check_types::<K, V>(self, true)?;
        let mut bytes = vec![0; self.value_bytes()];
        for slot in bytes.chunks_exact_mut(size_of::<V>().next_multiple_of(8)) {
            slot[..size_of::<V>()].copy_from_slice(value.as_bytes());
        }
        self.update(key.as_bytes(), &bytes, 0)
            .map_err(|error| self.failed("setting an entry", error))
    }
}

impl<K, V> PerCpu<K, V>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    pub fn new(map: Map) -> Result<Self, Error> {
        check_types::<K, V>(&map, true)?;
        Ok(Self { map, types: PhantomData })
    }

    /// Opens the map pinned at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::new(Map::open(path)?)
    }

    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The values of all CPUs, in their order.
    pub fn get(&self, key: &K) -> Result<Option<Vec<V>>, Error> {
        self.map.of_all_cpus(key)
    }

    /// Sets the same value for every CPU.
    pub fn set_all_cpus(&self, key: &K, value: &V) -> Result<(), Error> {
        self.map.set_all_cpus(key, value)
    }

    /// Deletes the entry of a hash map; false when there was none.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        self.map.delete(key.as_bytes())
    }

    /// Every entry with the values of all CPUs.
    pub fn entries(&self) -> Result<Vec<(K, Vec<V>)>, Error> {
        let mut entries = Vec::new();
        self.map.for_each_bytes(&mut |key, values| {
            if let Ok(key) = K::read_from_bytes(key) {
                entries.push((key, split(values)));
            }
        })?;
        Ok(entries)
    }
}

fn split<V: FromBytes>(bytes: &[u8]) -> Vec<V> {
    bytes
        .chunks_exact(size_of::<V>().next_multiple_of(8))
        .filter_map(|slot| V::read_from_prefix(slot).ok().map(|(value, _)| value))
        .collect()
}

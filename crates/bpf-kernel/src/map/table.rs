//! Typed access to hash, LRU, array and LPM maps.

use std::{any::type_name, marker::PhantomData, path::Path};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Map, MapKind};
use crate::Error;

const ANY: u64 = 0;
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

/// A map whose keys are `K` and whose values are `V`, both with every byte accounted for.
///
/// Keys of an LPM trie begin with the prefix length as `u32`; keys of an array are `u32`.
#[derive(Debug)]
pub struct Table<K, V> {
    pub(super) map: Map,
    types: PhantomData<fn(K) -> V>,
}

/// Checks the sizes of `K` and `V` against the map's.
pub(super) fn check_types<K, V>(map: &Map, per_cpu: bool) -> Result<(), Error> {
    let layout = map.layout();
    if size_of::<K>() == layout.key_size as usize
        && size_of::<V>() == layout.value_size as usize
        && layout.kind.is_per_cpu() == per_cpu
        && !matches!(layout.kind, MapKind::RingBuffer | MapKind::Other(_))
    {
        return Ok(());
    }
    Err(Error::MapTypes {
        map: map.name().to_owned(),
        actual: layout.to_string(),
        expected: format!(
            "{}keys of {} B ({}) and values of {} B ({})",
            if per_cpu { "per-CPU entries with " } else { "" },
            size_of::<K>(),
            type_name::<K>(),
            size_of::<V>(),
            type_name::<V>()
        ),
    })
}

/// Typed access to a map whose types are known at the call alone.
impl Map {
    /// As [`Table::insert_all`].
    pub fn insert_all<K, V>(&self, entries: &[(K, V)]) -> Result<(), Error>
    where
        K: IntoBytes + Immutable,
        V: IntoBytes + Immutable,
    {
        check_types::<K, V>(self, false)?;
        self.update_all(
            entries.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())),
            entries.len(),
        )
    }

    /// As [`Table::remove_all`].
    pub fn remove_all<K: IntoBytes + Immutable>(&self, keys: &[K]) -> Result<usize, Error> {
        if size_of::<K>() != self.layout().key_size as usize {
            check_types::<K, ()>(self, false)?;
        }
        self.delete_all(keys.iter().map(IntoBytes::as_bytes), keys.len())
    }

    /// As [`Table::entries`].
    pub fn rows<K, V>(&self) -> Result<Vec<(K, V)>, Error>
    where
        K: FromBytes,
        V: FromBytes,
    {
        check_types::<K, V>(self, false)?;
        let mut entries = Vec::new();
        self.for_each_bytes(&mut |key, value| {
            if let (Ok(key), Ok(value)) = (K::read_from_bytes(key), V::read_from_bytes(value)) {
                entries.push((key, value));
            }
        })?;
        Ok(entries)
    }
}

impl<K, V> Table<K, V>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    pub fn new(map: Map) -> Result<Self, Error> {
        check_types::<K, V>(&map, false)?;
        Ok(Self { map, types: PhantomData })
    }

    /// Opens the map pinned at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::new(Map::open(path)?)
    }

    pub fn map(&self) -> &Map {
        &self.map
    }

    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::new_zeroed();
        Ok(self.map.lookup(key.as_bytes(), value.as_mut_bytes())?.then_some(value))
    }

    /// Sets the entry, new or not.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        self.update(key, value, ANY).map(drop)
    }

    /// Sets the entry if there is none; false when there is one.
    pub fn insert_new(&self, key: &K, value: &V) -> Result<bool, Error> {
        self.update(key, value, NO_EXIST)
    }

    /// Sets the entry if there is one already; false when there is none.
    pub fn replace(&self, key: &K, value: &V) -> Result<bool, Error> {
        self.update(key, value, EXIST)
    }

    fn update(&self, key: &K, value: &V, flags: u64) -> Result<bool, Error> {
        match self.map.update(key.as_bytes(), value.as_bytes(), flags) {
            Ok(()) => Ok(true),
            Err(error) => match (error.raw_os_error(), flags) {
                (Some(libc::EEXIST), NO_EXIST) | (Some(libc::ENOENT), EXIST) => Ok(false),
                _ => Err(self.map.failed("setting an entry", error)),
            },
        }
    }

    /// Deletes the entry; false when there was none.
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        self.map.delete(key.as_bytes())
    }

    /// Takes the entry out. Hash maps can since Linux 5.14.
    pub fn take(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::new_zeroed();
        let found = self.map.lookup_and_delete(key.as_bytes(), value.as_mut_bytes())?;
        Ok(found.then_some(value))
    }

    /// Sets many entries, with one system call for some thousand where the kernel has batches.
    pub fn insert_all(&self, entries: &[(K, V)]) -> Result<(), Error> {
        self.map.insert_all(entries)
    }

    /// Deletes many entries; those that are not there are passed over. Returns how many were.
    pub fn remove_all(&self, keys: &[K]) -> Result<usize, Error> {
        self.map.remove_all(keys)
    }

    /// Calls `each` with every entry.
    ///
    /// While programs change a hash map an entry may be seen twice or not at all, as with any walk
    /// of a live map; entries nobody touches are seen.
    pub fn for_each(&self, mut each: impl FnMut(K, V)) -> Result<(), Error> {
        self.map.for_each_bytes(&mut |key, value| {
            if let (Ok(key), Ok(value)) = (K::read_from_bytes(key), V::read_from_bytes(value)) {
                each(key, value);
            }
        })
    }

    /// All entries, as [`Table::for_each`] sees them.
    pub fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key, value)))?;
        Ok(entries)
    }

    pub fn count(&self) -> Result<usize, Error> {
        let mut count = 0;
        self.map.for_each_bytes(&mut |_, _| count += 1)?;
        Ok(count)
    }

    /// Deletes every entry (of an array: sets all to zero).
    pub fn clear(&self) -> Result<(), Error> {
        if self.map.layout().kind == MapKind::Array {
            let zeros = vec![0; size_of::<V>()];
            let indices: Vec<u32> = (0..self.map.layout().max_entries).collect();
            return self.map.update_all(
                indices.iter().map(|index| (index.as_bytes(), zeros.as_slice())),
                indices.len(),
            );
        }
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key))?;
        self.remove_all(&keys).map(drop)
    }
}

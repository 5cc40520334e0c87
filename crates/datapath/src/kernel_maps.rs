//! The kernel's maps as tables that the compilers' rows are written to.

use bpf_kernel::{Error, Map, Object};
use tables::{Maps, Row};

/// Whoever has maps by their names.
pub trait Named {
    fn map(&self, name: &'static str) -> Result<&Map, Error>;
}

impl Named for Object {
    fn map(&self, name: &'static str) -> Result<&Map, Error> {
        Object::map(self, name)
    }
}

/// The maps that somebody has, to be filled.
#[derive(Debug)]
pub struct KernelMaps<'a, N>(pub &'a N);

impl<N: Named> Maps for KernelMaps<'_, N> {
    type Error = Error;

    fn insert_all<K: Row, V: Row>(&self, map: &'static str, rows: &[(K, V)]) -> Result<(), Error> {
        self.0.map(map)?.insert_all(rows)
    }

    fn remove_all<K: Row>(&self, map: &'static str, keys: &[K]) -> Result<(), Error> {
        self.0.map(map)?.remove_all(keys).map(drop)
    }

    fn entries<K: Row, V: Row>(&self, map: &'static str) -> Result<Vec<(K, V)>, Error> {
        self.0.map(map)?.rows()
    }

    fn of_all_cpus<V: Row>(&self, map: &'static str, key: u32) -> Result<Vec<V>, Error> {
        Ok(self.0.map(map)?.of_all_cpus(&key)?.unwrap_or_default())
    }

    fn set_all_cpus<V: Row>(&self, map: &'static str, key: u32, value: &V) -> Result<(), Error> {
        self.0.map(map)?.set_all_cpus(&key, value)
    }

    fn capacity(&self, map: &'static str) -> Result<u32, Error> {
        Ok(self.0.map(map)?.layout().max_entries)
    }
}

//! The runtime's maps as tables that the compilers' rows are written to.

use bpf_vm::map::{Map, update};
use bpf_vm::{Errno, Instance};
use tables::{Maps, Row};

use crate::Error;

/// The maps of a loaded object, to be filled.
#[derive(Debug)]
pub struct VmMaps<'a>(pub &'a Instance);

impl VmMaps<'_> {
    fn map(&self, name: &'static str) -> Result<&Map, Error> {
        self.0.map(name).map(AsRef::as_ref).ok_or(Error::NoMap(name))
    }
}

fn failed(map: &'static str) -> impl Fn(Errno) -> Error {
    move |source| Error::Map { map, source }
}

impl Maps for VmMaps<'_> {
    type Error = Error;

    fn insert_all<K: Row, V: Row>(&self, map: &'static str, rows: &[(K, V)]) -> Result<(), Error> {
        let table = self.map(map)?;
        for (key, value) in rows {
            table.update(key.as_bytes(), value.as_bytes(), update::ANY).map_err(failed(map))?;
        }
        Ok(())
    }

    fn remove_all<K: Row>(&self, map: &'static str, keys: &[K]) -> Result<(), Error> {
        let table = self.map(map)?;
        for key in keys {
            match table.delete(key.as_bytes()) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(failed(map)(error)),
            }
        }
        Ok(())
    }

    fn entries<K: Row, V: Row>(&self, map: &'static str) -> Result<Vec<(K, V)>, Error> {
        let entries = self.map(map)?.entries().map_err(failed(map))?;
        let typed = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((K::read_from_bytes(&key).ok()?, V::read_from_bytes(&value).ok()?))
        };
        entries
            .into_iter()
            .map(|entry| typed(entry).ok_or_else(|| failed(map)(Errno::EINVAL)))
            .collect()
    }

    fn of_all_cpus<V: Row>(&self, map: &'static str, key: u32) -> Result<Vec<V>, Error> {
        let values = match self.map(map)?.lookup_per_cpu(&key.to_ne_bytes()) {
            Ok(values) => values,
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(error) => return Err(failed(map)(error)),
        };
        let typed = |value: &Vec<u8>| V::read_from_bytes(value).ok();
        values.iter().map(|value| typed(value).ok_or_else(|| failed(map)(Errno::EINVAL))).collect()
    }

    fn set_all_cpus<V: Row>(&self, map: &'static str, key: u32, value: &V) -> Result<(), Error> {
        let table = self.map(map)?;
        let mut bytes = vec![0; table.value_bytes()];
        for slot in bytes.chunks_exact_mut(size_of::<V>().next_multiple_of(8)) {
            slot[..size_of::<V>()].copy_from_slice(value.as_bytes());
        }
        table.update(&key.to_ne_bytes(), &bytes, update::ANY).map_err(failed(map))
    }

    fn capacity(&self, map: &'static str) -> Result<u32, Error> {
        Ok(self.map(map)?.definition().max_entries)
    }
}

//! The balancer's maps in the kernel.

use crate::kernel_maps::{KernelMaps, Named};
use abi::balancer::{BackendCounters, Flow, FlowKey, Settings, VipCounters, maps};
use bpf_kernel::{Error, Map, Table};
use services::balancer::{Adopted, Capacity, Changes};
use std::collections::HashMap;
use std::path::Path;
use tables::balancer;

#[derive(Debug)]
pub struct Tables {
    maps: HashMap<&'static str, Map>,
    pub flows: Table<FlowKey, Flow>,
}

impl Named for Tables {
    fn map(&self, name: &'static str) -> Result<&Map, Error> {
        self.maps.get(name).ok_or_else(|| Error::NotPinned { path: name.into() })
    }
}

impl Tables {
    /// Opens the pins in `dir`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let open = |name: &'static str| Ok((name, Map::open(&dir.join(name))?));
        let maps: HashMap<_, _> =
            balancer::ALL.into_iter().map(open).collect::<Result<_, Error>>()?;
        Ok(Tables { maps, flows: Table::open(&dir.join(maps::FLOWS))? })
    }

    pub fn capacity(&self) -> Result<Capacity, Error> {
        balancer::capacity(&KernelMaps(self))
    }

    /// Everything that the maps hold, for the compiler to begin from.
    pub fn read(&self) -> Result<Adopted, Error> {
        balancer::read(&KernelMaps(self))
    }

    pub fn write(&self, changes: &Changes) -> Result<(), Error> {
        balancer::write(&KernelMaps(self), changes)
    }

    pub fn write_settings(&self, settings: &Settings) -> Result<(), Error> {
        balancer::write_settings(&KernelMaps(self), settings)
    }

    pub fn vip_counters(&self, number: u32) -> Result<VipCounters, Error> {
        balancer::vip_counters(&KernelMaps(self), number)
    }

    pub fn backend_counters(&self, number: u32) -> Result<BackendCounters, Error> {
        balancer::backend_counters(&KernelMaps(self), number)
    }

    /// Name and sum of every counter of the whole program.
    pub fn counters(&self) -> Result<Vec<(u32, &'static str, u64)>, Error> {
        balancer::counters(&KernelMaps(self))
    }
}

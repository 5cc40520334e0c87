//! The balancer's maps, typed, and one transaction's writes in their order.

use abi::Address;
use abi::balancer::{
    Backend, BackendCounters, DownKey, Flow, FlowKey, FrontEnd, FrontEndKey, PrefixKey, RangeKey,
    RingBlock, Settings, SourceKey, VipCounters, maps,
};
use bpf_kernel::{Error, Map, PerCpu, Table};
use services::balancer::{Adopted, Capacity, Change, Changes, NO_BACKEND, Rows};
use std::collections::HashMap;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Debug)]
pub struct Tables {
    settings: Table<u32, Settings>,
    front_ends: Table<FrontEndKey, FrontEnd>,
    ranges: Table<RangeKey, FrontEnd>,
    prefixes: Table<PrefixKey, FrontEnd>,
    rings: Table<u32, RingBlock>,
    backends: Table<u32, Backend>,
    pub flows: Table<FlowKey, Flow>,
    server_ids: Table<u32, u32>,
    sources: Table<SourceKey, u32>,
    decapsulate: Table<Address, u32>,
    down: Table<DownKey, u32>,
    checks: Table<u32, u32>,
    vip_counters: PerCpu<u32, VipCounters>,
    backend_counters: PerCpu<u32, BackendCounters>,
    counters: PerCpu<u32, u64>,
}

impl Tables {
    /// Opens the pins in `dir`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::with(|name| Map::open(&dir.join(name)))
    }

    pub fn with(map: impl Fn(&str) -> Result<Map, Error>) -> Result<Self, Error> {
        Ok(Tables {
            settings: Table::new(map(maps::SETTINGS)?)?,
            front_ends: Table::new(map(maps::FRONTENDS)?)?,
            ranges: Table::new(map(maps::RANGES)?)?,
            prefixes: Table::new(map(maps::PREFIXES)?)?,
            rings: Table::new(map(maps::RINGS)?)?,
            backends: Table::new(map(maps::BACKENDS)?)?,
            flows: Table::new(map(maps::FLOWS)?)?,
            server_ids: Table::new(map(maps::SERVER_IDS)?)?,
            sources: Table::new(map(maps::SOURCES)?)?,
            decapsulate: Table::new(map(maps::DECAPSULATE)?)?,
            down: Table::new(map(maps::DOWN)?)?,
            checks: Table::new(map(maps::CHECKS)?)?,
            vip_counters: PerCpu::new(map(maps::VIP_COUNTERS)?)?,
            backend_counters: PerCpu::new(map(maps::BACKEND_COUNTERS)?)?,
            counters: PerCpu::new(map(maps::COUNTERS)?)?,
        })
    }

    pub fn capacity(&self) -> Capacity {
        let entries = |map: &bpf_kernel::Map| map.layout().max_entries;
        Capacity {
            front_ends: entries(self.front_ends.map()),
            ranges: entries(self.ranges.map()),
            prefixes: entries(self.prefixes.map()),
            rings: entries(self.rings.map()),
            backends: entries(self.backends.map()).min(entries(self.backend_counters.map())),
            vips: entries(self.vip_counters.map()),
            server_ids: entries(self.server_ids.map()),
            sources: entries(self.sources.map()),
            decapsulate: entries(self.decapsulate.map()),
            down: entries(self.down.map()),
            checks: entries(self.checks.map()),
        }
    }

    /// Everything that the maps hold, for the compiler to begin from.
    pub fn read(&self) -> Result<Adopted, Error> {
        let rows = Rows {
            front_ends: all(&self.front_ends)?,
            ranges: all(&self.ranges)?,
            prefixes: all(&self.prefixes)?,
            backends: all(&self.backends)?
                .into_iter()
                .filter(|(_, row)| *row != NO_BACKEND)
                .collect(),
            server_ids: all(&self.server_ids)?,
            sources: all(&self.sources)?,
            decapsulate: all(&self.decapsulate)?,
            down: all(&self.down)?,
            checks: all(&self.checks)?,
            settings: self.settings.get(&0)?.filter(|settings| settings.max_frame != 0),
        };
        let used =
            !rows.front_ends.is_empty() || !rows.ranges.is_empty() || !rows.prefixes.is_empty();
        let rings = if used { all(&self.rings)? } else { HashMap::new() };
        Ok(Adopted { rows, rings })
    }

    /// New before what leads to it, what is gone after nothing leads to it: any packet in between
    /// meets the old or the new state of its VIP.
    pub fn write(&self, changes: &Changes) -> Result<(), Error> {
        for number in &changes.reset_vips {
            self.vip_counters.set_all_cpus(number, &VipCounters::default())?;
        }
        for number in &changes.reset_backends {
            self.backend_counters.set_all_cpus(number, &BackendCounters::default())?;
        }
        self.backends.insert_all(&changes.backends.set)?;
        self.rings.insert_all(&changes.rings)?;
        self.server_ids.insert_all(&changes.server_ids.set)?;
        self.sources.insert_all(&changes.sources.set)?;
        self.decapsulate.insert_all(&changes.decapsulate.set)?;
        self.checks.insert_all(&changes.checks.set)?;
        both(&self.down, &changes.down)?;
        if let Some(settings) = &changes.settings {
            self.settings.insert(&0, settings)?;
        }
        self.prefixes.insert_all(&changes.prefixes.set)?;
        self.ranges.insert_all(&changes.ranges.set)?;
        self.front_ends.insert_all(&changes.front_ends.set)?;

        self.front_ends.remove_all(&changes.front_ends.remove)?;
        self.ranges.remove_all(&changes.ranges.remove)?;
        self.prefixes.remove_all(&changes.prefixes.remove)?;
        self.server_ids.remove_all(&changes.server_ids.remove)?;
        self.sources.remove_all(&changes.sources.remove)?;
        self.decapsulate.remove_all(&changes.decapsulate.remove)?;
        self.checks.remove_all(&changes.checks.remove)?;
        let gone: Vec<(u32, Backend)> =
            changes.backends.remove.iter().map(|number| (*number, NO_BACKEND)).collect();
        self.backends.insert_all(&gone)
    }

    pub fn write_settings(&self, settings: &Settings) -> Result<(), Error> {
        self.settings.insert(&0, settings)
    }

    pub fn vip_counters(&self, number: u32) -> Result<VipCounters, Error> {
        let cpus = self.vip_counters.get(&number)?.unwrap_or_default();
        Ok(cpus.iter().fold(VipCounters::default(), |sum, one| VipCounters {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            new_flows: sum.new_flows + one.new_flows,
            moved: sum.moved + one.moved,
            misses: sum.misses + one.misses,
            limited: sum.limited + one.limited,
            no_backend: sum.no_backend + one.no_backend,
            too_big: sum.too_big + one.too_big,
        }))
    }

    pub fn backend_counters(&self, number: u32) -> Result<BackendCounters, Error> {
        let cpus = self.backend_counters.get(&number)?.unwrap_or_default();
        Ok(cpus.iter().fold(BackendCounters::default(), |sum, one| BackendCounters {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
        }))
    }

    /// Name and sum of every counter of the whole program.
    pub fn counters(&self) -> Result<Vec<(u32, &'static str, u64)>, Error> {
        let named = abi::balancer::counter::NAMES.iter();
        named
            .map(|(index, name)| {
                let cpus = self.counters.get(index)?.unwrap_or_default();
                Ok((*index, *name, cpus.iter().sum()))
            })
            .collect()
    }
}

fn all<K, V>(table: &Table<K, V>) -> Result<HashMap<K, V>, Error>
where
    K: FromBytes + IntoBytes + Immutable + Eq + std::hash::Hash,
    V: FromBytes + IntoBytes + Immutable,
{
    Ok(table.entries()?.into_iter().collect())
}

fn both<K, V>(table: &Table<K, V>, change: &Change<K, V>) -> Result<(), Error>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    table.insert_all(&change.set)?;
    table.remove_all(&change.remove)?;
    Ok(())
}

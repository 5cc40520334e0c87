//! The edge balancer's tables.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use abi::balancer::{
    Backend, BackendCounters, FrontEnd, FrontEndKey, FrontEndKeyV4, Settings, VipCounters, maps,
};
use model::{LoadBalancer, ObjectName};
use services::balancer::{Adopted, Capacity, Change, Changes, Compiler, NO_BACKEND, Rows};

use crate::{Maps, Row};

/// The tables that are read and written here.
pub const ALL: [&str; 16] = [
    maps::SETTINGS,
    maps::FRONTENDS,
    maps::FRONTENDS_V4,
    maps::RANGES,
    maps::PREFIXES,
    maps::RINGS,
    maps::BACKENDS,
    maps::FLOWS,
    maps::SERVER_IDS,
    maps::SOURCES,
    maps::DECAPSULATE,
    maps::DOWN,
    maps::CHECKS,
    maps::VIP_COUNTERS,
    maps::BACKEND_COUNTERS,
    maps::COUNTERS,
];

/// New before what leads to it, what is gone after nothing leads to it: any packet in between
/// meets the old or the new state of its VIP.
pub fn write<M: Maps>(to: &M, changes: &Changes) -> Result<(), M::Error> {
    for number in &changes.reset_vips {
        to.set_all_cpus(maps::VIP_COUNTERS, *number, &VipCounters::default())?;
    }
    for number in &changes.reset_backends {
        to.set_all_cpus(maps::BACKEND_COUNTERS, *number, &BackendCounters::default())?;
    }
    to.insert_all(maps::BACKENDS, &changes.backends.set)?;
    to.insert_all(maps::RINGS, &changes.rings)?;
    to.insert_all(maps::SERVER_IDS, &changes.server_ids.set)?;
    to.insert_all(maps::SOURCES, &changes.sources.set)?;
    to.insert_all(maps::DECAPSULATE, &changes.decapsulate.set)?;
    to.insert_all(maps::CHECKS, &changes.checks.set)?;
    both(to, maps::DOWN, &changes.down)?;
    if let Some(settings) = &changes.settings {
        write_settings(to, settings)?;
    }
    to.insert_all(maps::PREFIXES, &changes.prefixes.set)?;
    to.insert_all(maps::RANGES, &changes.ranges.set)?;
    let (v4, v6) = by_family(changes.front_ends.set.iter().copied());
    to.insert_all(maps::FRONTENDS_V4, &v4)?;
    to.insert_all(maps::FRONTENDS, &v6)?;
    let (v4, v6) = by_family(changes.front_ends.remove.iter().map(|key| (*key, ())));
    to.remove_all(maps::FRONTENDS_V4, &v4.into_iter().map(|(key, ())| key).collect::<Vec<_>>())?;
    to.remove_all(maps::FRONTENDS, &v6.into_iter().map(|(key, ())| key).collect::<Vec<_>>())?;
    to.remove_all(maps::RANGES, &changes.ranges.remove)?;
    to.remove_all(maps::PREFIXES, &changes.prefixes.remove)?;
    // Now no CPU goes by a front-end that it has met before. Also where nothing has changed: an agent
    // may have been stopped between a change and this.
    if let Some(settings) = current_settings(to)? {
        let generation = settings.generation.wrapping_add(1);
        to.insert_all(maps::SETTINGS, &[(0u32, Settings { generation, ..settings })])?;
    }

    to.remove_all(maps::SERVER_IDS, &changes.server_ids.remove)?;
    to.remove_all(maps::SOURCES, &changes.sources.remove)?;
    to.remove_all(maps::DECAPSULATE, &changes.decapsulate.remove)?;
    to.remove_all(maps::CHECKS, &changes.checks.remove)?;
    let gone: Vec<(u32, Backend)> =
        changes.backends.remove.iter().map(|number| (*number, NO_BACKEND)).collect();
    to.insert_all(maps::BACKENDS, &gone)
}

/// All but the generation.
pub fn write_settings<M: Maps>(to: &M, settings: &Settings) -> Result<(), M::Error> {
    let generation = current_settings(to)?.map_or(0, |settings| settings.generation);
    to.insert_all(maps::SETTINGS, &[(0u32, Settings { generation, ..*settings })])
}

fn current_settings<M: Maps>(from: &M) -> Result<Option<Settings>, M::Error> {
    let all: HashMap<u32, Settings> = all(from, maps::SETTINGS)?;
    Ok(all.get(&0).filter(|settings| settings.max_frame != 0).copied())
}

/// Everything that the maps hold, for the compiler to begin from.
pub fn read<M: Maps>(from: &M) -> Result<Adopted, M::Error> {
    let mut backends: HashMap<u32, Backend> = all(from, maps::BACKENDS)?;
    backends.retain(|_, row| *row != NO_BACKEND);
    let rows = Rows {
        front_ends: front_ends(from)?,
        ranges: all(from, maps::RANGES)?,
        prefixes: all(from, maps::PREFIXES)?,
        backends,
        server_ids: all(from, maps::SERVER_IDS)?,
        sources: all(from, maps::SOURCES)?,
        decapsulate: all(from, maps::DECAPSULATE)?,
        down: all(from, maps::DOWN)?,
        checks: all(from, maps::CHECKS)?,
        // The compiler knows nothing of generations.
        settings: current_settings(from)?.map(|settings| Settings { generation: 0, ..settings }),
    };
    let used = !rows.front_ends.is_empty() || !rows.ranges.is_empty() || !rows.prefixes.is_empty();
    let rings = if used { all(from, maps::RINGS)? } else { HashMap::new() };
    Ok(Adopted { rows, rings })
}

/// Of both families.
fn front_ends<M: Maps>(from: &M) -> Result<HashMap<FrontEndKey, FrontEnd>, M::Error> {
    let mut all: HashMap<FrontEndKey, FrontEnd> = all(from, maps::FRONTENDS)?;
    // Versions before the families were parted have left theirs there.
    let old: Vec<FrontEndKey> = all.keys().filter(|key| key.v4().is_some()).copied().collect();
    if !old.is_empty() {
        let (v4, _) = by_family(all.iter().map(|(key, value)| (*key, *value)));
        from.insert_all(maps::FRONTENDS_V4, &v4)?;
        from.remove_all(maps::FRONTENDS, &old)?;
    }
    let v4: Vec<(FrontEndKeyV4, FrontEnd)> = from.entries(maps::FRONTENDS_V4)?;
    all.extend(v4.into_iter().map(|(key, value)| (FrontEndKey::from(key), value)));
    Ok(all)
}

/// What goes to `lb_frontends_v4`, and what to `lb_frontends`.
#[expect(clippy::type_complexity, reason = "two lists of entries")]
fn by_family<T>(
    all: impl Iterator<Item = (FrontEndKey, T)>,
) -> (Vec<(FrontEndKeyV4, T)>, Vec<(FrontEndKey, T)>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (key, value) in all {
        match key.v4() {
            Some(key) => v4.push((key, value)),
            None => v6.push((key, value)),
        }
    }
    (v4, v6)
}

pub fn capacity<M: Maps>(of: &M) -> Result<Capacity, M::Error> {
    Ok(Capacity {
        front_ends: of.capacity(maps::FRONTENDS)?,
        ranges: of.capacity(maps::RANGES)?,
        prefixes: of.capacity(maps::PREFIXES)?,
        rings: of.capacity(maps::RINGS)?,
        backends: of.capacity(maps::BACKENDS)?.min(of.capacity(maps::BACKEND_COUNTERS)?),
        vips: of.capacity(maps::VIP_COUNTERS)?,
        server_ids: of.capacity(maps::SERVER_IDS)?,
        sources: of.capacity(maps::SOURCES)?,
        decapsulate: of.capacity(maps::DECAPSULATE)?,
        down: of.capacity(maps::DOWN)?,
        checks: of.capacity(maps::CHECKS)?,
    })
}

pub fn vip_counters<M: Maps>(of: &M, number: u32) -> Result<VipCounters, M::Error> {
    let cpus: Vec<VipCounters> = of.of_all_cpus(maps::VIP_COUNTERS, number)?;
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

pub fn backend_counters<M: Maps>(of: &M, number: u32) -> Result<BackendCounters, M::Error> {
    let cpus: Vec<BackendCounters> = of.of_all_cpus(maps::BACKEND_COUNTERS, number)?;
    Ok(cpus.iter().fold(BackendCounters::default(), |sum, one| BackendCounters {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
    }))
}

/// Index, name and sum of every counter of the whole program.
pub fn counters<M: Maps>(of: &M) -> Result<Vec<(u32, &'static str, u64)>, M::Error> {
    let named = abi::balancer::counter::NAMES.iter();
    named
        .map(|(index, name)| {
            let cpus: Vec<u64> = of.of_all_cpus(maps::COUNTERS, *index)?;
            Ok((*index, *name, cpus.iter().sum()))
        })
        .collect()
}

fn all<M: Maps, K: Row + Eq + Hash, V: Row>(
    from: &M,
    map: &'static str,
) -> Result<HashMap<K, V>, M::Error> {
    Ok(from.entries(map)?.into_iter().collect())
}

fn both<M: Maps, K: Row, V: Row>(
    to: &M,
    map: &'static str,
    change: &Change<K, V>,
) -> Result<(), M::Error> {
    to.insert_all(map, &change.set)?;
    to.remove_all(map, &change.remove)
}

/// Load balancers that take each other's place as a whole, as an agent's do, in maps that nobody
/// else writes.
#[derive(Debug)]
pub struct Configuration {
    compiler: Compiler,
    names: BTreeSet<ObjectName>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { compiler: Compiler::new(Capacity::default()), names: BTreeSet::new() }
    }
}

impl Configuration {
    /// Goes over to other load balancers. The error says why that can't be.
    pub fn apply<M: Maps<Error: std::fmt::Display>>(
        &mut self,
        balancers: impl IntoIterator<Item = Arc<LoadBalancer>>,
        now_ns: u64,
        to: &M,
    ) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for balancer in balancers {
            names.insert(balancer.name.clone());
            self.compiler.set(balancer);
        }
        for gone in self.names.difference(&names) {
            self.compiler.remove(gone);
        }
        self.names = names;
        if let Some(conflict) = self.compiler.conflicts().into_iter().next() {
            return Err(conflict.message);
        }
        let changes = self.compiler.compile(now_ns).map_err(|refusal| refusal.to_string())?;
        write(to, &changes).map_err(|error| error.to_string())
    }

    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }
}

#[cfg(test)]
mod tests;

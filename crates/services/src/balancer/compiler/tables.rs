//! What the compiler takes from maps and gives for them.

use abi::Address;
use abi::balancer::{
    Backend, DownKey, FrontEnd, FrontEndKey, PrefixKey, RangeKey, RingBlock, Settings, SourceKey,
};
use std::collections::HashMap;
use std::hash::Hash;

/// Entries that the maps take.
#[derive(Clone, Debug)]
pub struct Capacity {
    pub front_ends: u32,
    pub ranges: u32,
    pub prefixes: u32,
    /// Blocks.
    pub rings: u32,
    /// Backend numbers, 0 included.
    pub backends: u32,
    /// VIP numbers, 0 included.
    pub vips: u32,
    pub server_ids: u32,
    pub sources: u32,
    pub decapsulate: u32,
    pub down: u32,
    pub checks: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        use abi::balancer::maps::capacity;
        Capacity {
            front_ends: capacity::FRONTENDS,
            ranges: capacity::RANGES,
            prefixes: capacity::PREFIXES,
            rings: capacity::RINGS,
            backends: capacity::BACKENDS,
            vips: capacity::VIPS,
            server_ids: capacity::SERVER_IDS,
            sources: capacity::SOURCES,
            decapsulate: capacity::DECAPSULATE,
            down: capacity::DOWN,
            checks: capacity::CHECKS,
        }
    }
}

/// How full the maps are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub front_ends: usize,
    pub ranges: usize,
    pub prefixes: usize,
    pub ring_blocks: u32,
    pub backends: usize,
    pub vips: usize,
}

/// The rows of all maps but rings.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub front_ends: HashMap<FrontEndKey, FrontEnd>,
    pub ranges: HashMap<RangeKey, FrontEnd>,
    pub prefixes: HashMap<PrefixKey, FrontEnd>,
    pub backends: HashMap<u32, Backend>,
    pub server_ids: HashMap<u32, u32>,
    pub sources: HashMap<SourceKey, u32>,
    pub decapsulate: HashMap<Address, u32>,
    pub down: HashMap<DownKey, u32>,
    pub checks: HashMap<u32, u32>,
    pub settings: Option<Settings>,
}

/// What an earlier agent left in the maps.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    pub rows: Rows,
    /// Blocks of map `lb_rings` that may be in use.
    pub rings: HashMap<u32, RingBlock>,
}

/// Entries of one map to set and keys to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    pub set: Vec<(K, V)>,
    pub remove: Vec<K>,
}

impl<K, V> Default for Change<K, V> {
    fn default() -> Self {
        Change { set: Vec::new(), remove: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> Change<K, V> {
    pub fn between(old: &HashMap<K, V>, new: &HashMap<K, V>) -> Self {
        let set = new.iter().filter(|(key, value)| old.get(key) != Some(value));
        let remove = old.keys().filter(|key| !new.contains_key(key));
        Change {
            set: set.map(|(key, value)| (*key, *value)).collect(),
            remove: remove.copied().collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// One transaction, in the order of writing: backends and blocks before what leads to them; then
/// what leads the packets; what is gone after nothing leads to it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Counters to begin at 0, of numbers that are given anew.
    pub reset_vips: Vec<u32>,
    pub reset_backends: Vec<u32>,
    /// `remove`: numbers that are nobody's any more.
    pub backends: Change<u32, Backend>,
    pub rings: Vec<(u32, RingBlock)>,
    pub server_ids: Change<u32, u32>,
    pub sources: Change<SourceKey, u32>,
    pub decapsulate: Change<Address, u32>,
    pub down: Change<DownKey, u32>,
    pub checks: Change<u32, u32>,
    pub settings: Option<Settings>,
    pub front_ends: Change<FrontEndKey, FrontEnd>,
    pub ranges: Change<RangeKey, FrontEnd>,
    pub prefixes: Change<PrefixKey, FrontEnd>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
            && self.rings.is_empty()
            && self.server_ids.is_empty()
            && self.sources.is_empty()
            && self.decapsulate.is_empty()
            && self.down.is_empty()
            && self.checks.is_empty()
            && self.settings.is_none()
            && self.front_ends.is_empty()
            && self.ranges.is_empty()
            && self.prefixes.is_empty()
    }
}

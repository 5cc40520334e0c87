//! Maps with many entries: batches where the kernel has them, single calls where not.

use anyhow::{Result, ensure};
use bpf_kernel::{Map, MapKind, MapLayout, Table};

use crate::report::Report;

const COUNT: u32 = 5000;

pub fn check(report: &mut Report) {
    for (kind, flags) in
        [(MapKind::Hash, 0), (MapKind::LruHash, 0), (MapKind::LpmTrie, 1), (MapKind::Array, 0)]
    {
        report.tell(&format!("table {kind}"), fill_and_clear(kind, flags));
    }
}

fn fill_and_clear(kind: MapKind, flags: u32) -> Result<String> {
    let is_array = kind == MapKind::Array;
    let key_size = if is_array { 4 } else { 8 };
    let max_entries = if is_array { COUNT } else { 2 * COUNT };
    let layout = MapLayout { kind, key_size, value_size: 4, max_entries, flags };
    let map = Map::create("entries", layout)?;
    if is_array {
        let table = Table::<u32, u32>::new(map)?;
        let entries: Vec<_> = (0..COUNT).map(|n| (n, n)).collect();
        table.insert_all(&entries)?;
        ensure!(table.entries()? == entries, "an array holds other entries than were set");
        return Ok(format!("{COUNT} entries"));
    }
    let table = Table::<[u8; 8], u32>::new(map)?;
    let key = |n: u32| {
        let mut key = [0; 8];
        // For a trie: the whole key counts.
        key[..4].copy_from_slice(&32u32.to_ne_bytes());
        key[4..].copy_from_slice(&n.to_be_bytes());
        key
    };
    let entries: Vec<_> = (0..COUNT).map(|n| (key(n), n)).collect();
    table.insert_all(&entries)?;
    let mut found = table.entries()?;
    found.sort_unstable();
    ensure!(found == entries, "{} entries instead of {COUNT}", found.len());
    let keys: Vec<_> = (0..COUNT).step_by(2).chain(COUNT..COUNT + 10).map(key).collect();
    let removed = table.remove_all(&keys)?;
    ensure!(removed == COUNT as usize / 2, "{removed} entries deleted");
    table.clear()?;
    ensure!(table.count()? == 0, "entries are left");
    Ok(format!("{COUNT} entries"))
}

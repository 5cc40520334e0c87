//! Which types of maps can be made.

use std::{collections::BTreeSet, os::fd::AsFd};

use bpf_object::{
    MapType as M,
    btf::{Btf, Int, Kind},
};

use super::{attempt, named_values};
use crate::sys::{self, MapCreate};

/// BPF_F_NO_PREALLOC
const NO_PREALLOCATION: u32 = 1;
/// BPF_F_MMAPABLE
const MAPPABLE: u32 = 1 << 10;
/// Numbers beyond those we know are tried as well.
const LAST: u32 = 40;

pub fn probe(kernel: &Btf) -> BTreeSet<M> {
    let mut types = Btf::new();
    let int = types
        .add("int", Kind::Int(Int { size: 4, encoding: Int::SIGNED, bit_offset: 0, bits: 32 }));
    let types = attempt::types(&types.to_bytes());
    let inner = layout(M::ARRAY, 4, 4, 1, 0);
    let inner = attempt::map(inner);
    let made = |map: M| {
        candidates(map).into_iter().any(|mut candidate| {
            if map.holds_maps() {
                let Some(inner) = &inner else { return false };
                candidate.inner_map_fd = sys::raw(inner.as_fd());
            }
            if is_local_storage(map) {
                let Some(types) = &types else { return false };
                candidate.btf_fd = sys::raw(types.as_fd());
                (candidate.btf_key_type_id, candidate.btf_value_type_id) = (int.0, int.0);
            }
            attempt::map(candidate).is_some()
        })
    };
    let mut found: BTreeSet<M> = (1..=LAST).map(M).filter(|map| made(*map)).collect();
    // Made for a certain structure of the kernel's: it is there if its number is.
    if named_values(kernel, "BPF_MAP_TYPE_STRUCT_OPS").is_some() {
        found.insert(M::STRUCT_OPS);
    }
    found
}

fn layout(map: M, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32) -> MapCreate {
    MapCreate {
        map_type: map.0,
        key_size,
        value_size,
        max_entries,
        map_flags,
        ..Default::default()
    }
}

fn is_local_storage(map: M) -> bool {
    matches!(map, M::SOCKET_STORAGE | M::INODE_STORAGE | M::TASK_STORAGE | M::CGROUP_LOCAL_STORAGE)
}

fn candidates(map: M) -> Vec<MapCreate> {
    let of = |key, value, entries, flags| layout(map, key, value, entries, flags);
    match map {
        M::LPM_TRIE => vec![of(8, 4, 1, NO_PREALLOCATION)],
        M::QUEUE | M::STACK | M::BLOOM_FILTER => vec![of(0, 4, 1, 0)],
        M::RING_BUFFER | M::USER_RING_BUFFER => vec![of(0, 0, 4096, 0)],
        M::STACK_TRACE => vec![of(4, 8, 1, 0)],
        M::CGROUP_STORAGE | M::PER_CPU_CGROUP_STORAGE => vec![of(16, 8, 0, 0)],
        M::ARENA => vec![of(0, 0, 1, MAPPABLE)],
        _ if is_local_storage(map) => vec![of(4, 4, 0, NO_PREALLOCATION)],
        // One of these is right for all others.
        _ => vec![of(4, 4, 1, 0), of(4, 8, 1, 0), of(4, 16, 1, 0)],
    }
}

//! Our maps against the kernel's: the same operations give the same results and errors.
//!
//! Needs root, to make maps; without it the tests say that they skip.

#![cfg(target_os = "linux")]

use bpf_object::MapType;
use bpf_vm::map::{MapDefinition, flag};
use bpf_vm::{Errno, Map};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "kernel/bpf.rs"]
#[allow(dead_code, reason = "the helpers' tests use the rest of it")]
mod bpf;

use bpf::{KernelMap, possible_cpus};

/// One operation of the host's.
#[derive(Clone, Debug)]
enum Operation {
    Lookup(Vec<u8>, u64),
    Update(Vec<u8>, Vec<u8>, u64),
    Delete(Vec<u8>),
    Next(Option<Vec<u8>>),
    Take(Vec<u8>),
    Freeze,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Bytes(Vec<u8>),
    Failed(Errno),
}

fn answer(result: Result<Vec<u8>, Errno>) -> Answer {
    result.map_or_else(Answer::Failed, Answer::Bytes)
}

fn done(result: Result<(), Errno>) -> Answer {
    result.map_or_else(Answer::Failed, |()| Answer::Done)
}

/// What makes kinds different to test.
#[derive(Clone, Copy, Debug, Default)]
struct Case {
    /// The order of keys is ours to choose.
    unordered: bool,
    /// `lookup` asks for a value, as of bloom filters.
    may_hold: bool,
}

fn ours(map: &Map, operation: &Operation, case: Case) -> Answer {
    match operation {
        Operation::Lookup(value, _) if case.may_hold => match map.may_hold(value) {
            Ok(true) => Answer::Done,
            Ok(false) => Answer::Failed(Errno::ENOENT),
            Err(error) => Answer::Failed(error),
        },
        Operation::Lookup(key, flags) => answer(map.lookup_flags(key, *flags)),
        Operation::Update(key, value, flags) => done(map.update(key, value, *flags)),
        Operation::Delete(key) => done(map.delete(key)),
        Operation::Next(_) if case.unordered => {
            let mut keys = Vec::new();
            let mut last = None;
            while let Ok(next) = map.next_key(last.as_deref()) {
                keys.push(next.clone());
                last = Some(next);
            }
            keys.sort();
            Answer::Bytes(keys.concat())
        }
        Operation::Next(key) => answer(map.next_key(key.as_deref())),
        Operation::Take(key) => answer(map.lookup_and_delete(key)),
        Operation::Freeze => done(map.freeze()),
    }
}

fn theirs(map: &KernelMap, operation: &Operation, case: Case) -> Answer {
    match operation {
        Operation::Lookup(value, _) if case.may_hold => match map.peek(value) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(error),
        },
        Operation::Lookup(key, flags) => answer(map.lookup(key, *flags)),
        Operation::Update(key, value, flags) => done(map.update(key, value, *flags)),
        Operation::Delete(key) => done(map.delete(key)),
        Operation::Next(_) if case.unordered => {
            let mut keys = Vec::new();
            let mut last = None;
            while let Ok(next) = map.next_key(last.as_deref()) {
                keys.push(next.clone());
                last = Some(next);
            }
            keys.sort();
            Answer::Bytes(keys.concat())
        }
        Operation::Next(key) => answer(map.next_key(key.as_deref())),
        Operation::Take(key) => answer(map.lookup_and_delete(key)),
        Operation::Freeze => done(map.freeze()),
    }
}

fn may_run() -> bool {
    match KernelMap::new(&MapDefinition::new(MapType::ARRAY, 4, 4, 1)) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("skipped: this machine's kernel makes no maps for us: {error}");
            false
        }
    }
}

/// Runs many sequences of operations on a kind of map.
fn check(
    definition: MapDefinition,
    case: Case,
    keys: impl Strategy<Value = Vec<u8>> + Clone + 'static,
    values: impl Strategy<Value = Vec<u8>> + Clone + 'static,
) {
    if !may_run() {
        return;
    }
    let flags = prop::sample::select(vec![0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
    let lookup_flags = prop::sample::select(vec![0, 0, 0, 0, 0, 1, 4]);
    let lookups = if case.may_hold { values.clone().boxed() } else { keys.clone().boxed() };
    let operation = prop_oneof![
        4 => (lookups, lookup_flags).prop_map(|(key, flags)| Operation::Lookup(key, flags)),
        8 => (keys.clone(), values, flags)
            .prop_map(|(key, value, flags)| Operation::Update(key, value, flags)),
        3 => keys.clone().prop_map(Operation::Delete),
        2 => prop::option::of(keys.clone()).prop_map(Operation::Next),
        2 => keys.prop_map(Operation::Take),
        1 => prop::bool::weighted(0.1).prop_map(|freeze| match freeze {
            true => Operation::Freeze,
            false => Operation::Next(None),
        }),
    ];
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(256) });
    let sequences = prop::collection::vec(operation, 1..60);
    let result = runner.run(&sequences, |operations| {
        let kernel = KernelMap::new(&definition).expect("the kernel makes it");
        let map = Map::new(definition.clone(), possible_cpus()).expect("we make it");
        for (number, operation) in operations.iter().enumerate() {
            let (ours, theirs) = (ours(&map, operation, case), theirs(&kernel, operation, case));
            // Bloom filters of another seed are wrong elsewhere.
            if case.may_hold && ours != theirs && matches!(operation, Operation::Lookup(..)) {
                continue;
            }
            prop_assert_eq!(ours, theirs, "operation {}: {:?}", number, operation);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{}: {error}", definition.kind));
}

fn index() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![8 => 0..6u32, 1 => Just(u32::MAX)].prop_map(|index| index.to_ne_bytes().to_vec())
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::collection::vec(any::<u8>(), length)
}

/// Few keys of any length, so that they meet.
fn key(length: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    (0..9u8, 0..length).prop_map(move |(number, at)| {
        let mut key = vec![0; length];
        key[at % length.min(3)] = number;
        key
    })
}

/// As the kernel takes it: for each CPU, padded with zeroes.
fn per_cpu(length: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    let cpus = possible_cpus() as usize;
    prop::collection::vec(bytes(length), cpus).prop_map(move |values| {
        let padded = values.into_iter().map(|mut value| {
            value.resize(length.next_multiple_of(8), 0);
            value
        });
        padded.collect::<Vec<_>>().concat()
    })
}

const UNORDERED: Case = Case { unordered: true, may_hold: false };
const ORDERED: Case = Case { unordered: false, may_hold: false };

#[test]
fn arrays() {
    check(MapDefinition::new(MapType::ARRAY, 4, 12, 5), ORDERED, index(), bytes(12));
    check(MapDefinition::new(MapType::ARRAY, 4, 1, 3), ORDERED, index(), bytes(1));
    check(MapDefinition::new(MapType::PER_CPU_ARRAY, 4, 12, 5), ORDERED, index(), per_cpu(12));
}

#[test]
fn hashes() {
    let hash =
        |key, value, flags| MapDefinition::new(MapType::HASH, key, value, 6).with_flags(flags);
    check(hash(4, 8, 0), UNORDERED, key(4), bytes(8));
    check(hash(4, 8, flag::NO_PREALLOC), UNORDERED, key(4), bytes(8));
    check(hash(13, 5, 0), UNORDERED, key(13), bytes(5));
    check(hash(1, 1, flag::ZERO_SEED), UNORDERED, key(1), bytes(1));
    check(hash(70, 100, 0), UNORDERED, key(70), bytes(100));
    let per = MapDefinition::new(MapType::PER_CPU_HASH, 4, 12, 6);
    check(per, UNORDERED, key(4), per_cpu(12));
}

/// As long as nothing is evicted: which entries go is the kernel's own business.
#[test]
fn hashes_that_evict() {
    let lru = MapDefinition::new(MapType::LRU_HASH, 4, 8, 10_000);
    check(lru, UNORDERED, key(4), bytes(8));
    let lru = MapDefinition::new(MapType::LRU_PER_CPU_HASH, 4, 8, 10_000);
    check(lru, UNORDERED, key(4), per_cpu(8));
}

#[test]
fn tries() {
    fn prefix(data: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
        let bits = data as u32 * 8;
        let byte = prop::sample::select(vec![0u8, 0x80, 0xc0, 0xff]);
        (0..=bits + 1, prop::collection::vec(byte, data))
            .prop_map(|(length, data)| [length.to_ne_bytes().to_vec(), data].concat())
    }
    let trie = |data: u32, entries| {
        MapDefinition::new(MapType::LPM_TRIE, 4 + data, 8, entries).with_flags(flag::NO_PREALLOC)
    };
    check(trie(1, 100), ORDERED, prefix(1), bytes(8));
    check(trie(2, 6), ORDERED, prefix(2), bytes(8));
    check(trie(4, 1000), ORDERED, prefix(4), bytes(8));
    check(trie(16, 1000), ORDERED, prefix(16), bytes(8));
}

#[test]
fn queues_and_stacks() {
    let none = Just(Vec::new());
    check(MapDefinition::new(MapType::QUEUE, 0, 6, 4), ORDERED, none.clone(), bytes(6));
    check(MapDefinition::new(MapType::STACK, 0, 6, 4), ORDERED, none, bytes(6));
}

#[test]
fn bloom_filters() {
    let case = Case { unordered: false, may_hold: true };
    let definition = MapDefinition::new(MapType::BLOOM_FILTER, 0, 4, 1000);
    check(definition, case, Just(Vec::new()), key(4));
}

#[test]
fn maps_of_devices_and_cpus() {
    // The only interface that is surely there; zero takes an entry away.
    let ifindex = prop::sample::select(vec![0u32, 1, 1, 1]);
    let ifindex = ifindex.prop_map(|index| index.to_ne_bytes().to_vec());
    check(MapDefinition::new(MapType::DEVICE_MAP, 4, 4, 4), ORDERED, index(), ifindex.clone());
    check(MapDefinition::new(MapType::DEVICE_HASH, 4, 4, 4), UNORDERED, index(), ifindex);
    let size = prop::sample::select(vec![0u32, 64, 192, 16385]);
    let size = size.prop_map(|size| size.to_ne_bytes().to_vec());
    check(MapDefinition::new(MapType::CPU_MAP, 4, 4, 4), ORDERED, index(), size);
}

/// Whether a map can be made at all, and the error if not.
#[test]
fn definitions() {
    if !may_run() {
        return;
    }
    let kinds = [
        MapType::HASH,
        MapType::ARRAY,
        MapType::PROGRAM_ARRAY,
        MapType::PERF_EVENT_ARRAY,
        MapType::PER_CPU_HASH,
        MapType::PER_CPU_ARRAY,
        MapType::LRU_HASH,
        MapType::LRU_PER_CPU_HASH,
        MapType::LPM_TRIE,
        MapType::DEVICE_MAP,
        MapType::SOCKET_MAP,
        MapType::CPU_MAP,
        MapType::XSK_MAP,
        MapType::SOCKET_HASH,
        MapType::QUEUE,
        MapType::STACK,
        MapType::DEVICE_HASH,
        MapType::RING_BUFFER,
        MapType::BLOOM_FILTER,
        MapType::USER_RING_BUFFER,
    ];
    let sizes = || prop::sample::select(vec![0u32, 1, 3, 4, 5, 8, 16, 260, 261, 513]);
    let entries = prop::sample::select(vec![0u32, 1, 2, 5, 4096, 6000, 8192, 8193, 9000]);
    let flags = prop_oneof![
        4 => Just(0u32),
        2 => Just(flag::NO_PREALLOC),
        2 => (0..13u32).prop_map(|bit| 1 << bit),
        1 => (0..13u32, 0..13u32).prop_map(|(a, b)| 1 << a | 1 << b),
    ];
    // A node that the machine may not have is the kernel's to judge.
    let flags = flags.prop_map(|flags| flags & !flag::NUMA_NODE);
    let extra = prop::sample::select(vec![0u64, 0, 0, 1, 15, 16]);
    let definition =
        (prop::sample::select(kinds.to_vec()), sizes(), sizes(), entries, flags, extra);
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(6000) });
    let result = runner.run(&definition, |(kind, key, value, entries, flags, extra)| {
        // How many CPUs a kernel knows is its configuration's.
        let entries = if kind == MapType::CPU_MAP { entries.min(8) } else { entries };
        let mut definition = MapDefinition::new(kind, key, value, entries).with_flags(flags);
        definition.extra = extra;
        let theirs = KernelMap::new(&definition).map(drop);
        let ours = Map::new(definition, possible_cpus()).map(drop);
        prop_assert_eq!(ours, theirs);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

//! What a look-up costs a program, and what an entry takes.
//!
//! `cargo bench -p bpf-vm --bench maps`. A compiled program looks up keys in a loop, and the same
//! loop without the call is taken off; minima of many rounds count, since the machine has other
//! things to do.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bpf_isa::place;
use bpf_isa::text::{Syntax, assemble};
use bpf_object::MapType;
use bpf_vm::map::{MapDefinition, flag, update};
use bpf_vm::{Engine, Map, Runtime};

const ROUNDS: u64 = 100_000;

/// Looks up `r7 % entries` for growing `r7`, as a key whose first four bytes it is; counts what is
/// found in r9.
fn program(entries: u32, look_up: bool, trie: bool) -> String {
    let call = if look_up {
        "ld_pseudo r1, 5, 0\nr2 = r10\nr2 += -24\ncall 1\nif r0 == 0 goto next\nr9 += 1"
    } else {
        "r1 = 0\nr2 = r10\nr2 += -24\nr0 = 1\nif r0 == 0 goto next\nr9 += 1"
    };
    // A trie's keys begin with the length of the prefix.
    let (start, place) = if trie { (32, 20) } else { (0, 24) };
    format!(
        "
        r6 = {ROUNDS}
        r7 = 0
        r9 = 0
        *(u64 *)(r10 - 24) = {start}
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 8) = 0
        loop:
        *(u32 *)(r10 - {place}) = w7
        {call}
        next:
        w7 += 7
        w7 &= {}
        r6 += -1
        if r6 != 0 goto loop
        r0 = r9
        exit",
        entries - 1
    )
}

/// Nanoseconds of one round.
fn time(runtime: &Runtime, source: &str, map: &Arc<Map>) -> f64 {
    let instructions = assemble(source, Syntax::Llvm).expect("the program is valid");
    let placed: Vec<_> = place(instructions);
    let program = runtime.bind("lookups", &placed, std::slice::from_ref(map)).expect("it binds");
    let mut best = f64::MAX;
    for _ in 0..30 {
        let start = Instant::now();
        let outcome = program.run_raw(&[0; 8]).expect("it runs");
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64);
        assert_eq!(outcome.value, ROUNDS, "all keys are there");
    }
    best
}

/// Nanoseconds of a look-up without a program around it.
fn alone(map: &Map, key_size: u32, trie: bool, entries: u32) -> f64 {
    let mut key = vec![0; key_size as usize];
    let at = if trie { 4 } else { 0 };
    key[..at].copy_from_slice(&32u32.to_ne_bytes()[..at]);
    let mut best = f64::MAX;
    for _ in 0..30 {
        let start = Instant::now();
        let mut number = 0u32;
        let mut found = 0;
        for _ in 0..ROUNDS {
            key[at..at + 4].copy_from_slice(&number.to_ne_bytes());
            found += u64::from(map.contains(black_box(&key)));
            number = (number + 7) & (entries - 1);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64);
        assert_eq!(found, ROUNDS, "all keys are there");
    }
    best
}

fn main() {
    let entries = 1024u32;
    let of = |kind, key, flags| MapDefinition::new(kind, key, 16, entries).with_flags(flags);
    let kinds = [
        ("array", of(MapType::ARRAY, 4, 0)),
        ("per-CPU array", of(MapType::PER_CPU_ARRAY, 4, 0)),
        ("hash, key of 4 bytes", of(MapType::HASH, 4, 0)),
        ("hash, key of 16 bytes", of(MapType::HASH, 16, 0)),
        ("per-CPU hash", of(MapType::PER_CPU_HASH, 4, 0)),
        ("LRU hash", of(MapType::LRU_HASH, 16, 0)),
        ("LPM trie, IPv4", of(MapType::LPM_TRIE, 8, flag::NO_PREALLOC)),
    ];
    println!("a look-up alone, from compiled and from interpreted programs; an entry");
    println!(
        "{:<24} {:>10} {:>10} {:>12} {:>12}",
        "map", "alone", "compiled", "interpreted", "entry"
    );
    for (name, definition) in kinds {
        let trie = definition.kind == MapType::LPM_TRIE;
        let mut times = Vec::new();
        let (mut bytes, mut itself) = (0, f64::MAX);
        for engine in [Engine::Jit, Engine::Interpreter] {
            let runtime = Runtime::builder().engine(engine).build();
            let map = runtime.map(definition.clone()).expect("it can be made");
            for number in 0..entries {
                let mut key = vec![0; definition.key_size as usize];
                let at = if trie { 4 } else { 0 };
                key[..at].copy_from_slice(&32u32.to_ne_bytes()[..at]);
                key[at..at + 4].copy_from_slice(&number.to_ne_bytes());
                map.update(&key, &vec![1; map.value_bytes()], update::ANY).expect("there is room");
            }
            bytes = map.bytes_per_entry();
            itself = itself.min(alone(&map, definition.key_size, trie, entries));
            let empty = time(&runtime, &program(entries, false, trie), &map);
            times.push(time(&runtime, &program(entries, true, trie), &map) - empty);
        }
        println!(
            "{name:<24} {itself:>8.1}ns {:>8.1}ns {:>10.1}ns {bytes:>10} B",
            times[0], times[1]
        );
    }
}

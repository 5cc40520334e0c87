//! Maps under several threads, and what no comparison with the kernel shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpf_isa::place;
use bpf_isa::text::{Syntax, assemble};
use bpf_object::MapType;
use bpf_vm::map::{flag, update};
use bpf_vm::{Clock, Errno, Map, MapDefinition, Runtime};

fn number(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// Entries that nobody takes away are found at any time, whatever happens around them.
#[test]
fn look_ups_while_others_change() {
    for (kind, flags) in [(MapType::HASH, 0), (MapType::LPM_TRIE, flag::NO_PREALLOC)] {
        let trie = kind == MapType::LPM_TRIE;
        let key = |value: u32| match trie {
            true => [32u32.to_ne_bytes(), value.to_be_bytes()].concat(),
            false => [number(value), number(0)].concat(),
        };
        let map = Map::new(MapDefinition::new(kind, 8, 8, 64).with_flags(flags), 1).unwrap();
        for value in 0..16 {
            map.update(&key(value), &u64::from(value).to_ne_bytes(), update::ANY).unwrap();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2u32)
                .map(|writer| {
                    let (map, key) = (&map, &key);
                    scope.spawn(move || {
                        for round in 0..20_000u32 {
                            let value = 16 + writer * 16 + round % 16;
                            map.update(&key(value), &[1; 8], update::NOEXIST).unwrap();
                            map.delete(&key(value)).unwrap();
                            // Replacing, too.
                            let kept = round % 16;
                            let bytes = u64::from(kept).to_ne_bytes();
                            map.update(&key(kept), &bytes, update::EXIST).unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        for value in 0..16 {
                            assert!(map.contains(&key(value)), "{kind}: {value} is gone");
                        }
                    }
                });
            }
            let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            over.store(true, Ordering::Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
        assert_eq!(map.count(), 16, "{kind}");
        let full = (16..80).find_map(|value| map.update(&key(value), &[0; 8], update::ANY).err());
        assert_eq!(full, Some(if trie { Errno::ENOSPC } else { Errno::E2BIG }), "{kind}");
        assert_eq!(map.count(), 64, "{kind}");
    }
}

/// What was used stays longer than what was not, and there is always room.
#[test]
fn eviction() {
    let runtime = Runtime::default();
    let map = runtime.map(MapDefinition::new(MapType::LRU_HASH, 4, 8, 32)).unwrap();
    // Uses entry 0: only programs' look-ups count.
    let source = "
        *(u32 *)(r10 - 4) = 0
        ld_pseudo r1, 5, 0
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto done
        r0 = 1
        done:
        exit";
    let instructions: Vec<_> = place(assemble(source, Syntax::Llvm).unwrap());
    let program = runtime.bind("use", &instructions, std::slice::from_ref(&map)).unwrap();
    for value in 0..1000 {
        map.update(&number(value), &[0; 8], update::ANY).unwrap();
        assert_eq!(program.run_raw(&[0; 8]).unwrap().value, 1, "after {value}");
        assert_eq!(map.count(), (value + 1).min(32));
    }
}

#[test]
fn records_of_several_producers() {
    let runtime = Runtime::builder().cpus(3).build();
    let ring = runtime.map(MapDefinition::new(MapType::RING_BUFFER, 0, 0, 4096)).unwrap();
    // bpf_ringbuf_output of the context, until there is room.
    let source = "
        r6 = r1
        again:
        ld_pseudo r1, 5, 0
        r2 = r6
        r3 = 13
        r4 = 0
        call 130
        if r0 s< 0 goto again
        exit";
    let instructions: Vec<_> = place(assemble(source, Syntax::Llvm).unwrap());
    let program = runtime.bind("write", &instructions, std::slice::from_ref(&ring)).unwrap();
    let mut records = Vec::new();
    std::thread::scope(|scope| {
        for producer in 0..3u8 {
            let program = program.clone();
            scope.spawn(move || {
                for count in 0..1000u32 {
                    let mut record = [producer; 13];
                    record[..4].copy_from_slice(&number(count));
                    program.run_raw(&record).unwrap();
                }
            });
        }
        while records.len() < 3000 {
            records.extend(ring.records());
            std::thread::yield_now();
        }
    });
    for producer in 0..3u8 {
        let of = records.iter().filter(|record| record[12] == producer);
        let counts: Vec<_> = of.map(|r| u32::from_ne_bytes([r[0], r[1], r[2], r[3]])).collect();
        assert_eq!(counts, (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn timers_fire_when_the_clock_is_advanced() {
    let runtime = Runtime::builder().clock(Clock::Manual(1000)).build();
    let mut definition = MapDefinition::new(MapType::ARRAY, 4, 24, 1);
    definition.timer = Some(0);
    let map = runtime.map(definition).unwrap();
    // The callback stores the time behind the timer.
    let source = "
        *(u32 *)(r10 - 4) = 0
        ld_pseudo r1, 5, 0
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto done
        r6 = r0
        r1 = r6
        ld_pseudo r2, 5, 0
        r3 = 1
        call 169
        r1 = r6
        ld_pseudo r2, 4, 8
        call 170
        r1 = r6
        r2 = 500
        r3 = 0
        call 171
        done:
        r0 = 0
        exit
        r6 = r3
        call 5
        *(u64 *)(r6 + 16) = r0
        r0 = 0
        exit";
    let instructions: Vec<_> = place(assemble(source, Syntax::Llvm).unwrap());
    let program = runtime.bind("timer", &instructions, std::slice::from_ref(&map)).unwrap();
    program.run_raw(&[0; 8]).unwrap();
    assert_eq!(runtime.advance(499).unwrap(), 0);
    assert_eq!(runtime.advance(10_000).unwrap(), 1);
    let value = map.lookup(&number(0)).unwrap();
    assert_eq!(value[16..], 1500u64.to_ne_bytes());
    assert_eq!(runtime.now(), 11_499);
}

/// Programs in an array stay as long as any runtime has it, and no longer.
#[test]
fn program_arrays_of_two_runtimes() {
    let bind = |runtime: &Runtime, text: &str, maps: &[Arc<Map>]| {
        let instructions: Vec<_> = place(assemble(text, Syntax::Llvm).unwrap());
        runtime.bind("program", &instructions, maps).unwrap()
    };
    let (one, other) = (Runtime::default(), Runtime::default());
    let programs = one.map(MapDefinition::new(MapType::PROGRAM_ARRAY, 4, 4, 1)).unwrap();
    let call = "ld_pseudo r2, 5, 0\nr3 = 0\ncall 12\nr0 = 0\nexit";
    let caller = bind(&other, call, std::slice::from_ref(&programs));
    let target = bind(&one, "r0 = 7\nexit", std::slice::from_ref(&programs)).program().clone();
    let kept = Arc::downgrade(&target);
    programs.set_program(0, target).unwrap();
    assert_eq!(caller.run_raw(&[0; 8]).unwrap().value, 7);
    drop(one);
    assert_eq!(caller.run_raw(&[0; 8]).unwrap().value, 7);
    drop((caller, other));
    assert!(kept.upgrade().is_none());
}

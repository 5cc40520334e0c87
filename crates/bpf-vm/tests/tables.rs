//! Programs that look up, update and delete: every engine answers alike and leaves the same in the
//! map, whatever its kind and the sizes of its keys and values.

use std::sync::Arc;

use bpf_isa::place;
use bpf_isa::text::{Syntax, assemble};
use bpf_object::MapType;
use bpf_vm::map::{MapDefinition, flag, update};
use bpf_vm::{CompileOptions, Engine, Environment, Input, Map, Program, ProgramHandle, Runtime};

const KEYS: u32 = 40;
const CPUS: u32 = 3;

/// Sixty operations on pseudo-random keys; `r0` is made of all that came of them.
fn program(definition: &MapDefinition) -> String {
    let key = definition.key_size.next_multiple_of(8);
    let value = definition.value_size.next_multiple_of(8);
    let mut source = String::new();
    for word in (8..=key + value).step_by(8) {
        source += &format!("*(u64 *)(r10 - {word}) = {word}\n");
    }
    let (start, value) = (key, key + value);
    // A trie's keys begin with the length of the prefix.
    let at = if definition.kind == MapType::LPM_TRIE { 4 } else { 0 };
    if at > 0 {
        source += &format!("*(u32 *)(r10 - {start}) = 32\n");
    }
    let call = |number: u32| {
        format!(
            "ld_pseudo r1, 5, 0
            r2 = r10
            r2 += -{start}
            r3 = r10
            r3 += -{value}
            call {number}
            "
        )
    };
    source
        + &format!(
            "
            r6 = 60
            r7 = 3
            r9 = 0
            loop:
            r7 *= 5
            r7 += 3
            w7 %= {modulus}
            *(u32 *)(r10 - {place}) = w7
            *(u32 *)(r10 - {value}) = w9
            r8 = r6
            r8 &= 3
            if r8 == 1 goto any
            if r8 == 2 goto new
            if r8 == 3 goto delete
            r1 = r7
            r1 ^= 1
            *(u32 *)(r10 - {place}) = w1
            {look_up}
            if r0 == 0 goto next
            r1 = *(u32 *)(r0 + 0)
            r9 += r1
            r1 += 1
            *(u32 *)(r0 + 0) = w1
            goto next
            any:
            r4 = 0
            {update}
            goto add
            new:
            r4 = 1
            {update}
            goto add
            delete:
            {delete}
            add:
            r9 *= 31
            r9 += r0
            next:
            r6 += -1
            if r6 != 0 goto loop
            r0 = r9
            exit",
            modulus = KEYS + 9,
            place = start - at,
            look_up = call(1),
            update = call(2),
            delete = call(3),
        )
}

/// The program's result, and what the map holds then.
type Result = (u64, Vec<Option<Vec<u8>>>);

fn run(
    definition: &MapDefinition,
    engine: Engine,
    run: impl FnOnce(ProgramHandle) -> u64,
) -> Result {
    let runtime = Runtime::builder().engine(engine).cpus(CPUS).build();
    let map = runtime.map(definition.clone()).unwrap();
    let key = |number: u32| {
        let mut key = vec![0; definition.key_size as usize];
        // What the program leaves behind a key's first word.
        let rest = definition.key_size.next_multiple_of(8);
        for (at, byte) in key.iter_mut().enumerate() {
            let word = u64::from(rest) - at as u64 / 8 * 8;
            *byte = word.to_ne_bytes()[at % 8];
        }
        let at = if definition.kind == MapType::LPM_TRIE { 4 } else { 0 };
        key[..at].copy_from_slice(&32u32.to_ne_bytes()[..at]);
        key[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        key
    };
    for number in (0..KEYS / 2).filter(|number| number % 3 != 0) {
        let value = vec![number as u8; map.value_bytes()];
        map.update(&key(number), &value, update::ANY).unwrap();
    }
    let placed = place(assemble(&program(definition), Syntax::Llvm).unwrap());
    let handle = runtime.bind("tables", &placed, std::slice::from_ref(&map)).unwrap();
    let result = run(handle);
    let held = |map: &Map| (0..KEYS + 9).map(|number| map.lookup(&key(number)).ok()).collect();
    (result, held(&map))
}

/// As a program is compiled that a verifier has accepted.
fn unchecked(handle: ProgramHandle) -> u64 {
    let program = handle.program().clone();
    drop(handle);
    let program: Program = Arc::into_inner(program).expect("nobody else has it");
    // SAFETY: it touches keys and values in its frame, and elements that it has looked up.
    let program = unsafe { program.compile_unchecked(CompileOptions::default()) }.unwrap();
    program.run(&mut Input::default()).unwrap()
}

#[test]
fn every_engine_leaves_the_same() {
    let sizes = [(4, 8), (8, 12), (16, 40), (12, 8), (72, 24), (20, 300)];
    for kind in [
        MapType::ARRAY,
        MapType::PER_CPU_ARRAY,
        MapType::HASH,
        MapType::LRU_HASH,
        MapType::PER_CPU_HASH,
        MapType::LRU_PER_CPU_HASH,
        MapType::LPM_TRIE,
    ] {
        for (key, value) in sizes {
            let is_array = matches!(kind, MapType::ARRAY | MapType::PER_CPU_ARRAY);
            if is_array && key != 4 || kind == MapType::LPM_TRIE && key < 8 {
                continue;
            }
            let flags = if kind == MapType::LPM_TRIE { flag::NO_PREALLOC } else { 0 };
            let definition = MapDefinition::new(kind, key, value, KEYS).with_flags(flags);
            for cpu in 0..CPUS + 1 {
                let environment = Environment { cpu, ..Environment::default() };
                let on_cpu = |handle: ProgramHandle| {
                    let handle = handle.within(environment.clone());
                    handle.run_raw(&[0; 8]).unwrap().value
                };
                let expected = run(&definition, Engine::Interpreter, on_cpu);
                match Runtime::builder().engine(Engine::Jit).build().bind(
                    "empty",
                    &place(assemble("r0 = 0\nexit", Syntax::Llvm).unwrap()),
                    &[],
                ) {
                    Ok(_) => {}
                    Err(error) => {
                        println!("skipped: {error}");
                        return;
                    }
                }
                let compiled = run(&definition, Engine::Jit, on_cpu);
                assert_eq!(compiled, expected, "{kind:?}, {key}, {value}, CPU {cpu}");
                if cpu == 0 {
                    let compiled = run(&definition, Engine::Interpreter, unchecked);
                    assert_eq!(compiled, expected, "{kind:?}, {key}, {value}, unchecked");
                }
            }
        }
    }
}

/// What lies in a map that nobody can change is known when the program is compiled, and the same.
#[test]
fn frozen_maps_hold_constants() {
    for engine in [Engine::Interpreter, Engine::Jit] {
        let runtime = Runtime::builder().engine(engine).build();
        let definition = MapDefinition::new(MapType::ARRAY, 4, 16, 1).with_flags(flag::RDONLY_PROG);
        let map = runtime.map(definition).unwrap();
        let value: Vec<u8> = (0..16).map(|byte| byte * 17).collect();
        map.update(&[0; 4], &value, update::ANY).unwrap();
        map.freeze().unwrap();
        let source = "
            ld_pseudo r1, 6, 0x400000000
            r0 = *(u8 *)(r1 + 3)
            r2 = *(s16 *)(r1 + 6)
            r0 += r2
            r2 = *(u32 *)(r1 - 4)
            r0 += r2
            r2 = *(u64 *)(r1 + 4)
            r0 += r2
            exit";
        let placed = match assemble(source, Syntax::Llvm) {
            Ok(instructions) => place(instructions),
            Err(error) => panic!("{error}"),
        };
        let program = match runtime.bind("constants", &placed, &[map]) {
            Ok(program) => program,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        let word = |at: usize| u32::from_ne_bytes(value[at..at + 4].try_into().unwrap());
        let expected = u64::from(value[7])
            .wrapping_add(i16::from_ne_bytes([value[10], value[11]]) as u64)
            .wrapping_add(word(0).into())
            .wrapping_add(u64::from(word(12)) << 32 | u64::from(word(8)));
        assert_eq!(program.run_raw(&[0; 8]).unwrap().value, expected, "{engine:?}");
    }
}

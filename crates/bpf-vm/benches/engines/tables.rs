//! Programs that live by their maps: the same maps with the same content in the runtime and in the
//! kernel. rbpf has none, so it isn't asked.
//!
//! What a program returns doesn't depend on how often it ran, so that the results can be compared;
//! what it writes lies where it doesn't look for its result.

use std::sync::Arc;

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{encode, place};
use bpf_object::MapType;
use bpf_vm::context::Xdp;
use bpf_vm::map::{MapDefinition, flag, update};
use bpf_vm::{CompileOptions, Engine, Map, Program, Runs, Runtime};

use crate::bpf::{KernelMap, possible_cpus};
use crate::kernel;

pub struct Case {
    pub name: &'static str,
    /// `MAP0`, `MAP1`, … stand for what follows `ld_pseudo rX, ` where a map is meant.
    source: String,
    tables: Vec<Table>,
}

/// A map whose first so many keys hold values.
struct Table {
    definition: MapDefinition,
    filled: u32,
}

impl Table {
    fn new(kind: MapType, key: u32, value: u32, entries: u32) -> Self {
        let trie = kind == MapType::LPM_TRIE;
        let flags = if trie { flag::NO_PREALLOC } else { 0 };
        let definition = MapDefinition::new(kind, key, value, entries).with_flags(flags);
        Self { definition, filled: entries }
    }

    /// Half of the keys that programs ask for are there.
    fn half(self) -> Self {
        Self { filled: self.filled / 2, ..self }
    }

    fn make(&self, runtime: &Runtime) -> Arc<Map> {
        let map = runtime.map(self.definition.clone()).expect("it can be made");
        for (key, value) in self.entries(map.value_bytes()) {
            map.update(&key, &value, update::ANY).expect("there is room");
        }
        map
    }

    fn entries(&self, value_bytes: usize) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let key_size = self.definition.key_size as usize;
        let trie = self.definition.kind == MapType::LPM_TRIE;
        let stride = self.definition.value_size.next_multiple_of(8) as usize;
        (0..self.filled).map(move |number| {
            let mut key = vec![0; key_size];
            if trie {
                key[..4].copy_from_slice(&32u32.to_ne_bytes());
                key[4..8].copy_from_slice(&number.to_ne_bytes());
            } else {
                key[..4].copy_from_slice(&number.to_ne_bytes());
            }
            let mut value = vec![0; value_bytes];
            // In maps per CPU, each has the same.
            for value in value.chunks_mut(stride) {
                value[..4].copy_from_slice(&(number * 7 + 1).to_ne_bytes());
            }
            (key, value)
        })
    }
}

/// Looks up `r7 & mask` for `rounds` growing `r7`, as a key of `size` bytes below the frame's top;
/// what `body` does with an element that is there has it in `r0` and adds to `r9`.
fn rounds(rounds: u32, mask: u32, size: u32, at: u32, body: &str) -> String {
    let mut source = String::new();
    for word in (8..=size.next_multiple_of(8)).step_by(8) {
        source += &format!("*(u64 *)(r10 - {word}) = 0\n");
    }
    let start = size.next_multiple_of(8);
    if at > 0 {
        source += &format!("*(u32 *)(r10 - {start}) = 32\n");
    }
    source
        + &format!(
            "
        r6 = {rounds}
        r7 = 3
        r9 = 0
        loop:
        *(u32 *)(r10 - {place}) = w7
        r2 = r10
        r2 += -{start}
        ld_pseudo r1, MAP0
        call 1
        if r0 == 0 goto next
        {body}
        next:
        w7 += 37
        w7 &= {mask}
        r6 += -1
        if r6 != 0 goto loop
        r0 = r9
        w0 = w0
        exit",
            place = start - at,
        )
}

const ADD: &str = "r1 = *(u32 *)(r0 + 0)\nr9 += r1";
const COUNT: &str =
    "r1 = *(u32 *)(r0 + 0)\nr9 += r1\nr1 = *(u64 *)(r0 + 8)\nr1 += 1\n*(u64 *)(r0 + 8) = r1";

/// As [`rounds`], with an update of what was found.
fn updates(count: u32, mask: u32, size: u32) -> String {
    let start = size.next_multiple_of(8);
    let body = format!(
        "r1 = *(u32 *)(r0 + 0)
        r9 += r1
        *(u64 *)(r10 - 40) = r1
        *(u64 *)(r10 - 32) = r6
        r2 = r10
        r2 += -{start}
        r3 = r10
        r3 += -40
        r4 = 0
        ld_pseudo r1, MAP0
        call 2
        r9 += r0"
    );
    rounds(count, mask, size, 0, &body)
}

/// One packet's way: configuration, who it is from, its flow, and counters per CPU.
fn several() -> String {
    "
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r4 = r6
    r4 += 54
    if r4 > r7 goto none
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    ld_pseudo r1, MAP0
    call 1
    if r0 == 0 goto none
    r8 = *(u32 *)(r0 + 0)
    *(u32 *)(r10 - 24) = 32
    r1 = *(u8 *)(r6 + 33)
    *(u32 *)(r10 - 20) = r1
    r2 = r10
    r2 += -24
    ld_pseudo r1, MAP1
    call 1
    if r0 == 0 goto none
    r1 = *(u32 *)(r0 + 0)
    r8 += r1
    r1 = *(u8 *)(r6 + 33)
    *(u64 *)(r10 - 16) = r1
    *(u64 *)(r10 - 8) = 0
    r2 = r10
    r2 += -16
    ld_pseudo r1, MAP2
    call 1
    if r0 == 0 goto none
    r1 = *(u32 *)(r0 + 0)
    r8 += r1
    call 5
    r9 = r0
    *(u32 *)(r10 - 4) = 3
    r2 = r10
    r2 += -4
    ld_pseudo r1, MAP3
    call 1
    if r0 == 0 goto none
    r1 = *(u64 *)(r0 + 8)
    r1 += 1
    *(u64 *)(r0 + 8) = r1
    *(u64 *)(r0 + 16) = r9
    r0 = r8
    exit
    none:
    r0 = 0
    exit"
        .to_owned()
}

pub fn cases() -> Vec<Case> {
    let case = |name, source, tables| Case { name, source, tables };
    let one = |kind, key, value, entries| vec![Table::new(kind, key, value, entries)];
    vec![
        case("array", rounds(64, 1023, 4, 0, ADD), one(MapType::ARRAY, 4, 16, 1024)),
        case("counters", rounds(64, 255, 4, 0, COUNT), one(MapType::PER_CPU_ARRAY, 4, 16, 256)),
        case("hash4", rounds(64, 1023, 4, 0, ADD), one(MapType::HASH, 4, 16, 1024)),
        case("hash16", rounds(64, 1023, 16, 0, ADD), one(MapType::HASH, 16, 16, 1024)),
        case(
            "hash miss",
            rounds(64, 1023, 16, 0, ADD),
            vec![Table::new(MapType::HASH, 16, 16, 1024).half()],
        ),
        case("lru", rounds(64, 1023, 16, 0, COUNT), one(MapType::LRU_HASH, 16, 16, 1024)),
        case("lpm", rounds(64, 1023, 8, 4, ADD), one(MapType::LPM_TRIE, 8, 16, 1024)),
        case("store", updates(32, 255, 4), one(MapType::ARRAY, 4, 16, 256)),
        case("replace", updates(32, 255, 16), one(MapType::HASH, 16, 16, 1024)),
        case(
            "several",
            several(),
            vec![
                Table::new(MapType::ARRAY, 4, 64, 1),
                Table::new(MapType::LPM_TRIE, 8, 16, 256),
                Table::new(MapType::LRU_HASH, 16, 32, 4096),
                Table::new(MapType::PER_CPU_ARRAY, 4, 32, 64),
            ],
        ),
    ]
}

/// The case in the runtime, one program with maps of its own for each engine.
pub struct Ours {
    pub interpreted: Runs,
    pub checked: Runs,
    /// By itself: only programs of objects are verified when they are loaded.
    pub verified: Program,
    pub slots: usize,
    /// Where its maps live.
    _runtime: Runtime,
}

impl Ours {
    pub fn load(case: &Case) -> Self {
        let source = with_maps(&case.source, |index| format!("5, {index}"), case.tables.len());
        let code = assemble(&source, Syntax::Llvm).expect(case.name);
        let slots = encode(&code).len() / 8;
        let placed = place(code);
        let bound = |engine| {
            let runtime = Runtime::builder().engine(engine).cpus(possible_cpus()).build();
            let maps: Vec<_> = case.tables.iter().map(|table| table.make(&runtime)).collect();
            (runtime.bind(case.name, &placed, &maps).expect(case.name), runtime)
        };
        let runs = |engine| bound(engine).0.xdp_runs(&Xdp::default()).expect("memory");
        let (handle, runtime) = bound(Engine::Interpreter);
        let program = handle.program().clone();
        drop(handle);
        let program = Arc::into_inner(program).expect("nobody else has it");
        // SAFETY: the kernel takes the same program on maps of the same shapes, and it gets the
        // same packet.
        let verified = unsafe { program.compile_unchecked(CompileOptions::default()) };
        Self {
            interpreted: runs(Engine::Interpreter),
            checked: runs(Engine::Jit),
            verified: verified.expect("memory"),
            slots,
            _runtime: runtime,
        }
    }
}

/// The case in the kernel.
pub struct Theirs {
    _maps: Vec<KernelMap>,
    pub program: kernel::Program,
}

impl Theirs {
    pub fn load(case: &Case) -> Result<Self, String> {
        let mut maps = Vec::new();
        for table in &case.tables {
            let map = KernelMap::new(&table.definition).map_err(|error| error.to_string())?;
            for (key, value) in table.entries(map.value_bytes()) {
                map.update(&key, &value, update::ANY).map_err(|error| error.to_string())?;
            }
            maps.push(map);
        }
        let number = |index: usize| format!("1, {}", maps[index].descriptor());
        let source = with_maps(&case.source, number, maps.len());
        let code = encode(&assemble(&source, Syntax::Llvm).map_err(|error| error.to_string())?);
        let program = kernel::Program::load(&code).map_err(|error| error.to_string())?;
        Ok(Self { _maps: maps, program })
    }
}

fn with_maps(source: &str, name: impl Fn(usize) -> String, count: usize) -> String {
    (0..count).fold(source.to_owned(), |source, index| {
        source.replace(&format!("MAP{index}"), &name(index))
    })
}

//! Programs as text, with the verdict and the words it should have. Each table is one idea.

use bpf_interface::program::Special;
use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{Instruction, Wide, place};
use bpf_object::btf::{Linkage, TypeId};
use bpf_object::{LinkedFunction, MapType, Program, ProgramKind};

use crate::maps::{MapInfo, Record, SpecialField};
use crate::verify::judge;
use crate::{Options, Request, Rule, Touched, Verdict};

mod calls;
mod explained;
mod flow;
mod kernels;
mod memory;
mod numbers;

/// 0: an array of 48 bytes; 1: a hash of 8 bytes with keys of 8; 2: programs; 3: a ring buffer;
/// 4: one read-only value, 1 to 8; 5: an array with a spin lock.
fn sample_maps() -> Vec<MapInfo> {
    let map = |kind: MapType, key_size: u32, value_size: u32, max_entries: u32| MapInfo {
        name: kind.to_string(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        inner: None,
        record: Record::default(),
        value_type: None,
        constant: None,
    };
    let lock = SpecialField { special: Special::SpinLock, offset: 4, kptr: None };
    vec![
        map(MapType::ARRAY, 4, 48, 4),
        map(MapType::HASH, 8, 8, 4),
        map(MapType::PROGRAM_ARRAY, 4, 4, 4),
        map(MapType::RING_BUFFER, 0, 0, 4096),
        MapInfo {
            flags: 1 << 7,
            constant: Some(vec![1, 2, 3, 4, 5, 6, 7, 8]),
            ..map(MapType::ARRAY, 4, 8, 1)
        },
        MapInfo { record: Record { fields: vec![lock] }, ..map(MapType::ARRAY, 4, 8, 1) },
    ]
}

fn assembled(text: &str) -> Vec<Instruction> {
    assemble(text, Syntax::Llvm).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn program(instructions: Vec<Instruction>, section: &str) -> Program {
    let instructions = place(instructions);
    let code = bpf_isa::encode(instructions.iter().map(|placed| &placed.instruction));
    let slots = code.len() / bpf_isa::SLOT;
    let main = LinkedFunction {
        name: "main".to_owned(),
        slot: 0,
        slots,
        linkage: Linkage::Global,
        kind: None,
    };
    let mut functions = vec![main];
    for placed in &instructions {
        if let Instruction::LoadWide { value: Wide::Code(distance), .. } = placed.instruction
            && let Some(slot) = placed.slot.checked_add_signed(distance as isize + 1)
        {
            let (name, linkage, kind) = ("callback".to_owned(), Linkage::Static, Some(TypeId(1)));
            functions.push(LinkedFunction { name, slot, slots: slots - slot, linkage, kind });
        }
    }
    Program {
        name: "main".to_owned(),
        section: section.to_owned(),
        kind: ProgramKind::of_section(section),
        instructions,
        code,
        functions,
        lines: Vec::new(),
        externs: Vec::new(),
        core: Vec::new(),
    }
}

fn verdict_of(section: &str, text: &str, options: Options) -> Verdict {
    let program = program(assembled(text), section);
    let request = Request::new(&program).unwrap_or_else(|| panic!("{section}")).options(options);
    judge(&request, sample_maps()).0
}

/// `expected`: `ok`, or a part of the message.
fn check_with(section: &str, text: &str, options: Options, expected: &str) {
    match (verdict_of(section, text, options), expected) {
        (Verdict::Accepted(_), "ok") => {}
        (Verdict::Refused(refusal), expected) if refusal.message.contains(expected) => {}
        (Verdict::Accepted(_), _) => panic!("accepted, not `{expected}`:\n{text}"),
        (Verdict::Refused(refusal), _) => panic!("not `{expected}`, but {refusal}\n{text}"),
        (Verdict::NotModelled(what), _) => panic!("not modelled: {}\n{text}", what.what),
    }
}

fn check(section: &str, text: &str, expected: &str) {
    check_with(section, text, Options::default(), expected);
}

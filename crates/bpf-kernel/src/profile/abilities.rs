//! What the verifier can do, each tried with a program that needs just that.

use std::{collections::BTreeSet, os::fd::AsFd};

use bpf_interface::feature::Ability as Y;
use bpf_object::{
    MapType, ProgramType,
    btf::{Btf, Int, Kind, Linkage},
};

use super::{
    attempt::{self, Answer, Attempt, EXIT, Slot, ZERO},
    types::Form,
};
use crate::sys::{self, MapCreate};

/// BPF_F_XDP_HAS_FRAGS
const HAS_FRAGMENTS: u32 = 1 << 5;

pub fn probe(kernel: &Btf, forms: &[Form]) -> BTreeSet<Y> {
    Y::ALL.iter().copied().filter(|ability| has(*ability, kernel, forms)).collect()
}

fn slot(code: u8, registers: u8, offset: i16, immediate: i32) -> Slot {
    let ([a, b], [c, d, e, f]) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [code, registers, a, b, c, d, e, f]
}

/// *(u64 *)(r10 - 8) = 0
const CLEAR: Slot = [0x7a, 0x0a, 0xf8, 0xff, 0, 0, 0, 0];
/// The second half of a wide load.
const REST: Slot = [0; 8];

fn has(ability: Y, kernel: &Btf, forms: &[Form]) -> bool {
    match ability {
        Y::LocalCalls => accepts(&[slot(0x85, 0x10, 0, 1), EXIT, ZERO, EXIT]),
        Y::Jump32 => accepts(&[ZERO, slot(0x16, 0, 0, 0), EXIT]),
        Y::LargePrograms => {
            let mut large = vec![ZERO; 5000];
            large.push(EXIT);
            accepts(&large)
        }
        Y::GlobalVariables => {
            let Some(map) = map(MapType::ARRAY, 8) else { return false };
            let fd = sys::raw(map.as_fd()) as i32;
            accepts(&[slot(0x18, 0x21, 0, fd), REST, ZERO, EXIT])
        }
        // r0 = 0; do r0 += 1 while (r0 < 10)
        Y::BoundedLoops => accepts(&[ZERO, slot(0x07, 0, 0, 1), slot(0xa5, 0, -2, 10), ZERO, EXIT]),
        Y::GlobalFunctions => global_functions(),
        Y::Sleepable => forms.iter().any(Form::is_sleepable),
        // Whichever it is: its address may be hidden.
        Y::KernelVariables => {
            let mut types = kernel.own_types();
            let variable = types.find(|(_, entry)| matches!(entry.kind, Kind::Variable { .. }));
            let id = variable.map_or(1, |(id, _)| id.0);
            says(&[slot(0x18, 0x31, 0, id as i32), REST, ZERO, EXIT], &["address", "KIND_VAR"])
        }
        Y::TailCallsInLocalCalls => {
            let Some(map) = map(MapType::PROGRAM_ARRAY, 4) else { return false };
            let fd = sys::raw(map.as_fd()) as i32;
            // Linux 5.10 wants types with it.
            let program = [
                slot(0x85, 0x10, 0, 2),
                ZERO,
                EXIT,
                slot(0x18, 0x12, 0, fd),
                REST,
                slot(0xb7, 3, 0, 0),
                slot(0x85, 0, 0, 12),
                ZERO,
                EXIT,
            ];
            says(&program, &["without BTF"])
        }
        // r0 = fetch_add((u64 *)(r10 - 8), r0)
        Y::Atomics => accepts(&[CLEAR, ZERO, slot(0xdb, 0x0a, -8, 1), ZERO, EXIT]),
        // Without types it is refused, but only by kernels that know what is meant.
        Y::Callbacks => {
            says(&[slot(0x18, 0x41, 0, 3), REST, ZERO, EXIT, ZERO, EXIT], &["func_info", "func"])
        }
        Y::KernelFunctions => calls_kernel(0),
        Y::ModuleFunctions => calls_kernel(1),
        Y::XdpFragments => {
            let attempt = Attempt {
                program: ProgramType::XDP.0,
                attach: 0,
                flags: HAS_FRAGMENTS,
                target: 0,
                instructions: &[ZERO, EXIT],
            };
            attempt.load().is_loaded()
        }
        // kptr_xchg came with them.
        Y::Kptrs => {
            let classifier = forms.iter().find(|form| form.program == ProgramType::CLASSIFIER);
            classifier.is_some_and(|form| super::has_helper(form, 194))
        }
        Y::UninitialisedStack => accepts(&[slot(0x79, 0xa0, -8, 0), ZERO, EXIT]),
        // w0 = (s8) w0; r0 s/= 1; goto 0
        Y::V4 => accepts(&[
            ZERO,
            slot(0xbc, 0, 8, 0),
            slot(0x37, 0, 1, 1),
            slot(0x06, 0, 0, 0),
            ZERO,
            EXIT,
        ]),
        // 256 and 272 bytes if rounded to 16, 256 and 288 if rounded to 32; 512 is the limit.
        // Of 240 and 272 the sum is right in the first case only.
        Y::FineStack => accepts(&[
            slot(0x7a, 0x0a, -240, 0),
            slot(0x85, 0x10, 0, 2),
            ZERO,
            EXIT,
            slot(0x7a, 0x0a, -264, 0),
            ZERO,
            EXIT,
        ]),
        Y::MayGoto => accepts(&[ZERO, slot(0xe5, 0, 1, 0), ZERO, EXIT]),
        Y::AddressSpaces => says(&[slot(0xbf, 0x11, 1, 1), ZERO, EXIT], &["arena"]),
        // r0 = load_acquire((u64 *)(r10 - 8))
        Y::LoadAcquire => accepts(&[CLEAR, slot(0xdb, 0xa0, -8, 0x100), ZERO, EXIT]),
    }
}

fn attempt(instructions: &[Slot]) -> Answer {
    let program = ProgramType::CLASSIFIER.0;
    Attempt { program, attach: 0, flags: 0, target: 0, instructions }.load()
}

fn accepts(instructions: &[Slot]) -> bool {
    attempt(instructions).is_loaded()
}

/// Loaded, or refused with one of these words.
fn says(instructions: &[Slot], words: &[&str]) -> bool {
    match attempt(instructions) {
        Answer::Loaded => true,
        Answer::Refused(log) => {
            // The complaint stands in the end, behind the instructions looked at.
            !log.contains("reserved fields")
                && !log.contains("unrecognized")
                && words.iter().any(|word| log.contains(word))
        }
        Answer::Failed => false,
    }
}

/// A function of the kernel that no program may call; `module` as if it were of a module.
fn calls_kernel(module: i16) -> bool {
    let call = slot(0x85, 0x20, module, 1);
    match attempt(&[call, ZERO, EXIT]) {
        Answer::Loaded => true,
        Answer::Refused(log) => !log.contains("reserved fields") && !log.contains("unknown"),
        Answer::Failed => false,
    }
}

/// Type information with a function that is marked as global.
fn global_functions() -> bool {
    let mut types = Btf::new();
    let int = types
        .add("int", Kind::Int(Int { size: 4, encoding: Int::SIGNED, bit_offset: 0, bits: 32 }));
    let prototype = types.add("", Kind::Prototype { returns: int, parameters: Vec::new() });
    types.add("f", Kind::Function { prototype, linkage: Linkage::Global });
    attempt::types(&types.to_bytes()).is_some()
}

fn map(kind: MapType, value_size: u32) -> Option<std::os::fd::OwnedFd> {
    attempt::map(MapCreate {
        map_type: kind.0,
        key_size: 4,
        value_size,
        max_entries: 1,
        ..Default::default()
    })
}

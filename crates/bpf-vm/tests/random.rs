//! Programs without sense: whatever they do, they end, and touch nothing but what they were lent.

use std::collections::HashMap;
use std::sync::Arc;

use bpf_isa::{Instruction, decode_one, encode, place};
use bpf_vm::{Call, CompileOptions, Helper, Input, LoadError, Program};
use proptest::prelude::*;

const LENT: usize = 64;

/// Around what is lent lie bytes that must not change.
const MARGIN: usize = 64;

/// Programs of instructions with operands that often make sense: registers that hold addresses,
/// small offsets and distances.
fn any_program() -> impl Strategy<Value = Vec<Instruction>> {
    let registers = (0..=10u8, 0..=10u8).prop_map(|(dst, src)| src << 4 | dst);
    let registers = (registers, prop::sample::select(vec![0xff, 0xff, 0x0f, 0xf0, 0x1f, 0x4f]));
    let imm = prop_oneof![
        Just(0),
        -9..80i32,
        prop::sample::select(vec![0x40, 0x50, 0xa0, 0x41, 0x51, 0xa1, 0xe1, 0xf1, 0x100, 0x110]),
        any::<i32>(),
    ];
    let offset = prop_oneof![Just(0), -9..70i16];
    let raw = (any::<u8>(), registers, offset, imm);
    let decode = |(opcode, (registers, mask), offset, imm): (u8, (u8, u8), i16, i32)| {
        let mut bytes = vec![opcode, registers & mask];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(imm.to_le_bytes());
        bytes.extend([0; 8]);
        decode_one(&bytes).ok()
    };
    // About one in six is an instruction.
    prop::collection::vec(raw, 1..250)
        .prop_map(move |raw| raw.into_iter().filter_map(decode).collect())
}

fn helpers() -> HashMap<i32, Helper> {
    let sum: Helper = Arc::new(|call: &mut Call<'_, '_>| {
        Ok(call.arguments.iter().fold(0u64, |sum, argument| sum.wrapping_add(*argument)))
    });
    let callback: Helper = Arc::new(|call: &mut Call<'_, '_>| {
        let [function, rest @ ..] = call.arguments;
        let [a, b, c, d] = rest;
        Ok(call.invoke(function, [a, b, c, d, 0]).unwrap_or_default())
    });
    let copy: Helper = Arc::new(|call: &mut Call<'_, '_>| {
        let [from, to, length, ..] = call.arguments;
        let mut bytes = vec![0; (length % 100) as usize];
        call.read(from, &mut bytes)?;
        call.write(to, &bytes)?;
        Ok(0)
    });
    HashMap::from([(1, sum), (2, callback), (3, copy)])
}

fn slot_of(error: &LoadError) -> Option<usize> {
    match *error {
        LoadError::NoSuchTarget { slot, .. }
        | LoadError::UnknownHelper { slot, .. }
        | LoadError::UnknownKernelFunction { slot, .. }
        | LoadError::UnknownAddress { slot, .. }
        | LoadError::NoArena { slot } => Some(slot),
        LoadError::Decode(_) | LoadError::Empty | LoadError::TooLong => None,
    }
}

/// Fewer where they are likely to be emulated.
const CASES: u32 = if cfg!(target_arch = "aarch64") { 5_000 } else { 20_000 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn programs_keep_to_their_memory(
        mut program in any_program(),
        seed in any::<u8>(),
    ) {
        program.push(Instruction::Exit {});
        // Jumps to nowhere, and what the platform lacks, are refused; take them out one by one.
        let helpers = helpers();
        let loaded = loop {
            match Program::load(&encode(&program), &helpers) {
                Ok(loaded) => break loaded,
                Err(LoadError::Decode(error)) => panic!("{error}"),
                Err(error) => {
                    let slot = slot_of(&error).expect("an instruction is to blame");
                    let placed = place(program.iter().copied());
                    program.remove(placed.iter().position(|p| p.slot == slot).expect("there"));
                }
            }
        };
        let constant = [seed; LENT + 2 * MARGIN];
        let mut writable = constant;
        let mut packet = constant;
        let mut run = |program: &Program| {
            (writable, packet) = (constant, constant);
            let mut input = Input { fuel: 2_000, ..Input::default() };
            input.arguments = [
                input.memory.lend(&mut writable[MARGIN..MARGIN + LENT]),
                input.memory.share(&constant[MARGIN..MARGIN + LENT]),
                input.memory.lend_packet(&mut packet[MARGIN..MARGIN + LENT]),
                LENT as u64,
                seed.into(),
            ];
            // A result or a fault: both are fine.
            let result = program.run(&mut input);
            drop(input);
            (result, writable, packet)
        };
        let first = run(&loaded);
        let options = CompileOptions { blind_constants: seed % 2 == 1 };
        let compiled = loaded.compile(options).expect("memory");
        let second = run(&compiled);
        let text = || program.iter().map(|i| format!("{i}\n")).collect::<String>();
        prop_assert_eq!(&first, &second, "{}", text());
        prop_assert_eq!(constant, [seed; LENT + 2 * MARGIN]);
        for bytes in [first.1, first.2] {
            prop_assert!(bytes[..MARGIN].iter().chain(&bytes[MARGIN + LENT..]).all(|byte| *byte == seed));
        }
    }
}

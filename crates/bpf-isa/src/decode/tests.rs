//! Round trips over all rows, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::encode;
use crate::text::{Syntax, assemble, disassemble_one};

/// Any valid encoding: a row with any values in the fields that are its operands.
fn any_word() -> impl Strategy<Value = Word> {
    let registers = (0..=10u8, 0..=10u8);
    // Offsets and immediates often lie at the ends of their range.
    let offset = prop_oneof![any::<i16>(), Just(0), Just(i16::MIN), Just(i16::MAX)];
    let imm = || prop_oneof![any::<i32>(), Just(0), Just(-1), Just(i32::MIN), Just(i32::MAX)];
    (0..ROWS.len(), registers, offset, imm(), imm()).prop_filter_map(
        "the values mean another row",
        |(index, (dst, src), offset, imm, next)| {
            let row = &ROWS[index];
            let mut word = row.template();
            for field in row.operands.iter().copied().flatten() {
                match field {
                    Field::Dst => word.dst = dst,
                    Field::Src => word.src = src,
                    Field::Offset => word.offset = offset,
                    Field::Imm => word.imm = imm,
                    Field::Next => word.next = next,
                }
            }
            Some(word)
        },
    )
}

fn bytes(word: &Word) -> Vec<u8> {
    let mut bytes = Vec::new();
    word.write(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn valid_encodings_survive(word in any_word()) {
        let bytes = bytes(&word);
        let program = decode(&bytes).expect("valid");
        prop_assert_eq!(program.len(), 1);
        prop_assert_eq!(&encode([&program[0].instruction]), &bytes);
        prop_assert_eq!(program[0].instruction.slots() * SLOT, bytes.len());
    }

    #[test]
    fn text_is_read_back(word in any_word()) {
        let instruction = Instruction::from_word(&word).expect("valid");
        for syntax in [Syntax::Llvm, Syntax::Mnemonic] {
            let text = disassemble_one(&instruction, syntax);
            prop_assert_eq!(assemble(&text, syntax), Ok(vec![instruction]), "{}", text);
        }
    }

    #[test]
    fn what_decodes_is_canonical(mut bytes in prop::collection::vec(any::<u8>(), 16)) {
        // Small numbers hit what is defined more often.
        if bytes[4] & 1 == 0 {
            bytes[5..].fill(0);
        }
        if bytes[2] & 1 == 0 {
            bytes[2..4].fill(0);
        }
        if let Ok(program) = decode(&bytes) {
            prop_assert_eq!(encode(program.iter().map(|placed| &placed.instruction)), bytes);
        }
    }

    #[test]
    fn no_reserved_field_is_ignored(word in any_word(), value in 1..i16::MAX) {
        let (row, _) = Instruction::from_word(&word).expect("valid").row_and_word();
        for field in Field::ALL.into_iter().filter(|field| !row.uses(*field)) {
            let mut wrong = word;
            match field {
                Field::Dst => wrong.dst = value as u8 % 10 + 1,
                Field::Src => wrong.src = value as u8 % 10 + 1,
                Field::Offset => wrong.offset = value,
                Field::Imm => wrong.imm = value.into(),
                Field::Next if word.is_wide() => wrong.next = value.into(),
                Field::Next => continue,
            }
            // It may mean another row then; it must not mean the same.
            let decoded = decode(&bytes(&wrong));
            let right = Instruction::from_word(&word);
            prop_assert!(decoded.is_err() || decoded.ok().map(|p| p[0].instruction) != right.ok());
        }
    }
}

fn check(bytes: &[u8], slot: usize, reason: Reason) {
    assert_eq!(decode(bytes), Err(DecodeError { slot, reason }), "{bytes:02x?}");
}

const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn refusals_name_instruction_and_reason() {
    check(&[0x95, 0, 0], 0, Reason::PartialSlot { bytes: 3 });
    check(&[0xff, 0, 0, 0, 0, 0, 0, 0], 0, Reason::UndefinedOpcode { opcode: 0xff });
    // A register move with an offset that is no size.
    let reason = Reason::ReservedField { opcode: 0xbf, field: Field::Offset, value: 7 };
    check(&[0xbf, 0x21, 7, 0, 0, 0, 0, 0], 0, reason);
    // A swap of 24 bits.
    let reason = Reason::UndefinedVariant { opcode: 0xd7, field: Field::Imm, value: 24 };
    check(&[0xd7, 1, 0, 0, 24, 0, 0, 0], 0, reason);
    // An exit with a destination, after another.
    let reason = Reason::ReservedField { opcode: 0x95, field: Field::Dst, value: 1 };
    check(&[EXIT, [0x95, 1, 0, 0, 0, 0, 0, 0]].concat(), 1, reason);
    // A register that doesn't exist.
    let reason = Reason::NoSuchRegister { field: Field::Src, number: 11 };
    check(&[0xbf, 0xb0, 0, 0, 0, 0, 0, 0], 0, reason);
    check(&[0x18, 0, 0, 0, 1, 0, 0, 0], 0, Reason::MissingSecondSlot);
    let reason = Reason::ReservedSecondSlot;
    check(&[[0x18, 0, 0, 0, 1, 0, 0, 0], EXIT].concat(), 0, reason);
    // The upper half belongs to a value, but not to a map's descriptor.
    let second = [0, 0, 0, 0, 5, 0, 0, 0];
    let reason = Reason::ReservedField { opcode: 0x18, field: Field::Next, value: 5 };
    check(&[[0x18, 0x10, 0, 0, 1, 0, 0, 0], second].concat(), 0, reason);
    let reason = Reason::UndefinedVariant { opcode: 0x18, field: Field::Src, value: 7 };
    check(&[[0x18, 0x70, 0, 0, 1, 0, 0, 0], second].concat(), 0, reason);
    // Negation takes its operand from the destination only.
    check(&[0x8f, 0x21, 0, 0, 0, 0, 0, 0], 0, Reason::UndefinedOpcode { opcode: 0x8f });
    let reason = Reason::UndefinedVariant { opcode: 0xdb, field: Field::Imm, value: 0xe0 };
    check(&[0xdb, 0x21, 0, 0, 0xe0, 0, 0, 0], 0, reason);
}

#[test]
fn positions_count_slots() {
    let wide = [0x18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
    let program = decode(&[wide.as_slice(), &EXIT].concat()).expect("valid");
    let value = Wide::Value(0x2_0000_0001);
    let wide = Instruction::LoadWide { dst: Register::R0, value };
    assert_eq!(program, crate::place([wide, Instruction::Exit {}]));
    assert_eq!(program[1].slot, 2);
}

#[test]
fn no_two_rows_are_written_alike() {
    for syntax in [Syntax::Llvm, Syntax::Mnemonic] {
        let mut seen = std::collections::HashSet::new();
        for template in ROWS.iter().map(|row| syntax.templates(row)[0]) {
            // LLVM has one text for all sources but the first, told apart by a number in it.
            assert!(seen.insert(template), "{template}");
        }
    }
}

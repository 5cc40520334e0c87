//! Compiled programs do what interpreted ones do, whatever they are.

use std::collections::HashMap;
use std::sync::Arc;

use bpf_isa::{
    Access, AluOp, AtomicOp, Callee, Condition, Distance, Extension, Instruction, Narrow, Order,
    Register, Size, Source, Span, Wide, Width, encode,
};
use proptest::prelude::*;

use super::{CompileOptions, Mode, compile_with};
use crate::platform::Helper;
use crate::run::Call;
use crate::{Fault, Input, Program};

const EDGES: [u64; 16] = [
    0,
    1,
    2,
    31,
    32,
    63,
    64,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x8000_0000_0000_0000,
    0x0123_4567_89ab_cdef,
    u64::MAX,
];

fn helpers() -> HashMap<i32, Helper> {
    let mix: Helper = Arc::new(|call: &mut Call<'_, '_>| {
        let mix = |sum: u64, argument: &u64| sum.rotate_left(9) ^ argument;
        Ok(call.arguments.iter().fold(0, mix))
    });
    HashMap::from([(1, mix)])
}

fn register() -> impl Strategy<Value = Register> {
    (0..10usize).prop_map(|index| Register::ALL[index])
}

fn imm() -> impl Strategy<Value = i32> {
    let edges = vec![0, 1, -1, 2, 7, 8, 16, 24, 31, 32, 63, 64, 127, 128, 255, -128, -129, 0xffff];
    prop_oneof![
        prop::sample::select(edges),
        Just(i32::MIN),
        Just(i32::MAX),
        (0..31u8).prop_map(|bit| 1 << bit),
        any::<i32>(),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![imm().prop_map(Source::Immediate), register().prop_map(Source::Register)]
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(vec![Width::W32, Width::W64])
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(vec![Size::Byte, Size::Half, Size::Word, Size::Double])
}

fn any_alu() -> impl Strategy<Value = Instruction> {
    let op = prop::sample::select(vec![
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::SignedDiv,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Mod,
        AluOp::SignedMod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Mov,
        AluOp::Arsh,
    ]);
    (op, width(), register(), source()).prop_map(|(op, width, dst, src)| Instruction::Alu {
        op,
        width,
        dst,
        src,
    })
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop::sample::select(vec![
        Condition::Equal,
        Condition::NotEqual,
        Condition::Greater,
        Condition::GreaterOrEqual,
        Condition::Less,
        Condition::LessOrEqual,
        Condition::SignedGreater,
        Condition::SignedGreaterOrEqual,
        Condition::SignedLess,
        Condition::SignedLessOrEqual,
        Condition::Set,
    ])
}

/// What compilers write for rotations, composed loads, extensions and copies: several instructions
/// that belong together.
fn any_idiom() -> impl Strategy<Value = Vec<Instruction>> {
    let alu = |op, width, dst, src| Instruction::Alu { op, width, dst, src };
    let rotation = (width(), register(), register(), register(), 1..64i32, any::<bool>()).prop_map(
        move |(width, x, a, b, distance, in_place)| {
            let turn = if width == Width::W64 { 64 } else { 32 };
            let (left, right) = (distance % turn, turn - distance % turn);
            let b = if in_place { x } else { b };
            let mut code = vec![
                alu(AluOp::Mov, width, a, Source::Register(x)),
                alu(AluOp::Lsh, width, a, Source::Immediate(left)),
            ];
            if !in_place {
                code.push(alu(AluOp::Mov, width, b, Source::Register(x)));
            }
            code.push(alu(AluOp::Rsh, width, b, Source::Immediate(right)));
            code.push(alu(AluOp::Or, width, a, Source::Register(b)));
            code
        },
    );
    let shifts = (register(), 0..64i32, prop::sample::select(vec![AluOp::Rsh, AluOp::Arsh]))
        .prop_map(move |(dst, distance, back)| {
            let distance = Source::Immediate([8, 16, 32, 48, 56, distance][distance as usize % 6]);
            vec![alu(AluOp::Lsh, Width::W64, dst, distance), alu(back, Width::W64, dst, distance)]
        });
    // Two to four bytes, in either order, composed in two registers.
    let bytes = (register(), register(), 1..5i16, any::<bool>(), -64..-8i16, width()).prop_map(
        move |(a, b, count, network, offset, width)| {
            let load = |dst, offset| Instruction::Load {
                access: Access::Unsigned(Size::Byte),
                dst,
                base: Register::R10,
                offset,
            };
            let place = |index: i16| offset + if network { index } else { count - 1 - index };
            let mut code = vec![load(a, place(0))];
            for index in 1..count {
                code.push(alu(AluOp::Lsh, width, a, Source::Immediate(8)));
                code.push(load(b, place(index)));
                code.push(alu(AluOp::Or, width, a, Source::Register(b)));
            }
            code
        },
    );
    let shifted = (register(), register(), any::<bool>(), -64..-8i16).prop_map(
        move |(a, b, network, offset)| {
            let load = |dst, offset| Instruction::Load {
                access: Access::Unsigned(Size::Byte),
                dst,
                base: Register::R10,
                offset,
            };
            let at = |index: i16| offset + if network { 3 - index } else { index };
            let shift = |dst, bits| alu(AluOp::Lsh, Width::W64, dst, Source::Immediate(bits));
            vec![
                load(a, at(1)),
                shift(a, 8),
                load(b, at(0)),
                alu(AluOp::Or, Width::W64, a, Source::Register(b)),
                load(b, at(2)),
                shift(b, 16),
                alu(AluOp::Or, Width::W64, a, Source::Register(b)),
                load(b, at(3)),
                shift(b, 24),
                alu(AluOp::Or, Width::W64, a, Source::Register(b)),
            ]
        },
    );
    prop_oneof![rotation, shifts, bytes, shifted]
}

fn any_other() -> impl Strategy<Value = Instruction> {
    let order = prop::sample::select(vec![Order::ToLittle, Order::ToBig, Order::Swap]);
    let span = prop::sample::select(vec![Span::Half, Span::Word, Span::Double]);
    let extension = prop::sample::select(vec![
        Extension::ByteTo32,
        Extension::HalfTo32,
        Extension::ByteTo64,
        Extension::HalfTo64,
        Extension::WordTo64,
    ]);
    let access = prop_oneof![
        size().prop_map(Access::Unsigned),
        prop::sample::select(vec![Narrow::Byte, Narrow::Half, Narrow::Word])
            .prop_map(Access::Signed),
    ];
    let atomic = prop::sample::select(vec![
        AtomicOp::Add,
        AtomicOp::Or,
        AtomicOp::And,
        AtomicOp::Xor,
        AtomicOp::FetchAdd,
        AtomicOp::FetchOr,
        AtomicOp::FetchAnd,
        AtomicOp::FetchXor,
        AtomicOp::Exchange,
        AtomicOp::CompareExchange,
    ]);
    let base = Register::R10;
    let place = || (1..12i16).prop_map(|word| -8 * word);
    prop_oneof![
        (width(), register()).prop_map(|(width, dst)| Instruction::Negate { width, dst }),
        (extension, register(), register())
            .prop_map(|(extension, dst, src)| Instruction::MoveSigned { extension, dst, src }),
        (order, span, register()).prop_map(|(order, span, dst)| Instruction::ByteOrder {
            order,
            span,
            dst
        }),
        (register(), prop::sample::select(EDGES.to_vec()))
            .prop_map(|(dst, value)| Instruction::LoadWide { dst, value: Wide::Value(value) }),
        (access, register(), -80..-8i16).prop_map(move |(access, dst, offset)| Instruction::Load {
            access,
            dst,
            base,
            offset
        }),
        (size(), -80..-8i16, source()).prop_map(move |(size, offset, value)| Instruction::Store {
            size,
            base,
            offset,
            value
        }),
        (atomic, width(), place(), register()).prop_map(move |(op, width, offset, src)| {
            Instruction::Atomic { op, width, base, offset, src }
        }),
        (size(), register(), place()).prop_map(move |(size, dst, offset)| {
            Instruction::LoadAcquire { size, dst, base, offset }
        }),
        (size(), register(), place()).prop_map(move |(size, src, offset)| {
            Instruction::StoreRelease { size, base, offset, src }
        }),
    ]
}

/// Steps of a program; jumps ahead skip whole steps.
#[derive(Clone, Debug)]
enum Step {
    Plain(Vec<Instruction>),
    JumpIf(Condition, Width, Register, Source, usize),
    Jump(usize),
    /// Goes round so many times, over the next steps.
    Loop(u8, usize),
    Helper,
    Local,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_alu().prop_map(|alu| Step::Plain(vec![alu])),
        4 => any_other().prop_map(|other| Step::Plain(vec![other])),
        5 => any_idiom().prop_map(Step::Plain),
        3 => (any_condition(), width(), register(), source(), 0..4usize)
            .prop_map(|(condition, width, left, right, skip)| {
                Step::JumpIf(condition, width, left, right, skip)
            }),
        1 => (0..4usize).prop_map(Step::Jump),
        1 => (1..4u8, 1..4usize).prop_map(|(times, steps)| Step::Loop(times, steps)),
        1 => Just(Step::Helper),
        1 => Just(Step::Local),
    ]
}

/// Gives values to registers, so that no verifier would mind.
fn fill(registers: impl Iterator<Item = Register>, seed: usize, code: &mut Vec<Instruction>) {
    for (index, dst) in registers.enumerate() {
        let value = EDGES[(seed + index * 5) % EDGES.len()];
        code.push(Instruction::LoadWide { dst, value: Wide::Value(value) });
    }
}

fn slots(code: &[Instruction]) -> usize {
    code.iter().map(Instruction::slots).sum()
}

/// Where the loop that begins at a step counts, out of the others' reach.
fn counter(index: usize) -> i16 {
    -100 - 8 * (index as i16 % 40)
}

/// Loops may be entered in the middle.
fn clear_counters(steps: &[Step], code: &mut Vec<Instruction>) {
    for (index, step) in steps.iter().enumerate() {
        if matches!(step, Step::Loop(..)) {
            let (size, base, offset) = (Size::Double, Register::R10, counter(index));
            code.push(Instruction::Store { size, base, offset, value: Source::Immediate(0) });
        }
    }
}

fn assemble(steps: &[Step], seed: usize, in_function: bool) -> Vec<Instruction> {
    let arguments = || (1..6).map(|index| Register::ALL[index]);
    let mut code = Vec::new();
    let mut pieces: Vec<Vec<Instruction>> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut piece = Vec::new();
        match step {
            Step::Plain(code) => piece.extend(code),
            Step::Helper => {
                piece.push(Instruction::Call { callee: Callee::Helper(1) });
                fill(arguments(), seed + index, &mut piece);
            }
            Step::Local if !in_function => {
                piece.push(Instruction::Call { callee: Callee::Local(0) });
                fill(arguments(), seed + index, &mut piece);
            }
            _ => {}
        }
        pieces.push(piece);
    }
    let base = Register::R10;
    // Jumps take one slot; loops put an end behind their last step.
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (index, step) in steps.iter().enumerate() {
        if let Step::Loop(_, count) = step {
            ends[(index + count).min(steps.len() - 1)].push(index);
        }
    }
    let mut starts = vec![0; steps.len() + 1];
    let mut position = 0;
    for (index, step) in steps.iter().enumerate() {
        starts[index] = position;
        position += slots(&pieces[index]);
        position += match step {
            Step::JumpIf(..) | Step::Jump(_) | Step::Loop(..) => 1,
            _ => 0,
        };
        position += 4 * ends[index].len();
    }
    starts[steps.len()] = position;
    for (index, step) in steps.iter().enumerate() {
        code.extend(&pieces[index]);
        let here = slots(&code);
        let target = |skip: usize| {
            let target = starts[(index + 1 + skip).min(steps.len())];
            (target as i64 - here as i64 - 1) as i16
        };
        match step {
            Step::JumpIf(condition, width, left, right, skip) => {
                code.push(Instruction::JumpIf {
                    condition: *condition,
                    width: *width,
                    left: *left,
                    right: *right,
                    offset: target(*skip),
                });
            }
            Step::Jump(skip) => {
                code.push(Instruction::Jump { distance: Distance::Near(target(*skip)) });
            }
            Step::Loop(times, _) => {
                let (offset, value) = (counter(index), Source::Immediate((*times).into()));
                code.push(Instruction::Store { size: Size::Double, base, offset, value });
            }
            _ => {}
        }
        for &start in ends[index].iter().rev() {
            let (dst, offset) = (Register::R9, counter(start));
            let access = Access::Unsigned(Size::Double);
            code.push(Instruction::Load { access, dst, base, offset });
            let (op, width, src) = (AluOp::Sub, Width::W64, Source::Immediate(1));
            code.push(Instruction::Alu { op, width, dst, src });
            let value = Source::Register(dst);
            code.push(Instruction::Store { size: Size::Double, base, offset, value });
            let here = slots(&code);
            code.push(Instruction::JumpIf {
                // A jump past the begin leaves any number there: so nothing but a few rounds.
                condition: Condition::Less,
                width,
                left: dst,
                right: Source::Immediate(3),
                offset: ((starts[start] + slots(&pieces[start]) + 1) as i64 - here as i64 - 1)
                    as i16,
            });
        }
    }
    code
}

/// All registers and some of the stack end up in `r0`.
fn digest(code: &mut Vec<Instruction>) {
    let alu = |op, dst, src| Instruction::Alu { op, width: Width::W64, dst, src };
    for register in (1..10).map(|index| Register::ALL[index]) {
        code.push(alu(AluOp::Mul, Register::R0, Source::Immediate(31)));
        code.push(alu(AluOp::Xor, Register::R0, Source::Register(register)));
    }
    for word in 1..12 {
        let access = Access::Unsigned(Size::Double);
        let (dst, base, offset) = (Register::R1, Register::R10, -8 * word);
        code.push(Instruction::Load { access, dst, base, offset });
        code.push(alu(AluOp::Mul, Register::R0, Source::Immediate(31)));
        code.push(alu(AluOp::Xor, Register::R0, Source::Register(dst)));
    }
    code.push(Instruction::Exit {});
}

fn program(main: &[Step], function: &[Step], seed: usize) -> Vec<Instruction> {
    let all = || (0..10).map(|index| Register::ALL[index]);
    let mut code = Vec::new();
    fill(all(), seed, &mut code);
    for word in 1..12 {
        let value = Source::Register(Register::ALL[word % 10]);
        let (size, base, offset) = (Size::Double, Register::R10, -8 * word as i16);
        code.push(Instruction::Store { size, base, offset, value });
    }
    clear_counters(main, &mut code);
    code.extend(assemble(main, seed, false));
    digest(&mut code);
    let entry = slots(&code);
    fill(all(), seed + 3, &mut code);
    for word in 1..12 {
        let value = Source::Immediate(word);
        let (size, base, offset) = (Size::Double, Register::R10, -8 * word as i16);
        code.push(Instruction::Store { size, base, offset, value });
    }
    clear_counters(function, &mut code);
    code.extend(assemble(function, seed + 7, true));
    digest(&mut code);
    let mut slot = 0;
    for instruction in &mut code {
        if let Instruction::Call { callee: Callee::Local(distance) } = instruction {
            *distance = entry as i32 - slot as i32 - 1;
        }
        slot += instruction.slots();
    }
    code
}

fn run(program: &Program) -> Result<u64, Fault> {
    program.run(&mut Input { fuel: 10_000, ..Input::default() })
}

/// So much code that not every jump reaches: over a block, to what stands behind the code, and back.
#[test]
fn long_programs() {
    let alu = |op, dst, src| Instruction::Alu { op, width: Width::W64, dst, src };
    for block in [100, 3_000, 30_000] {
        let mut code = Vec::new();
        let (access, base) = (Access::Unsigned(Size::Double), Register::R1);
        code.push(Instruction::Load { access, dst: Register::R0, base, offset: 0 });
        code.push(alu(AluOp::Mov, Register::R6, Source::Immediate(0)));
        for bit in 0..4 {
            code.push(Instruction::JumpIf {
                condition: Condition::Set,
                width: Width::W64,
                left: Register::R2,
                right: Source::Immediate(1 << bit),
                offset: block,
            });
            for index in 0..block {
                let op = if index % 2 == 0 { AluOp::Mul } else { AluOp::Xor };
                let imm = 0x0123_4567 + 0x1001 * i32::from(index);
                code.push(alu(op, Register::R0, Source::Immediate(imm)));
            }
        }
        code.push(alu(AluOp::Add, Register::R6, Source::Immediate(1)));
        code.push(alu(AluOp::And, Register::R2, Source::Immediate(!1)));
        code.push(Instruction::JumpIf {
            condition: Condition::Less,
            width: Width::W64,
            left: Register::R6,
            right: Source::Immediate(2),
            offset: 1,
        });
        code.push(Instruction::Exit {});
        let back = 2 - code.len() as i32 - 1;
        code.push(Instruction::Jump { distance: Distance::Far(back) });
        let load = || Program::load(&encode(&code), &helpers()).expect("valid");
        // Which blocks are left out, the first time at least.
        let run = |program: &Program, skipped: u64| {
            let bytes = [0x5a; 8];
            let mut input = Input { fuel: 1_000_000, ..Input::default() };
            input.arguments[0] = input.memory.share(&bytes);
            input.arguments[1] = skipped;
            program.run(&mut input)
        };
        let program = load();
        for mode in [Mode::Checked, Mode::Verified] {
            let mut compiled = load();
            let options = CompileOptions::default();
            compiled.code = Some(compile_with(&compiled, mode, options, false).expect("memory"));
            for skipped in 0..16 {
                let expected = run(&program, skipped);
                assert!(expected.is_ok(), "{expected:?}");
                assert_eq!(run(&compiled, skipped), expected, "{block}, {mode:?}, {skipped}");
            }
        }
    }
}

/// Fewer where they are likely to be emulated.
const CASES: u32 = if cfg!(target_arch = "aarch64") { 2_500 } else { 10_000 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn compiled_programs_do_what_interpreted_ones_do(
        main in prop::collection::vec(any_step(), 0..40),
        function in prop::collection::vec(any_step(), 0..20),
        seed in 0..16usize,
    ) {
        let code = program(&main, &function, seed);
        let load = || Program::load(&encode(&code), &helpers()).expect("valid");
        let expected = run(&load());
        let text = || {
            let placed = bpf_isa::place(code.iter().copied());
            bpf_isa::text::disassemble(&placed, bpf_isa::text::Syntax::Llvm, &Default::default())
        };
        for mode in [Mode::Checked, Mode::Verified] {
            if mode == Mode::Verified && expected.is_err() {
                continue;
            }
            for blind_constants in [false, true] {
                for plain in [false, true] {
                    let options = CompileOptions { blind_constants };
                    let mut compiled = load();
                    compiled.code = Some(compile_with(&compiled, mode, options, plain).expect("memory"));
                    let result = run(&compiled);
                    prop_assert_eq!(
                        &result, &expected,
                        "{:?}, blind {}, plain {}\n{}", mode, blind_constants, plain, text()
                    );
                }
            }
        }
    }
}

//! Pairs of operations that compilers like, made one: half the way to find the code for both.
//!
//! A pair takes the place of its first operation; the second stays where it is, and the pair steps
//! over it. So no position changes, and a jump to the second operation still finds it.

use crate::op::{Op, for_each_family};

macro_rules! define_pair {
    (
        alu { $($alu:tt)* }
        conditions { $($conditions:tt)* }
        loads { $($loads:tt)* }
        stores { $($stores:tt)* }
        copies { $($copied:ident: $copied_i:ident $copied_r:ident $copy_i:ident $copy_r:ident;)* }
        counters {
            $($counted:ident: $counted_i:ident $counted_r:ident $count_i:ident $count_r:ident;)*
        }
    ) => {
        /// What does the work of both.
        fn pair(first: Op, second: Op) -> Option<Op> {
            Some(match (first, second) {
                $(
                    (Op::Mov64R { dst, src }, Op::$copied_i { dst: same, imm }) if dst == same => {
                        Op::$copy_i { dst, src, imm }
                    }
                    // The second operand must not be what the move has just written.
                    (Op::Mov64R { dst, src }, Op::$copied_r { dst: same, src: other })
                        if dst == same && dst != other =>
                    {
                        Op::$copy_r { dst, src, other }
                    }
                )*
                $(
                    (Op::Add64I { dst, imm: add }, Op::$counted_i { left, imm, target }) => {
                        Op::$count_i { dst, add, left, imm, target }
                    }
                    (Op::Add64I { dst, imm: add }, Op::$counted_r { left, right, target }) => {
                        Op::$count_r { dst, add, left, right, target }
                    }
                )*
                (Op::Add64I { dst, imm }, Op::Jump { target }) => Op::AddJumpI { dst, imm, target },
                (Op::Add64R { dst, src }, Op::Jump { target }) => Op::AddJumpR { dst, src, target },
                _ => return None,
            })
        }
    };
}

for_each_family!(define_pair);

pub fn fuse(ops: &mut [Op]) {
    let mut position = 0;
    while let Some(&[first, second]) = ops.get(position..position + 2) {
        match pair(first, second) {
            Some(op) => {
                ops[position] = op;
                // The second half can't begin another pair: it would be passed over.
                position += 2;
            }
            None => position += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use bpf_isa::{AluOp, Condition, Instruction, Register, Source, Width, encode};
    use proptest::prelude::*;

    use super::*;
    use crate::platform::Helper;
    use crate::semantics::{alu, holds};
    use crate::{Input, Program};

    /// Programs of which most neighbours are pairs.
    fn any_instruction() -> impl Strategy<Value = Instruction> {
        let register = || (0..4usize).prop_map(|index| Register::ALL[index]);
        let source = || {
            prop_oneof![
                (-3..4).prop_map(Source::Immediate),
                any::<i32>().prop_map(Source::Immediate),
                register().prop_map(Source::Register),
            ]
        };
        let op = prop::sample::select(vec![
            AluOp::Mov,
            AluOp::Mov,
            AluOp::Mov,
            AluOp::Add,
            AluOp::Add,
            AluOp::Sub,
            AluOp::Mul,
            AluOp::Or,
            AluOp::And,
            AluOp::Lsh,
            AluOp::Rsh,
            AluOp::Xor,
            AluOp::Arsh,
        ]);
        let condition = prop::sample::select(vec![
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
        ]);
        let width = prop::sample::select(vec![Width::W64, Width::W64, Width::W32]);
        prop_oneof![
            4 => (op, width.clone(), register(), source())
                .prop_map(|(op, width, dst, src)| Instruction::Alu { op, width, dst, src }),
            1 => (condition, width, register(), source(), 0..3i16).prop_map(
                |(condition, width, left, right, offset)| Instruction::JumpIf {
                    condition,
                    width,
                    left,
                    right,
                    offset,
                }
            ),
            1 => (0..3i16).prop_map(|offset| Instruction::Jump {
                distance: bpf_isa::Distance::Near(offset)
            }),
        ]
    }

    /// A second, obvious interpreter for such programs.
    fn expected(program: &[Instruction]) -> u64 {
        let mut registers = [0u64; 11];
        let mut position = 0;
        while let Some(instruction) = program.get(position) {
            position += 1;
            let value = |source, registers: &[u64; 11]| match source {
                Source::Immediate(imm) => imm as u64,
                Source::Register(register) => registers[usize::from(register.number())],
            };
            match *instruction {
                Instruction::Alu { op, width, dst, src } => {
                    let dst = usize::from(dst.number());
                    registers[dst] = alu(op, width, registers[dst], value(src, &registers));
                }
                Instruction::JumpIf { condition, width, left, right, offset } => {
                    let left = registers[usize::from(left.number())];
                    if holds(condition, width, left, value(right, &registers)) {
                        position += offset as usize;
                    }
                }
                Instruction::Jump { distance } => position += distance.slots() as usize,
                _ => break,
            }
        }
        registers[0]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn pairs_do_what_their_halves_do(mut program in prop::collection::vec(any_instruction(), 1..40)) {
            program.extend([Instruction::Exit {}; 4]);
            let none = std::collections::HashMap::<i32, Helper>::new();
            let loaded = Program::load(&encode(&program), &none).expect("valid");
            prop_assert_eq!(loaded.run(&mut Input::default()), Ok(expected(&program)));
        }
    }

    #[test]
    fn what_becomes_a_pair() {
        let (a, b, c) = (Register::R1, Register::R2, Register::R3);
        let copy = Op::Mov64R { dst: a, src: b };
        let add = |src| Op::Add64R { dst: a, src };
        assert_eq!(pair(copy, add(c)), Some(Op::CopyAddR { dst: a, src: b, other: c }));
        assert_eq!(pair(copy, add(b)), Some(Op::CopyAddR { dst: a, src: b, other: b }));
        assert_eq!(pair(copy, add(a)), None);
        assert_eq!(pair(copy, Op::Add64R { dst: b, src: c }), None);
        // A loop's second half is still there for a jump.
        let jump = Op::Jump { target: 1 };
        let mut ops = [Op::Add64I { dst: a, imm: 1 }, jump, Op::End];
        fuse(&mut ops);
        assert_eq!(ops, [Op::AddJumpI { dst: a, imm: 1, target: 1 }, jump, Op::End]);
    }
}

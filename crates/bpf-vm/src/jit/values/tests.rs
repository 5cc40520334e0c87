//! Each improvement: what stands there before, what is left, and that both compute the same.

use bpf_isa::encode;
use bpf_isa::text::{Syntax, assemble};

use super::super::bound::Bound;
use super::super::{CompileOptions, Mode, compile, dead, flow, ir, select};
use super::improve;
use crate::platform::Helper;
use crate::{Input, Program};

/// What a verified program becomes, without the exit, in few words.
fn check(source: &str, expected: &[&str]) {
    let bytes = encode(&assemble(&format!("{source}\nexit"), Syntax::Llvm).expect(source));
    let none = std::collections::HashMap::<i32, Helper>::new();
    let load = || Program::load(&bytes, &none).expect(source);
    let program = load();
    let mut code = ir::lower(&program);
    select::form(&program, &mut code);
    let flow = flow::Flow::new(&program, &code);
    improve(&mut code, &flow, Mode::Verified, &mut Bound::nothing());
    let mut liveness = flow::Liveness::new(&flow, &code, Mode::Verified);
    dead::remove(&mut code, &flow, &mut liveness, Mode::Verified);
    let left = code
        .iter()
        .filter(|inst| !matches!(inst, ir::Inst::Nothing | ir::Inst::Exit | ir::Inst::End));
    let left: Vec<String> = left.map(ir::Inst::to_string).collect();
    assert_eq!(left, expected, "{source}");
    same(source);
}

/// All engines compute the same.
fn same(source: &str) {
    let bytes = encode(&assemble(&format!("{source}\nexit"), Syntax::Llvm).expect(source));
    let none = std::collections::HashMap::<i32, Helper>::new();
    let load = || Program::load(&bytes, &none).expect(source);
    for numbers in [[0x0123_4567_89ab_cdef, 5, 3, 9], [u64::MAX, 1 << 31, 0xff80, 0]] {
        let run = |program: &Program| {
            let mut bytes: Vec<u8> = (0..64u8).map(|at| at.wrapping_mul(37) ^ 0x95).collect();
            let [a, b, c, d] = numbers;
            let mut input = Input { arguments: [0, a, b, c, d], ..Input::default() };
            input.arguments[0] = input.memory.lend(&mut bytes);
            let result = program.run(&mut input);
            drop(input);
            (result, bytes)
        };
        let interpreted = run(&load());
        for mode in [Mode::Checked, Mode::Verified] {
            let mut compiled = load();
            let options = CompileOptions::default();
            compiled.code = Some(compile(&compiled, mode, options).expect("memory"));
            assert_eq!(run(&compiled), interpreted, "{source}, {mode:?}");
        }
    }
}

#[test]
fn copies_and_sums() {
    check("r0 = r2\nr0 += 5", &["r0 = r2 Add 5"]);
    check("r0 = r2\nr0 &= r3", &["r0 = r2 And r3"]);
    check("r4 = r2\nr4 += 3\nr0 = r4\nr0 += 4", &["r0 = r2 Add 7"]);
    check("r4 = 7\nr0 = r2\nr0 *= r4", &["r0 = r2 Mul 7"]);
    check("r4 = 7\nr4 <<= 2\nr0 = r4", &["r0 = 28"]);
    check("r0 = r2\nr0 = r0\nr0 += 0", &["r0 = r2"]);
}

#[test]
fn cheaper_operations() {
    check("r0 = r2\nr0 *= 8", &["r0 = r2 Lsh 3"]);
    check("r0 = r2\nr0 /= 16", &["r0 = r2 Rsh 4"]);
    check("w0 = w2\nw0 %= 32", &["w0 = w2 And 31"]);
}

#[test]
fn addresses() {
    check("r4 = r1\nr4 += 8\nr0 = *(u8 *)(r4 + 1)", &["r0 = Unsigned(Byte) [r1 + 9]"]);
    check(
        "r5 &= 7\nr4 = r1\nr4 += r5\nr4 += 2\nr0 = *(u16 *)(r4 + 1)",
        &["r5 = r5 And 7", "r0 = Unsigned(Half) [r1 + r5 + 3]"],
    );
}

#[test]
fn rotations() {
    let rotated = &["w0 = w2 rotated by 4"];
    check("w0 = w2\nw0 <<= 4\nw3 = w2\nw3 >>= 28\nw0 |= w3", rotated);
    check("w0 = w2\nw0 <<= 4\nw2 >>= 28\nw0 |= w2", rotated);
    check("r0 = r2\nr0 >>= 60\nr2 <<= 4\nr0 |= r2", &["r0 = r2 rotated by 4"]);
    check(
        "r0 = r2\nr0 <<= 4\nr2 >>= 59\nr0 |= r2",
        &["r0 = r2 Lsh 4", "r2 = r2 Rsh 59", "r0 = r0 Or r2"],
    );
}

#[test]
fn extensions() {
    check("r0 = r2\nr0 <<= 32\nr0 >>= 32", &["w0 = w2"]);
    check("r2 <<= 32\nr2 s>>= 32\nr0 = r2", &["r2 = WordTo64 r2", "r0 = r2"]);
    check("r0 = r2\nr0 <<= 56\nr0 >>= 56", &["w0 = w2 And 255"]);
    check("r0 = *(u8 *)(r1 + 0)\nr0 &= 255\nw0 = w0", &["r0 = Unsigned(Byte) [r1 + 0]"]);
}

#[test]
fn numbers_from_bytes() {
    check(
        "r0 = *(u8 *)(r1 + 3)\nr0 <<= 8\nr2 = *(u8 *)(r1 + 2)\nr0 |= r2",
        &["r0 = Unsigned(Half) [r1 + 2]"],
    );
    check(
        "r0 = *(u8 *)(r1 + 2)\nr0 <<= 8\nr2 = *(u8 *)(r1 + 3)\nr0 |= r2",
        &["r0 = Unsigned(Half) swapped [r1 + 2]"],
    );
    check(
        "
        r0 = *(u8 *)(r1 + 5)
        r0 <<= 8
        r2 = *(u8 *)(r1 + 4)
        r0 |= r2
        r2 = *(u8 *)(r1 + 6)
        r2 <<= 16
        r0 |= r2
        r2 = *(u8 *)(r1 + 7)
        r2 <<= 24
        r0 |= r2",
        &["r0 = Unsigned(Word) [r1 + 4]"],
    );
    // Somebody writes in between.
    check(
        "r0 = *(u8 *)(r1 + 3)\nr0 <<= 8\n*(u8 *)(r1 + 3) = 1\nr2 = *(u8 *)(r1 + 2)\nr0 |= r2",
        &[
            "r0 = Unsigned(Byte) [r1 + 3]",
            "r0 = r0 Lsh 8",
            "Byte [r1 + 3] = 1",
            "r2 = Unsigned(Byte) [r1 + 2]",
            "r0 = r0 Or r2",
        ],
    );
}

#[test]
fn comparisons() {
    let jump = |width: &str| {
        format!(
            "JumpIf {{ condition: SignedGreater, width: {width}, left: R2, right: Immediate(7), target: 4 }}"
        )
    };
    let narrow = ["r0 = 1", "r2 = Unsigned(Byte) [r1 + 0]", &jump("W32"), "r0 = 3"];
    check("r0 = 1\nr2 = *(u8 *)(r1 + 0)\nif r2 s> 7 goto +1\nr0 += 2", &narrow);
    let wide = ["r0 = 1", "r2 = Unsigned(Double) [r1 + 0]", &jump("W64"), "r0 = 3"];
    check("r0 = 1\nr2 = *(u64 *)(r1 + 0)\nif r2 s> 7 goto +1\nr0 += 2", &wide);
}

#[test]
fn copies_that_depend_on_a_comparison() {
    let load = "r2 = Unsigned(Byte) [r1 + 0]";
    check(
        "r2 = *(u8 *)(r1 + 0)\nr0 = 1\nif r2 > r4 goto +1\nr0 = r3",
        &[load, "r0 = 1", "r0 = r3 if r2 LessOrEqual r4 else r0"],
    );
    // What is known goes on behind it.
    check(
        "r2 = *(u8 *)(r1 + 0)\nr0 = 1\nr5 = 7\nif r2 == 9 goto +1\nr0 = 3\nr0 += r5",
        &[load, "r0 = 1", "r0 = 3 if w2 NotEqual 9 else r0", "r0 = r0 Add 7"],
    );
    for (width, other) in [("r2", "r3"), ("w2", "w3"), ("r2", "-1"), ("w2", "-1"), ("r3", "r2")] {
        for condition in ["==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>="] {
            for copy in ["r0 = r4", "r0 = 5", "r0 = -5", "r0 = r2", "r0 = r3"] {
                let (source, result) = (format!("if {width} {condition} {other} goto +1"), "r0");
                let program = format!("r0 = r4\nr0 <<= 1\n{source}\n{copy}\n{result} += 1");
                same(&program);
            }
        }
    }
}

#[test]
fn what_nobody_needs() {
    check("r3 = r2\nr4 = *(u8 *)(r1 + 0)\nr0 = 1", &["r0 = 1"]);
    check("r0 = 1\nr2 = 4\nif r2 == 5 goto +1\nr0 = 2", &["r0 = 2"]);
    check("r2 += r3\nw0 = w2", &["w2 = w2 Add r3", "w0 = w2"]);
}

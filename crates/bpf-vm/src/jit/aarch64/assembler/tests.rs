//! Words that the GNU assembler (binutils 2.40) makes of the same instructions.

use bpf_isa::Width::{W32, W64};

use super::*;
use crate::jit::aarch64::register::{FOURTH, FUEL, SCRATCH, SECOND, THIRD};

const X0: Reg = Reg::X0;
const X1: Reg = Reg::X1;
const X2: Reg = Reg::X2;
const X3: Reg = Reg::X3;
const X4: Reg = Reg::X4;
const X5: Reg = Reg::X5;
const X7: Reg = Reg::X7;
const X16: Reg = Reg::X16;
const X19: Reg = Reg::X19;
const X20: Reg = Reg::X20;
const X21: Reg = Reg::X21;
const X22: Reg = Reg::X22;
const X23: Reg = Reg::X23;
const X24: Reg = Reg::X24;
const X29: Reg = Reg::X29;
const X30: Reg = Reg::X30;
const ZERO: Reg = Reg::ZERO;
const SP: Reg = Reg::SP;

/// `text` is what the words were made of.
fn check(emit: impl FnOnce(&mut Assembler), text: &str, expected: &[u32]) {
    let mut assembler = Assembler::default();
    emit(&mut assembler);
    let words = |words: &[u32]| words.iter().map(|word| format!("{word:08x}")).collect::<Vec<_>>();
    assert_eq!(words(&assembler.words), words(expected), "{text}");
}

fn mask(a: &mut Assembler, width: Width, op: Logic, dst: Reg, left: Reg, value: u64) {
    a.logic(width, op, dst, left, immediate::mask(width, value).expect("a mask"));
}

/// A jump over so many words.
fn jump(a: &mut Assembler, distance: isize, emit: impl FnOnce(&mut Assembler) -> usize) {
    let mut other = Assembler::default();
    other.words.resize(8, 0);
    let at = emit(&mut other);
    other.link(at, at.saturating_add_signed(distance));
    a.words.push(other.words[at]);
}

#[test]
fn registers() {
    check(|a| a.mov(W64, X0, X7), "mov x0, x7", &[0xaa07_03e0]);
    check(|a| a.mov(W32, X24, X3), "mov w24, w3", &[0x2a03_03f8]);
    check(|a| a.mov_sp(X29, SP), "mov x29, sp", &[0x9100_03fd]);
    check(|a| a.mov_sp(SP, SCRATCH), "mov sp, x9", &[0x9100_013f]);
    check(|a| a.arith(W64, Arith::Add, X19, X20, X1), "add x19, x20, x1", &[0x8b01_0293]);
    check(|a| a.arith(W32, Arith::Sub, X0, X1, X2), "sub w0, w1, w2", &[0x4b02_0020]);
    check(|a| a.arith(W64, Arith::Sub, X7, ZERO, X7), "neg x7, x7", &[0xcb07_03e7]);
    check(|a| a.arith(W64, Arith::Subs, ZERO, X7, X4), "cmp x7, x4", &[0xeb04_00ff]);
    check(|a| a.arith(W64, Arith::Subs, FUEL, FUEL, SCRATCH), "subs x13, x13, x9", &[0xeb09_01ad]);
    check(|a| a.arith(W64, Arith::And, X0, X1, X2), "and x0, x1, x2", &[0x8a02_0020]);
    check(|a| a.arith(W32, Arith::Or, X3, X4, X5), "orr w3, w4, w5", &[0x2a05_0083]);
    check(|a| a.arith(W64, Arith::Xor, X21, X22, X23), "eor x21, x22, x23", &[0xca17_02d5]);
    check(|a| a.arith(W32, Arith::Ands, ZERO, X0, X1), "tst w0, w1", &[0x6a01_001f]);
    check(|a| a.not(W64, X0, X1), "mvn x0, x1", &[0xaa21_03e0]);
    check(|a| a.not(W32, X3, X24), "mvn w3, w24", &[0x2a38_03e3]);
    check(|a| a.arith(W64, Arith::UnsignedDivide, X0, X1, X2), "udiv x0, x1, x2", &[0x9ac2_0820]);
    check(|a| a.arith(W32, Arith::SignedDivide, X7, X19, X20), "sdiv w7, w19, w20", &[0x1ad4_0e67]);
    check(|a| a.arith(W64, Arith::Multiply, X0, X1, X2), "mul x0, x1, x2", &[0x9b02_7c20]);
    check(|a| a.arith(W32, Arith::Multiply, X24, X22, X7), "mul w24, w22, w7", &[0x1b07_7ed8]);
    check(|a| a.multiply_subtract(W64, X0, SECOND, X2, X3), "msub x0, x10, x2, x3", &[0x9b02_8d40]);
    check(
        |a| a.multiply_subtract(W32, X7, SECOND, X22, X0),
        "msub w7, w10, w22, w0",
        &[0x1b16_8147],
    );
    check(|a| a.multiply_add(X7, SCRATCH, THIRD, SECOND), "madd x7, x9, x11, x10", &[0x9b0b_2927]);
    check(|a| a.add_shifted(X7, SECOND, SCRATCH, 3), "add x7, x10, x9, lsl #3", &[0x8b09_0d47]);
    check(|a| a.select(Cond::Above, X0, X1, X2), "csel x0, x1, x2, hi", &[0x9a82_8020]);
    check(
        |a| a.select(Cond::LessOrEqual, X19, SECOND, X19),
        "csel x19, x10, x19, le",
        &[0x9a93_d153],
    );
}

#[test]
fn sums_with_immediates() {
    check(|a| a.add(W64, X0, X1, 0, THIRD), "add x0, x1, #0", &[0x9100_0020]);
    check(|a| a.add(W64, X0, X1, 4095, THIRD), "add x0, x1, #4095", &[0x913f_fc20]);
    check(|a| a.add(W32, X0, X1, -1, THIRD), "sub w0, w1, #1", &[0x5100_0420]);
    check(|a| a.add(W64, X24, X24, -512, THIRD), "sub x24, x24, #512", &[0xd108_0318]);
    check(|a| a.add(W64, SP, SP, 32, THIRD), "add sp, sp, #32", &[0x9100_83ff]);
    check(|a| a.add(W64, X0, X1, 0x5000, THIRD), "add x0, x1, #5, lsl #12", &[0x9140_1420]);
    check(|a| a.add(W64, X0, X1, -0xff_f000, THIRD), "sub x0, x1, #4095, lsl #12", &[0xd17f_fc20]);
    check(
        |a| a.add(W64, X0, X1, 0x12_3456, THIRD),
        "add x0, x1, #0x123, lsl #12; add x0, x0, #0x456",
        &[0x9144_8c20, 0x9111_5800],
    );
    check(
        |a| a.add(W32, X0, X1, 0x0123_4567, THIRD),
        "mov w11, #0x4567; movk w11, #0x123, lsl #16; add w0, w1, w11",
        &[0x5288_aceb, 0x72a0_246b, 0x0b0b_0020],
    );
    check(|a| a.subs_imm(W64, FUEL, FUEL, (12, false)), "subs x13, x13, #12", &[0xf100_31ad]);
    check(|a| a.subs_imm(W32, ZERO, X1, (1, false)), "cmp w1, #1", &[0x7100_043f]);
    check(|a| a.subs_imm(W64, ZERO, X19, (3, true)), "cmp x19, #3, lsl #12", &[0xf140_0e7f]);
    check(|a| a.compare_negative(W64, X19, (7, false)), "cmn x19, #7", &[0xb100_1e7f]);
    check(|a| a.compare_negative(W32, X0, (1, true)), "cmn w0, #1, lsl #12", &[0x3140_041f]);
}

#[test]
fn masks() {
    check(|a| mask(a, W64, Logic::And, X0, X1, 0xff), "and x0, x1, #0xff", &[0x9240_1c20]);
    check(|a| mask(a, W32, Logic::And, X0, X1, 0xffff), "and w0, w1, #0xffff", &[0x1200_3c20]);
    check(
        |a| mask(a, W64, Logic::Or, X7, X19, 0x8000000000000001),
        "orr x7, x19, #0x8000000000000001",
        &[0xb241_0667],
    );
    check(
        |a| mask(a, W64, Logic::Xor, X22, X4, 0x5555555555555555),
        "eor x22, x4, #0x5555555555555555",
        &[0xd200_f096],
    );
    check(
        |a| mask(a, W32, Logic::Xor, X2, X3, 0xfffffff0),
        "eor w2, w3, #0xfffffff0",
        &[0x521c_6c62],
    );
    check(
        |a| mask(a, W64, Logic::And, X0, X0, 0xfffffffffffffff0),
        "and x0, x0, #0xfffffffffffffff0",
        &[0x927c_ec00],
    );
    check(|a| mask(a, W32, Logic::Ands, ZERO, X4, 0x10), "tst w4, #0x10", &[0x721c_009f]);
    check(|a| mask(a, W64, Logic::Ands, ZERO, X19, 0x7), "tst x19, #0x7", &[0xf240_0a7f]);
}

#[test]
fn shifts_and_extensions() {
    check(|a| a.shift_left(W64, X0, X1, 1), "lsl x0, x1, #1", &[0xd37f_f820]);
    check(|a| a.shift_left(W32, X0, X1, 31), "lsl w0, w1, #31", &[0x5301_0020]);
    check(|a| a.shift_right(false, W64, X0, X1, 63), "lsr x0, x1, #63", &[0xd37f_fc20]);
    check(|a| a.shift_right(false, W32, X7, X7, 4), "lsr w7, w7, #4", &[0x5304_7ce7]);
    check(|a| a.shift_right(true, W64, X0, X1, 7), "asr x0, x1, #7", &[0x9347_fc20]);
    check(|a| a.shift_right(true, W32, X0, X1, 31), "asr w0, w1, #31", &[0x131f_7c20]);
    check(|a| a.arith(W64, Arith::ShiftLeft, X0, X1, X2), "lsl x0, x1, x2", &[0x9ac2_2020]);
    check(|a| a.arith(W32, Arith::ShiftRight, X0, X1, X2), "lsr w0, w1, w2", &[0x1ac2_2420]);
    check(|a| a.arith(W64, Arith::ShiftRightSigned, X0, X1, X2), "asr x0, x1, x2", &[0x9ac2_2820]);
    check(|a| a.rotate_right(W64, X0, X1, 56), "ror x0, x1, #56", &[0x93c1_e020]);
    check(|a| a.rotate_right(W32, X20, X3, 24), "ror w20, w3, #24", &[0x1383_6074]);
    check(|a| a.sign_extend(1, W64, X0, X1), "sxtb x0, w1", &[0x9340_1c20]);
    check(|a| a.sign_extend(2, W32, X0, X1), "sxth w0, w1", &[0x1300_3c20]);
    check(|a| a.sign_extend(4, W64, X0, X1), "sxtw x0, w1", &[0x9340_7c20]);
    check(|a| a.zero_extend(1, X0, X1), "uxtb w0, w1", &[0x5300_1c20]);
    check(|a| a.zero_extend(2, X7, X7), "uxth w7, w7", &[0x5300_3ce7]);
    check(|a| a.reverse(W64, X0, X1), "rev x0, x1", &[0xdac0_0c20]);
    check(|a| a.reverse(W32, X0, X1), "rev w0, w1", &[0x5ac0_0820]);
    check(|a| a.reverse16(X0, X1), "rev16 w0, w1", &[0x5ac0_0420]);
}

#[test]
fn constants_are_short() {
    check(|a| a.constant(X0, 0), "mov w0, #0", &[0x5280_0000]);
    check(|a| a.constant(X0, 0x1234), "mov w0, #0x1234", &[0x5282_4680]);
    check(|a| a.constant(X0, 0x1234_0000), "movz w0, #0x1234, lsl #16", &[0x52a2_4680]);
    check(|a| a.constant(X0, 0xffff_ffff), "movn w0, #0", &[0x1280_0000]);
    check(|a| a.constant(X0, 0xffff_fffe), "movn w0, #1", &[0x1280_0020]);
    check(|a| a.constant(X0, 0x1234_ffff), "movn w0, #0xedcb, lsl #16", &[0x12bd_b960]);
    check(|a| a.constant(X0, 0x00ff_ff00), "orr w0, wzr, #0xffff00", &[0x3218_3fe0]);
    check(
        |a| a.constant(X0, 0x1234_5678),
        "mov w0, #0x5678; movk w0, #0x1234, lsl #16",
        &[0x528a_cf00, 0x72a2_4680],
    );
    check(|a| a.constant(X0, u64::MAX), "movn x0, #0", &[0x9280_0000]);
    check(|a| a.constant(X0, 0xffff_ffff_ffff_fff0), "movn x0, #15", &[0x9280_01e0]);
    check(|a| a.constant(X0, 1 << 40), "movz x0, #0x100, lsl #32", &[0xd2c0_2000]);
    check(|a| a.constant(X0, 0xffff_1234_ffff_ffff), "movn x0, #0xedcb, lsl #32", &[0x92dd_b960]);
    check(
        |a| a.constant(X0, 0xffff_ffff_8000_0000),
        "orr x0, xzr, #0xffffffff80000000",
        &[0xb261_83e0],
    );
    check(
        |a| a.constant(X0, 0x00ff_00ff_00ff_00ff),
        "orr x0, xzr, #0x00ff00ff00ff00ff",
        &[0xb200_9fe0],
    );
    check(
        |a| a.constant(X0, 0x5555_5555_5555_1234),
        "orr x0, xzr, #0x5555555555555555; movk x0, #0x1234",
        &[0xb200_f3e0, 0xf282_4680],
    );
    check(
        |a| a.constant(X0, 0x00c0_de00_0000_0007),
        "mov x0, #7; movk x0, #0xde00, lsl #32; movk x0, #0xc0, lsl #48",
        &[0xd280_00e0, 0xf2db_c000, 0xf2e0_1800],
    );
    check(
        |a| a.constant(X0, 0xffff_8765_4321_ffff),
        "movn x0, #0xbcde, lsl #16; movk x0, #0x8765, lsl #32",
        &[0x92b7_9bc0, 0xf2d0_eca0],
    );
    check(
        |a| a.constant(X0, 0x0123_4567_89ab_cdef),
        "mov x0, #0xcdef; movk x0, #0x89ab, lsl #16; movk x0, #0x4567, lsl #32; movk x0, #0x123, lsl #48",
        &[0xd299_bde0, 0xf2b1_3560, 0xf2c8_ace0, 0xf2e0_2460],
    );
}

#[test]
fn memory() {
    check(|a| a.load(1, X0, Mem::Offset(X1, 0)), "ldrb w0, [x1]", &[0x3940_0020]);
    check(|a| a.load(2, X0, Mem::Offset(X1, 8190)), "ldrh w0, [x1, #8190]", &[0x797f_fc20]);
    check(|a| a.load(4, X0, Mem::Offset(X23, 16)), "ldr w0, [x23, #16]", &[0xb940_12e0]);
    check(|a| a.load(8, X7, Mem::Offset(X24, -256)), "ldur x7, [x24, #-256]", &[0xf850_0307]);
    check(|a| a.load(8, X7, Mem::Offset(X24, 255)), "ldur x7, [x24, #255]", &[0xf84f_f307]);
    check(|a| a.load(8, X7, Mem::Offset(SP, 32760)), "ldr x7, [sp, #32760]", &[0xf97f_ffe7]);
    check(|a| a.load(4, X7, Mem::Offset(X0, 2)), "ldur w7, [x0, #2]", &[0xb840_2007]);
    check(|a| a.load(8, X0, Mem::Index(X1, X2)), "ldr x0, [x1, x2]", &[0xf862_6820]);
    check(|a| a.load(1, X0, Mem::Index(X1, X2)), "ldrb w0, [x1, x2]", &[0x3862_6820]);
    check(|a| a.load_signed(1, X0, Mem::Offset(X1, 1)), "ldrsb x0, [x1, #1]", &[0x3980_0420]);
    check(|a| a.load_signed(2, X0, Mem::Offset(X1, -1)), "ldursh x0, [x1, #-1]", &[0x789f_f020]);
    check(|a| a.load_signed(4, X0, Mem::Index(X1, X22)), "ldrsw x0, [x1, x22]", &[0xb8b6_6820]);
    check(|a| a.store(1, Mem::Offset(X24, -1), X0), "sturb w0, [x24, #-1]", &[0x381f_f300]);
    check(|a| a.store(2, Mem::Offset(X1, 2), ZERO), "strh wzr, [x1, #2]", &[0x7900_043f]);
    check(|a| a.store(4, Mem::Index(X1, X2), X3), "str w3, [x1, x2]", &[0xb822_6823]);
    check(|a| a.store(8, Mem::Offset(X23, 32), SCRATCH), "str x9, [x23, #32]", &[0xf900_12e9]);
    check(|a| a.load_pair((X21, X22), SP, 16), "ldp x21, x22, [sp, #16]", &[0xa941_5bf5]);
    check(|a| a.store_pair((ZERO, ZERO), X23, 112), "stp xzr, xzr, [x23, #112]", &[0xa907_7eff]);
    check(
        |a| a.store_pair32((SCRATCH, SECOND), X23, 40),
        "stp w9, w10, [x23, #40]",
        &[0x2905_2ae9],
    );
    check(|a| a.push_pair((X29, X30), 64), "stp x29, x30, [sp, #-64]!", &[0xa9bc_7bfd]);
    check(|a| a.pop_pair((X29, X30), 64), "ldp x29, x30, [sp], #64", &[0xa8c4_7bfd]);
    check(|a| a.push(X19, 16), "str x19, [sp, #-16]!", &[0xf81f_0ff3]);
    check(|a| a.pop(X19, 16), "ldr x19, [sp], #16", &[0xf841_07f3]);
}

#[test]
fn atomics() {
    check(|a| a.load_acquire(1, X0, X1), "ldarb w0, [x1]", &[0x08df_fc20]);
    check(|a| a.load_acquire(2, X0, X1), "ldarh w0, [x1]", &[0x48df_fc20]);
    check(|a| a.load_acquire(4, X0, X1), "ldar w0, [x1]", &[0x88df_fc20]);
    check(|a| a.load_acquire(8, X0, X1), "ldar x0, [x1]", &[0xc8df_fc20]);
    check(|a| a.store_release(1, X1, X0), "stlrb w0, [x1]", &[0x089f_fc20]);
    check(|a| a.store_release(8, X1, X0), "stlr x0, [x1]", &[0xc89f_fc20]);
    check(|a| a.load_exclusive(W64, X0, X1), "ldaxr x0, [x1]", &[0xc85f_fc20]);
    check(|a| a.load_exclusive(W32, X0, X1), "ldaxr w0, [x1]", &[0x885f_fc20]);
    check(|a| a.store_exclusive(W64, FOURTH, X1, X0), "stlxr w12, x0, [x1]", &[0xc80c_fc20]);
    check(|a| a.store_exclusive(W32, FOURTH, X1, X0), "stlxr w12, w0, [x1]", &[0x880c_fc20]);
    check(|a| a.atomic(Atomic::Add, W64, X0, X1, X2), "ldaddal x2, x0, [x1]", &[0xf8e2_0020]);
    check(|a| a.atomic(Atomic::Clear, W32, X0, X1, THIRD), "ldclral w11, w0, [x1]", &[0xb8eb_1020]);
    check(|a| a.atomic(Atomic::Xor, W64, X0, X1, X2), "ldeoral x2, x0, [x1]", &[0xf8e2_2020]);
    check(|a| a.atomic(Atomic::Or, W32, SECOND, X1, X2), "ldsetal w2, w10, [x1]", &[0xb8e2_302a]);
    check(|a| a.atomic(Atomic::Exchange, W64, X2, X1, X2), "swpal x2, x2, [x1]", &[0xf8e2_8022]);
    check(|a| a.compare_exchange(W64, X7, X1, X2), "casal x7, x2, [x1]", &[0xc8e7_fc22]);
    check(|a| a.compare_exchange(W32, X7, SCRATCH, X0), "casal w7, w0, [x9]", &[0x88e7_fd20]);
}

#[test]
fn jumps() {
    check(|a| jump(a, 4, |a| a.jump()), "b .+16", &[0x1400_0004]);
    check(|a| jump(a, -4, |a| a.jump()), "b .-16", &[0x17ff_fffc]);
    check(|a| jump(a, -2, |a| a.call()), "bl .-8", &[0x97ff_fffe]);
    check(|a| jump(a, 3, |a| a.jump_if(Test::Cond(Cond::Below))), "b.lo .+12", &[0x5400_0063]);
    check(
        |a| jump(a, -3, |a| a.jump_if(Test::Cond(Cond::AboveOrEqual))),
        "b.hs .-12",
        &[0x54ff_ffa2],
    );
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::Equal))), "b.eq .+4", &[0x5400_0020]);
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::NotEqual))), "b.ne .+4", &[0x5400_0021]);
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::Above))), "b.hi .+4", &[0x5400_0028]);
    check(
        |a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::BelowOrEqual))),
        "b.ls .+4",
        &[0x5400_0029],
    );
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::Greater))), "b.gt .+4", &[0x5400_002c]);
    check(
        |a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::GreaterOrEqual))),
        "b.ge .+4",
        &[0x5400_002a],
    );
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::Less))), "b.lt .+4", &[0x5400_002b]);
    check(|a| jump(a, 1, |a| a.jump_if(Test::Cond(Cond::LessOrEqual))), "b.le .+4", &[0x5400_002d]);
    check(
        |a| jump(a, 2, |a| a.jump_if(Test::Zero { width: W64, reg: X0 })),
        "cbz x0, .+8",
        &[0xb400_0040],
    );
    check(
        |a| jump(a, -2, |a| a.jump_if(Test::NotZero { width: W32, reg: X1 })),
        "cbnz w1, .-8",
        &[0x35ff_ffc1],
    );
    check(
        |a| jump(a, 2, |a| a.jump_if(Test::Set { reg: X22, bit: 63 })),
        "tbnz x22, #63, .+8",
        &[0xb7f8_0056],
    );
    check(
        |a| jump(a, -2, |a| a.jump_if(Test::Clear { reg: X0, bit: 5 })),
        "tbz x0, #5, .-8",
        &[0x362f_ffc0],
    );
    check(|a| jump(a, 2, |a| a.load_near(X16)), "ldr x16, .+8", &[0x5800_0050]);
    check(|a| a.jump_reg(X16), "br x16", &[0xd61f_0200]);
    check(|a| a.call_reg(FOURTH), "blr x12", &[0xd63f_0180]);
    check(|a| a.ret(), "ret", &[0xd65f_03c0]);
}

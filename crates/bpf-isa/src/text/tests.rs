//! What is printed and read, and what an error says.

use std::collections::BTreeMap;

use super::*;
use crate::{decode, encode, place};

/// The program's bytes and both its texts belong to each other.
fn check(bytes: &[u8], llvm: &str, mnemonic: &str) {
    let program = decode(bytes).expect(llvm);
    let instruction = program[0].instruction;
    assert_eq!(disassemble_one(&instruction, Syntax::Llvm), llvm);
    assert_eq!(disassemble_one(&instruction, Syntax::Mnemonic), mnemonic);
    for (text, syntax) in [(llvm, Syntax::Llvm), (mnemonic, Syntax::Mnemonic)] {
        let instructions = assemble(text, syntax).expect(text);
        assert_eq!(encode(&instructions), bytes, "{text}");
    }
}

/// The bytes and LLVM's texts are those of llvm-mc and llvm-objdump 19 (`-mcpu=v4`).
#[test]
fn same_as_llvm() {
    let narrow = |bytes: [u8; 8], llvm, mnemonic| check(&bytes, llvm, mnemonic);
    narrow([0x07, 0x01, 0, 0, 5, 0, 0, 0], "r1 += 0x5", "add %r1, 5");
    narrow([0x07, 0x01, 0, 0, 0xfb, 0xff, 0xff, 0xff], "r1 += -0x5", "add %r1, -5");
    narrow([0x3c, 0x21, 1, 0, 0, 0, 0, 0], "w1 s/= w2", "sdiv32 %r1, %r2");
    narrow([0x97, 0x01, 1, 0, 3, 0, 0, 0], "r1 s%= 0x3", "smod %r1, 3");
    narrow([0x84, 0x01, 0, 0, 0, 0, 0, 0], "w1 = -w1", "neg32 %r1");
    narrow([0x87, 0x01, 0, 0, 0, 0, 0, 0], "r1 = -r1", "neg %r1");
    narrow([0xbf, 0x21, 8, 0, 0, 0, 0, 0], "r1 = (s8)r2", "movsx864 %r1, %r2");
    narrow([0xbc, 0x21, 16, 0, 0, 0, 0, 0], "w1 = (s16)w2", "movsx1632 %r1, %r2");
    narrow([0xbf, 0x21, 32, 0, 0, 0, 0, 0], "r1 = (s32)r2", "movsx3264 %r1, %r2");
    narrow([0xdc, 0x01, 0, 0, 16, 0, 0, 0], "r1 = be16 r1", "be16 %r1");
    narrow([0xd4, 0x01, 0, 0, 64, 0, 0, 0], "r1 = le64 r1", "le64 %r1");
    narrow([0xd7, 0x01, 0, 0, 32, 0, 0, 0], "r1 = bswap32 r1", "bswap32 %r1");
    narrow([0x61, 0x21, 4, 0, 0, 0, 0, 0], "w1 = *(u32 *)(r2 + 0x4)", "ldxw %r1, [%r2+4]");
    narrow([0x61, 0x21, 0xfc, 0xff, 0, 0, 0, 0], "w1 = *(u32 *)(r2 - 0x4)", "ldxw %r1, [%r2-4]");
    narrow([0x91, 0x21, 0, 0, 0, 0, 0, 0], "r1 = *(s8 *)(r2 + 0x0)", "ldxsb %r1, [%r2]");
    narrow([0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0], "*(u64 *)(r10 - 0x8) = r1", "stxdw [%r10-8], %r1");
    narrow(
        [0x62, 0x0a, 0xf8, 0xff, 0xf9, 0xff, 0xff, 0xff],
        "*(u32 *)(r10 - 0x8) = -0x7",
        "stw [%r10-8], -7",
    );
    narrow([0x73, 0x1a, 0xf8, 0xff, 0, 0, 0, 0], "*(u8 *)(r10 - 0x8) = w1", "stxb [%r10-8], %r1");
    narrow(
        [0xdb, 0x21, 8, 0, 0, 0, 0, 0],
        "lock *(u64 *)(r1 + 0x8) += r2",
        "lock add [%r1+8], %r2",
    );
    narrow(
        [0xc3, 0x21, 8, 0, 0x40, 0, 0, 0],
        "lock *(u32 *)(r1 + 0x8) |= w2",
        "lock or32 [%r1+8], %r2",
    );
    narrow(
        [0xdb, 0x21, 8, 0, 1, 0, 0, 0],
        "r2 = atomic_fetch_add((u64 *)(r1 + 0x8), r2)",
        "lock fetch add [%r1+8], %r2",
    );
    narrow(
        [0xdb, 0x21, 8, 0, 0xe1, 0, 0, 0],
        "r2 = xchg_64(r1 + 0x8, r2)",
        "lock xchg [%r1+8], %r2",
    );
    narrow(
        [0xc3, 0x21, 0xf8, 0xff, 0xf1, 0, 0, 0],
        "w0 = cmpxchg32_32(r1 - 0x8, w0, w2)",
        "lock cmpxchg32 [%r1-8], %r2",
    );
    narrow([0x65, 0x01, 0xe0, 0xff, 5, 0, 0, 0], "if r1 s> 0x5 goto -0x20", "jsgt %r1, 5, -32");
    narrow([0xde, 0x21, 3, 0, 0, 0, 0, 0], "if w1 s<= w2 goto +0x3", "jsle32 %r1, %r2, +3");
    narrow([0x45, 0x01, 3, 0, 5, 0, 0, 0], "if r1 & 0x5 goto +0x3", "jset %r1, 5, +3");
    narrow([0x05, 0, 0xdc, 0xff, 0, 0, 0, 0], "goto -0x24", "ja -36");
    narrow([0x06, 0, 0, 0, 0xdb, 0xff, 0xff, 0xff], "gotol -0x25", "ja32 -37");
    narrow([0x85, 0, 0, 0, 5, 0, 0, 0], "call 0x5", "call 5");
    narrow([0x8d, 0x02, 0, 0, 0, 0, 0, 0], "callx r2", "call %r2");
    narrow([0xe5, 0, 3, 0, 0, 0, 0, 0], "may_goto +0x3", "may_goto +3");
    narrow(
        [0xbf, 0x21, 1, 0, 1, 0, 0, 0],
        "r1 = addr_space_cast(r2, 0x0, 0x1)",
        "addr_space_cast %r1, %r2, 0, 1",
    );
    narrow([0x30, 0, 0, 0, 16, 0, 0, 0], "r0 = *(u8 *)skb[0x10]", "ldabsb 16");
    narrow([0x48, 0x60, 0, 0, 0, 0, 0, 0], "r0 = *(u16 *)skb[r6]", "ldindh %r6");
    narrow([0x95, 0, 0, 0, 0, 0, 0, 0], "exit", "exit");
    check(
        &[0x18, 1, 0, 0, 0x88, 0x77, 0x66, 0x55, 0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
        "r1 = 0x1122334455667788 ll",
        "lddw %r1, 1234605616436508552",
    );
    check(
        &[0x18, 0x11, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "ld_pseudo r1, 0x1, 0x9",
        "lddw %r1, map_by_fd(9)",
    );
    check(
        &[0x18, 0x21, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0],
        "ld_pseudo r1, 0x2, 0x400000009",
        "lddw %r1, map_val(map_by_fd(9)) + 4",
    );
}

/// What LLVM prints ambiguously or not at all.
#[test]
fn beyond_llvm() {
    let narrow = |bytes: [u8; 8], llvm, mnemonic| check(&bytes, llvm, mnemonic);
    narrow([0x85, 0x10, 0, 0, 1, 0, 0, 0], "call +0x1", "call local +1");
    narrow([0x85, 0x20, 0, 0, 9, 0, 0, 0], "call kfunc 0x9", "call runtime 9");
    narrow([0x85, 0x20, 1, 0, 9, 0, 0, 0], "call kfunc 0x9@0x1", "call runtime 9@1");
    narrow([0x40, 0x60, 0, 0, 8, 0, 0, 0], "r0 = *(u32 *)skb[r6 + 0x8]", "ldindw %r6+8");
    narrow(
        [0xd3, 0x21, 0, 0, 0, 1, 0, 0],
        "w1 = load_acquire((u8 *)(r2 + 0x0))",
        "ldacqb %r1, [%r2]",
    );
    narrow(
        [0xdb, 0x21, 0, 0, 0x10, 1, 0, 0],
        "store_release((u64 *)(r1 + 0x0), r2)",
        "streldw [%r1], %r2",
    );
}

#[test]
fn also_read() {
    let same = |syntax, a, b| {
        assert_eq!(assemble(a, syntax).expect(a), assemble(b, syntax).expect(b), "{a}");
    };
    same(Syntax::Llvm, "r1 = *(u32 *)(r2 + 4)", "w1 = *(u32 *)(r2 + 0x4)");
    same(Syntax::Llvm, "*(u8 *)(r2 + 0) = r1", "*(u8 *)(r2 + 0x0) = w1");
    same(Syntax::Llvm, "lock *(u32 *)(r2 + 0) += r1", "lock *(u32 *)(r2 + 0x0) += w1");
    same(Syntax::Llvm, "r1 = 0xffffffff", "r1 = -1");
    same(Syntax::Llvm, "r1+=2 // two", "  r1  +=  2");
    same(Syntax::Llvm, "goto +0x3 <f+0x158>", "goto +3");
    same(Syntax::Llvm, "      12:\t07 01 00 00 05 00 00 00\tr1 += 0x5", "r1 += 5");
    let listed = "7:\t85 10 00 00 01 00 00 00\tcall 0x1";
    same(Syntax::Llvm, listed, "call +1");
    same(Syntax::Llvm, "0000000000000000 <f>:\n goto f", "goto -1");
    same(Syntax::Mnemonic, "swap16 %r1", "bswap16 %r1");
    same(Syntax::Mnemonic, "call helper 7", "call 7");
    same(Syntax::Mnemonic, "lock fetch xchg32 [%r1], %r2", "lock xchg32 [%r1+0], %r2");
    same(Syntax::Mnemonic, "mov %r1, 0xffffffff", "mov %r1, -1");
    same(Syntax::Mnemonic, "ja exit\nlddw %r1, 5\nexit\nexit", "ja +2\nlddw %r1, 5\nexit\nexit");
    same(Syntax::Mnemonic, "ja exit\nexit:\nmov %r0, 1\nexit", "ja +0\nmov %r0, 1\nexit");
    same(Syntax::Mnemonic, "lddw %r1, code_addr(f)\nf: exit", "lddw %r1, code_addr(+1)\nexit");
}

#[test]
fn labels_are_printed() {
    let text = "start:\nif r1 == 0x5 goto +0x2 <end>\nr2 = 0x1 ll\nend:\ngoto -0x4 <start>\n";
    let program = place(assemble(text, Syntax::Llvm).expect(text));
    let labels = BTreeMap::from([(0, "start".to_owned()), (3, "end".to_owned())]);
    assert_eq!(disassemble(&program, Syntax::Llvm, &labels), text);
    let mnemonic = disassemble(&program, Syntax::Mnemonic, &labels);
    assert_eq!(mnemonic, "start:\njeq %r1, 5, end\nlddw %r2, 1\nend:\nja start\n");
    let again = place(assemble(&mnemonic, Syntax::Mnemonic).expect(&mnemonic));
    assert_eq!(again, program);
}

fn check_error(syntax: Syntax, text: &str, error: &str) {
    assert_eq!(assemble(text, syntax).expect_err(text).to_string(), error, "{text}");
}

#[test]
fn errors_have_a_place() {
    let llvm = |text, error| check_error(Syntax::Llvm, text, error);
    let mnemonic = |text, error| check_error(Syntax::Mnemonic, text, error);
    mnemonic("mov %r0, 1\n  frob %r1", "2:3: `frob` begins no instruction");
    mnemonic("mov %r11, 1", "1:5: expected a register `%r…`, found `%r11`");
    mnemonic("add %r1 %r2", "1:9: expected `,`, found `%r2`");
    mnemonic("add %r1,", "1:9: expected a number or a register `%r…`, found the end of the line");
    mnemonic("exit 5", "1:6: expected the end of the line, found `5`");
    mnemonic("ja nowhere", "1:4: there is no label `nowhere`");
    mnemonic("a:\na:\nexit", "2:1: the label `a` exists already");
    mnemonic("ldxw %r1, [%r2+32768]", "1:16: the number does not fit into 16 bits");
    mnemonic("mov %r1, 0x100000000", "1:10: the number does not fit into 32 bits");
    mnemonic(
        "mov %r1, 12x",
        "1:10: expected a number of at most 64 bits or a register `%r…`, found `12x`",
    );
    llvm("r1 = r2 + r3", "1:9: expected the end of the line, found `+`");
    llvm("if r1 s> 5 goto 3", "1:17: expected a label or a distance with its sign, found `3`");
    llvm("r1 = -r2", "1:7: expected `r1` again, found `r2`");
    llvm(
        "ld_pseudo r1, 1, 0x100000001",
        "1:1: the second slot's immediate is 1, but must be zero in this instruction (opcode 0x18)",
    );
    llvm("é = 5", "1:1: `é` begins no instruction");
}

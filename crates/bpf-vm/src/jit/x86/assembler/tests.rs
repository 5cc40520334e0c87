//! What a decoder that isn't ours makes of the bytes.

use bpf_isa::Width::{W32, W64};
use iced_x86::{Decoder, DecoderOptions, Formatter as _, IntelFormatter};

use super::*;

fn decoded(bytes: &[u8]) -> Vec<String> {
    let mut formatter = IntelFormatter::new();
    let mut texts = Vec::new();
    for instruction in Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).iter() {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        texts.push(text);
    }
    texts
}

fn check(emit: impl FnOnce(&mut Assembler), expected: &str) {
    let mut assembler = Assembler::default();
    emit(&mut assembler);
    assert_eq!(decoded(&assembler.bytes), [expected]);
}

#[test]
fn registers() {
    check(|a| a.mov(W64, Reg::RAX, Reg::R15), "mov rax,r15");
    check(|a| a.mov(W32, Reg::R8, Reg::RDI), "mov r8d,edi");
    check(|a| a.arith(W64, Arith::Add, Reg::RBX, Reg::R13), "add rbx,r13");
    check(|a| a.arith(W32, Arith::Cmp, Reg::R9, Reg::RCX), "cmp r9d,ecx");
    check(|a| a.arith_imm(W64, Arith::Sub, Reg::RBP, 512), "sub rbp,200h");
    check(|a| a.arith_imm(W32, Arith::And, Reg::RAX, 0x1234), "and eax,1234h");
    check(|a| a.arith_imm(W64, Arith::Xor, Reg::R14, -1), "xor r14,0FFFFFFFFFFFFFFFFh");
    check(|a| a.test_imm(W64, Reg::RSI, 0x7f), "test sil,7Fh");
    check(|a| a.test_imm(W64, Reg::RSI, 0x80), "test esi,80h");
    check(|a| a.test_imm(W64, Reg::R8, -2), "test r8,0FFFFFFFFFFFFFFFEh");
    check(|a| a.imul(W64, Reg::R13, Reg::RAX), "imul r13,rax");
    check(|a| a.imul_imm(W32, Reg::RAX, Reg::R9, 1000), "imul eax,r9d,3E8h");
    check(|a| a.neg(W64, Reg::R8), "neg r8");
    check(|a| a.div(W64, true, Reg::R10), "idiv r10");
    check(|a| a.div(W32, false, Reg::R10), "div r10d");
    check(|a| a.sign_to_rdx(W64), "cqo");
    check(|a| a.sign_to_rdx(W32), "cdq");
    check(|a| a.bswap(W64, Reg::R15), "bswap r15");
    check(|a| a.swap16(Reg::R8), "rol r8w,8");
    check(|a| a.push(Reg::R12), "push r12");
    check(|a| a.pop(Reg::RBP), "pop rbp");
    check(|a| a.call_reg(Reg::R10), "call r10");
}

#[test]
fn constants_take_the_shortest_form() {
    check(|a| a.constant(Reg::R8, 0), "xor r8d,r8d");
    check(|a| a.constant(Reg::RAX, 0xffff_ffff), "mov eax,0FFFFFFFFh");
    check(|a| a.constant(Reg::R9, u64::MAX), "mov r9,0FFFFFFFFFFFFFFFFh");
    check(|a| a.constant(Reg::RBX, 1 << 40), "mov rbx,10000000000h");
}

#[test]
fn shifts() {
    check(|a| a.shift_imm(W64, Shift::Shl, Reg::RCX, 1), "shl rcx,1");
    check(|a| a.shift_imm(W32, Shift::Sar, Reg::R14, 31), "sar r14d,1Fh");
    check(|a| a.shift_cl(W64, Shift::Shr, Reg::R10), "shr r10,cl");
    check(|a| a.shift_by(W64, Shift::Shl, Reg::R8, Reg::RAX, Reg::RCX), "shlx r8,rax,rcx");
    check(|a| a.shift_by(W32, Shift::Shr, Reg::RAX, Reg::R15, Reg::R9), "shrx eax,r15d,r9d");
    check(|a| a.shift_by(W64, Shift::Sar, Reg::RSI, Reg::RDI, Reg::R13), "sarx rsi,rdi,r13");
    check(|a| a.rotate_right(W32, Reg::R13, Reg::RBX, 28), "rorx r13d,ebx,1Ch");
    check(|a| a.rotate_right(W64, Reg::RAX, Reg::R8, 1), "rorx rax,r8,1");
}

#[test]
fn extensions() {
    check(|a| a.zero_extend(1, Reg::RAX, Reg::RDI), "movzx eax,dil");
    check(|a| a.zero_extend(1, Reg::RSI, Reg::RAX), "movzx esi,al");
    check(|a| a.zero_extend(2, Reg::R13, Reg::R8), "movzx r13d,r8w");
    check(|a| a.sign_extend(1, W64, Reg::RCX, Reg::RSI), "movsx rcx,sil");
    check(|a| a.sign_extend(2, W32, Reg::RCX, Reg::R9), "movsx ecx,r9w");
    check(|a| a.sign_extend(4, W64, Reg::R8, Reg::RAX), "movsxd r8,eax");
}

#[test]
fn memory() {
    let mem = |base, offset| Mem::new(base, offset);
    check(|a| a.load(1, Reg::RAX, mem(Reg::RDI, 0)), "movzx eax,byte ptr [rdi]");
    check(|a| a.load(2, Reg::R8, mem(Reg::R12, 8)), "movzx r8d,word ptr [r12+8]");
    check(|a| a.load(4, Reg::RSI, mem(Reg::R13, 0)), "mov esi,[r13]");
    check(|a| a.load(8, Reg::RBX, mem(Reg::RBP, -512)), "mov rbx,[rbp-200h]");
    check(|a| a.load(8, Reg::RSP, mem(Reg::R12, 200)), "mov rsp,[r12+0C8h]");
    check(|a| a.load_signed(1, Reg::RAX, mem(Reg::RSP, 0)), "movsx rax,byte ptr [rsp]");
    check(|a| a.load_signed(4, Reg::R15, mem(Reg::R10, 1)), "movsxd r15,[r10+1]");
    check(|a| a.store(1, mem(Reg::RDI, 1), Reg::RSI), "mov [rdi+1],sil");
    check(|a| a.store(2, mem(Reg::R15, 1), Reg::R8), "mov [r15+1],r8w");
    check(|a| a.store(8, mem(Reg::RAX, 127), Reg::RDX), "mov [rax+7Fh],rdx");
    check(|a| a.store_imm(1, mem(Reg::RBP, -1), -1), "mov byte ptr [rbp-1],0FFh");
    check(|a| a.store_imm(2, mem(Reg::R9, 0), 0x1234), "mov word ptr [r9],1234h");
    check(|a| a.store_imm(8, mem(Reg::R9, 0), -2), "mov qword ptr [r9],0FFFFFFFFFFFFFFFEh");
    let indexed = Mem { base: Some(Reg::R13), index: Some(Reg::R14), scale: 0, offset: 0 };
    check(|a| a.load(8, Reg::RAX, indexed), "mov rax,[r13+r14]");
    let scaled = Mem { base: None, index: Some(Reg::R8), scale: 3, offset: 0 };
    check(|a| a.lea(W64, Reg::RAX, scaled), "lea rax,[r8*8]");
    check(|a| a.lea(W32, Reg::R9, mem(Reg::RCX, -1)), "lea r9d,[rcx-1]");
    check(|a| a.arith_load(W64, Arith::Cmp, Reg::R9, mem(Reg::R12, 64)), "cmp r9,[r12+40h]");
    check(|a| a.arith_mem_imm(W32, Arith::Sub, mem(Reg::R12, 16), 1), "sub dword ptr [r12+10h],1");
}

#[test]
fn atomics() {
    let mem = Mem::new(Reg::R10, 0);
    check(|a| a.lock_arith(W64, Arith::Or, mem, Reg::RDI), "lock or [r10],rdi");
    check(|a| a.lock_xadd(W32, mem, Reg::R8), "lock xadd [r10],r8d");
    check(|a| a.lock_cmpxchg(W64, mem, Reg::R11), "lock cmpxchg [r10],r11");
    check(|a| a.xchg(W32, mem, Reg::RBX), "xchg [r10],ebx");
}

#[test]
fn fillers_are_single_instructions_of_their_length() {
    for length in 1..10 {
        let mut assembler = Assembler::default();
        assembler.fill(length);
        assert_eq!(assembler.bytes.len(), length);
        assert_eq!(decoded(&assembler.bytes).len(), 1, "{length}");
    }
}

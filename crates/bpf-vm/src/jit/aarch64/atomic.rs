//! Atomic operations, in the order of all others: by one instruction, or by a loop that tries until
//! nobody came between.

use bpf_isa::{AtomicOp, Register, Size, Width};

use super::super::ir::Address;
use super::assembler::{Arith, Atomic, Cond, Test};
use super::emit::Emitter;
use super::register::{FOURTH, Reg, SECOND, THIRD, of};

impl Emitter<'_> {
    pub fn atomic(&mut self, op: AtomicOp, width: Width, address: Address, src: Reg) {
        let size = if width == Width::W64 { Size::Double } else { Size::Word };
        let base = self.aligned(address, size, true);
        let old = match op {
            AtomicOp::FetchAdd
            | AtomicOp::FetchOr
            | AtomicOp::FetchAnd
            | AtomicOp::FetchXor
            | AtomicOp::Exchange => src,
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => SECOND,
            AtomicOp::CompareExchange => return self.compare_exchange(width, base, src),
        };
        if self.job.features.lse {
            let (op, src) = match op {
                AtomicOp::Add | AtomicOp::FetchAdd => (Atomic::Add, src),
                AtomicOp::Or | AtomicOp::FetchOr => (Atomic::Or, src),
                AtomicOp::Xor | AtomicOp::FetchXor => (Atomic::Xor, src),
                AtomicOp::And | AtomicOp::FetchAnd => {
                    self.asm.not(width, THIRD, src);
                    (Atomic::Clear, THIRD)
                }
                AtomicOp::Exchange | AtomicOp::CompareExchange => (Atomic::Exchange, src),
            };
            return self.asm.atomic(op, width, old, base, src);
        }
        let again = self.asm.position();
        self.asm.load_exclusive(width, SECOND, base);
        let new = match op {
            AtomicOp::Add | AtomicOp::FetchAdd => Some(Arith::Add),
            AtomicOp::Or | AtomicOp::FetchOr => Some(Arith::Or),
            AtomicOp::And | AtomicOp::FetchAnd => Some(Arith::And),
            AtomicOp::Xor | AtomicOp::FetchXor => Some(Arith::Xor),
            AtomicOp::Exchange | AtomicOp::CompareExchange => None,
        };
        let stored = match new {
            Some(op) => {
                self.asm.arith(width, op, THIRD, SECOND, src);
                THIRD
            }
            None => src,
        };
        self.store_or_try(width, base, stored, again);
        if old != SECOND {
            self.asm.mov(width, old, SECOND);
        }
    }

    fn store_or_try(&mut self, width: Width, base: Reg, stored: Reg, again: usize) {
        self.asm.store_exclusive(width, FOURTH, base, stored);
        let at = self.asm.jump_if(Test::NotZero { width: Width::W32, reg: FOURTH });
        self.asm.link(at, again);
    }

    /// Both forms leave the upper half of `r0` clear where they compare the lower one.
    fn compare_exchange(&mut self, width: Width, base: Reg, src: Reg) {
        let r0 = of(Register::R0);
        if self.job.features.lse {
            return self.asm.compare_exchange(width, r0, base, src);
        }
        let again = self.asm.position();
        self.asm.load_exclusive(width, SECOND, base);
        self.asm.arith(width, Arith::Subs, Reg::ZERO, SECOND, r0);
        let differs = self.asm.jump_if(Test::Cond(Cond::NotEqual));
        self.store_or_try(width, base, src, again);
        self.land(differs);
        self.asm.mov(width, r0, SECOND);
    }
}

//! Elements of arrays, and values that depend on a comparison: what needs no jump of the program's.

use std::mem::offset_of;

use bpf_isa::{Condition, Source, Width};

use super::super::ir::{Address, Index};
use super::assembler::{Arith, Cond, Mem, Shift};
use super::emit::{Emitter, Right};
use super::register::{Reg, SCRATCH, SECOND, of};
use super::slow::run_field;
use crate::run::Run;

impl Emitter<'_> {
    /// The address of an element, or zero, to `rax`.
    pub fn look_up_array(&mut self, array: u32, index: Index) {
        let array = self.job.bound.arrays[array as usize];
        let mut over = None;
        match index {
            // Who wanted to know whether there is such an element has been told.
            Index::Constant(index) => {
                let start = array.start + u64::from(index) * u64::from(array.stride);
                self.asm.constant(Reg::RAX, start);
            }
            Index::Register(_) | Index::Memory(_) => {
                match index {
                    Index::Register(register) => self.asm.mov(Width::W32, SCRATCH, of(register)),
                    Index::Memory(address) => self.asm.load(4, SCRATCH, mem(address)),
                    Index::Constant(_) => {}
                }
                self.asm.constant(Reg::RAX, 0);
                self.asm.arith_imm(Width::W32, Arith::Cmp, SCRATCH, array.elements.cast_signed());
                over = Some(self.asm.jump_if_short(Cond::AboveOrEqual));
                if array.stride.is_power_of_two() {
                    let distance = array.stride.trailing_zeros() as u8;
                    self.asm.shift_imm(Width::W64, Shift::Shl, SCRATCH, distance);
                } else {
                    let stride = array.stride.cast_signed();
                    self.asm.imul_imm(Width::W64, SCRATCH, SCRATCH, stride);
                }
                self.asm.constant(Reg::RAX, array.start);
                self.asm.arith(Width::W64, Arith::Add, Reg::RAX, SCRATCH);
            }
        }
        if array.cpus > 1 {
            let place = run_field(offset_of!(Run<'_>, place));
            self.asm.imul_mem(SCRATCH, place, array.cpu_stride.cast_signed());
            self.asm.arith(Width::W64, Arith::Add, Reg::RAX, SCRATCH);
        }
        if let Some(over) = over {
            self.asm.land(over);
        }
    }

    /// `dst` becomes `value` if the comparison holds.
    pub fn select(
        &mut self,
        condition: Condition,
        width: Width,
        left: Reg,
        right: Source,
        dst: Reg,
        value: Source,
    ) {
        let value = match self.operand(value, SECOND) {
            Right::Reg(value) => value,
            Right::Imm(imm) => {
                self.asm.constant(SECOND, imm as u64);
                SECOND
            }
        };
        let cond = self.compare(condition, width, left, right, None);
        self.asm.mov_if(cond, dst, value);
    }
}

fn mem(address: Address) -> Mem {
    let (base, index) = (of(address.base), address.index.map(of));
    Mem { base: Some(base), index, scale: 0, offset: address.offset }
}

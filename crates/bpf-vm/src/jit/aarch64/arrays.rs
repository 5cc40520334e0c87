//! Elements of arrays, and values that depend on a comparison: what needs no jump of the program's.

use std::mem::offset_of;

use bpf_isa::{Condition, Register, Size, Source, Width};

use super::super::ir::Index;
use super::assembler::{Arith, Cond, Test};
use super::emit::Emitter;
use super::immediate;
use super::register::{Reg, SCRATCH, SECOND, THIRD, of};
use super::slow::run_field;
use crate::run::Run;

impl Emitter<'_> {
    /// The address of an element, or zero, to `r0`.
    pub fn look_up_array(&mut self, array: u32, index: Index) {
        let array = self.job.bound.arrays[array as usize];
        let r0 = of(Register::R0);
        let mut over = None;
        match index {
            // Who wanted to know whether there is such an element has been told.
            Index::Constant(index) => {
                let start = array.start + u64::from(index) * u64::from(array.stride);
                self.asm.constant(r0, start);
            }
            Index::Register(_) | Index::Memory(_) => {
                match index {
                    Index::Register(register) => self.asm.mov(Width::W32, SCRATCH, of(register)),
                    Index::Memory(address) => {
                        let mem = self.place(address, Size::Word);
                        self.asm.load(4, SCRATCH, mem);
                    }
                    Index::Constant(_) => {}
                }
                self.asm.constant(r0, 0);
                match immediate::sum(array.elements.into()) {
                    Some(fields) => self.asm.subs_imm(Width::W32, Reg::ZERO, SCRATCH, fields),
                    None => {
                        self.asm.constant(SECOND, array.elements.into());
                        self.asm.arith(Width::W32, Arith::Subs, Reg::ZERO, SCRATCH, SECOND);
                    }
                }
                over = Some(self.asm.jump_if(Test::Cond(Cond::AboveOrEqual)));
                self.asm.constant(SECOND, array.start);
                if array.stride.is_power_of_two() {
                    let distance = array.stride.trailing_zeros();
                    self.asm.add_shifted(r0, SECOND, SCRATCH, distance);
                } else {
                    self.asm.constant(THIRD, array.stride.into());
                    self.asm.multiply_add(r0, SCRATCH, THIRD, SECOND);
                }
            }
        }
        if array.cpus > 1 {
            self.asm.load(8, SCRATCH, run_field(offset_of!(Run<'_>, place)));
            self.asm.constant(THIRD, array.cpu_stride.into());
            self.asm.multiply_add(r0, SCRATCH, THIRD, r0);
        }
        if let Some(over) = over {
            self.land(over);
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
        let value = self.operand(value, Width::W64, SECOND);
        let value = self.in_register(value, Width::W64, SECOND);
        let cond = self.set_flags(condition, width, left, right);
        self.asm.select(cond, dst, value, dst);
    }
}

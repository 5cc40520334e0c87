//! Calls of helpers that something cheaper does, and what it can be told because it is known.

use bpf_isa::{Access, Condition, Narrow, Register, Size, Source, Width};

use super::super::Mode;
use super::super::bound::Known;
use super::super::ir::{Address, Index, Inst, Set};
use super::{Kind, Number, Values};
use crate::run::FRAME;
use crate::semantics;

/// How many words of the frame are remembered.
const REMEMBERED: usize = 16;

impl Values<'_, '_> {
    /// Whether the current call of a helper has become something else.
    pub(super) fn call_helper(&mut self, index: u32) -> bool {
        let first = self.constant(Register::R1);
        match self.bound.helper(index, first, self.mode) {
            Some(Known::Array(array)) => match self.argument(Register::R2, 4) {
                Some(key) => self.look_up_array(array, key),
                None => return false,
            },
            Some(Known::Call { call, arguments, reads }) => {
                let is_readable =
                    |(register, length)| length == 0 || self.argument(register, length).is_some();
                if !reads.into_iter().all(is_readable) {
                    return false;
                }
                self.call_direct(call, arguments);
            }
            Some(Known::Writing { call, arguments }) => {
                self.call_direct(call, arguments);
                self.frame.clear();
            }
            Some(Known::Processor) => {
                self.code[self.position] = Inst::Processor;
                self.set(Register::R0, Kind::Unknown, 32);
            }
            None => return false,
        }
        true
    }

    fn call_direct(&mut self, call: u32, arguments: Set) {
        self.code[self.position] = Inst::CallDirect { call, arguments };
        for register in Set::ARGUMENTS.with(Set::R0).iter() {
            self.set(register, Kind::Unknown, 64);
        }
        self.memory += 1;
        self.straight_from = self.position + 1;
    }

    /// Where a register points to, if so many bytes can be read there without a check.
    fn argument(&self, register: Register, length: u32) -> Option<Address> {
        let address = self.folded(Address { base: register, index: None, offset: 0 });
        let is_in_frame = address.base == Register::R10
            && address.index.is_none()
            && address.offset >= -(FRAME as i32)
            && i64::from(address.offset) + i64::from(length) <= 0;
        (is_in_frame || self.mode == Mode::Verified).then_some(address)
    }

    fn look_up_array(&mut self, array: u32, key: Address) {
        let known = self.bound.arrays[array as usize];
        let number = self.in_frame(key);
        let constant = number.and_then(|number| match self.value(number).kind {
            Kind::Constant(index) => Some(index as u32),
            _ => None,
        });
        let holder = number.and_then(|number| self.holder(number));
        let index = match (constant, holder) {
            (Some(index), _) if index >= known.elements => {
                return self.set_constant(Register::R0, 0);
            }
            (Some(index), _) if known.cpus == 1 => {
                let element = known.start + u64::from(index) * u64::from(known.stride);
                return self.set_constant(Register::R0, element);
            }
            (Some(index), _) => Index::Constant(index),
            (None, Some(register)) => Index::Register(register),
            (None, None) if self.uncover(number) => Index::Register(Register::R1),
            (None, None) => Index::Memory(key),
        };
        self.code[self.position] = Inst::LookUpArray { array, index };
        self.set(Register::R0, Kind::Unknown, 64);
    }

    /// Whether `r1` holds a value again, since the map was put over it, for which it isn't needed.
    /// What was just stored comes back from the frame some cycles later.
    fn uncover(&mut self, wanted: Option<Number>) -> bool {
        // Without a verifier, somebody might look at `r1` behind the call.
        let Some((at, held)) = self.covered.filter(|_| self.mode == Mode::Verified) else {
            return false;
        };
        let is_alone =
            |inst: &Inst| !inst.read().has(Register::R1) && inst.written() != Some(Register::R1);
        if wanted != Some(held)
            || at < self.straight_from
            || !self.code[at + 1..self.position].iter().all(is_alone)
        {
            return false;
        }
        self.code[at] = Inst::Nothing;
        self.hold(Register::R1, held);
        true
    }

    /// The word that lies there, if it was stored not long ago.
    fn in_frame(&self, address: Address) -> Option<Number> {
        if address.base != Register::R10 || address.index.is_some() {
            return None;
        }
        let known = self.frame.iter().find(|(offset, _)| *offset == address.offset);
        known.map(|(_, number)| *number)
    }

    /// Something was stored: what it may have changed is known no more.
    pub(super) fn stored(&mut self, size: Size, address: Address, value: Source) {
        if address.base != Register::R10 || address.index.is_some() {
            self.frame.clear();
            return;
        }
        let (start, end) = (address.offset, address.offset + i32::from(size.bytes()));
        self.frame.retain(|(offset, _)| *offset >= end || *offset + 4 <= start);
        if self.frame.len() == REMEMBERED {
            self.frame.clear();
        }
        let number = match value {
            Source::Register(register) if matches!(size, Size::Word | Size::Double) => {
                self.number(register)
            }
            Source::Immediate(imm) if matches!(size, Size::Word | Size::Double) => {
                self.add(Kind::Constant(imm as u64), bits_of_constant(imm as u64))
            }
            _ => return,
        };
        self.frame.push((start, number));
    }

    /// What a load finds where nothing ever changes.
    pub(super) fn constant_in_memory(&self, access: Access, address: Address) -> Option<u64> {
        if address.index.is_some() {
            return None;
        }
        let base = self.constant(address.base)?;
        let at = base.wrapping_add(i64::from(address.offset).cast_unsigned());
        let value = self.bound.constant(at, access.size())?;
        Some(match access {
            Access::Unsigned(_) => value,
            Access::Signed(Narrow::Byte) => value as i8 as u64,
            Access::Signed(Narrow::Half) => value as i16 as u64,
            Access::Signed(Narrow::Word) => value as i32 as u64,
        })
    }

    pub(super) fn select(
        &mut self,
        condition: Condition,
        width: Width,
        left: Register,
        right: Source,
        dst: Register,
        value: Source,
    ) {
        let value = match value {
            Source::Register(src) => Source::Register(self.origin(src)),
            immediate => immediate,
        };
        let right = self.source(right, width);
        if let (Some(left), Source::Immediate(right)) = (self.constant(left), right) {
            match (semantics::holds(condition, width, left, right as u64), value) {
                (false, _) => self.code[self.position] = Inst::Nothing,
                (true, Source::Register(src)) => self.copy(Width::W64, dst, src),
                (true, Source::Immediate(imm)) => self.set_constant(dst, imm as u64),
            }
            return;
        }
        let width = self.narrowest(left, right, width);
        let left = self.origin_of_width(left, width);
        self.code[self.position] = Inst::Select { condition, width, left, right, dst, value };
        let bits = match value {
            Source::Register(src) => self.of(src).bits,
            Source::Immediate(imm) => bits_of_constant(imm as u64),
        };
        let bits = bits.max(self.of(dst).bits);
        self.set(dst, Kind::Unknown, bits);
    }
}

fn bits_of_constant(value: u64) -> u8 {
    (64 - value.leading_zeros()) as u8
}

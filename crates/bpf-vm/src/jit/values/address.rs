//! Sums that only serve to find memory: the processor adds by itself.

use bpf_isa::{AluOp, Register, Width};

use super::super::ir::Address;
use super::{Kind, Number, Values};

impl Values<'_, '_> {
    pub(super) fn folded(&self, address: Address) -> Address {
        if address.index.is_some() {
            return address;
        }
        let number = self.number(address.base);
        let best = self.without_constants(number, address.offset);
        if let Some((base, offset)) = best.filter(|(base, _)| *base == Register::R10) {
            return Address { base, index: None, offset };
        }
        if let Some(sum) = self.sum(number, address.offset) {
            return sum;
        }
        match best {
            Some((base, offset)) => Address { base, index: None, offset },
            None => Address { base: self.origin(address.base), ..address },
        }
    }

    /// A register and an offset that make the value, as far back as there is one.
    fn without_constants(&self, mut number: Number, mut offset: i32) -> Option<(Register, i32)> {
        let mut best = None;
        loop {
            if let Some(register) = self.holder(number) {
                best = Some((register, offset));
            }
            let Kind::Immediate { op: AluOp::Add, width: Width::W64, left, right } =
                self.value(number).kind
            else {
                return best;
            };
            let Some(sum) = i64::from(offset).checked_add(right.cast_signed()) else { return best };
            let Ok(sum) = i32::try_from(sum) else { return best };
            (number, offset) = (left, sum);
        }
    }

    /// Two registers and an offset that make the value.
    fn sum(&self, mut number: Number, mut offset: i32) -> Option<Address> {
        while let Kind::Immediate { op: AluOp::Add, width: Width::W64, left, right } =
            self.value(number).kind
        {
            let sum = i64::from(offset).checked_add(right.cast_signed())?;
            (number, offset) = (left, i32::try_from(sum).ok()?);
        }
        let Kind::Pair { op: AluOp::Add, width: Width::W64, left, right } = self.value(number).kind
        else {
            return None;
        };
        let (base, offset) = self.without_constants(left, offset)?;
        let (index, offset) = self.without_constants(right, offset)?;
        Some(Address { base, index: Some(index), offset })
    }
}

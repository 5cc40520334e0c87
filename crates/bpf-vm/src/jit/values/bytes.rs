//! Numbers that a program puts together from bytes: loaded at once instead.
//!
//! Compilers load what may not be aligned byte by byte, shift and join. Half of what kernel's
//! compiled code has too much are these.

use bpf_isa::{AluOp, Register, Size, Source, Width};

use super::super::Mode;
use super::super::ir::{Address, Inst};
use super::{Access, Kind, Number, Values, bits_of};

/// Neighbouring bytes of memory, side by side in a value. What lies below and above is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    base: Number,
    /// Where the lowest byte of the value comes from.
    offset: i32,
    /// How many zero bytes lie below.
    below: u8,
    count: u8,
    /// From one byte of the value to the next higher one, in memory; either for a single byte.
    step: i8,
    /// The memory that was loaded from.
    memory: u32,
}

impl Bytes {
    /// The same bytes in the other order, if that is all of them.
    pub(super) fn swapped(self, count: u8) -> Option<Self> {
        let whole = self.below == 0 && self.count == count && count > 1;
        let offset = self.offset + i32::from(self.step) * i32::from(self.count - 1);
        whole.then_some(Self { offset, step: -self.step, ..self })
    }

    /// Both side by side, if they are neighbours in the value and in memory.
    fn joined(self, other: Self) -> Option<Self> {
        let (low, high) = if self.below < other.below { (self, other) } else { (other, self) };
        if low.base != high.base || low.memory != high.memory || low.below + low.count != high.below
        {
            return None;
        }
        [1i8, -1].into_iter().find_map(|step| {
            let fits = |bytes: Self| bytes.count == 1 || bytes.step == step;
            let next = low.offset + i32::from(step) * i32::from(low.count);
            (fits(low) && fits(high) && next == high.offset).then_some(Self {
                count: low.count + high.count,
                step,
                ..low
            })
        })
    }
}

impl Values<'_, '_> {
    pub(super) fn loaded(&self, size: Size, address: Address) -> Option<Bytes> {
        if address.index.is_some() {
            return None;
        }
        Some(Bytes {
            base: self.number(address.base),
            offset: address.offset,
            below: 0,
            count: size.bytes(),
            step: 1,
            memory: self.memory,
        })
    }

    /// A value shifted by whole bytes.
    pub(super) fn shifted(
        &self,
        op: AluOp,
        width: Width,
        left: Number,
        distance: u64,
    ) -> Option<Bytes> {
        let (Kind::Loaded(bytes), AluOp::Lsh) = (self.value(left).kind, op) else { return None };
        let below = bytes.below + (distance / 8) as u8;
        let fits = 8 * (below + bytes.count) <= bits_of(width);
        (distance.is_multiple_of(8) && fits).then_some(Bytes { below, ..bytes })
    }

    /// Whether the current instruction joins bytes; then it may become a load.
    pub(super) fn composed(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Register,
        left: Register,
        right: Source,
    ) -> bool {
        let (AluOp::Or | AluOp::Add | AluOp::Xor, Source::Register(right)) = (op, right) else {
            return false;
        };
        let (Kind::Loaded(left), Kind::Loaded(right)) = (self.of(left).kind, self.of(right).kind)
        else {
            return false;
        };
        let Some(bytes) = left.joined(right) else { return false };
        let end = 8 * (bytes.below + bytes.count);
        if end > bits_of(width) {
            return false;
        }
        let size = match bytes.count {
            2 => Some(Size::Half),
            4 => Some(Size::Word),
            8 => Some(Size::Double),
            _ => None,
        };
        if let (Some(size), Some(base)) = (size, self.holder(bytes.base))
            && bytes.below == 0
            && bytes.memory == self.memory
        {
            let swap = bytes.step < 0;
            let lowest =
                if swap { bytes.offset - i32::from(bytes.count - 1) } else { bytes.offset };
            let address = Address { base, index: None, offset: lowest };
            // Where accesses are checked, each of them must be able to fail on its own.
            if self.mode == Mode::Verified || address.is_in_frame(size) {
                let access = Access::Unsigned(size);
                self.code[self.position] = Inst::Load { access, swap, dst, address };
            }
        }
        self.set(dst, Kind::Loaded(bytes), end);
        true
    }
}

//! Spills around calls of helpers that leave most registers alone: kernels that know the pattern
//! remove them, so that they don't count as stack (kernel/bpf/verifier.c, Linux 6.12:
//! mark_fastcall_patterns).
//!
//! ```text
//! *(u64 *)(r10 - 8) = r1
//! call 8
//! r1 = *(u64 *)(r10 - 8)
//! ```

use bpf_isa::{Access, Instruction, Register as R, Size, Source};

use super::*;

/// `bpf_get_smp_processor_id`, which x86-64 and AArch64 inline; it clobbers r0 only.
const INLINED: Callee = Callee::Helper(8);

impl Code {
    /// Marks the spills and fills, and how deep each function's stack is without them.
    pub(super) fn find_fastcalls(&mut self) {
        for index in 0..self.functions.len() {
            let (start, end) = (self.functions[index].start, self.functions[index].end);
            let spills = (start..end).filter_map(|slot| self.spill_at(slot));
            let Some(lowest) = spills.map(|(_, offset)| offset).min() else { continue };
            let mut left = None;
            for call in start..end {
                if self.at(call) != Some(Instruction::Call { callee: INLINED }) {
                    continue;
                }
                let count = self.pairs_around(call, start, end, lowest);
                for distance in 1..=count {
                    self.points[call - distance].fastcall = true;
                    self.points[call + distance].fastcall = true;
                }
                if count > 0 {
                    let offset = i32::from(lowest) + 8 * count as i32;
                    left = Some(left.map_or(offset, |left: i32| left.min(offset)));
                }
            }
            self.functions[index].depth_without_spills = left.map(|offset| -offset);
        }
    }

    /// How many pairs of spill and fill enclose the call, from the lowest offset upwards.
    fn pairs_around(&self, call: usize, start: usize, end: usize, lowest: i16) -> usize {
        let mut seen = 0u16;
        let mut count = 0;
        for distance in 1..=5 {
            if call < start + distance || call + distance >= end {
                break;
            }
            // Only the first spill may be jumped to.
            if self.points[call - distance + 1].jump && distance > 1
                || self.points[call].jump
                || self.points[call + distance].jump
            {
                break;
            }
            let expected = lowest + 8 * (distance as i16 - 1);
            let (spill, fill) = (self.spill_at(call - distance), self.fill_at(call + distance));
            let Some((register, offset)) = spill.filter(|spill| Some(*spill) == fill) else {
                break;
            };
            let bit = 1 << register.number();
            if offset != expected || !(1..=5).contains(&register.number()) || seen & bit != 0 {
                break;
            }
            seen |= bit;
            count = distance;
        }
        count
    }

    fn spill_at(&self, slot: usize) -> Option<(R, i16)> {
        match self.at(slot)? {
            Instruction::Store {
                size: Size::Double,
                base: R::R10,
                offset,
                value: Source::Register(register),
            } => Some((register, offset)),
            _ => None,
        }
    }

    fn fill_at(&self, slot: usize) -> Option<(R, i16)> {
        match self.at(slot)? {
            Instruction::Load {
                access: Access::Unsigned(Size::Double),
                dst,
                base: R::R10,
                offset,
            } => Some((dst, offset)),
            _ => None,
        }
    }
}

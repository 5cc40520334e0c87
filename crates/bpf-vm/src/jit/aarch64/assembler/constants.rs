//! Numbers in as few instructions as there are for them.

use bpf_isa::Width;

use super::{Arith, Assembler, Logic, d, wide};
use crate::jit::aarch64::immediate;
use crate::jit::aarch64::register::Reg;

/// The forms of a move of 16 bits: to zeroes, to ones, into what is there.
const ZEROES: u32 = 0x5280_0000;
const ONES: u32 = 0x1280_0000;
const KEEP: u32 = 0x7280_0000;

impl Assembler {
    pub fn constant(&mut self, dst: Reg, value: u64) {
        let halves = |value: u64| [0, 16, 32, 48].map(|shift| (value >> shift) as u16);
        let count = |halves: &[u16], other: u16| halves.iter().filter(|h| **h != other).count();
        let all = halves(value);
        if value <= u32::MAX.into() {
            // The upper half becomes zero by itself.
            let low = &all[..2];
            if count(low, 0) <= 1 {
                return self.moves(Width::W32, dst, low, 0);
            }
            if count(low, 0xffff) <= 1 {
                return self.moves(Width::W32, dst, low, 0xffff);
            }
            if let Some(fields) = immediate::mask(Width::W32, value) {
                return self.logic(Width::W32, Logic::Or, dst, Reg::ZERO, fields);
            }
            return self.moves(Width::W32, dst, low, 0);
        }
        let other = if count(&all, 0xffff) < count(&all, 0) { 0xffff } else { 0 };
        let moves = count(&all, other);
        if moves <= 1 {
            return self.moves(Width::W64, dst, &all, other);
        }
        if let Some(fields) = immediate::mask(Width::W64, value) {
            return self.logic(Width::W64, Logic::Or, dst, Reg::ZERO, fields);
        }
        if moves > 2 {
            // All but 16 bits may be a mask.
            for (index, half) in all.into_iter().enumerate() {
                let shift = 16 * index;
                let rest = value & !(0xffff << shift);
                for fill in all.into_iter().chain([0, 0xffff]) {
                    let whole = rest | u64::from(fill) << shift;
                    if let Some(fields) = immediate::mask(Width::W64, whole) {
                        self.logic(Width::W64, Logic::Or, dst, Reg::ZERO, fields);
                        return self.move16(KEEP, Width::W64, dst, index, half);
                    }
                }
            }
        }
        self.moves(Width::W64, dst, &all, other);
    }

    /// The first move fills the rest with `other`, the next ones set what differs.
    fn moves(&mut self, width: Width, dst: Reg, halves: &[u16], other: u16) {
        let first = halves.iter().position(|half| *half != other).unwrap_or_default();
        let half = halves[first];
        match other {
            0 => self.move16(ZEROES, width, dst, first, half),
            _ => self.move16(ONES, width, dst, first, !half),
        }
        for (index, half) in halves.iter().enumerate().skip(first + 1) {
            if *half != other {
                self.move16(KEEP, width, dst, index, *half);
            }
        }
    }

    fn move16(&mut self, op: u32, width: Width, dst: Reg, index: usize, half: u16) {
        self.word(op | wide(width) | (index as u32) << 21 | u32::from(half) << 5 | d(dst));
    }

    /// The complement.
    pub fn not(&mut self, width: Width, dst: Reg, src: Reg) {
        self.arith(width, Arith::OrNot, dst, Reg::ZERO, src);
    }
}

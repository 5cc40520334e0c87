//! What registers hold, followed along each straight stretch of code: the basis of most
//! improvements.
//!
//! Every value gets a number; a register that holds the same number holds the same value. So an
//! operation is done on the register that the value was copied from, an immediate takes the place
//! of a known constant, and what several instructions compute together is recognised whatever
//! stands between them (`values/`). What becomes useless by that is left for `dead.rs`.

mod address;
mod bytes;
mod calls;
mod fold;
mod pairs;

use bpf_isa::{Access, AluOp, Register, Size, Source, Span, Width};

use self::bytes::Bytes;
use super::Mode;
use super::bound::Bound;
use super::flow::Flow;
use super::ir::{Inst, Set};
use crate::semantics;

/// The number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Constant(u64),
    /// The lower half of another.
    Low(Number),
    /// With an immediate as it is used: extended, or the distance of a shift.
    Immediate {
        op: AluOp,
        width: Width,
        left: Number,
        right: u64,
    },
    Pair {
        op: AluOp,
        width: Width,
        left: Number,
        right: Number,
    },
    Loaded(Bytes),
}

#[derive(Clone, Copy, Debug)]
struct Value {
    kind: Kind,
    /// How many of its lowest bits may be set.
    bits: u8,
    /// The instruction that computed it.
    position: u32,
}

struct Values<'a, 'b> {
    code: &'a mut [Inst],
    bound: &'a mut Bound<'b>,
    mode: Mode,
    table: Vec<Value>,
    registers: [Number; 11],
    /// Where a register's value was copied from.
    copied: [Option<Register>; 11],
    /// Changes whenever memory may.
    memory: u32,
    /// Words of the frame whose value is known, by their offset.
    frame: Vec<(i32, Number)>,
    /// The last constant that was put into `r1`: where, and what `r1` held before.
    covered: Option<(usize, Number)>,
    /// From here on, nothing leads elsewhere.
    straight_from: usize,
    position: usize,
}

pub(super) fn improve(code: &mut [Inst], flow: &Flow, mode: Mode, bound: &mut Bound<'_>) {
    let count = code.len();
    let mut values = Values {
        code,
        bound,
        mode,
        table: Vec::with_capacity(count * 2 + 16),
        registers: [Number(0); 11],
        copied: [None; 11],
        memory: 0,
        frame: Vec::new(),
        covered: None,
        straight_from: 0,
        position: 0,
    };
    values.forget_all();
    let mut entries = flow.functions.iter().map(|function| function.entry as usize).peekable();
    for position in 0..count {
        let is_entry = entries.next_if(|entry| *entry <= position).is_some();
        if !flow.is_reached(position) {
            continue;
        }
        values.position = position;
        if flow.is_target[position] || is_entry {
            values.forget_all();
        }
        values.step();
    }
}

impl Values<'_, '_> {
    fn forget_all(&mut self) {
        self.table.clear();
        self.copied = [None; 11];
        self.memory += 1;
        self.frame.clear();
        self.covered = None;
        self.straight_from = self.position;
        for register in Register::ALL {
            self.set(register, Kind::Unknown, 64);
        }
    }

    fn number(&self, register: Register) -> Number {
        self.registers[register as usize]
    }

    fn value(&self, number: Number) -> &Value {
        &self.table[number.0 as usize]
    }

    fn of(&self, register: Register) -> &Value {
        self.value(self.number(register))
    }

    fn constant(&self, register: Register) -> Option<u64> {
        match self.of(register).kind {
            Kind::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// A register that holds the value now.
    fn holder(&self, number: Number) -> Option<Register> {
        // The frame's own register first: what it leads to needs no check.
        let holds = |register: &Register| self.number(*register) == number;
        Some(Register::R10).filter(holds).or_else(|| Register::ALL.into_iter().find(holds))
    }

    fn add(&mut self, kind: Kind, bits: u8) -> Number {
        let position = self.position as u32;
        // The same operation on the same values: only what was computed lately is looked at.
        if kind != Kind::Unknown {
            let lately = self.table.len().saturating_sub(24);
            let same = self.table[lately..].iter().rposition(|value| value.kind == kind);
            if let Some(same) = same {
                return Number((lately + same) as u32);
            }
        }
        self.table.push(Value { kind, bits, position });
        Number(self.table.len() as u32 - 1)
    }

    fn set(&mut self, register: Register, kind: Kind, bits: u8) {
        let number = self.add(kind, bits);
        self.hold(register, number);
    }

    fn hold(&mut self, register: Register, number: Number) {
        self.registers[register as usize] = number;
        self.copied[register as usize] = None;
    }

    /// The register from which this one was copied, if it still holds the value.
    fn origin(&self, register: Register) -> Register {
        match self.copied[register as usize] {
            Some(origin) if self.number(origin) == self.number(register) => origin,
            _ => register,
        }
    }

    /// As [`Self::origin`], for an operation that looks at the lower half only.
    fn origin_of_width(&self, register: Register, width: Width) -> Register {
        match (width, self.of(register).kind) {
            (Width::W32, Kind::Low(whole)) => self.holder(whole),
            _ => None,
        }
        .unwrap_or_else(|| self.origin(register))
    }

    fn source(&self, source: Source, width: Width) -> Source {
        let Source::Register(register) = source else { return source };
        let constant = self.constant(register).and_then(|value| immediate(value, width));
        match constant {
            Some(imm) => Source::Immediate(imm),
            None => Source::Register(self.origin_of_width(register, width)),
        }
    }

    fn step(&mut self) {
        let inst = self.code[self.position];
        if let Inst::CallHelper { index } = inst
            && self.call_helper(index)
        {
            return;
        }
        match inst {
            Inst::Nothing => {}
            Inst::Move { width, dst, src } => self.copy(width, dst, src),
            Inst::Constant { dst, value } => self.set_constant(dst, value),
            Inst::Alu { op, width, dst, left, right } => self.alu(op, width, dst, left, right),
            Inst::Negate { width, dst, src } => {
                if let Some(value) = self.constant(src) {
                    return self.set_constant(dst, semantics::alu(AluOp::Sub, width, 0, value));
                }
                let src = self.origin(src);
                self.code[self.position] = Inst::Negate { width, dst, src };
                self.set(dst, Kind::Unknown, bits_of(width));
            }
            Inst::Extend { extension, dst, src } => {
                if let Some(value) = self.constant(src) {
                    return self.set_constant(dst, semantics::extend(extension, value));
                }
                let src = self.origin(src);
                self.code[self.position] = Inst::Extend { extension, dst, src };
                self.set(dst, Kind::Unknown, 64);
            }
            Inst::Swap { span, dst, src, .. } => self.swap(span, dst, src),
            Inst::Load { access, swap, dst, address } => {
                if let Some(value) = self.constant_in_memory(access, address) {
                    return self.set_constant(dst, value);
                }
                let address = self.folded(address);
                self.code[self.position] = Inst::Load { access, swap, dst, address };
                match access {
                    Access::Unsigned(size) if !swap => {
                        let loaded = self.loaded(size, address);
                        self.set(dst, loaded.map_or(Kind::Unknown, Kind::Loaded), 8 * size.bytes());
                    }
                    Access::Unsigned(size) => self.set(dst, Kind::Unknown, 8 * size.bytes()),
                    Access::Signed(_) => self.set(dst, Kind::Unknown, 64),
                }
            }
            Inst::Store { size, address, value } => {
                let address = self.folded(address);
                let width = if size == Size::Double { Width::W64 } else { Width::W32 };
                let value = self.source(value, width);
                self.code[self.position] = Inst::Store { size, address, value };
                self.memory += 1;
                self.stored(size, address, value);
            }
            Inst::JumpIf { condition, width, left, right, target } => {
                let right = self.source(right, width);
                if let (Some(left), Source::Immediate(right)) = (self.constant(left), right) {
                    let holds = semantics::holds(condition, width, left, right as u64);
                    self.code[self.position] =
                        if holds { Inst::Jump { target } } else { Inst::Nothing };
                } else {
                    let width = self.narrowest(left, right, width);
                    let left = self.origin_of_width(left, width);
                    self.code[self.position] =
                        Inst::JumpIf { condition, width, left, right, target };
                }
                self.straight_from = self.position + 1;
            }
            Inst::Select { condition, width, left, right, dst, value } => {
                self.select(condition, width, left, right, dst, value);
            }
            Inst::MayGoto { .. } => self.straight_from = self.position + 1,
            inst if inst.is_call() => {
                for register in Set::ARGUMENTS.with(Set::R0).iter() {
                    self.set(register, Kind::Unknown, 64);
                }
                self.memory += 1;
                self.frame.clear();
                self.straight_from = self.position + 1;
            }
            inst => {
                if let Some(register) = inst.written() {
                    self.set(register, Kind::Unknown, 64);
                }
                self.memory += 1;
                self.frame.clear();
                self.straight_from = self.position + 1;
            }
        }
    }

    /// Without signs, small numbers compare alike in both widths; the narrow one is shorter.
    fn narrowest(&self, left: Register, right: Source, width: Width) -> Width {
        let right_bits = match right {
            Source::Immediate(imm) => 64 - (imm as i64).leading_zeros(),
            Source::Register(register) => self.of(register).bits.into(),
        };
        let is_small = self.of(left).bits <= 31 && right_bits <= 31;
        if is_small { Width::W32 } else { width }
    }

    fn set_constant(&mut self, dst: Register, value: u64) {
        if dst == Register::R1 {
            self.covered = Some((self.position, self.number(dst)));
        }
        self.code[self.position] = match self.constant(dst) {
            Some(there) if there == value => Inst::Nothing,
            _ => Inst::Constant { dst, value },
        };
        self.set(dst, Kind::Constant(value), (64 - value.leading_zeros()) as u8);
    }

    fn copy(&mut self, width: Width, dst: Register, src: Register) {
        let number = self.number(src);
        let Value { kind, bits, .. } = *self.value(number);
        let cut = width == Width::W32 && bits > 32;
        if let Kind::Constant(value) = kind {
            return self.set_constant(dst, if cut { value as u32 as u64 } else { value });
        }
        let src = self.origin(src);
        if cut {
            self.code[self.position] = Inst::Move { width, dst, src };
            let low = self.add(Kind::Low(number), 32);
            return self.hold(dst, low);
        }
        self.become_copy(dst, src);
    }

    /// The current instruction only copies a register.
    fn become_copy(&mut self, dst: Register, src: Register) {
        let number = self.number(src);
        if self.number(dst) == number {
            self.code[self.position] = Inst::Nothing;
            return;
        }
        self.code[self.position] = Inst::Move { width: Width::W64, dst, src };
        self.hold(dst, number);
        self.copied[dst as usize] = Some(src);
    }

    fn swap(&mut self, span: Span, dst: Register, src: Register) {
        let number = self.number(src);
        let Value { kind, bits, .. } = *self.value(number);
        let (size, order) = (swapped_bits(span), bpf_isa::Order::Swap);
        let src = self.origin(src);
        match kind {
            Kind::Constant(value) => {
                self.set_constant(dst, semantics::reorder(order, span, value));
            }
            _ => {
                self.code[self.position] = Inst::Swap { span, dst, src, clean: bits <= size };
                let kind = match kind {
                    Kind::Loaded(bytes) => bytes.swapped(size / 8).map(Kind::Loaded),
                    _ => None,
                };
                self.set(dst, kind.unwrap_or(Kind::Unknown), size);
            }
        }
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Register, left: Register, right: Source) {
        let right = self.source(right, width);
        let number = self.number(left);
        if let (Some(left), Source::Immediate(imm)) = (self.constant(left), right) {
            return self.set_constant(dst, semantics::alu(op, width, left, imm as u64));
        }
        let left = self.origin_of_width(left, width);
        self.code[self.position] = Inst::Alu { op, width, dst, left, right };
        if self.fold(op, width, dst, left, right)
            || self.composed(op, width, dst, left, right)
            || self.pair_of_shifts(op, width, dst, left, right)
        {
            return;
        }
        // On 32 bits, the lower halves are what counts.
        let strip = |number: Number| match (width, self.value(number).kind) {
            (Width::W32, Kind::Low(whole)) => whole,
            _ => number,
        };
        let bits = self.result_bits(op, width, left, right);
        let kind = match right {
            Source::Immediate(imm) => {
                let right = match op {
                    AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                        imm as u64 & (bits_of(width) as u64 - 1)
                    }
                    _ => imm as u64,
                };
                self.shifted(op, width, number, right)
                    .map(Kind::Loaded)
                    .unwrap_or(Kind::Immediate { op, width, left: strip(number), right })
            }
            Source::Register(register) => {
                let right = strip(self.number(register));
                Kind::Pair { op, width, left: strip(number), right }
            }
        };
        self.set(dst, kind, bits);
    }
}

fn bits_of(width: Width) -> u8 {
    match width {
        Width::W32 => 32,
        Width::W64 => 64,
    }
}

fn swapped_bits(span: Span) -> u8 {
    match span {
        Span::Half => 16,
        Span::Word => 32,
        Span::Double => 64,
    }
}

/// The immediate that stands for a value, if there is one.
fn immediate(value: u64, width: Width) -> Option<i32> {
    match width {
        Width::W32 => Some(value as i32),
        Width::W64 => i32::try_from(value.cast_signed()).ok(),
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;

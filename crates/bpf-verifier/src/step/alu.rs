//! Arithmetic on registers (kernel/bpf/verifier.c, Linux 6.12: check_alu_op and what it calls).

use bpf_isa::{AluOp, Extension, Source, Width};

use super::pointer::Operands;
use crate::change::Change;
use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::stop::{Check, refuse};

pub(super) fn symbol(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::SignedDiv => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod | AluOp::SignedMod => "%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Arsh => "s>>=",
    }
}

impl Engine<'_> {
    /// The result of an operation that isn't followed.
    pub(super) fn negate(&mut self, width: Width, dst: u8) -> Check {
        let value = *self.register(dst);
        if !value.is_scalar() || !self.has(Change::Negations) {
            return self.unknown_from(dst);
        }
        let mut number = Scalar::ZERO;
        number.alu(AluOp::Sub, width, &value.number);
        if number.is_contradiction() {
            number = Scalar::UNKNOWN;
        }
        self.write(dst, Register::scalar(number))
    }

    pub(super) fn unknown_from(&mut self, dst: u8) -> Check {
        let value = self.read(dst)?;
        if self.is_secret(&value) {
            return refuse(
                Rule::PointerArithmetic,
                format!("R{dst} pointer arithmetic prohibited"),
            );
        }
        self.write(dst, Register::UNKNOWN)
    }

    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: u8, src: Source) -> Check {
        if op == AluOp::Mov {
            return match src {
                Source::Immediate(number) => {
                    let number = match width {
                        Width::W64 => i64::from(number).cast_unsigned(),
                        Width::W32 => u64::from(number.cast_unsigned()),
                    };
                    self.write(dst, Register::exactly(number))
                }
                Source::Register(src) => self.mov(width, dst, src.number()),
            };
        }
        if let Source::Register(src) = src {
            self.read(src.number())?;
        }
        self.read(dst)?;
        if let Source::Immediate(number) = src {
            let divides =
                matches!(op, AluOp::Div | AluOp::Mod | AluOp::SignedDiv | AluOp::SignedMod);
            if divides && number == 0 {
                return refuse(Rule::Division, "div by zero");
            }
            let limit = if width == Width::W64 { 64 } else { 32 };
            let shifts = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
            if shifts && !(0..limit).contains(&number) {
                return refuse(Rule::Division, format!("invalid shift {number}"));
            }
        }
        if dst == 10 {
            return refuse(Rule::FramePointer, "frame pointer is read only");
        }
        self.calculate(op, width, dst, src)
    }

    fn calculate(&mut self, op: AluOp, width: Width, dst: u8, src: Source) -> Check {
        let target = *self.register(dst);
        if target.kind == Kind::Arena {
            return Ok(());
        }
        let other = match src {
            Source::Register(src) => *self.register(src.number()),
            Source::Immediate(number) => Register::exactly(i64::from(number).cast_unsigned()),
        };
        if let Source::Register(src) = src {
            let src = src.number();
            match (target.is_pointer(), other.is_pointer()) {
                (true, true) => {
                    if op == AluOp::Sub && self.privileged() {
                        return self.write(dst, Register::UNKNOWN);
                    }
                    return refuse(
                        Rule::PointerArithmetic,
                        format!("R{dst} pointer {} pointer prohibited", symbol(op)),
                    );
                }
                (false, true) => {
                    self.mark_precise(dst)?;
                    return self.move_pointer(
                        op,
                        width,
                        dst,
                        &other,
                        &target,
                        Operands::Swapped(src),
                    );
                }
                (true, false) => {
                    self.mark_precise(src)?;
                    return self.move_pointer(
                        op,
                        width,
                        dst,
                        &target,
                        &other,
                        Operands::InPlace(src),
                    );
                }
                (false, false) => {}
            }
        } else if target.is_pointer() {
            return self.move_pointer(op, width, dst, &target, &other, Operands::Constant);
        }
        if matches!(src, Source::Register(_)) {
            self.check_number_sanitation(op, dst)?;
        }
        self.fork_on_mask(op, width, dst, &other)?;
        let target = *self.register(dst);
        let mut number = target.number;
        number.alu(op, width, &other.number);
        if number.is_contradiction() {
            number = Scalar::UNKNOWN;
        }
        let mut result = Register::scalar(number);
        // What was a copy of another register remains one, but for a constant.
        if self.privileged()
            && self.has(Change::LinkedSums)
            && op == AluOp::Add
            && width == Width::W64
            && target.id != 0
            && !target.flags.has(Flags::PLUS)
            && let Some(step) = other.number.exact().and_then(|step| i32::try_from(step).ok())
        {
            result.id = target.id;
            result.flags = Flags::PLUS;
            result.off = step;
        }
        self.write(dst, result)
    }

    /// A number that is -1 or 0 before it is masked is mostly a condition: both ways are followed.
    fn fork_on_mask(&mut self, op: AluOp, width: Width, dst: u8, other: &Register) -> Check {
        if !matches!(op, AluOp::And | AluOp::Or) || !other.number.is_exact() {
            return Ok(());
        }
        let target = self.register(dst).number;
        let whole = target.s64.min == -1 && target.s64.max == 0;
        let low = target.s32.min == -1 && target.s32.max == 0;
        if !whole && (!low || width == Width::W64) {
            return Ok(());
        }
        let set = |low_half: u32, whole_number: u64| {
            if whole {
                return Scalar::exactly(whole_number);
            }
            let mut number = target;
            Scalar::refine(
                &mut number,
                &mut Scalar::exactly(low_half.into()),
                bpf_isa::Condition::Equal,
                Width::W32,
                true,
            );
            number
        };
        let (zero, ones) = (set(0, 0), set(u32::MAX, u64::MAX));
        let previous = self.slot;
        let other_way = self.push_from(self.slot, previous)?;
        other_way.frame_mut().registers[usize::from(dst)] = Register::scalar(zero);
        self.register_mut(dst).number = ones;
        Ok(())
    }

    /// Gives a number an identity before it is copied, so that what is learnt of one copy is learnt
    /// of all.
    pub fn identify(&mut self, number: u8) {
        let register = *self.register(number);
        if !register.is_scalar() || register.number.is_exact() {
            return;
        }
        if register.flags.has(Flags::PLUS) || register.id == 0 {
            // A copy of "that number plus a constant" begins a group of its own.
            let id = self.new_id();
            let register = self.register_mut(number);
            register.id = id;
            register.flags = register.flags.without(Flags::PLUS);
            register.off = 0;
        }
    }

    fn mov(&mut self, width: Width, dst: u8, src: u8) -> Check {
        let value = self.read(src)?;
        if width == Width::W64 {
            self.identify(src);
            let value = *self.register(src);
            return self.write(dst, value);
        }
        if value.is_pointer() {
            if !self.privileged() {
                return refuse(Rule::Leak, format!("R{src} partial copy of pointer"));
            }
            let mut number = Scalar::UNKNOWN;
            number.zero_extend(4);
            return self.write(dst, Register::scalar(number));
        }
        let fits = value.number.u64.max <= u64::from(u32::MAX);
        let fits = fits && self.has(Change::NarrowCopies);
        if fits {
            self.identify(src);
        }
        let mut copy = *self.register(src);
        if !fits {
            forget_group(&mut copy);
        }
        copy.number.zero_extend(4);
        self.write(dst, copy)
    }

    pub(super) fn move_signed(&mut self, extension: Extension, dst: u8, src: u8) -> Check {
        let value = self.read(src)?;
        let (bytes, low) = match extension {
            Extension::ByteTo32 => (1, true),
            Extension::HalfTo32 => (2, true),
            Extension::ByteTo64 => (1, false),
            Extension::HalfTo64 => (2, false),
            Extension::WordTo64 => (4, false),
        };
        if value.is_pointer() {
            if !self.privileged() {
                let what = if low { "partial copy" } else { "sign-extension part" };
                return refuse(Rule::Leak, format!("R{src} {what} of pointer"));
            }
            let number = if low { Scalar::of_bytes(4) } else { Scalar::UNKNOWN };
            return self.write(dst, Register::scalar(number));
        }
        let unchanged = value.number.u64.max < 1 << (8 * bytes - 1);
        if unchanged {
            self.identify(src);
        }
        let mut copy = *self.register(src);
        if !unchanged {
            forget_group(&mut copy);
        }
        if low {
            copy.number.sign_extend_low(bytes);
        } else {
            copy.number.sign_extend(bytes);
        }
        self.write(dst, copy)
    }

    pub(super) fn cast_address(&mut self, dst: u8, src: u8, spaces: i32) -> Check {
        let value = self.read(src)?;
        if !self.maps.iter().any(|map| map.kind == bpf_object::MapType::ARENA) {
            return refuse(
                Rule::PointerArithmetic,
                "addr_space_cast insn can only be used in a program that has an associated arena",
            );
        }
        match (spaces.cast_unsigned() >> 16, spaces.cast_unsigned() & 0xffff) {
            (1, 0) => self.write(dst, Register::UNKNOWN),
            (0, 1) => {
                let _ = value;
                self.write(dst, Register { kind: Kind::Arena, ..Register::UNKNOWN })
            }
            _ => refuse(
                Rule::PointerArithmetic,
                "addr_space_cast insn can only convert between address space 1 and 0",
            ),
        }
    }
}

pub(crate) fn forget_group(register: &mut Register) {
    register.id = 0;
    register.off = 0;
    register.flags = register.flags.without(Flags::PLUS);
}

//! The stack (kernel/bpf/verifier.c, Linux 6.12: check_stack_read, check_stack_write and what
//! helpers are given of it).

use super::*;
use crate::change::Change;
use crate::stack::{Byte, MAX_STACK, Slot, byte_of, slot_of};
use crate::state::Linked;

/// What a helper does with stack memory that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fills {
    /// It reads it: it must be initialised.
    No,
    /// It fills it: what was there doesn't matter.
    Yes,
}

/// Who reads initialised memory of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The program, at an offset that isn't known.
    Load,
    /// A helper that reads it only.
    Reader,
    /// A helper that may change it.
    Writer,
}

/// The bytes that an access may touch, from the frame pointer.
#[derive(Clone, Copy, Debug)]
struct Extent {
    from: i32,
    to: i32,
    exact: bool,
}

impl Engine<'_> {
    /// Uninitialised bytes of the stack may be read (`allow_uninit_stack`).
    fn may_read_uninitialised(&self) -> bool {
        self.privileged()
    }

    pub(super) fn access_stack(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        self.touch(Touched::Stack);
        match direction {
            Direction::Read { into, signed } => {
                let (source, kind) = (" read from", false);
                let extent = self.stack_extent(base, register, off, size.into(), source, kind)?;
                if extent.exact {
                    return self.read_stack(register.frame, extent.from, size, into, signed);
                }
                let Some(into) = into else {
                    return refuse(
                        Rule::StackVariable,
                        format!(
                            "variable offset stack pointer cannot be passed into helper function; var_off={} off={off} size={size}",
                            offset_text(&register.number)
                        ),
                    );
                };
                self.check_initialised(
                    base,
                    register,
                    off,
                    size.into(),
                    false,
                    By::Load,
                    Fills::No,
                )?;
                let zero = (extent.from..extent.to)
                    .all(|at| self.stack_byte(register.frame, at) == Byte::Zero);
                let value = if zero { Register::exactly(0) } else { Register::UNKNOWN };
                self.load(Direction::Read { into: Some(into), signed }, size, value)
            }
            Direction::Write(value) => {
                let extent =
                    self.stack_extent(base, register, off, size.into(), " write to", true)?;
                if extent.exact {
                    self.write_stack(register.frame, extent.from, size, value)
                } else {
                    self.write_stack_somewhere(register.frame, extent, value)
                }
            }
        }
    }

    /// Whether the access stays inside of the frame, and where it may be.
    fn stack_extent(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u32,
        source: &str,
        writes: bool,
    ) -> Check<Extent> {
        let number = &register.number;
        let off = i64::from(off);
        let exact = number.exact().map(u64::cast_signed);
        let (least, most) = match exact {
            Some(offset) => (offset.saturating_add(off), offset.saturating_add(off)),
            None => {
                let (min, max) = (number.s64.min, number.s64.max);
                if max >= MAX_OFFSET || min <= -MAX_OFFSET {
                    return refuse(
                        Rule::StackVariable,
                        format!("invalid unbounded variable-offset{source} stack R{base}"),
                    );
                }
                (min + off, max + off)
            }
        };
        let end = most.saturating_add(size.into());
        let frame = &self.state.frames[usize::from(register.frame)];
        let below = self.may_read_uninitialised() && self.has(Change::UninitialisedStack);
        let lowest =
            if writes || below { -i64::from(MAX_STACK) } else { -(frame.stack.len() as i64 * 8) };
        if least < lowest || least > -1 || end > 0 {
            let message = match exact {
                Some(_) => format!("invalid{source} stack R{base} off={least} size={size}"),
                None => format!(
                    "invalid variable-offset{source} stack R{base} var_off={} off={off} size={size}",
                    offset_text(number)
                ),
            };
            let rule = if exact.is_some() { Rule::StackBounds } else { Rule::StackVariable };
            return refuse(rule, message);
        }
        let (from, to) = (least as i32, end as i32);
        self.deepen(register.frame, from)?;
        Ok(Extent { from, to, exact: exact.is_some() })
    }

    /// Notes how deep the function's frame is.
    pub fn deepen(&mut self, frame: u8, from: i32) -> Check {
        let frame = &self.state.frames[usize::from(frame)];
        let depth = &mut self.stack_depth[frame.function];
        *depth = (*depth).max(-from);
        if !self.code.points[self.slot].fastcall {
            let depth = &mut self.depth_without_spills[frame.function];
            *depth = (*depth).max(-from);
        }
        Ok(())
    }

    pub fn stack_byte(&self, frame: u8, at: i32) -> Byte {
        let frame = &self.state.frames[usize::from(frame)];
        frame.stack.get(slot_of(at)).map_or(Byte::Invalid, |slot| slot.bytes[byte_of(at)])
    }

    fn write_stack(&mut self, frame_number: u8, off: i32, size: u8, value: Value) -> Check {
        let index = slot_of(off);
        let frame = usize::from(frame_number);
        let is_current = frame == self.state.current();
        let slot = self.state.frames[frame].slot(index);
        if !self.privileged() && slot.is_spill() && !slot.is_spilled_scalar() && size != 8 {
            return refuse(Rule::CorruptSpill, "attempt to corrupt spilled pointer on stack");
        }
        self.destroy_dynptr_at(frame, index)?;
        let aligned = off % 8 == 0;
        match value {
            Value::Register(number) if aligned && self.keeps_number(number) => {
                let fits = self.register(number).number.u64.max >> (8 * u32::from(size) - 1) <= 1;
                if fits && self.has(Change::AllSpills) {
                    self.identify(number);
                }
                let mut register = *self.register(number);
                if !fits {
                    crate::step::alu::forget_group(&mut register);
                }
                self.spill(frame, index, register, size);
                self.remember_step(Some((frame_number, index as u8)), Linked::default());
            }
            Value::Immediate(number) if aligned && self.privileged() => {
                let number = i64::from(number).cast_unsigned();
                self.spill(frame, index, Register::exactly(number), size);
                self.remember_step(Some((frame_number, index as u8)), Linked::default());
            }
            Value::Register(number) if self.register(number).is_pointer() => {
                if size != 8 {
                    return refuse(Rule::CorruptSpill, "invalid size of register spill");
                }
                let register = *self.register(number);
                if !is_current && register.kind == Kind::Stack {
                    return refuse(
                        Rule::CorruptSpill,
                        "cannot spill pointers to stack into stack frame of the caller",
                    );
                }
                self.spill(frame, index, register, size);
                self.remember_step(Some((frame_number, index as u8)), Linked::default());
            }
            _ => {
                let zero = match value {
                    Value::Register(number) => {
                        let zero = self.register(number).is_null();
                        if zero {
                            self.mark_precise(number)?;
                        }
                        zero
                    }
                    Value::Immediate(number) => number == 0,
                    Value::Unknown => false,
                };
                let slot = self.state.frame_at_mut(frame).slot_mut(index);
                scrub(slot);
                let byte = if zero { Byte::Zero } else { Byte::Misc };
                for at in off..off + i32::from(size) {
                    slot.bytes[byte_of(at)] = byte;
                }
                if size == 8 {
                    self.mark_written(frame, index);
                }
            }
        }
        Ok(())
    }

    /// Whether what is known of a number is known when it comes back.
    fn keeps_number(&self, number: u8) -> bool {
        let register = self.register(number);
        register.is_scalar()
            && self.privileged()
            && (self.has(Change::AllSpills)
                || register.number != Scalar::UNKNOWN && !register.is_null())
    }

    /// The register as a whole, or its lowest bytes, at the slot's start.
    fn spill(&mut self, frame: usize, index: usize, register: Register, size: u8) {
        let privileged = self.privileged();
        let slot = self.state.frame_at_mut(frame).slot_mut(index);
        slot.register = register;
        let size = usize::from(size);
        for (at, byte) in slot.bytes.iter_mut().enumerate() {
            if at >= 8 - size {
                *byte = Byte::Spill;
            } else if *byte != Byte::Zero && !(privileged && *byte == Byte::Invalid) {
                *byte = Byte::Misc;
            }
        }
        if size == 8 {
            self.mark_written(frame, index);
        }
    }

    /// It isn't known where: all slots that it may be lose what they held.
    fn write_stack_somewhere(&mut self, frame_number: u8, extent: Extent, value: Value) -> Check {
        let frame = usize::from(frame_number);
        let zero = match value {
            Value::Register(number) => self.register(number).is_null(),
            Value::Immediate(number) => number == 0,
            Value::Unknown => false,
        };
        for at in extent.from..extent.to {
            self.destroy_dynptr_at(frame, slot_of(at))?;
        }
        let mut zero_used = false;
        for at in extent.from..extent.to {
            let byte = self.stack_byte(frame_number, at);
            if !self.privileged() && !matches!(byte, Byte::Misc | Byte::Zero) {
                return refuse(
                    Rule::StackVariable,
                    format!(
                        "spilled ptr in range of var-offset stack write; insn {}, ptr off: {at}",
                        self.slot
                    ),
                );
            }
            let slot = self.state.frame_at_mut(frame).slot_mut(slot_of(at));
            if zero && byte == Byte::Spill && slot.register.is_null() {
                zero_used = true;
                continue;
            }
            scrub(slot);
            let keeps_zero = zero && byte == Byte::Zero;
            zero_used |= keeps_zero;
            slot.bytes[byte_of(at)] = if keeps_zero { Byte::Zero } else { Byte::Misc };
        }
        if zero_used && let Value::Register(number) = value {
            self.mark_precise(number)?;
        }
        Ok(())
    }

    fn read_stack(
        &mut self,
        frame_number: u8,
        off: i32,
        size: u8,
        into: Option<u8>,
        signed: bool,
    ) -> Check {
        let frame = usize::from(frame_number);
        let index = slot_of(off);
        let slot = self.state.frames[frame].slot(index);
        self.mark_stack_read(frame, index);
        let direction = Direction::Read { into, signed };
        let invalid = |at: i32| {
            refuse(Rule::StackBounds, format!("invalid read from stack off {off}+{at} size {size}"))
        };
        let bytes = (0..i32::from(size)).map(|at| slot.bytes[byte_of(off + at)]);
        let first_bad = bytes.clone().position(|byte| match byte {
            Byte::Misc | Byte::Zero | Byte::Spill => false,
            Byte::Invalid => !self.may_read_uninitialised(),
            Byte::Dynptr | Byte::Iterator => true,
        });
        if !slot.is_spill() {
            if let Some(at) = first_bad {
                return invalid(at as i32);
            }
            let all_zero = bytes.clone().all(|byte| byte == Byte::Zero);
            let value = if all_zero { Register::exactly(0) } else { Register::UNKNOWN };
            return self.load(direction, size, value);
        }
        let spilled =
            slot.bytes.iter().rev().take_while(|byte| **byte == Byte::Spill).count() as u8;
        let held = slot.register;
        let history = Some((frame_number, index as u8));
        if size == 8 && spilled == 8 {
            let Some(into) = into else {
                if self.is_secret(&held) {
                    return refuse(Rule::Leak, format!("leaking pointer from stack off {off}"));
                }
                return Ok(());
            };
            self.write(into, held)?;
            self.remember_step(history, Linked::default());
            return Ok(());
        }
        if !held.is_scalar() {
            return refuse(Rule::CorruptSpill, "invalid size of register fill");
        }
        if into.is_none() {
            return Ok(());
        }
        // The lowest bytes are at the slot's start.
        if size <= spilled && off % 8 == 0 {
            let mut value = held;
            let width = if size == 8 { 64 } else { 8 * u32::from(size) };
            if width < 64 && value.number.u64.max >> width != 0 {
                crate::step::alu::forget_group(&mut value);
            }
            self.load(direction, size, value)?;
            self.remember_step(history, Linked::default());
            return Ok(());
        }
        if let Some(at) = first_bad {
            return invalid(at as i32);
        }
        let all_spilled = bytes.clone().all(|byte| byte == Byte::Spill);
        let all_zero = bytes.clone().all(|byte| byte == Byte::Zero);
        if all_spilled && held.is_null() {
            self.load(direction, size, Register::exactly(0))?;
            self.remember_step(history, Linked::default());
            return Ok(());
        }
        let value = if all_zero { Register::exactly(0) } else { Register::UNKNOWN };
        self.load(direction, size, value)
    }

    /// Memory of the stack that a helper is given, or that is read at an unknown offset
    /// (`check_stack_range_initialized`). Returns where it begins if that is known.
    #[expect(clippy::too_many_arguments, reason = "they are the terms of one rule")]
    pub fn check_initialised(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u32,
        empty_allowed: bool,
        by: By,
        fills: Fills,
    ) -> Check {
        let by_helper = by != By::Load;
        if size == 0 && !empty_allowed {
            return refuse(Rule::ArgumentSize, "invalid zero-sized read");
        }
        let (source, extra) =
            if by_helper { (" indirect access to", " indirect") } else { (" read from", "") };
        let extent = self.stack_extent(base, register, off, size, source, by_helper)?;
        if !extent.exact && !self.privileged() {
            return refuse(
                Rule::StackVariable,
                format!(
                    "R{base}{extra} variable offset stack access prohibited for !root, var_off={}",
                    offset_text(&register.number)
                ),
            );
        }
        let frame = usize::from(register.frame);
        if fills == Fills::Yes && extent.exact {
            for at in extent.from..extent.to {
                if self.stack_byte(register.frame, at) == Byte::Dynptr {
                    return refuse(
                        Rule::Dynptr,
                        format!("potential write to dynptr at off={at} disallowed"),
                    );
                }
            }
            // Written byte by byte once the other arguments are checked.
            self.filled = Some((register.frame, extent.from, size));
            return Ok(());
        }
        let changes = by == By::Writer || by == By::Reader && !self.has(Change::ReadStackStays);
        for at in extent.from..extent.to {
            let index = slot_of(at);
            let byte = self.stack_byte(register.frame, at);
            let uninitialised = byte == Byte::Invalid && self.may_read_uninitialised();
            let slot = self.state.frames[frame].slot(index);
            let is_structure = slot.is_spill() && slot.register.kind == Kind::Structure;
            let spill_allowed = slot.is_spill()
                && byte != Byte::Invalid
                && (slot.register.is_scalar()
                    || is_structure && !self.has(Change::StructuresForHelpers)
                    || self.privileged() && self.has(Change::PointersForHelpers));
            let stays = is_structure && by == By::Reader && !self.has(Change::StructuresForHelpers);
            let changes = changes && !stays;
            match byte {
                Byte::Misc => {}
                Byte::Zero | Byte::Invalid if byte == Byte::Zero || uninitialised => {
                    if changes {
                        // The helper may write there.
                        let slot = self.state.frame_at_mut(frame).slot_mut(index);
                        slot.bytes[byte_of(at)] = Byte::Misc;
                    }
                }
                _ if spill_allowed => {
                    if changes {
                        let slot = self.state.frame_at_mut(frame).slot_mut(index);
                        slot.register = Register::UNKNOWN;
                        slot.scrub();
                    }
                }
                _ => {
                    let offset = at - extent.from;
                    let message = if extent.exact {
                        format!(
                            "invalid{extra} read from stack R{base} off {}+{offset} size {size}",
                            extent.from
                        )
                    } else {
                        format!(
                            "invalid{extra} read from stack R{base} var_off {}+{offset} size {size}",
                            offset_text(&register.number)
                        )
                    };
                    return refuse(Rule::StackBounds, message);
                }
            }
            self.mark_stack_read(frame, index);
        }
        Ok(())
    }

    /// A helper has filled what was noted: its bytes are numbers.
    pub fn fill(&mut self) -> Check {
        let Some((frame, from, size)) = self.filled.take() else { return Ok(()) };
        for at in from..from + size as i32 {
            self.write_stack(frame, at, 1, Value::Unknown)?;
        }
        Ok(())
    }
}

fn scrub(slot: &mut Slot) {
    for byte in &mut slot.bytes {
        if matches!(byte, Byte::Spill | Byte::Dynptr | Byte::Iterator) {
            *byte = Byte::Misc;
        }
    }
    slot.register = Register::UNINITIALISED;
}

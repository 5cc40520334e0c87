//! Which numbers a path really depends on: found by going back from where one was needed exactly
//! to where it came from (kernel/bpf/verifier.c, Linux 6.12: __mark_chain_precision).
//!
//! Other numbers may differ between two states that are taken for the same.

use bpf_isa::{AluOp, AtomicOp, Callee, Instruction, Register as R, Source};

use crate::engine::Engine;
use crate::register::Kind;
use crate::state::{Jump, MAX_FRAMES};
use crate::stop::Check;

/// Registers and stack slots by frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needed {
    frame: usize,
    registers: [u16; MAX_FRAMES],
    stack: [u64; MAX_FRAMES],
}

/// Where the search can't say what a value came from.
#[derive(Debug)]
struct Lost;

impl Needed {
    pub fn new(frame: usize) -> Self {
        Self { frame, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.registers.iter().all(|mask| *mask == 0) && self.stack.iter().all(|mask| *mask == 0)
    }

    pub fn add_register(&mut self, frame: usize, number: usize) {
        self.registers[frame] |= 1 << number;
    }

    pub fn add_slot(&mut self, frame: usize, slot: usize) {
        if slot < 64 {
            self.stack[frame] |= 1 << slot;
        }
    }

    fn has(&self, register: R) -> bool {
        self.registers[self.frame] & 1 << register.number() != 0
    }

    fn set(&mut self, register: R) {
        if register != R::R10 {
            self.registers[self.frame] |= 1 << register.number();
        }
    }

    fn clear(&mut self, register: R) {
        self.registers[self.frame] &= !(1 << register.number());
    }

    fn arguments(&self) -> u16 {
        self.registers[self.frame] & 0x3e
    }

    /// Backwards over a call: from the callee's start to its caller.
    fn leave_callee(&mut self) -> Result<(), Lost> {
        self.frame = self.frame.checked_sub(1).ok_or(Lost)?;
        Ok(())
    }

    /// Backwards over an exit: to the callee's end.
    fn enter_callee(&mut self) -> Result<(), Lost> {
        self.frame += 1;
        if self.frame >= MAX_FRAMES { Err(Lost) } else { Ok(()) }
    }

    /// If one of a group is needed, all are.
    fn follow_links(&mut self, jump: Option<&Jump>) {
        let Some(linked) = jump.map(|jump| &jump.linked).filter(|linked| linked.count > 0) else {
            return;
        };
        let is_needed = linked.iter().any(|(frame, place)| match place.checked_sub(16) {
            Some(slot) => self.stack[frame] & 1 << slot != 0,
            None => self.registers[frame] & 1 << place != 0,
        });
        if !is_needed {
            return;
        }
        for (frame, place) in linked.iter() {
            match place.checked_sub(16) {
                Some(slot) => self.add_slot(frame, slot),
                None => self.add_register(frame, place),
            }
        }
    }
}

impl Engine<'_> {
    /// The number in the register decides something: states that differ in it aren't the same.
    pub fn mark_precise(&mut self, number: u8) -> Check {
        if self.privileged() && self.register(number).is_scalar() {
            let frame = self.state.current();
            let mut needed = Needed::new(frame);
            needed.add_register(frame, usize::from(number));
            self.mark_needed(needed);
        }
        Ok(())
    }

    pub fn mark_needed(&mut self, mut needed: Needed) {
        if needed.is_empty() || self.state.parent.is_none() {
            return;
        }
        // Without privilege all numbers are compared anyway.
        if !self.privileged() {
            return;
        }
        if self.trace_back(&mut needed).is_err() || !needed.is_empty() {
            self.mark_all_precise();
        }
    }

    /// Goes back along the path to its beginning or until nothing is needed any more.
    fn trace_back(&mut self, needed: &mut Needed) -> Result<(), Lost> {
        let mut last = self.slot;
        let mut first = self.state.first;
        let mut parent = self.state.parent;
        // The instruction that needs the value isn't looked at itself.
        let mut skip = true;
        let mut following = usize::MAX;
        let mut at: Option<u32> = None;
        loop {
            // Over the instructions since the checkpoint, if there are any.
            let empty = at.is_some_and(|id| {
                let checkpoint = &self.checkpoints[id as usize];
                checkpoint.slot == first && checkpoint.state.history.is_empty()
            });
            if !empty {
                let history = match at {
                    None => &self.state.history,
                    Some(id) => &self.checkpoints[id as usize].state.history,
                };
                let mut end = history.len();
                let mut slot = last;
                loop {
                    if skip {
                        skip = false;
                    } else {
                        let jump = end.checked_sub(1).and_then(|at| history.get(at));
                        let jump = jump.filter(|jump| jump.slot as usize == slot);
                        self.back_over(slot, following, jump, needed)?;
                    }
                    if needed.is_empty() {
                        return Ok(());
                    }
                    following = slot;
                    if slot == first && (end == 0 || (end == 1 && history[0].slot as usize == slot))
                    {
                        break;
                    }
                    match end.checked_sub(1).map(|at| &history[at]) {
                        Some(jump) if jump.slot as usize == slot => {
                            slot = jump.previous as usize;
                            end -= 1;
                        }
                        _ => slot = slot.checked_sub(1).ok_or(Lost)?,
                    }
                }
                following = first;
            }
            let Some(id) = parent else { break };
            self.mark_in(id, needed);
            if needed.is_empty() {
                return Ok(());
            }
            let checkpoint = &self.checkpoints[id as usize];
            at = Some(id);
            // A checkpoint that nothing leads to is the beginning.
            let Some(next) = checkpoint.state.parent else {
                // What is needed there comes with the start: the context, or arguments.
                let begins = checkpoint.slot == checkpoint.state.first
                    && checkpoint.state.history.is_empty();
                if begins && checkpoint.state.frames.len() == 1 {
                    needed.registers[0] &= !0x3e;
                }
                last = checkpoint.state.last;
                first = checkpoint.state.first;
                parent = None;
                continue;
            };
            last = checkpoint.state.last;
            first = checkpoint.state.first;
            parent = Some(next);
        }
        Ok(())
    }

    /// Marks what is needed in a checkpoint. What was marked before needs no further search, and
    /// what isn't a number there has no more origin.
    fn mark_in(&mut self, id: u32, needed: &mut Needed) {
        let checkpoint = &mut self.checkpoints[id as usize];
        for (index, frame) in checkpoint.state.frames.iter().enumerate() {
            for number in 0..10 {
                let bit = 1u16 << number;
                if needed.registers[index] & bit == 0 {
                    continue;
                }
                let marked = &mut checkpoint.precise_registers[index];
                if frame.registers[number].kind != Kind::Scalar || *marked & bit != 0 {
                    needed.registers[index] &= !bit;
                }
                if frame.registers[number].kind == Kind::Scalar {
                    self.marks += u64::from(*marked & bit == 0);
                    *marked |= bit;
                }
            }
            let mut slots = needed.stack[index];
            while slots != 0 {
                let slot = slots.trailing_zeros() as usize;
                let bit = 1u64 << slot;
                slots &= !bit;
                let marked = &mut checkpoint.precise_stack[index];
                let is_number = frame.slot(slot).is_spilled_scalar();
                if !is_number || *marked & bit != 0 {
                    needed.stack[index] &= !bit;
                }
                if is_number {
                    self.marks += u64::from(*marked & bit == 0);
                    *marked |= bit;
                }
            }
        }
        for index in checkpoint.state.frames.len()..MAX_FRAMES {
            needed.registers[index] = 0;
            needed.stack[index] = 0;
        }
    }

    /// The origin isn't known: every number on the way is taken to be needed.
    fn mark_all_precise(&mut self) {
        let mut parent = self.state.parent;
        while let Some(id) = parent {
            let checkpoint = &mut self.checkpoints[id as usize];
            if checkpoint.precise_stack != [u64::MAX; MAX_FRAMES] {
                self.marks += 1;
            }
            checkpoint.precise_registers = [u16::MAX; MAX_FRAMES];
            checkpoint.precise_stack = [u64::MAX; MAX_FRAMES];
            parent = checkpoint.state.parent;
        }
    }

    /// What was needed before the instruction, for what is needed after it.
    fn back_over(
        &self,
        slot: usize,
        following: usize,
        jump: Option<&Jump>,
        needed: &mut Needed,
    ) -> Result<(), Lost> {
        let Some(instruction) = self.code.at(slot) else { return Ok(()) };
        needed.follow_links(jump);
        let stack = jump.and_then(|jump| jump.stack);
        match instruction {
            Instruction::Alu { op: AluOp::Mov, dst, src, .. } => {
                if needed.has(dst) {
                    needed.clear(dst);
                    if let Source::Register(src) = src {
                        needed.set(src);
                    }
                }
            }
            Instruction::Alu { dst, src, .. } => {
                if needed.has(dst)
                    && let Source::Register(src) = src
                {
                    needed.set(src);
                }
            }
            Instruction::MoveSigned { dst, src, .. }
            | Instruction::CastAddress { dst, src, .. } => {
                if needed.has(dst) {
                    needed.clear(dst);
                    needed.set(src);
                }
            }
            Instruction::Negate { .. } | Instruction::ByteOrder { .. } => {}
            Instruction::LoadWide { dst, .. } => needed.clear(dst),
            Instruction::Load { dst, .. } | Instruction::LoadAcquire { dst, .. } => {
                Self::back_over_load(dst, stack, needed);
            }
            Instruction::Atomic { op, base, src, .. } => match op {
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
                    return Self::back_over_store(base, None, stack, needed);
                }
                AtomicOp::CompareExchange => Self::back_over_load(R::R0, stack, needed),
                _ => Self::back_over_load(src, stack, needed),
            },
            Instruction::Store { base, value, .. } => {
                let value = match value {
                    Source::Register(src) => Some(src),
                    Source::Immediate(_) => None,
                };
                return Self::back_over_store(base, value, stack, needed);
            }
            Instruction::StoreRelease { base, src, .. } => {
                return Self::back_over_store(base, Some(src), stack, needed);
            }
            Instruction::LoadPacket { .. } => {
                if needed.has(R::R0) {
                    return Err(Lost);
                }
                if following != slot + 1 {
                    needed.enter_callee()?;
                }
            }
            Instruction::Call { callee: Callee::Local(_) } => {
                let callee = self.code.callee_at(slot).ok_or(Lost)?;
                if self.code.functions[callee].is_global {
                    needed.clear(R::R0);
                    return if needed.arguments() != 0 { Err(Lost) } else { Ok(()) };
                }
                // Back from the callee's start.
                let frame = needed.frame;
                if needed.registers[frame] & !0x3e != 0 || needed.stack[frame] != 0 {
                    return Err(Lost);
                }
                let arguments = needed.arguments();
                needed.registers[frame] = 0;
                needed.leave_callee()?;
                needed.registers[needed.frame] |= arguments;
            }
            Instruction::Call { .. }
                if self.code.points[slot].calls_callback && following != slot + 1 =>
            {
                // Back from a callback's start: its arguments are the helper's doing.
                let frame = needed.frame;
                if needed.registers[frame] & !0x3e != 0 || needed.stack[frame] != 0 {
                    return Err(Lost);
                }
                needed.registers[frame] = 0;
                needed.leave_callee()?;
            }
            Instruction::Call { .. } => {
                needed.clear(R::R0);
                if needed.arguments() != 0 {
                    return Err(Lost);
                }
            }
            Instruction::CallRegister { .. } => return Err(Lost),
            Instruction::Exit {} => {
                let call = following.checked_sub(1);
                let from_call = call.is_some_and(|call| self.code.callee_at(call).is_some());
                let result = from_call && needed.has(R::R0);
                if from_call && needed.arguments() != 0 {
                    return Err(Lost);
                }
                needed.clear(R::R0);
                needed.enter_callee()?;
                if result {
                    needed.set(R::R0);
                }
            }
            Instruction::JumpIf { left, right: Source::Register(right), .. } => {
                if needed.has(left) || needed.has(right) {
                    needed.set(left);
                    needed.set(right);
                }
            }
            Instruction::JumpIf { .. } | Instruction::Jump { .. } | Instruction::MayGoto { .. } => {
            }
        }
        needed.follow_links(jump);
        Ok(())
    }

    fn back_over_load(dst: R, stack: Option<(u8, u8)>, needed: &mut Needed) {
        if !needed.has(dst) {
            return;
        }
        needed.clear(dst);
        // What comes from other memory is unknown anyway.
        if let Some((frame, slot)) = stack {
            needed.add_slot(usize::from(frame), usize::from(slot));
        }
    }

    fn back_over_store(
        base: R,
        value: Option<R>,
        stack: Option<(u8, u8)>,
        needed: &mut Needed,
    ) -> Result<(), Lost> {
        if needed.has(base) {
            // A number that is a pointer here.
            return Err(Lost);
        }
        let Some((frame, slot)) = stack else { return Ok(()) };
        let bit = 1u64 << slot;
        let frame = usize::from(frame);
        if needed.stack[frame] & bit != 0 {
            needed.stack[frame] &= !bit;
            if let Some(value) = value {
                needed.set(value);
            }
        }
        Ok(())
    }
}

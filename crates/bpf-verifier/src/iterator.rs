//! Iterators on the stack: made, advanced, destroyed by kernel functions (kernel/bpf/verifier.c,
//! Linux 6.12: process_iter_arg, process_iter_next_call).

use bpf_object::btf::{Btf, TypeId};

use crate::engine::{Engine, Next};
use crate::kfunc_call::Call;
use crate::memory::{Direction, Value};
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::stack::{Byte, Slot, slot_of};
use crate::state::CheckpointId;
use crate::stop::{Check, refuse};

/// States of an iterator, in [`Register::size`].
pub(crate) const ACTIVE: u32 = 1;
pub(crate) const DRAINED: u32 = 2;

/// Iterators that work inside of RCU read sections only (`KF_RCU_PROTECTED`).
fn needs_rcu(name: &str) -> bool {
    name.starts_with("bpf_iter_task_") || name.starts_with("bpf_iter_css_")
}

impl Engine<'_> {
    /// The first slot of the iterator, which is the one at its lowest address, and how many it has.
    fn iterator_place(&self, register: &Register, size: u64) -> Option<(usize, usize, usize)> {
        let offset = register.exact_offset().and_then(|at| i32::try_from(at).ok())?;
        let count = usize::try_from(size / 8).ok()?;
        let fits = offset % 8 == 0 && offset >= -512 && i64::from(offset) + size as i64 <= 0;
        (fits && register.kind == Kind::Stack && count > 0)
            .then(|| (usize::from(register.frame), slot_of(offset), count))
    }

    pub(crate) fn check_iterator(
        &mut self,
        kernel: &Btf,
        call: &mut Call<'_>,
        index: usize,
        register: &Register,
        target: TypeId,
    ) -> Check {
        let structure = kernel.resolve(target).map_or(TypeId::VOID, |(id, _)| id);
        // `struct bpf_iter_num` is called `num`.
        let kind = kernel.name(structure).trim_start_matches("bpf_").to_owned();
        let size = kernel.size(structure).unwrap_or(0);
        let number = index as u8 + 1;
        if register.kind != Kind::Stack {
            return refuse(
                Rule::Iterator,
                format!("arg#{index} expected pointer to an iterator on stack"),
            );
        }
        let uninitialised =
            || refuse(Rule::Iterator, format!("expected uninitialized {kind} as arg #{index}"));
        let unprepared =
            || refuse(Rule::Iterator, format!("expected an initialized {kind} as arg #{index}"));
        let Some((frame, first, count)) = self.iterator_place(register, size) else {
            return if call.traits.makes_iterator() { uninitialised() } else { unprepared() };
        };
        if call.traits.makes_iterator() {
            let taken = (0..count).any(|at| {
                self.state.frames[frame].slot(first - at).bytes.contains(&Byte::Iterator)
            });
            if taken {
                return uninitialised();
            }
            for at in 0..count {
                let offset = at as i32 * 8;
                self.access(number, offset, 8, Direction::Write(Value::Unknown), false)?;
            }
            let protected = needs_rcu(call.name);
            let flags = match (protected, self.in_rcu_section()) {
                (false, _) => Flags::NONE,
                (true, true) => Flags::RCU,
                (true, false) => Flags::UNTRUSTED,
            };
            let reference = self.acquire();
            for at in 0..count {
                let register = Register {
                    kind: Kind::Iterator,
                    what: structure.0,
                    size: ACTIVE,
                    instance: 0,
                    flags,
                    reference: if at == 0 { reference } else { 0 },
                    ..Register::pointer(Kind::Iterator)
                };
                let slot = Slot { bytes: [Byte::Iterator; 8], register };
                *self.state.frame_at_mut(frame).slot_mut(first - at) = slot;
                self.mark_written(frame, first - at);
            }
            call.iterator = Some((frame, first));
            return Ok(());
        }
        for at in 0..count {
            let slot = self.state.frames[frame].slot(first - at);
            let whole = slot.bytes.iter().all(|byte| *byte == Byte::Iterator);
            let right =
                slot.register.what == structure.0 && (slot.register.reference != 0) == (at == 0);
            if !whole || !right {
                return unprepared();
            }
            if slot.register.flags.has(Flags::UNTRUSTED) && !call.traits.destroys_iterator() {
                return refuse(
                    Rule::Iterator,
                    format!("expected an RCU CS when using {}", call.name),
                );
            }
            self.mark_stack_read(frame, first - at);
        }
        call.iterator = Some((frame, first));
        if call.traits.destroys_iterator() {
            let reference = self.state.frames[frame].slot(first).register.reference;
            self.release(reference)?;
            for at in 0..count {
                *self.state.frame_at_mut(frame).slot_mut(first - at) = Slot::default();
                self.mark_written(frame, first - at);
            }
        }
        Ok(())
    }

    /// How far what the iterator gives is trusted.
    pub(crate) fn iterator_trust(&self, call: &Call<'_>) -> Flags {
        let protected = call.iterator.is_some_and(|(frame, first)| {
            self.state.frames[frame].slot(first).register.flags.has(Flags::RCU)
        });
        if protected { Flags::RCU } else { Flags::TRUSTED }
    }

    /// The iterator gives another element, or none: both are followed. Where it gives one, what
    /// changes from turn to turn is taken to be unknown, so that the loop's end is found.
    pub(crate) fn advance_iterator(&mut self, call: &Call<'_>) -> Check<Next> {
        let Some((frame, first)) = call.iterator else { return Ok(Next::Through) };
        self.bounded = false;
        let held = self.state.frames[frame].slot(first).register;
        if held.size == ACTIVE {
            let mut active = self.state.clone();
            let slot = &mut active.frame_at_mut(frame).slot_mut(first).register;
            slot.instance += 1;
            if let Some(earlier) = self.previous_visit(self.slot) {
                self.widen_from(earlier, &mut active);
            }
            let mut element = active.frame().registers[0];
            self.not_null(&mut element);
            active.frame_mut().registers[0] = element;
            self.push_state(active, self.slot + 1, self.slot)?;
        }
        self.state.frame_at_mut(frame).slot_mut(first).register.size = DRAINED;
        self.write(0, Register::exactly(0))?;
        Ok(Next::Through)
    }

    /// The iterator that r1 points to was active at the checkpoint: the loop goes on.
    pub(crate) fn iterator_goes_on(&self, id: CheckpointId) -> bool {
        let old = &self.checkpoints[id as usize].state;
        let register = &old.frame().registers[1];
        let offset = register.exact_offset().and_then(|at| i32::try_from(at).ok());
        let Some(offset) = offset.filter(|offset| *offset < 0) else { return false };
        let Some(frame) = old.frames.get(usize::from(register.frame)) else { return false };
        let slot = frame.slot(slot_of(offset));
        slot.bytes[0] == Byte::Iterator && slot.register.size == ACTIVE
    }

    /// The RCU section that protected them is over.
    pub(crate) fn taint_protected_iterators(&mut self) {
        for index in 0..self.state.frames.len() {
            for at in 0..self.state.frames[index].stack.len() {
                let slot = self.state.frames[index].slot(at);
                if slot.bytes[0] == Byte::Iterator && slot.register.flags.has(Flags::RCU) {
                    self.state.frame_at_mut(index).slot_mut(at).register.flags = Flags::UNTRUSTED;
                }
            }
        }
    }
}

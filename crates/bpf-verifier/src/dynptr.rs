//! Dynptrs: two stack slots that stand for memory whose size is known when the program runs
//! (kernel/bpf/verifier.c, Linux 6.12: process_dynptr_func).

use bpf_interface::prototype::DynptrUse;

use crate::engine::Engine;
use crate::memory::{Direction, Value};
use crate::register::{Kind, Register};
use crate::rule::Rule;
use crate::stack::{Byte, Slot, slot_of};
use crate::stop::{Check, refuse};

// Sorts of dynptrs, in `Register::what`.
pub(crate) const LOCAL: u32 = 1;
pub(crate) const RING_BUFFER: u32 = 2;
pub(crate) const SKB: u32 = 3;
pub(crate) const XDP: u32 = 4;

impl Engine<'_> {
    /// The upper slot of the dynptr that the register points to; the lower slot is one less.
    fn dynptr_slot(&self, register: &Register) -> Option<(usize, usize)> {
        let offset = register.exact_offset().and_then(|at| i32::try_from(at).ok())?;
        // The structure of 16 bytes begins at its lowest address.
        let fits = offset % 8 == 0 && (-512..=-16).contains(&offset);
        fits.then(|| (usize::from(register.frame), slot_of(offset)))
    }

    fn dynptr_in(&self, frame: usize, slot: usize) -> Option<Register> {
        let frame = &self.state.frames[frame];
        let (first, second) = (frame.slot(slot), frame.slot(slot.checked_sub(1)?));
        let whole = |slot: &Slot| slot.bytes.iter().all(|byte| *byte == Byte::Dynptr);
        (whole(&first) && whole(&second) && first.register.size == 1).then_some(first.register)
    }

    pub(crate) fn check_dynptr_argument(
        &mut self,
        number: u8,
        register: &Register,
        how: DynptrUse,
        gathered: &mut crate::helper_call::Gathered,
    ) -> Check {
        match how {
            DynptrUse::InitialiseLocal => self.initialise_dynptr(number, register, LOCAL, 0),
            DynptrUse::InitialiseRingBuffer => {
                self.initialise_dynptr(number, register, RING_BUFFER, 0)
            }
            DynptrUse::Read | DynptrUse::Any | DynptrUse::ReleaseRingBuffer => {
                let held = self.initialised_dynptr(number, register)?;
                if register.kind == Kind::Dynptr && how == DynptrUse::ReleaseRingBuffer {
                    return refuse(
                        Rule::Dynptr,
                        "cannot pass pointer to const bpf_dynptr, the helper mutates it",
                    );
                }
                if how == DynptrUse::ReleaseRingBuffer && held.what != RING_BUFFER {
                    return refuse(
                        Rule::Dynptr,
                        format!("Expected a dynptr of type ringbuf as arg #{}", number - 1),
                    );
                }
                let _ = gathered;
                Ok(())
            }
        }
    }

    /// The dynptr that the register stands for.
    pub(crate) fn initialised_dynptr(
        &mut self,
        number: u8,
        register: &Register,
    ) -> Check<Register> {
        if register.kind == Kind::Dynptr {
            self.check_unmodified(register, number)?;
            return Ok(*register);
        }
        if register.kind != Kind::Stack {
            return refuse(
                Rule::Dynptr,
                format!("arg#{} expected pointer to stack or const struct bpf_dynptr", number - 1),
            );
        }
        if !register.number.is_exact() {
            return refuse(Rule::Dynptr, "dynptr has to be at a constant offset");
        }
        let found = self
            .dynptr_slot(register)
            .and_then(|(frame, slot)| self.dynptr_in(frame, slot).map(|held| (frame, slot, held)));
        let Some((frame, slot, held)) = found else {
            return refuse(
                Rule::Dynptr,
                format!("Expected an initialized dynptr as arg #{}", number - 1),
            );
        };
        self.mark_stack_read(frame, slot);
        self.mark_stack_read(frame, slot - 1);
        Ok(held)
    }

    pub(crate) fn initialise_dynptr(
        &mut self,
        number: u8,
        register: &Register,
        sort: u32,
        cloned: u32,
    ) -> Check {
        if register.kind != Kind::Stack {
            return refuse(
                Rule::Dynptr,
                format!("arg#{} expected pointer to stack or const struct bpf_dynptr", number - 1),
            );
        }
        let Some((frame, slot)) = self.dynptr_slot(register) else {
            return refuse(Rule::Dynptr, "cannot pass in dynptr at an offset");
        };
        // Whoever owns one must not lose it.
        for at in [slot, slot - 1] {
            let held = self.state.frames[frame].slot(at);
            if held.bytes[0] == Byte::Dynptr && held.register.reference != 0 {
                return refuse(Rule::Dynptr, "Dynptr has to be an uninitialized dynptr");
            }
        }
        for at in [0, 8] {
            self.access(number, at, 8, Direction::Write(Value::Unknown), false)?;
        }
        let reference = match (sort, cloned) {
            (RING_BUFFER, 0) => self.acquire(),
            (_, cloned) => cloned,
        };
        let id = self.new_id();
        for (at, first) in [(slot, 1), (slot - 1, 0)] {
            let register = Register {
                what: sort,
                size: first,
                id,
                reference,
                ..Register::pointer(Kind::Dynptr)
            };
            *self.state.frame_at_mut(frame).slot_mut(at) =
                Slot { bytes: [Byte::Dynptr; 8], register };
            self.mark_written(frame, at);
        }
        Ok(())
    }

    pub(crate) fn check_releasable_dynptr(&mut self, number: u8, register: &Register) -> Check {
        if register.kind != Kind::Stack {
            return refuse(Rule::Dynptr, format!("arg {number} is an unacquired reference"));
        }
        let held = self.dynptr_slot(register).and_then(|(frame, slot)| self.dynptr_in(frame, slot));
        match held {
            Some(held) if held.reference != 0 => Ok(()),
            _ => refuse(Rule::Dynptr, format!("arg {number} is an unacquired reference")),
        }
    }

    /// The memory behind the dynptr is given back; so are its copies.
    pub(crate) fn release_dynptr(&mut self, register: &Register) -> Check {
        let Some((frame, slot)) = self.dynptr_slot(register) else {
            return refuse(Rule::Dynptr, "cannot release a dynptr at an offset");
        };
        let Some(held) = self.dynptr_in(frame, slot) else {
            return refuse(Rule::Dynptr, "cannot release what isn't a dynptr");
        };
        if held.reference == 0 {
            self.wipe_dynptr(frame, slot);
            return Ok(());
        }
        self.release(held.reference)?;
        for index in 0..self.state.frames.len() {
            for at in 0..self.state.frames[index].stack.len() {
                let slot = self.state.frames[index].slot(at);
                if slot.bytes[0] == Byte::Dynptr
                    && slot.register.reference == held.reference
                    && slot.register.size == 1
                {
                    self.wipe_dynptr(index, at);
                }
            }
        }
        Ok(())
    }

    /// What is written over a dynptr's slot destroys it, unless something would be lost.
    pub(crate) fn destroy_dynptr_at(&mut self, frame: usize, slot: usize) -> Check {
        let held = self.state.frames[frame].slot(slot);
        if held.bytes[0] != Byte::Dynptr {
            return Ok(());
        }
        if held.register.reference != 0 {
            return refuse(Rule::Dynptr, "cannot overwrite referenced dynptr");
        }
        let upper = if held.register.size == 1 { slot } else { slot + 1 };
        self.wipe_dynptr(frame, upper);
        Ok(())
    }

    fn wipe_dynptr(&mut self, frame: usize, slot: usize) {
        let id = self.state.frames[frame].slot(slot).register.id;
        for at in [slot, slot.saturating_sub(1)] {
            *self.state.frame_at_mut(frame).slot_mut(at) = Slot::default();
            self.mark_written(frame, at);
        }
        // Slices of its memory.
        self.invalidate(|register| {
            register.kind == Kind::Memory && register.instance == id && id != 0
        });
    }

    pub(crate) fn is_packet_dynptr(&self, register: &Register) -> bool {
        self.dynptr_of(register).is_some_and(|held| held.what == SKB)
    }

    /// What tells its slices from others', and the reference that they depend on.
    pub(crate) fn dynptr_identity(&self, register: &Register, reference: &mut u32) -> u32 {
        let Some(held) = self.dynptr_of(register) else { return 0 };
        *reference = held.reference;
        held.id
    }

    pub(crate) fn dynptr_of(&self, register: &Register) -> Option<Register> {
        if register.kind == Kind::Dynptr {
            return Some(*register);
        }
        self.dynptr_slot(register).and_then(|(frame, slot)| self.dynptr_in(frame, slot))
    }
}

//! Functions of the program that helpers call.

use bpf_object::MapType as M;

use super::*;
use crate::register::Flags;
use crate::state::{Callback, CallbackRole, Frame, State};
use crate::stop::unmodelled;

/// Helpers that run a callback before they return.
pub(crate) fn runs_callback(helper: u32) -> bool {
    // for_each_map_elem, find_vma, loop, user_ringbuf_drain
    matches!(helper, 164 | 180 | 181 | 209)
}

/// `timer_set_callback`
pub(crate) fn leaves_callback(helper: u32) -> bool {
    helper == 170
}

impl Engine<'_> {
    pub(super) fn enter_callback(&mut self, helper: u32, gathered: &Gathered) -> Check {
        if !runs_callback(helper) && !leaves_callback(helper) {
            return Ok(());
        }
        self.bounded = false;
        let Some(function) = gathered.function else {
            return unmodelled("a callback that isn't known");
        };
        let caller = *self
            .state
            .frame()
            .registers
            .first_chunk::<6>()
            .unwrap_or(&[Register::UNINITIALISED; 6]);
        if leaves_callback(helper) {
            let pointer = |kind: Kind| Register {
                what: caller[1].what,
                instance: caller[1].instance,
                ..Register::pointer(kind)
            };
            let arguments = [pointer(Kind::Map), pointer(Kind::MapKey), pointer(Kind::MapValue)];
            return self.push_asynchronous(function, &arguments, false);
        }
        let arguments: Vec<Register> = match helper {
            164 => self.each_element_arguments(gathered, &caller)?,
            180 => {
                let area = self.kernel_structure("vm_area_struct")?;
                let area = Register { what: area, ..Register::pointer(Kind::Structure) };
                vec![caller[1], area, caller[4]]
            }
            181 => {
                self.mark_precise(1)?;
                let depth = self.state.frame().callback_depth;
                if u64::from(depth) >= self.register(1).number.u64.max {
                    self.state.frame_mut().callback_depth = 0;
                    return Ok(());
                }
                vec![Register::UNKNOWN, caller[3]]
            }
            _ => {
                let dynptr = self.callback_dynptr();
                vec![dynptr, caller[3]]
            }
        };
        self.push_synchronous(function, &arguments)
    }

    fn each_element_arguments(
        &self,
        gathered: &Gathered,
        caller: &[Register; 6],
    ) -> Check<Vec<Register>> {
        let index = gathered.map.unwrap_or(0);
        let map = &self.maps[index as usize];
        let is_array = matches!(map.kind, M::ARRAY | M::PER_CPU_ARRAY);
        let is_hash =
            matches!(map.kind, M::HASH | M::LRU_HASH | M::PER_CPU_HASH | M::LRU_PER_CPU_HASH);
        if !is_array && !is_hash {
            return refuse(Rule::MapKind, "callback function not allowed for map");
        }
        let pointer = |kind: Kind| Register {
            what: index,
            instance: gathered.map_instance,
            ..Register::pointer(kind)
        };
        // The key of an array is a number on the kernel's side, passed by address as well.
        Ok(vec![pointer(Kind::Map), pointer(Kind::MapKey), pointer(Kind::MapValue), caller[3]])
    }

    /// Another path begins in the callback; this one goes on behind the call.
    pub fn push_synchronous(&mut self, function: usize, arguments: &[Register]) -> Check {
        self.check_callback_function(function)?;
        let start = self.code.functions[function].start;
        let mut state = self.state.clone();
        let mut frame = Self::new_frame(&state, function, self.slot)?;
        frame.registers[1..=arguments.len()].copy_from_slice(arguments);
        frame.asynchronous = self.state.frame().asynchronous;
        frame.callback = Some(Callback { returns: (0, 1), role: CallbackRole::Synchronous });
        let caller = state.frame_mut();
        caller.callback_depth += 1;
        state.callback_unroll_depth += 1;
        state.written[state.frames.len()] = u64::MAX;
        state.frames.push(std::rc::Rc::new(frame));
        self.push_state(state, start, self.slot)?;
        self.state.frame_mut().callback_depth = 0;
        Ok(())
    }

    /// The callback runs some time later, on its own.
    pub fn push_asynchronous(
        &mut self,
        function: usize,
        arguments: &[Register],
        sleepable: bool,
    ) -> Check {
        self.check_callback_function(function)?;
        let start = self.code.functions[function].start;
        let mut frame = Frame::new(function, self.slot, 0);
        frame.registers[1..=arguments.len()].copy_from_slice(arguments);
        let before = self.state.frame().asynchronous.unwrap_or(0);
        if before > 64 {
            return refuse(Rule::InfiniteLoop, "callbacks that set callbacks without end");
        }
        frame.asynchronous = Some(before + 1);
        frame.callback =
            Some(Callback { returns: (0, 1), role: CallbackRole::Asynchronous { sleepable } });
        let state = State::new(frame, sleepable);
        self.push_state(State { first: start, ..state }, start, self.slot)?;
        Ok(())
    }

    fn check_callback_function(&self, function: usize) -> Check {
        let function = &self.code.functions[function];
        if function.has_packet_loads {
            return refuse(Rule::Callback, "cannot use BPF_LD_[ABS|IND] within callback");
        }
        if function.tail_calls {
            return refuse(Rule::TailCallStack, "cannot tail call within callback");
        }
        Ok(())
    }

    fn callback_dynptr(&mut self) -> Register {
        let id = self.new_id();
        Register {
            what: crate::dynptr::LOCAL,
            size: 1,
            id,
            flags: Flags::NONE,
            ..Register::pointer(Kind::Dynptr)
        }
    }
}

//! What is acquired and must be given back.

use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::state::{Reference, State};
use crate::stop::{Check, refuse};

impl Engine<'_> {
    /// A new reference; its number.
    pub fn acquire(&mut self) -> u32 {
        let id = self.new_id();
        let callback_frame =
            if self.state.frame().in_callback() { self.state.current() } else { 0 };
        self.state.references.push(Reference { id, slot: self.slot, callback_frame });
        id
    }

    /// The reference is given back: nothing that depends on it can be used any more.
    pub fn release(&mut self, id: u32) -> Check {
        let before = self.state.references.len();
        let frame = self.state.current();
        let in_callback = self.state.frame().in_callback();
        let Some(held) = self.state.references.iter().find(|reference| reference.id == id) else {
            return refuse(Rule::ReleaseUnowned, format!("release of unowned reference id={id}"));
        };
        if in_callback && held.callback_frame != frame {
            return refuse(
                Rule::ReleaseUnowned,
                format!("release of reference id={id} that was acquired outside of the callback"),
            );
        }
        self.state.references.retain(|reference| reference.id != id);
        debug_assert!(self.state.references.len() < before);
        self.invalidate(|register| register.reference == id);
        Ok(())
    }

    /// Registers and spilled ones that satisfy `gone` can't be used any more.
    pub fn invalidate(&mut self, gone: impl Fn(&Register) -> bool) {
        let replacement =
            if self.privileged() { Register::UNKNOWN } else { Register::UNINITIALISED };
        self.state.each(
            |register| register.is_pointer() && gone(register),
            |register| *register = replacement,
        );
    }

    /// Pointers to the packet are invalid after something has changed it.
    pub fn forget_packet_pointers(&mut self) {
        self.invalidate(|register| {
            matches!(register.kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd)
                || register.flags.has(Flags::PACKET_DATA)
        });
    }

    /// r0 to r5 are lost by a call.
    pub fn clobber_caller_saved(&mut self) {
        let frame = self.state.frame_mut();
        frame.registers[..6].fill(Register::UNINITIALISED);
    }

    /// At the exit of a function nothing may be held that it has acquired as a callback; at the
    /// program's nothing at all.
    pub fn check_exit(&self) -> Check {
        let state = &self.state;
        if state.current() == 0 {
            if state.lock.is_some() {
                return refuse(Rule::SpinLock, "bpf_spin_unlock is missing");
            }
            if state.rcu {
                return refuse(Rule::RcuLock, "bpf_rcu_read_unlock is missing");
            }
            if state.preempt > 0 {
                let verb = if state.preempt == 1 { " is" } else { "(s) are" };
                let text = format!("{} bpf_preempt_enable{verb} missing", state.preempt);
                return refuse(Rule::RcuLock, text);
            }
        }
        self.check_references(state, true)
    }

    /// At a tail call or the like, nothing may be held.
    pub fn check_nothing_held(&self, what: &str) -> Check {
        let state = &self.state;
        if state.lock.is_some() {
            return refuse(
                Rule::SpinLock,
                format!("{what} cannot be used inside bpf_spin_lock-ed region"),
            );
        }
        self.check_references(state, false)?;
        if state.rcu {
            return refuse(
                Rule::RcuLock,
                format!("{what} cannot be used inside bpf_rcu_read_lock-ed region"),
            );
        }
        if state.preempt > 0 {
            return refuse(
                Rule::RcuLock,
                format!("{what} cannot be used inside bpf_preempt_disable-ed region"),
            );
        }
        Ok(())
    }

    fn check_references(&self, state: &State, exits: bool) -> Check {
        let frame = state.frame();
        let depth = state.current();
        if exits && depth > 0 && !frame.in_callback() {
            return Ok(());
        }
        for reference in &state.references {
            if exits && frame.in_callback() && reference.callback_frame != depth {
                continue;
            }
            return refuse(
                Rule::ReferenceLeak,
                format!("Unreleased reference id={} alloc_insn={}", reference.id, reference.slot),
            );
        }
        Ok(())
    }
}

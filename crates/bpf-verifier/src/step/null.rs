//! Pointers that may be NULL, after the check.

use bpf_object::MapType;

use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};

impl Engine<'_> {
    /// Register `number` and its copies are NULL, or are not (`mark_ptr_or_null_regs`).
    pub fn settle_null(&mut self, number: u8, is_null: bool) {
        let register = *self.register(number);
        let id = register.id;
        if is_null && register.reference != 0 && register.reference == id {
            // There is nothing to be released.
            self.state.references.retain(|reference| reference.id != id);
        }
        if id == 0 {
            // Protected by RCU, without an identity: only this one is known.
            let mut settled = register;
            self.settle(&mut settled, is_null);
            *self.register_mut(number) = settled;
            return;
        }
        let mut frames = std::mem::take(&mut self.state.frames);
        for frame in &mut frames {
            let wanted = |r: &Register| r.is_nullable() && r.id == id;
            if frame.registers.iter().any(wanted) {
                let frame = std::rc::Rc::make_mut(frame);
                frame
                    .registers
                    .iter_mut()
                    .filter(|r| wanted(r))
                    .for_each(|r| self.settle(r, is_null));
            }
            if frame.stack.iter().any(|slot| slot.is_spill() && wanted(&slot.register)) {
                let frame = std::rc::Rc::make_mut(frame);
                for slot in std::rc::Rc::make_mut(&mut frame.stack) {
                    if slot.is_spill() && wanted(&slot.register) {
                        self.settle(&mut slot.register, is_null);
                    }
                }
            }
        }
        self.state.frames = frames;
    }

    fn settle(&self, register: &mut Register, is_null: bool) {
        if !register.number.is_zero() {
            return;
        }
        if is_null {
            *register = Register::exactly(0);
            return;
        }
        self.not_null(register);
        if !self.may_hold_lock(register) {
            register.id = 0;
        }
    }

    /// What the pointer is now that it isn't NULL (`mark_ptr_not_null_reg`).
    pub fn not_null(&self, register: &mut Register) {
        register.flags = register.flags.without(Flags::NULLABLE);
        if register.kind != Kind::MapValue {
            return;
        }
        let Some(map) = self.maps.get(register.what as usize) else { return };
        if let Some(inner) = map.inner {
            register.kind = Kind::Map;
            register.what = inner as u32;
            register.instance = register.id;
        } else if map.kind == MapType::XSK_MAP {
            register.kind = Kind::XdpSock;
        } else if matches!(map.kind, MapType::SOCKET_MAP | MapType::SOCKET_HASH) {
            register.kind = Kind::Socket;
        }
    }

    /// Whether there may be a spin lock in what it points to: then its identity is kept.
    pub fn may_hold_lock(&self, register: &Register) -> bool {
        match register.kind {
            Kind::MapValue => {
                self.maps.get(register.what as usize).is_some_and(|map| map.record.lock().is_some())
            }
            Kind::Structure => register.flags.has(Flags::ALLOCATED),
            _ => false,
        }
    }
}

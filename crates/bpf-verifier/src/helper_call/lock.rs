//! Spin locks, timers and kernel pointers in map values.

use bpf_interface::program::Special;

use super::*;
use crate::register::Flags;
use crate::state::Lock;
use crate::step::branch::is_trusted;

impl Engine<'_> {
    pub(super) fn check_spin_lock(
        &mut self,
        number: u8,
        register: &Register,
        locks: bool,
    ) -> Check {
        let breach = |message: String| refuse(Rule::SpinLock, message);
        let Some(offset) = register.exact_offset() else {
            return breach(format!(
                "R{number} doesn't have constant offset. bpf_spin_lock has to be at the constant offset"
            ));
        };
        let in_map = register.kind == Kind::MapValue;
        let (record, what) = if in_map {
            let map = self.map(register);
            (map.record.clone(), format!("map '{}'", map.name))
        } else {
            (self.local_record(register), "local 'kptr'".to_owned())
        };
        let Some(field) = record.lock() else {
            return breach(format!("{what} has no valid bpf_spin_lock"));
        };
        if i64::from(field.offset) != offset {
            return breach(format!(
                "off {offset} doesn't point to 'struct bpf_spin_lock' that is at {}",
                field.offset
            ));
        }
        let lock = Lock { in_map, object: if in_map { register.what } else { 0 }, id: register.id };
        if locks {
            if self.state.lock.is_some() {
                return breach("Locking two bpf_spin_locks are not allowed".to_owned());
            }
            self.state.lock = Some(lock);
            return Ok(());
        }
        match self.state.lock {
            None => breach("bpf_spin_unlock without taking a lock".to_owned()),
            Some(held) if held != lock => breach("bpf_spin_unlock of different lock".to_owned()),
            Some(_) => {
                self.state.lock = None;
                self.invalidate(|register| register.flags.has(Flags::NOT_OWNED));
                Ok(())
            }
        }
    }

    pub(super) fn check_timer(
        &mut self,
        number: u8,
        register: &Register,
        gathered: &mut Gathered,
    ) -> Check {
        self.check_special(number, register, Special::Timer)?;
        gathered.map = Some(register.what);
        gathered.map_instance = register.instance;
        Ok(())
    }

    /// The register points exactly to such a field of a map's value.
    pub fn check_special(&self, number: u8, register: &Register, special: Special) -> Check {
        let name = crate::maps::special_name(special);
        let Some(offset) = register.exact_offset() else {
            return refuse(
                Rule::MapField,
                format!(
                    "R{number} doesn't have constant offset. {name} has to be at the constant offset"
                ),
            );
        };
        let map = self.map(register);
        let Some(field) = map.record.find(special) else {
            return refuse(Rule::MapField, format!("map '{}' has no valid {name}", map.name));
        };
        if i64::from(field.offset) != offset {
            return refuse(
                Rule::MapField,
                format!(
                    "off {offset} doesn't point to 'struct {name}' that is at {}",
                    field.offset
                ),
            );
        }
        Ok(())
    }

    /// A timer is of the very map that is given with it (`bpf_timer_init`).
    pub(super) fn check_timer_map(
        &self,
        map: u32,
        register: &Register,
        gathered: &Gathered,
    ) -> Check {
        if map != register.what || gathered.map_instance != register.instance {
            return refuse(
                Rule::MapField,
                format!(
                    "timer pointer in R1 map_uid={} doesn't match map pointer in R2 map_uid={}",
                    gathered.map_instance, register.instance
                ),
            );
        }
        Ok(())
    }

    pub(super) fn check_kptr_field(
        &mut self,
        number: u8,
        register: &Register,
        gathered: &mut Gathered,
    ) -> Check {
        let Some(offset) = register.exact_offset() else {
            return refuse(
                Rule::MapField,
                format!(
                    "R{number} doesn't have constant offset. kptr has to be at the constant offset"
                ),
            );
        };
        let record = if register.kind == Kind::MapValue {
            self.map(register).record.clone()
        } else {
            self.local_record(register)
        };
        if record.find(Special::Kptr).is_none() {
            return refuse(Rule::MapField, format!("R{number} has no valid kptr"));
        }
        let Some(field) = record.kptr_at(offset) else {
            return refuse(Rule::MapField, format!("off={offset} doesn't point to kptr"));
        };
        match field.kptr {
            Some(kptr) if kptr.sort != crate::maps::KptrSort::Untrusted => {
                gathered.kptr = Some(kptr);
                Ok(())
            }
            _ => refuse(Rule::MapField, format!("off={offset} kptr isn't referenced kptr")),
        }
    }

    /// What is put into the field is what the field may hold, and owned.
    pub(super) fn check_kptr_content(
        &self,
        number: u8,
        register: &Register,
        gathered: &Gathered,
    ) -> Check {
        let Some(kptr) = gathered.kptr else { return Ok(()) };
        let wanted = self.types.map_or("", |types| types.name(kptr.target)).to_owned();
        let own = self.structure_name(register);
        let untrusted = register.flags.has(Flags::UNTRUSTED)
            || (!is_trusted(register) && register.reference == 0 && !register.is_nullable());
        if own != wanted || register.off != 0 || untrusted {
            return refuse(
                Rule::MapField,
                format!("invalid kptr access, R{number} type=ptr_{own} expected=ptr_{wanted}"),
            );
        }
        Ok(())
    }
}

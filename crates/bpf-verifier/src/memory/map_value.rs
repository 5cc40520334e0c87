//! Values of maps: their bounds, their special fields, and the numbers in those that never change.

use bpf_interface::program::Special;

use super::*;

impl Engine<'_> {
    pub(super) fn access_map_value(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        let write = direction.is_write();
        self.check_map_direction(register, off, size.into(), write)?;
        self.check_map_value(base, register, off, size.into(), false, true)?;
        self.touch(Touched::MapValue);
        if let Some(offset) = register.number.exact() {
            let at = offset.cast_signed().wrapping_add(off.into());
            let map = self.map(register);
            if let Some(field) = map.record.kptr_at(at) {
                return self.access_kptr(base, register, &field, size, direction);
            }
            // What can't change any more is known.
            if let (false, Some(bytes)) = (write, map.constant(at, size)) {
                let mut number = Scalar::exactly(bytes);
                if let Direction::Read { signed: true, .. } = direction {
                    number.sign_extend(size);
                }
                let Direction::Read { into: Some(into), .. } = direction else { return Ok(()) };
                return self.write(into, Register::scalar(number));
            }
        }
        self.load(direction, size, Register::UNKNOWN)
    }

    pub fn check_map_direction(
        &self,
        register: &Register,
        off: i32,
        size: u32,
        write: bool,
    ) -> Check {
        let map = self.map(register);
        if write && !map.writable() {
            let value_size = map.value_size;
            return refuse(
                Rule::ReadOnly,
                format!("write into map forbidden, value_size={value_size} off={off} size={size}"),
            );
        }
        if !write && !map.readable() {
            let value_size = map.value_size;
            return refuse(
                Rule::ReadOnly,
                format!("read from map forbidden, value_size={value_size} off={off} size={size}"),
            );
        }
        Ok(())
    }

    /// Inside of the value, and no special field is touched, except kernel pointers as a whole.
    pub fn check_map_value(
        &self,
        base: u8,
        register: &Register,
        off: i32,
        size: u32,
        empty_allowed: bool,
        direct: bool,
    ) -> Check {
        let map = self.map(register);
        self.check_region(base, register, off, size, map.value_size, empty_allowed)?;
        let first = register.number.s64.min.saturating_add(off.into());
        let last = register.number.u64.max.cast_signed().saturating_add(off.into());
        let end = last.saturating_add(size.into());
        let breach = |message: String| refuse(Rule::MapField, message);
        for field in &map.record.fields {
            let start = i64::from(field.offset);
            if first >= start + i64::from(field.special.size()) || start >= end {
                continue;
            }
            if field.special != Special::Kptr {
                let name = crate::maps::special_name(field.special);
                return breach(format!("{name} cannot be accessed directly by load/store"));
            }
            if !direct {
                return breach("kptr cannot be accessed indirectly by helper".to_owned());
            }
            let Some(offset) = register.number.exact() else {
                return breach("kptr access cannot have variable offset".to_owned());
            };
            let at = offset.cast_signed().wrapping_add(off.into());
            if at != start {
                return breach(format!("kptr access misaligned expected={start} off={at}"));
            }
            if size != 8 {
                return breach("kptr access size must be BPF_DW".to_owned());
            }
        }
        Ok(())
    }
}

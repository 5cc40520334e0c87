//! Arguments of helpers (kernel/bpf/verifier.c, Linux 6.12: check_func_arg, check_reg_type).

use bpf_interface::program;
use bpf_interface::prototype::{Argument, What};
use bpf_object::MapType;

use super::*;
use crate::change::Change;
use crate::memory::{By, Fills};
use crate::register::Flags;

/// Sizes are below this (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// How a helper touches memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub write: bool,
    pub fills: Fills,
    pub empty_allowed: bool,
}

impl Engine<'_> {
    pub(super) fn check_argument(
        &mut self,
        prototype: &Prototype,
        index: u8,
        gathered: &mut Gathered,
    ) -> Check {
        let number = index + 1;
        let mut argument = prototype.arguments[usize::from(index)];
        if argument.what == What::Nothing {
            return Ok(());
        }
        let register = self.read(number)?;
        if argument.what == What::Anything {
            if self.is_secret(&register) {
                return refuse(Rule::Leak, format!("R{number} leaks addr into helper function"));
            }
            return Ok(());
        }
        if register.is_packet() {
            let allowed = program::packet_use(self.caller.program);
            if !allowed.helpers_read || !prototype.packet_access {
                return refuse(Rule::ArgumentType, "helper access to the packet is not allowed");
            }
        }
        self.adapt_to_map(&mut argument, gathered)?;
        let null = register.is_null() && argument.nullable;
        if !null {
            self.check_argument_type(&argument, number, &register, gathered)?;
            self.check_argument_offset(&argument, number, &register)?;
        }
        if argument.releases {
            let is_dynptr = matches!(argument.what, What::Dynptr(_));
            if is_dynptr {
                self.check_releasable_dynptr(number, &register)?;
            } else if register.reference == 0 && !register.is_null() {
                return refuse(
                    Rule::ReleaseUnowned,
                    format!("R{number} must be referenced when passed to release function"),
                );
            }
            gathered.released = Some(number);
        }
        if register.reference != 0 && argument.what != What::Kptr {
            if gathered.reference != 0 {
                return refuse(
                    Rule::ReleaseUnowned,
                    format!("more than one arg with ref_obj_id R{number}"),
                );
            }
            gathered.reference = register.reference;
        }
        self.check_argument_use(prototype, &argument, number, &register, gathered)
    }

    /// What a value argument is depends on the map (`resolve_map_arg_type`).
    fn adapt_to_map(&self, argument: &mut Argument, gathered: &Gathered) -> Check {
        if !matches!(argument.what, What::MapValue | What::UninitialisedMapValue | What::MapKey) {
            return Ok(());
        }
        let Some(map) = gathered.map.map(|map| &self.maps[map as usize]) else { return Ok(()) };
        if matches!(map.kind, MapType::SOCKET_MAP | MapType::SOCKET_HASH)
            && argument.what == What::MapValue
        {
            argument.what = What::SockCommon;
        }
        Ok(())
    }

    fn check_argument_type(
        &mut self,
        argument: &Argument,
        number: u8,
        register: &Register,
        gathered: &Gathered,
    ) -> Check {
        use Kind::*;
        let flags = register.flags;
        // The forms of a pointer that change nothing for a helper.
        let mut plain = flags.without(Flags::PACKET_DATA).without(Flags::PLUS);
        if argument.nullable {
            plain = plain.without(Flags::NULLABLE);
        }
        let reads_only = matches!(
            argument.what,
            What::Memory { writable: false, .. } | What::MapKey | What::MapValue
        );
        if reads_only {
            plain = plain.without(Flags::READ_ONLY);
        }
        let kind = register.kind;
        let none = plain == Flags::NONE;
        let structure = |allowed: &[Flags]| kind == Structure && (none || allowed.contains(&plain));
        let trusted = Flags::TRUSTED;
        let (fits, expected): (bool, &str) = match argument.what {
            What::MapKey | What::MapValue | What::UninitialisedMapValue
                if !self.has(Change::RecordsForMaps) =>
            {
                (
                    matches!(kind, Stack | Packet | PacketMeta | MapKey | MapValue) && none,
                    "fp, pkt, pkt_meta, map_key, map_value",
                )
            }
            What::MapKey
            | What::MapValue
            | What::UninitialisedMapValue
            | What::Memory { .. }
            | What::UninitialisedMemory { .. } => (
                (matches!(kind, Stack | Packet | PacketMeta | MapKey | MapValue | Memory | Buffer)
                    && none)
                    || (kind == Memory && plain == Flags::RING_BUFFER)
                    || (kind == Structure && plain == trusted)
                    || (kind == Context && self.caller.program == P::SYSCALL),
                "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
            ),
            What::Size | What::SizeOrZero | What::AllocationSize | What::Scalar => {
                (kind == Scalar, "scalar")
            }
            What::Map => (kind == Map && none, "map_ptr"),
            What::Context => (kind == Context && none, "ctx"),
            What::UntypedSockCommon => {
                (register.is_socket() && none, "sock_common, sock, tcp_sock, xdp_sock")
            }
            What::SockCommon => (
                (register.is_socket() && none) || structure(&[trusted, Flags::RCU]),
                "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
            ),
            What::Socket => (kind == Socket && none, "sock"),
            What::Structure(_) => {
                (structure(&[trusted, Flags::RCU]), "ptr_, trusted_ptr_, rcu_ptr_")
            }
            What::SpinLock => (
                (kind == MapValue && none) || (kind == Structure && flags.has(Flags::ALLOCATED)),
                "map_value, ptr_",
            ),
            What::PerCpu => (
                kind == Structure && flags.has(Flags::PER_CPU),
                "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
            ),
            What::RingBufferRecord => {
                (kind == Memory && plain == Flags::RING_BUFFER, "ringbuf_mem")
            }
            What::Callback => (kind == Function, "func"),
            What::Stack => (kind == Stack, "fp"),
            What::ConstString => (kind == MapValue && none, "map_value"),
            What::Timer => (kind == MapValue && none, "map_value"),
            What::Kptr => (
                (kind == MapValue && none) || (kind == Structure && flags.has(Flags::ALLOCATED)),
                "map_value, ptr_",
            ),
            What::KptrContent => (kind == Structure, "ptr_, trusted_ptr_, rcu_ptr_"),
            What::Dynptr(_) => (matches!(kind, Stack | Dynptr), "fp, dynptr_ptr"),
            What::Nothing | What::Anything => (true, ""),
        };
        if !fits {
            let first_nullable = register.is_nullable()
                && !argument.nullable
                && kind == Structure
                && matches!(argument.what, What::Structure(_) | What::SockCommon);
            if first_nullable {
                return refuse(
                    Rule::NullDereference,
                    format!("Possibly NULL pointer passed to helper arg{number}"),
                );
            }
            let rule = if register.is_nullable() && !argument.nullable {
                Rule::NullDereference
            } else {
                Rule::ArgumentType
            };
            return refuse(rule, format!("R{number} type={} expected={expected}", register.name()));
        }
        self.check_argument_structure(argument, number, register, gathered)
    }

    /// The structure that a pointer is to must be the one that is asked for.
    fn check_argument_structure(
        &self,
        argument: &Argument,
        number: u8,
        register: &Register,
        gathered: &Gathered,
    ) -> Check {
        if register.kind != Kind::Structure {
            return Ok(());
        }
        let wanted = match argument.what {
            What::Structure(name) => name,
            What::SockCommon => "sock_common",
            What::KptrContent => {
                return self.check_kptr_content(number, register, gathered);
            }
            _ => return Ok(()),
        };
        let id = self.kernel_structure(wanted)?;
        if register.flags.has(Flags::ALLOCATED)
            || !self.is_or_begins_with(register.what, register.off, id)
        {
            let own = self.structure_name(register);
            return refuse(
                Rule::ArgumentType,
                format!("R{number} is of type {own} but {wanted} is expected"),
            );
        }
        Ok(())
    }

    fn check_argument_offset(&self, argument: &Argument, number: u8, register: &Register) -> Check {
        if argument.releases {
            let moved = register.off != 0 || !register.number.is_zero();
            let is_dynptr = matches!(argument.what, What::Dynptr(_));
            if moved && register.is_pointer() && !is_dynptr {
                return refuse(
                    Rule::ReleaseUnowned,
                    format!(
                        "R{number} must have zero offset when passed to release func or trusted arg to kfunc"
                    ),
                );
            }
        }
        match register.kind {
            Kind::Stack
            | Kind::Packet
            | Kind::PacketMeta
            | Kind::MapKey
            | Kind::MapValue
            | Kind::Memory
            | Kind::Buffer
            | Kind::Scalar
            | Kind::Arena => Ok(()),
            Kind::Structure => self.check_offset_of(register, number, true),
            _ => self.check_offset_of(register, number, false),
        }
    }

    fn check_argument_use(
        &mut self,
        prototype: &Prototype,
        argument: &Argument,
        number: u8,
        register: &Register,
        gathered: &mut Gathered,
    ) -> Check {
        match argument.what {
            What::Map => {
                if let Some(map) = gathered.map {
                    self.check_timer_map(map, register, gathered)?;
                }
                gathered.map = Some(register.what);
                gathered.map_instance = register.instance;
                Ok(())
            }
            What::MapKey => {
                let Some(map) = gathered.map else {
                    return refuse(Rule::ArgumentType, "invalid map_ptr to access map->key");
                };
                let size = self.maps[map as usize].key_size;
                let touch = Touch { write: false, fills: Fills::No, empty_allowed: false };
                self.check_memory(number, size, touch)
            }
            What::MapValue | What::UninitialisedMapValue => {
                if argument.nullable && register.is_null() {
                    return Ok(());
                }
                let Some(map) = gathered.map else {
                    return refuse(Rule::ArgumentType, "invalid map_ptr to access map->value");
                };
                let size = self.maps[map as usize].value_size;
                let fills = argument.what == What::UninitialisedMapValue;
                let touch = Touch {
                    write: fills,
                    fills: if fills { Fills::Yes } else { Fills::No },
                    empty_allowed: false,
                };
                self.check_memory(number, size, touch)
            }
            What::Memory { size: Some(size), writable } => {
                let touch = Touch { write: writable, fills: Fills::No, empty_allowed: false };
                if register.is_null() {
                    return Ok(());
                }
                self.check_memory(number, size, touch)
            }
            What::UninitialisedMemory { size: Some(size), aligned } => {
                let touch = Touch { write: true, fills: Fills::Yes, empty_allowed: false };
                self.check_memory(number, size, touch)?;
                if aligned { self.check_aligned_argument(register, size) } else { Ok(()) }
            }
            // Checked with the size that follows.
            What::Memory { size: None, .. } | What::UninitialisedMemory { size: None, .. } => {
                Ok(())
            }
            What::Size | What::SizeOrZero => {
                let before = prototype.arguments[usize::from(number) - 2].what;
                let (write, fills) = match before {
                    What::UninitialisedMemory { .. } => (true, Fills::Yes),
                    What::Memory { writable, .. } => (writable, Fills::No),
                    _ => (false, Fills::No),
                };
                let empty_allowed = argument.what == What::SizeOrZero;
                self.check_sized_memory(
                    number,
                    register,
                    Touch { write, fills, empty_allowed },
                    gathered,
                )
            }
            What::AllocationSize => {
                let Some(size) = register.number.exact() else {
                    return refuse(
                        Rule::ArgumentSize,
                        format!("R{number} is not a known constant'"),
                    );
                };
                gathered.memory_size = size;
                self.mark_precise(number)
            }
            What::SpinLock => self.check_spin_lock(number, register, prototype.id == 93),
            What::Timer => self.check_timer(number, register, gathered),
            What::Callback => {
                gathered.function = Some(register.what as usize);
                Ok(())
            }
            What::ConstString => self.check_constant_string(number, register),
            What::Kptr => self.check_kptr_field(number, register, gathered),
            What::Dynptr(how) => self.check_dynptr_argument(number, register, how, gathered),
            What::PerCpu => {
                gathered.structure = register.what;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Memory whose size is the argument after it (`check_mem_size_reg`).
    pub fn check_sized_memory(
        &mut self,
        number: u8,
        size: &Register,
        touch: Touch,
        gathered: &mut Gathered,
    ) -> Check {
        let bounds = size.number;
        gathered.largest_size = bounds.u64.max;
        if bounds.s64.min < 0 {
            return refuse(
                Rule::ArgumentSize,
                format!("R{number} min value is negative, either use unsigned or 'var &= const'"),
            );
        }
        if bounds.u64.min == 0 && !touch.empty_allowed {
            let (min, max) = (bounds.u64.min, bounds.u64.max);
            return refuse(
                Rule::ArgumentSize,
                format!("R{number} invalid zero-sized read: u64=[{min},{max}]"),
            );
        }
        if bounds.u64.max >= MAX_SIZE {
            return refuse(
                Rule::ArgumentSize,
                format!(
                    "R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'"
                ),
            );
        }
        // The helper may fill less than the most: what is behind must be initialised then.
        let fills = if bounds.is_exact() { touch.fills } else { Fills::No };
        self.check_memory(number - 1, bounds.u64.max as u32, Touch { fills, ..touch })?;
        self.mark_precise(number)
    }

    /// Memory that a function is given (`check_helper_mem_access`).
    pub fn check_memory(&mut self, number: u8, size: u32, touch: Touch) -> Check {
        let register = *self.register(number);
        let off = register.off;
        let read_only =
            || refuse(Rule::ReadOnly, format!("R{number} cannot write into {}", register.name()));
        match register.kind {
            Kind::Packet | Kind::PacketMeta => {
                let allowed = program::packet_use(self.caller.program);
                if touch.write && !allowed.helpers_write {
                    return refuse(Rule::ReadOnly, "cannot write into packet");
                }
                self.check_packet(number, &register, off, size, touch.empty_allowed)
            }
            Kind::MapKey if touch.write => read_only(),
            Kind::MapKey => {
                let limit = self.map(&register).key_size;
                self.check_region(number, &register, off, size, limit, false)
            }
            Kind::MapValue => {
                self.check_map_direction(&register, off, size, touch.write)?;
                self.check_map_value(number, &register, off, size, touch.empty_allowed, false)
            }
            Kind::Memory => {
                if touch.write && register.flags.has(Flags::READ_ONLY) {
                    return read_only();
                }
                self.check_region(number, &register, off, size, register.size, touch.empty_allowed)
            }
            Kind::Buffer => {
                if touch.write && register.flags.has(Flags::READ_ONLY) {
                    return read_only();
                }
                self.check_buffer_for_call(number, &register)
            }
            Kind::Stack => {
                let (empty, fills) = (touch.empty_allowed, touch.fills);
                let by = if touch.write { By::Writer } else { By::Reader };
                self.check_initialised(number, &register, off, size, empty, by, fills)
            }
            Kind::Structure => {
                // What it points to is read as by the program itself.
                if touch.write {
                    return read_only();
                }
                self.check_structure_range(number, &register, size)
            }
            Kind::Context if self.caller.program == P::SYSCALL => {
                self.check_region(number, &register, off, size, 65535, touch.empty_allowed)
            }
            _ => {
                if touch.empty_allowed && size == 0 && register.is_null() {
                    return Ok(());
                }
                refuse(
                    Rule::ArgumentType,
                    format!("R{number} type={} expected=fp", register.name()),
                )
            }
        }
    }

    fn check_aligned_argument(&self, register: &Register, size: u32) -> Check {
        let Some(offset) = register.exact_offset() else { return Ok(()) };
        let size = u64::from(size.min(8));
        if size.is_power_of_two() && offset.cast_unsigned() % size != 0 {
            let own = register.off;
            return refuse(
                Rule::Misaligned,
                format!(
                    "misaligned {}access off {}+{own}+0 size {size}",
                    if register.kind == Kind::Stack { "stack " } else { "" },
                    crate::step::pointer::offset_text(&register.number)
                ),
            );
        }
        Ok(())
    }

    /// A string that is known: in a map that never changes, with its end (`check_reg_const_str`).
    pub fn check_constant_string(&self, number: u8, register: &Register) -> Check {
        if register.kind != Kind::MapValue {
            return refuse(
                Rule::ArgumentType,
                format!("R{number} type={} expected=map_value", register.name()),
            );
        }
        let map = self.map(register);
        let Some(bytes) = &map.constant else {
            return refuse(
                Rule::ArgumentType,
                format!("R{number} does not point to a readonly map'"),
            );
        };
        let Some(offset) = register.number.exact() else {
            return refuse(Rule::ArgumentType, format!("R{number} is not a constant address'"));
        };
        let at = offset.cast_signed().wrapping_add(register.off.into());
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        if !rest.contains(&0) {
            return refuse(Rule::ArgumentType, "string is not zero-terminated");
        }
        Ok(())
    }
}

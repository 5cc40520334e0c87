//! Loads and stores, by the kind of memory the base points to (kernel/bpf/verifier.c, Linux 6.12:
//! check_mem_access).

use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::step::pointer::{MAX_OFFSET, offset_text};
use crate::stop::{Check, refuse, unmodelled};
use crate::tnum::Tnum;
use crate::verdict::Touched;

mod context;
mod map_value;
mod stack;
mod structure;

pub(crate) use stack::{By, Fills};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read { into: Option<u8>, signed: bool },
    Write(Value),
}

impl Direction {
    pub fn is_write(self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Register(u8),
    Immediate(i32),
    Unknown,
}

impl Engine<'_> {
    /// Register `base` is read already. `strict`: aligned in any case.
    pub fn access(
        &mut self,
        base: u8,
        offset: i32,
        size: u8,
        direction: Direction,
        strict: bool,
    ) -> Check {
        let register = *self.register(base);
        self.check_alignment(&register, offset, size, strict)?;
        let name = || register.name();
        let Some(off) = register.off.checked_add(offset) else {
            return refuse(Rule::OutOfBounds, format!("R{base} offset overflows"));
        };
        let loaded = Register::UNKNOWN;
        let leaks = |engine: &Self, into: &str| match direction {
            Direction::Write(Value::Register(value))
                if engine.is_secret(engine.register(value)) =>
            {
                refuse(Rule::Leak, format!("R{value} leaks addr into {into}"))
            }
            _ => Ok(()),
        };
        let invalid = || {
            let rule =
                if register.is_nullable() { Rule::NullDereference } else { Rule::InvalidAccess };
            refuse(rule, format!("R{base} invalid mem access '{}'", name()))
        };
        let read_only = || refuse(Rule::ReadOnly, format!("R{base} cannot write into {}", name()));
        if register.is_nullable() && register.kind != Kind::Structure {
            return invalid();
        }
        match register.kind {
            Kind::MapKey => {
                if direction.is_write() {
                    return refuse(
                        Rule::ReadOnly,
                        format!("write to change key R{base} not allowed"),
                    );
                }
                let size_of_key = self.map(&register).key_size;
                self.check_region(base, &register, off, size.into(), size_of_key, false)?;
                self.touch(Touched::MapKey);
                self.load(direction, size, loaded)
            }
            Kind::MapValue => {
                leaks(self, "map")?;
                self.access_map_value(base, &register, off, size, direction)
            }
            Kind::Memory => {
                if direction.is_write() && register.flags.has(Flags::READ_ONLY) {
                    return read_only();
                }
                leaks(self, "mem")?;
                self.check_region(base, &register, off, size.into(), register.size, false)?;
                self.touch(if register.flags.has(Flags::READ_ONLY) && register.size == 0 {
                    Touched::Untrusted
                } else {
                    Touched::Memory
                });
                self.load(direction, size, loaded)
            }
            Kind::Buffer => {
                if direction.is_write() && register.flags.has(Flags::READ_ONLY) {
                    return read_only();
                }
                self.check_buffer(base, &register, off)?;
                self.touch(Touched::Memory);
                self.load(direction, size, loaded)
            }
            Kind::Context => {
                leaks(self, "ctx")?;
                self.access_context(base, &register, off, size, direction)
            }
            Kind::Stack => self.access_stack(base, &register, off, size, direction),
            Kind::Packet | Kind::PacketMeta => {
                let allowed = bpf_interface::program::packet_use(self.caller.program);
                if direction.is_write() && !allowed.writes {
                    return refuse(Rule::ReadOnly, "cannot write into packet");
                }
                leaks(self, "packet")?;
                self.check_packet(base, &register, off, size.into(), false)?;
                self.touch(Touched::Packet);
                self.load(direction, size, loaded)
            }
            Kind::FlowKeys => {
                leaks(self, "flow keys")?;
                let end = i64::from(off) + i64::from(size);
                if off < 0 || end > i64::from(bpf_interface::context::FLOW_KEYS_SIZE) {
                    return refuse(
                        Rule::OutOfBounds,
                        format!("invalid access to flow keys off={off} size={size}"),
                    );
                }
                self.touch(Touched::Memory);
                self.load(direction, size, loaded)
            }
            Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock => {
                if direction.is_write() {
                    return read_only();
                }
                self.access_socket(base, &register, off, size, direction)
            }
            Kind::TracepointBuffer => {
                self.check_buffer_at_start(base, &register, off)?;
                self.touch(Touched::Memory);
                self.load(direction, size, loaded)
            }
            Kind::Structure => self.access_structure(base, &register, off, size, direction),
            Kind::Map => self.access_map(base, &register, off, size, direction),
            Kind::Arena => {
                leaks(self, "arena")?;
                self.touch(Touched::Arena);
                self.load(direction, size, loaded)
            }
            _ => invalid(),
        }
    }

    /// Puts what was read into its register; numbers as wide as the access.
    fn load(&mut self, direction: Direction, size: u8, mut value: Register) -> Check {
        let Direction::Read { into: Some(into), signed } = direction else { return Ok(()) };
        if value.is_scalar() && size < 8 {
            if signed {
                value.number.sign_extend(size);
            } else {
                value.number.zero_extend(size);
            }
        }
        self.write(into, value)
    }

    fn check_alignment(&self, register: &Register, offset: i32, size: u8, strict: bool) -> Check {
        let options = &self.request.options;
        let strict = strict || (options.strict_alignment && !options.any_alignment);
        let base = i64::from(register.off) + i64::from(offset);
        let (what, strict, pad) = match register.kind {
            Kind::Packet | Kind::PacketMeta => ("packet", strict, 2),
            Kind::FlowKeys => ("flow keys ", strict, 0),
            Kind::MapValue => ("value ", strict, 0),
            Kind::MapKey => ("key ", strict, 0),
            Kind::Context => ("context ", strict, 0),
            Kind::Stack => ("stack ", true, 0),
            Kind::Socket => ("sock ", strict, 0),
            Kind::SockCommon => ("sock_common ", strict, 0),
            Kind::TcpSock => ("tcp_sock ", strict, 0),
            Kind::XdpSock => ("xdp_sock ", strict, 0),
            Kind::Arena => return Ok(()),
            _ => ("", strict, 0),
        };
        if !strict || size == 1 {
            return Ok(());
        }
        let whole = register.number.bits.add(Tnum::exactly((base + pad).cast_unsigned()));
        if whole.is_aligned(size.into()) {
            return Ok(());
        }
        let variable = offset_text(&register.number);
        let (off, own) = (offset, register.off);
        let message = if what == "packet" {
            format!("misaligned packet access off {pad}+{variable}+{own}+{off} size {size}")
        } else {
            format!("misaligned {what}access off {variable}+{own}+{off} size {size}")
        };
        refuse(Rule::Misaligned, message)
    }

    /// Whether `size` bytes at `off` are inside of `limit` bytes, wherever the variable part is
    /// (`check_mem_region_access`).
    pub fn check_region(
        &self,
        base: u8,
        register: &Register,
        off: i32,
        size: u32,
        limit: u32,
        empty_allowed: bool,
    ) -> Check {
        let number = &register.number;
        let off = i64::from(off);
        let least = number.s64.min.checked_add(off).filter(|n| i32::try_from(*n).is_ok());
        if number.s64.min < 0 && least.is_none_or(|least| least < 0) {
            return refuse(
                Rule::OutOfBounds,
                format!(
                    "R{base} min value is negative, either use unsigned index or do a if (index >=0) check."
                ),
            );
        }
        let least = number.s64.min.saturating_add(off);
        let inside = |start: i64| {
            let sized = size > 0 || empty_allowed;
            start >= 0 && sized && start.saturating_add(size.into()) <= i64::from(limit)
        };
        if !inside(least) {
            let what = self.outside(base, register, least, size, limit);
            return refuse(
                Rule::OutOfBounds,
                format!("{what}\nR{base} min value is outside of the allowed memory range"),
            );
        }
        if number.u64.max >= MAX_OFFSET.cast_unsigned() {
            return refuse(
                Rule::OutOfBounds,
                format!(
                    "R{base} unbounded memory access, make sure to bounds check any such access"
                ),
            );
        }
        let most = number.u64.max.cast_signed().saturating_add(off);
        if !inside(most) {
            let what = self.outside(base, register, most, size, limit);
            return refuse(
                Rule::OutOfBounds,
                format!("{what}\nR{base} max value is outside of the allowed memory range"),
            );
        }
        Ok(())
    }

    fn outside(&self, base: u8, register: &Register, off: i64, size: u32, limit: u32) -> String {
        match register.kind {
            Kind::MapKey => {
                format!("invalid access to map key, key_size={limit} off={off} size={size}")
            }
            Kind::MapValue => {
                format!("invalid access to map value, value_size={limit} off={off} size={size}")
            }
            Kind::Packet | Kind::PacketMeta | Kind::PacketEnd => {
                let id = register.id;
                format!(
                    "invalid access to packet, off={off} size={size}, R{base}(id={id},off={off},r={limit})"
                )
            }
            _ => format!("invalid access to memory, mem_size={limit} off={off} size={size}"),
        }
    }

    /// Whether the bytes are within what comparisons with the packet's end have shown. The variable
    /// part is in the identity of the pointer, so that the range covers it.
    pub fn check_packet(
        &self,
        base: u8,
        register: &Register,
        off: i32,
        size: u32,
        empty_allowed: bool,
    ) -> Check {
        if register.number.s64.min < 0 {
            return refuse(
                Rule::PacketBounds,
                format!(
                    "R{base} min value is negative, either use unsigned index or do a if (index >=0) check."
                ),
            );
        }
        let range = register.range();
        let sized = size > 0 || empty_allowed;
        let end = i64::from(off) + i64::from(size);
        let inside = off >= 0 && sized && range.is_some_and(|range| end <= i64::from(range));
        if inside {
            return Ok(());
        }
        let what = self.outside(base, register, off.into(), size, range.unwrap_or(0));
        refuse(Rule::PacketBounds, format!("{what}\nR{base} offset is outside of the packet"))
    }

    fn check_buffer(&self, base: u8, register: &Register, off: i32) -> Check {
        let what = if register.flags.has(Flags::READ_ONLY) { "rdonly" } else { "rdwr" };
        self.check_buffer_of(base, register, off, what)
    }

    fn check_buffer_at_start(&self, base: u8, register: &Register, off: i32) -> Check {
        self.check_buffer_of(base, register, off, "tracepoint")
    }

    /// Buffers whose size is only checked later have constant offsets.
    fn check_buffer_of(&self, base: u8, register: &Register, off: i32, what: &str) -> Check {
        if off < 0 {
            return refuse(
                Rule::OutOfBounds,
                format!("R{base} invalid {what} buffer access: off={off}, size=0"),
            );
        }
        if !register.number.is_zero() {
            return refuse(
                Rule::OutOfBounds,
                format!(
                    "R{base} invalid variable buffer offset: off={off}, var_off={}",
                    offset_text(&register.number)
                ),
            );
        }
        Ok(())
    }

    /// As `check_buffer`, for helpers that get the buffer.
    pub fn check_buffer_for_call(&self, base: u8, register: &Register) -> Check {
        self.check_buffer(base, register, register.off)
    }

    /// The pointer is as it was given (`check_ptr_off_reg`).
    pub fn check_unmodified(&self, register: &Register, number: u8) -> Check {
        self.check_offset_of(register, number, false)
    }

    pub fn check_offset_of(&self, register: &Register, number: u8, fixed_allowed: bool) -> Check {
        let (name, off) = (register.name(), register.off);
        if off < 0 {
            return refuse(
                Rule::ArgumentType,
                format!("negative offset {name} ptr R{number} off={off} disallowed"),
            );
        }
        if !fixed_allowed && off != 0 {
            return refuse(
                Rule::ContextAccess,
                format!("dereference of modified {name} ptr R{number} off={off} disallowed"),
            );
        }
        if !register.number.is_zero() {
            return refuse(
                Rule::ContextAccess,
                format!(
                    "variable {name} access var_off={} disallowed",
                    offset_text(&register.number)
                ),
            );
        }
        Ok(())
    }

    /// A map's own fields, as the kernel's types have them.
    fn access_map(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        if direction.is_write() {
            return refuse(Rule::ReadOnly, "only read from bpf_map is supported");
        }
        if !self.privileged() {
            return refuse(
                Rule::Leak,
                "'struct bpf_map' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN",
            );
        }
        if off < 0 {
            return refuse(
                Rule::InvalidAccess,
                format!("R{base} is bpf_map invalid negative access: off={off}"),
            );
        }
        self.access_map_fields(base, register, off, size, direction)
    }

    pub fn map(&self, register: &Register) -> &crate::maps::MapInfo {
        &self.maps[register.what as usize]
    }

    /// A number of the context or of a socket that is only known by its size.
    fn load_number(&mut self, direction: Direction, size: u8) -> Check {
        self.load(direction, size, Register::scalar(Scalar::UNKNOWN))
    }

    pub fn arguments_unmodelled(&self) -> Check {
        unmodelled("contexts described by the kernel's types, without them")
    }
}

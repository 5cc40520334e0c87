//! Contexts and sockets: structures with rules for each field.

use std::rc::Rc;

use bpf_interface::context::{self, Access, FieldKind, Found, Refused, SocketForm};
use bpf_interface::typed::{self, Argument, Space};
use bpf_object::{AttachType, ProgramType as P};

use super::*;
use crate::change::Change;

impl Engine<'_> {
    pub(super) fn access_context(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        let program = self.caller.program;
        if let (Kind::Context, true) = (register.kind, program == P::SYSCALL) {
            // The memory is a copy of the user's; an offset may vary.
            self.check_region(base, register, off, size.into(), 65535, false)?;
            self.touch(Touched::Context);
            return self.load_number(direction, size);
        }
        self.check_unmodified(register, base)?;
        let write = direction.is_write();
        let signed = matches!(direction, Direction::Read { signed: true, .. });
        let access = Access { offset: off, size, write, signed };
        let invalid = || {
            refuse(Rule::ContextAccess, format!("invalid bpf_context access off={off} size={size}"))
        };
        self.touch(Touched::Context);
        match context::access(&self.caller, access) {
            Ok(Found::Number) => self.load_number(direction, size),
            Ok(Found::Field(field)) => {
                let Direction::Read { into: Some(into), .. } = direction else { return Ok(()) };
                let value = match field.kind {
                    FieldKind::Number => return self.load_number(direction, size),
                    FieldKind::Packet => Register::pointer(Kind::Packet),
                    FieldKind::PacketEnd => Register::pointer(Kind::PacketEnd),
                    FieldKind::PacketMeta => Register::pointer(Kind::PacketMeta),
                    FieldKind::SockCommonOrNull => self.nullable(Kind::SockCommon),
                    FieldKind::Socket => Register::pointer(Kind::Socket),
                    FieldKind::SocketOrNull => self.nullable(Kind::Socket),
                    FieldKind::FlowKeys => Register::pointer(Kind::FlowKeys),
                    FieldKind::TracepointBuffer => Register::pointer(Kind::TracepointBuffer),
                    FieldKind::Structure(name) => self.trusted_structure(name)?,
                };
                self.write(into, value)
            }
            Err(Refused::Typed) => self.access_arguments(off, size, direction),
            Err(_) => invalid(),
        }
    }

    fn nullable(&mut self, kind: Kind) -> Register {
        Register { id: self.new_id(), ..Register::pointer(kind).with_flags(Flags::NULLABLE) }
    }

    fn trusted_structure(&self, name: &str) -> Check<Register> {
        let structure = self.kernel_structure(name)?;
        Ok(Register {
            what: structure,
            ..Register::pointer(Kind::Structure).with_flags(Flags::TRUSTED)
        })
    }

    /// The number of a kernel structure's type.
    pub fn kernel_structure(&self, name: &str) -> Check<u32> {
        let Some(kernel) = self.kernel else {
            return unmodelled(format!("struct {name}, without the kernel's types"));
        };
        let is_structure = |kind: &bpf_object::btf::Kind| {
            matches!(kind, bpf_object::btf::Kind::Struct(_) | bpf_object::btf::Kind::Union(_))
        };
        match kernel.find(name, is_structure) {
            Some(id) => Ok(id.0),
            None => unmodelled(format!("struct {name}, which the kernel's types don't have")),
        }
    }

    /// The arguments of a kernel function, hook or iterator, 8 bytes each.
    fn access_arguments(&mut self, off: i32, size: u8, direction: Direction) -> Check {
        let Some(kernel) = self.kernel else { return self.arguments_unmodelled() };
        let invalid = || {
            refuse(Rule::ContextAccess, format!("invalid bpf_context access off={off} size={size}"))
        };
        if direction.is_write() {
            return invalid();
        }
        let signature = match &self.target {
            Some(known) => Rc::clone(known),
            None => match typed::signature(kernel, &self.caller) {
                Ok(found) => Rc::clone(self.target.insert(Rc::new(found))),
                Err(missing) => return unmodelled(missing.to_string()),
            },
        };
        let Ok(start) = u32::try_from(off) else { return invalid() };
        if start % 8 != 0 {
            return refuse(
                Rule::ContextAccess,
                format!(
                    "func '{}' offset {off} is not multiple of 8\ninvalid bpf_context access off={off} size={size}",
                    self.caller.target
                ),
            );
        }
        let Some(argument) = signature.at(start) else { return invalid() };
        let value = match argument {
            Argument::Number { .. } => {
                return self.load_number(direction, size);
            }
            Argument::Integers if self.has(Change::IntegerPointers) => {
                return self.load_number(direction, size);
            }
            Argument::Integers | Argument::Unreadable(_) => {
                return refuse(
                    Rule::ContextAccess,
                    format!(
                        "func '{}' arg{} type is not a struct\ninvalid bpf_context access off={off} size={size}",
                        self.caller.target,
                        start / 8
                    ),
                );
            }
            Argument::Buffer { writable } => {
                let flags = if writable { Flags::NONE } else { Flags::READ_ONLY };
                let flags = flags.with(Flags::NULLABLE);
                Register { id: self.new_id(), ..Register::pointer(Kind::Buffer).with_flags(flags) }
            }
            Argument::Structure(pointer) => {
                if size != 8 {
                    return refuse(
                        Rule::ContextAccess,
                        format!(
                            "func '{}' size {size} must be 8\ninvalid bpf_context access off={off} size={size}",
                            self.caller.target
                        ),
                    );
                }
                let mut flags = match pointer.space {
                    Space::Kernel => Flags::NONE,
                    Space::User => Flags::USER,
                    Space::PerCpu => Flags::PER_CPU,
                };
                if pointer.trusted {
                    flags = flags.with(Flags::TRUSTED);
                }
                let mut id = 0;
                let is_tracepoint = self.caller.attach == AttachType::TRACE_RAW_TP;
                if pointer.nullable && (!is_tracepoint || self.has(Change::NullableTracepoints)) {
                    flags = flags.with(Flags::NULLABLE);
                    id = self.new_id();
                }
                let pointer =
                    Register { what: pointer.structure.0, ..Register::pointer(Kind::Structure) };
                Register { id, ..pointer.with_flags(flags) }
            }
        };
        let Direction::Read { into: Some(into), .. } = direction else { return Ok(()) };
        self.write(into, value)
    }

    pub(super) fn access_socket(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        if register.number.s64.min < 0 {
            return refuse(
                Rule::OutOfBounds,
                format!(
                    "R{base} min value is negative, either use unsigned index or do a if (index >=0) check."
                ),
            );
        }
        let form = match register.kind {
            Kind::SockCommon => SocketForm::Common,
            Kind::TcpSock => SocketForm::Tcp,
            Kind::XdpSock => SocketForm::Xdp,
            _ => SocketForm::Full,
        };
        let signed = matches!(direction, Direction::Read { signed: true, .. });
        let access = Access { offset: off, size, write: false, signed };
        if !register.number.is_zero() || context::socket_access(form, access).is_err() {
            let name = register.name();
            return refuse(
                Rule::InvalidAccess,
                format!("R{base} invalid {name} access off={off} size={size}"),
            );
        }
        self.touch(Touched::Socket);
        self.load_number(direction, size)
    }
}

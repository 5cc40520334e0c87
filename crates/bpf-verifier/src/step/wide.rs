//! 64-bit immediates: numbers, maps, addresses of values, of code and of kernel variables.

use bpf_isa::{Instruction, Wide};
use bpf_object::btf::{Kind as TypeKind, TypeId};

use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::stop::{Check, Stop, refuse, unmodelled};

impl Engine<'_> {
    pub(super) fn load_wide(&mut self, dst: u8, value: Wide) -> Check {
        let register = match value {
            Wide::Value(number) => Register::exactly(number),
            Wide::MapByIndex(map) => {
                let map = self.map_index(map)?;
                Register { what: map, ..Register::pointer(Kind::Map) }
            }
            Wide::MapValueByIndex { map, offset } => {
                let map = self.map_index(map)?;
                return self.load_map_value(dst, map, offset);
            }
            Wide::Code(distance) => {
                let target = self.target(distance);
                let Some(function) = self.code.function_at(target) else {
                    return refuse(
                        Rule::Callback,
                        format!("callback function at {target} is unknown"),
                    );
                };
                if self.code.functions[function].kind.is_none() {
                    return refuse(Rule::Callback, "missing btf func_info");
                }
                if self.code.functions[function].is_global {
                    return refuse(Rule::Callback, "callback function not static");
                }
                Register { what: function as u32, ..Register::pointer(Kind::Function) }
            }
            Wide::Variable(id) => self.kernel_variable(id)?,
            Wide::MapByFd(map) | Wide::MapValueByFd { map, .. } => {
                // An object can't know numbers of open files.
                return refuse(Rule::MapUse, format!("fd {map} is not pointing to valid bpf_map"));
            }
        };
        self.write(dst, register)
    }

    fn map_index(&self, map: i32) -> Check<u32> {
        let index = u32::try_from(map).ok().filter(|index| (*index as usize) < self.maps.len());
        match index {
            Some(index) => Ok(index),
            None => unmodelled(format!("map {map}, which isn't in the object")),
        }
    }

    /// The kernel looks up the addresses of values before it walks, in code that is never reached as
    /// well (kernel/bpf/verifier.c, Linux 6.12: resolve_pseudo_ldimm64). The error comes with the slot.
    pub(crate) fn check_value_addresses(&self) -> Result<(), (Stop, Option<usize>)> {
        for placed in &self.request.program.instructions {
            let Instruction::LoadWide { value: Wide::MapValueByIndex { map, offset }, .. } =
                placed.instruction
            else {
                continue;
            };
            let result = self.map_index(map).and_then(|map| self.check_value_address(map, offset));
            result.map_err(|stop| (stop, Some(placed.slot)))?;
        }
        Ok(())
    }

    fn check_value_address(&self, index: u32, offset: i32) -> Check {
        use bpf_object::MapType as M;
        let map = &self.maps[index as usize];
        if map.kind == M::ARENA {
            return Ok(());
        }
        if map.kind != M::ARRAY || map.max_entries != 1 {
            return refuse(Rule::MapUse, "only maps of one value have addresses that are known");
        }
        if i64::from(offset) >= i64::from(map.value_size) || offset < 0 {
            return refuse(
                Rule::OutOfBounds,
                format!(
                    "invalid access to map value pointer, value_size={} off={offset}",
                    map.value_size
                ),
            );
        }
        Ok(())
    }

    fn load_map_value(&mut self, dst: u8, index: u32, offset: i32) -> Check {
        if self.maps[index as usize].kind == bpf_object::MapType::ARENA {
            return self
                .write(dst, Register { kind: Kind::Arena, what: index, ..Register::UNKNOWN });
        }
        // There is only one such value: it needs no identity.
        self.write(dst, Register { what: index, off: offset, ..Register::pointer(Kind::MapValue) })
    }

    /// The address of a variable of the kernel: memory, or a structure.
    fn kernel_variable(&mut self, id: i32) -> Check<Register> {
        let Some(kernel) = self.kernel else {
            return unmodelled("variables of the kernel, without its types");
        };
        let id = TypeId(id.cast_unsigned());
        let kind = match kernel.kind(id) {
            Some(TypeKind::Variable { kind, .. }) => *kind,
            Some(TypeKind::Function { .. }) => {
                return Ok(Register {
                    flags: Flags::READ_ONLY,
                    size: 0,
                    ..Register::pointer(Kind::Memory)
                });
            }
            _ => return unmodelled(format!("the kernel's type {} as a variable", id.0)),
        };
        let per_cpu = kernel
            .find(".data..percpu", |kind| matches!(kind, TypeKind::DataSection { .. }))
            .and_then(|section| kernel.kind(section))
            .is_some_and(|section| match section {
                TypeKind::DataSection { variables, .. } => {
                    variables.iter().any(|place| place.variable == id)
                }
                _ => false,
            });
        match kernel.resolve(kind) {
            Some((structure, TypeKind::Struct(_))) => {
                let flags = if per_cpu { Flags::PER_CPU } else { Flags::NONE };
                Ok(Register { what: structure.0, flags, ..Register::pointer(Kind::Structure) })
            }
            Some((resolved, _)) if per_cpu => Ok(Register {
                what: resolved.0,
                flags: Flags::PER_CPU,
                ..Register::pointer(Kind::Structure)
            }),
            Some(_) => {
                let size = kernel.size(kind).and_then(|size| u32::try_from(size).ok());
                Ok(Register {
                    flags: Flags::READ_ONLY,
                    size: size.unwrap_or(0),
                    ..Register::pointer(Kind::Memory)
                })
            }
            None => unmodelled("a variable of the kernel whose type has no size"),
        }
    }
}

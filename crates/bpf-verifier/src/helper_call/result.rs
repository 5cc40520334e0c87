//! What helpers return.

use bpf_interface::prototype::{self, Return};
use bpf_object::MapType;
use bpf_object::btf::{Kind as TypeKind, TypeId};

use super::*;
use crate::register::Flags;
use crate::scalar::{Bounds, Scalar};
use crate::stop::unmodelled;

/// Errors that functions return are above this (`MAX_ERRNO`).
const MAX_ERROR: i64 = 4095;

impl Engine<'_> {
    pub(super) fn helper_result(
        &mut self,
        helper: &Prototype,
        gathered: &Gathered,
        arguments: &[Register; 5],
    ) -> Check<Register> {
        let nullable = |kind: Kind| Register::pointer(kind).with_flags(Flags::NULLABLE);
        let mut result = match helper.result {
            Return::Integer => {
                return Ok(Register::scalar(self.number_result(helper.id, gathered)));
            }
            Return::Void => return Ok(Register::UNINITIALISED),
            Return::MapValue { nullable } => {
                let Some(map) = gathered.map else {
                    return unmodelled(format!("the map of {}", helper.name));
                };
                let mut value = Register {
                    what: map,
                    instance: gathered.map_instance,
                    ..Register::pointer(Kind::MapValue)
                };
                if nullable {
                    value.flags = Flags::NULLABLE;
                } else if self.maps[map as usize].record.lock().is_some() {
                    value.id = self.new_id();
                }
                value
            }
            Return::SocketOrNull => nullable(Kind::Socket),
            Return::SockCommonOrNull => nullable(Kind::SockCommon),
            Return::TcpSockOrNull => nullable(Kind::TcpSock),
            Return::RingBufferRecordOrNull => {
                let size = u32::try_from(gathered.memory_size).unwrap_or(u32::MAX);
                let flags = Flags::NULLABLE.with(Flags::RING_BUFFER);
                Register { size, flags, ..Register::pointer(Kind::Memory) }
            }
            Return::DynptrDataOrNull => {
                let size = u32::try_from(gathered.memory_size).unwrap_or(u32::MAX);
                let slice = nullable(Kind::Memory);
                Register { size, instance: gathered.dynptr, ..slice }
            }
            Return::Structure { name, nullable, trusted } => {
                let what = self.kernel_structure(name)?;
                let mut flags = if trusted { Flags::TRUSTED } else { Flags::NONE };
                if nullable {
                    flags = flags.with(Flags::NULLABLE);
                }
                Register { what, flags, ..Register::pointer(Kind::Structure) }
            }
            Return::PerCpuVariable { nullable } => {
                let flags = if nullable { Flags::NULLABLE } else { Flags::NONE };
                self.per_cpu_result(gathered, &arguments[0], flags)?
            }
            Return::KptrOrNull => self.kptr_result(gathered)?,
        };
        if result.is_nullable() {
            result.id = self.new_id();
        }
        if self.acquires(helper.id, gathered) {
            let id = self.acquire();
            (result.id, result.reference) = (id, id);
        } else if prototype::casts(helper.id) || gathered.dynptr != 0 {
            // The same object in another form: gone when the argument is.
            result.reference = gathered.reference;
        }
        Ok(result)
    }

    /// Look-ups in maps of sockets give references, too.
    fn acquires(&self, helper: u32, gathered: &Gathered) -> bool {
        let socket_map = gathered.map.is_some_and(|map| {
            matches!(self.maps[map as usize].kind, MapType::SOCKET_MAP | MapType::SOCKET_HASH)
        });
        prototype::acquires(helper) || (helper == 1 && socket_map)
    }

    fn number_result(&self, helper: u32, gathered: &Gathered) -> Scalar {
        match helper {
            // get_stack, probe_read_str, probe_read_kernel_str, probe_read_user_str, get_task_stack
            67 | 45 | 114 | 115 | 141 => {
                let largest = gathered.largest_size.cast_signed().clamp(0, i32::MAX.into());
                let mut number = Scalar::signed_range(-MAX_ERROR, largest);
                number.s32 = Bounds::new(-MAX_ERROR as i32, largest as i32);
                number.deduce();
                number
            }
            // get_smp_processor_id: below the largest number of processors.
            8 => {
                let mut number = Scalar::of_bytes(4);
                number.u64 = Bounds::new(0, 8191);
                number.deduce();
                number
            }
            _ => Scalar::UNKNOWN,
        }
    }

    fn per_cpu_result(
        &mut self,
        gathered: &Gathered,
        argument: &Register,
        flags: Flags,
    ) -> Check<Register> {
        if argument.flags.has(Flags::ALLOCATED) || argument.flags.has(Flags::RCU) {
            let flags = flags.with(Flags::ALLOCATED).with(Flags::RCU);
            return Ok(Register {
                what: gathered.structure,
                flags,
                ..Register::pointer(Kind::Structure)
            });
        }
        let Some(kernel) = self.kernel else {
            return unmodelled("per-CPU variables without the kernel's types");
        };
        let id = TypeId(gathered.structure);
        match kernel.resolve(id) {
            Some((structure, TypeKind::Struct(_))) => {
                Ok(Register { what: structure.0, flags, ..Register::pointer(Kind::Structure) })
            }
            _ => {
                let size = kernel.size(id).and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
                let flags = flags.with(Flags::READ_ONLY);
                Ok(Register { size, flags, ..Register::pointer(Kind::Memory) })
            }
        }
    }

    fn kptr_result(&mut self, gathered: &Gathered) -> Check<Register> {
        let (Some(kptr), Some(types)) = (gathered.kptr, self.types) else {
            return unmodelled("a kernel pointer whose field isn't known");
        };
        let name = types.name(kptr.target);
        let nullable = Flags::NULLABLE;
        if let Some(kernel) = self.kernel
            && kernel.find(name, |kind| matches!(kind, TypeKind::Struct(_))).is_some()
        {
            let what = self.kernel_structure(name)?;
            return Ok(Register { what, flags: nullable, ..Register::pointer(Kind::Structure) });
        }
        let mut flags = nullable.with(Flags::ALLOCATED);
        if kptr.sort == crate::maps::KptrSort::PerCpu {
            flags = flags.with(Flags::PER_CPU);
        }
        Ok(Register { what: kptr.target.0, flags, ..Register::pointer(Kind::Structure) })
    }
}

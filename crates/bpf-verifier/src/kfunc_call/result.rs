//! What kernel functions return.

use bpf_object::btf::Btf;

use super::*;
use crate::dynptr;
use crate::register::Kind;

impl Engine<'_> {
    pub(super) fn kfunc_result(&mut self, kernel: &Btf, call: &mut Call<'_>) -> Check<Register> {
        let mut result = match kernel.resolve(call.returns) {
            None => return Ok(Register::UNINITIALISED),
            Some((_, TypeKind::Int(_) | TypeKind::Enum(_) | TypeKind::Enum64(_))) => {
                return Ok(Register::UNKNOWN);
            }
            Some((_, TypeKind::Pointer(target))) => self.pointer_result(kernel, call, *target)?,
            _ => return unmodelled(format!("what the kernel function {} returns", call.name)),
        };
        if !result.is_pointer() {
            return Ok(result);
        }
        if call.traits.may_return_null() {
            result.flags = result.flags.with(Flags::NULLABLE);
            result.id = self.new_id();
        }
        if call.traits.acquires() {
            let id = self.acquire();
            (result.id, result.reference) = (id, id);
        } else if matches!(call.name, "bpf_rbtree_first") {
            result.flags = result.flags.with(Flags::NOT_OWNED);
            if self
                .local_record(&result)
                .find(bpf_interface::program::Special::ReferenceCount)
                .is_some()
            {
                result.flags = result.flags.with(Flags::RCU);
            }
        }
        if self.may_hold_lock(&result) && result.id == 0 {
            result.id = self.new_id();
        }
        Ok(result)
    }

    fn pointer_result(
        &mut self,
        kernel: &Btf,
        call: &mut Call<'_>,
        target: TypeId,
    ) -> Check<Register> {
        let allocated = |id: TypeId| Register {
            what: id.0,
            ..Register::pointer(Kind::Structure).with_flags(Flags::ALLOCATED)
        };
        match call.name {
            "bpf_obj_new_impl" | "bpf_percpu_obj_new_impl" => {
                let local = call.constant.and_then(|id| u32::try_from(id).ok()).map(TypeId);
                let (Some(types), Some(local)) = (self.types, local) else {
                    return refuse(
                        Rule::ArgumentType,
                        "bpf_obj_new/bpf_percpu_obj_new requires prog BTF",
                    );
                };
                if !matches!(types.kind(local), Some(TypeKind::Struct(_))) {
                    return refuse(
                        Rule::ArgumentType,
                        "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct",
                    );
                }
                let mut object = allocated(local);
                if call.name == "bpf_percpu_obj_new_impl" {
                    if types.size(local).is_none_or(|size| size > 512) {
                        return refuse(
                            Rule::ArgumentType,
                            "bpf_percpu_obj_new type size is greater than 512",
                        );
                    }
                    if !self.local_record(&object).fields.is_empty() {
                        return refuse(
                            Rule::ArgumentType,
                            "bpf_percpu_obj_new type ID argument must not contain special fields",
                        );
                    }
                    object.flags = object.flags.with(Flags::PER_CPU);
                }
                return Ok(object);
            }
            "bpf_refcount_acquire_impl" => {
                if let Some(object) = call.object {
                    return Ok(allocated(object));
                }
            }
            "bpf_list_pop_front" | "bpf_list_pop_back" | "bpf_rbtree_remove"
            | "bpf_rbtree_first" => {
                if let Some((structure, off)) = call.root {
                    return Ok(Register { off: off.cast_signed(), ..allocated(structure) });
                }
            }
            "bpf_cast_to_kern_ctx" => {
                let structure = self.kernel_structure(self.kernel_context_name()?)?;
                return Ok(Register {
                    what: structure,
                    ..Register::pointer(Kind::Structure).with_flags(Flags::TRUSTED)
                });
            }
            "bpf_rdonly_cast" => {
                let id = call.constant.and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
                let kind = kernel.resolve(TypeId(id)).map(|(_, kind)| kind);
                if !matches!(kind, Some(TypeKind::Struct(_) | TypeKind::Union(_))) {
                    return refuse(
                        Rule::ArgumentType,
                        "kfunc bpf_rdonly_cast type ID argument must be of a struct",
                    );
                }
                return Ok(Register {
                    what: id,
                    ..Register::pointer(Kind::Structure).with_flags(Flags::UNTRUSTED)
                });
            }
            "bpf_dynptr_slice" | "bpf_dynptr_slice_rdwr" => return self.slice_result(call),
            _ => {}
        }
        match kernel.resolve(target) {
            // A `void *` is as good as a number.
            None => Ok(Register::UNKNOWN),
            Some((structure, TypeKind::Struct(_))) => {
                let mut flags = Flags::NONE;
                if call.traits.advances_iterator() {
                    flags = flags.with(self.iterator_trust(call));
                }
                Ok(Register {
                    what: structure.0,
                    ..Register::pointer(Kind::Structure).with_flags(flags)
                })
            }
            Some(_) => {
                let own = kernel.size(target).and_then(|size| u32::try_from(size).ok());
                let own = own.map(|size| (size, true));
                if call.name == "bpf_session_cookie" {
                    call.returned_size = Some((8, false));
                }
                let Some((size, read_only)) = call.returned_size.or(own) else {
                    return unmodelled(format!("the memory that {} returns", call.name));
                };
                let flags = if read_only { Flags::READ_ONLY } else { Flags::NONE };
                let memory = Register { size, ..Register::pointer(Kind::Memory) };
                Ok(Register { reference: call.reference, ..memory.with_flags(flags) })
            }
        }
    }

    /// Memory of a dynptr; where it is of a packet, it goes when the packet is changed.
    fn slice_result(&self, call: &Call<'_>) -> Check<Register> {
        let (Some(held), Some(size)) = (call.dynptr, call.constant) else {
            return unmodelled(format!("a slice by {} of a dynptr that isn't known", call.name));
        };
        let mut flags = Flags::NONE;
        if matches!(held.what, dynptr::SKB | dynptr::XDP) {
            flags = flags.with(Flags::PACKET_DATA);
        }
        if call.name == "bpf_dynptr_slice" {
            flags = flags.with(Flags::READ_ONLY);
        } else if !bpf_interface::program::packet_use(self.caller.program).writes {
            return refuse(Rule::ReadOnly, "the prog does not allow writes to packet data");
        }
        let Ok(size) = u32::try_from(size) else {
            return refuse(Rule::ArgumentSize, "mem_size is too large");
        };
        let memory = Register { size, instance: held.id, ..Register::pointer(Kind::Memory) };
        Ok(memory.with_flags(flags))
    }

    fn kernel_context_name(&self) -> Check<&'static str> {
        use bpf_object::ProgramType as P;
        Ok(match self.caller.program {
            P::SOCKET_FILTER
            | P::CLASSIFIER
            | P::ACTION
            | P::CGROUP_SKB
            | P::LWT_IN
            | P::LWT_OUT
            | P::LWT_XMIT
            | P::LWT_SEG6LOCAL
            | P::SK_SKB => "sk_buff",
            P::XDP => "xdp_buff",
            P::CGROUP_SOCK => "sock",
            P::CGROUP_SOCK_ADDR => "bpf_sock_addr_kern",
            P::SOCK_OPS => "bpf_sock_ops_kern",
            P::SK_MSG => "sk_msg",
            P::PERF_EVENT => "bpf_perf_event_data_kern",
            P::CGROUP_SYSCTL => "bpf_sysctl_kern",
            P::CGROUP_SOCKOPT => "bpf_sockopt_kern",
            P::SK_REUSEPORT => "sk_reuseport_kern",
            P::SK_LOOKUP => "bpf_sk_lookup_kern",
            P::KPROBE => "pt_regs",
            other => return unmodelled(format!("the kernel's form of the context of {other}")),
        })
    }
}

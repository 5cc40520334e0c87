//! Arguments of kernel functions, by the types and names of their parameters (kernel/bpf/verifier.c,
//! Linux 6.12: check_kfunc_args).

use bpf_interface::kfunc::Convention;
use bpf_interface::program::Special;
use bpf_object::btf::{Btf, Parameter};

use super::*;
use crate::dynptr;
use crate::helper_call::{Gathered, Touch};
use crate::memory::Fills;
use crate::register::Kind;
use crate::step::branch::is_trusted;

/// What a pointer parameter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Null,
    Context,
    Allocated,
    ReferenceCounted,
    Dynptr,
    Iterator,
    Graph(Special),
    ConstString,
    Map,
    WorkQueue,
    Callback,
    Structure(TypeId),
    Memory(TypeId),
    /// The size is the next argument.
    SizedMemory,
}

impl Engine<'_> {
    pub(super) fn check_kfunc_arguments(
        &mut self,
        kernel: &Btf,
        call: &mut Call<'_>,
        parameters: &[Parameter],
    ) -> Check {
        if parameters.len() > 5 {
            return refuse(
                Rule::UnknownFunction,
                format!("Function {} has {} > 5 args", call.name, parameters.len()),
            );
        }
        let mut index = 0;
        while let Some(parameter) = parameters.get(index) {
            let name = kernel.string(parameter.name).unwrap_or_default();
            let convention = Convention::of(name);
            if matches!(convention, Some(Convention::Ignored | Convention::Program)) {
                index += 1;
                continue;
            }
            let number = index as u8 + 1;
            let register = self.read(number)?;
            if signature::is_number(kernel, parameter.kind) {
                self.check_kfunc_number(call, number, &register, name, convention)?;
                index += 1;
                continue;
            }
            let Some((_, TypeKind::Pointer(target))) = kernel.resolve(parameter.kind) else {
                return unmodelled(format!(
                    "an argument by value of the kernel function {}",
                    call.name
                ));
            };
            let next = parameters.get(index + 1).and_then(|next| kernel.string(next.name));
            index += self
                .check_kfunc_pointer(kernel, call, index, &register, convention, *target, next)?;
        }
        if call.traits.releases() && call.released.is_none() {
            return refuse(
                Rule::ReleaseUnowned,
                format!("release kernel function {} expects refcounted PTR_TO_BTF_ID", call.name),
            );
        }
        Ok(())
    }

    fn check_kfunc_number(
        &mut self,
        call: &mut Call<'_>,
        number: u8,
        register: &Register,
        name: &str,
        convention: Option<Convention>,
    ) -> Check {
        if !register.is_scalar() {
            return refuse(Rule::ArgumentType, format!("R{number} is not a scalar"));
        }
        if convention == Some(Convention::Known) {
            let Some(value) = register.number.exact() else {
                return refuse(Rule::ArgumentType, format!("R{number} must be a known constant"));
            };
            call.constant = Some(value);
            return self.mark_precise(number);
        }
        let returned = matches!(name, "rdonly_buf_size" | "rdwr_buf_size");
        if returned {
            let size = register.number.exact().and_then(|size| u32::try_from(size).ok());
            let Some(size) = size else {
                return refuse(Rule::ArgumentSize, format!("R{number} is not a const"));
            };
            call.returned_size = Some((size, name == "rdonly_buf_size"));
            return self.mark_precise(number);
        }
        Ok(())
    }

    /// How many arguments are done with.
    #[expect(clippy::too_many_arguments, reason = "they are the terms of one rule")]
    fn check_kfunc_pointer(
        &mut self,
        kernel: &Btf,
        call: &mut Call<'_>,
        index: usize,
        register: &Register,
        convention: Option<Convention>,
        target: TypeId,
        next: Option<&str>,
    ) -> Check<usize> {
        let number = index as u8 + 1;
        let traits = call.traits;
        let demanding = traits.needs_trusted() || traits.takes_rcu();
        let null = register.is_null() || register.is_nullable();
        if demanding && null && convention != Some(Convention::Nullable) {
            return refuse(
                Rule::NullDereference,
                format!("Possibly NULL pointer passed to trusted arg{index}"),
            );
        }
        if register.reference != 0 {
            if traits.releases() && call.reference != 0 {
                return refuse(
                    Rule::ReleaseUnowned,
                    format!("more than one arg with ref_obj_id R{number}"),
                );
            }
            call.reference = register.reference;
            if traits.releases() {
                call.released = Some(number);
            }
        }
        let wanted = self.wanted(kernel, call, index, register, convention, target, next)?;
        if matches!(wanted, Wanted::Allocated | Wanted::Structure(_))
            && demanding
            && !is_trusted(register)
        {
            if !traits.takes_rcu() {
                return refuse(
                    Rule::ArgumentType,
                    format!("R{number} must be referenced or trusted"),
                );
            }
            if !register.flags.has(Flags::RCU) {
                return refuse(Rule::ArgumentType, format!("R{number} must be a rcu pointer"));
            }
        }
        if wanted == Wanted::Null {
            return Ok(1);
        }
        self.check_kfunc_offset(call, number, register)?;
        match wanted {
            Wanted::Null => {}
            Wanted::Context => {
                if register.kind != Kind::Context {
                    return refuse(
                        Rule::ArgumentType,
                        format!("arg#{index} expected pointer to ctx, but got {}", register.name()),
                    );
                }
            }
            Wanted::Allocated => self.check_allocated(call, index, register)?,
            Wanted::ReferenceCounted => {
                let allocated =
                    register.kind == Kind::Structure && register.flags.has(Flags::ALLOCATED);
                if !allocated {
                    return refuse(
                        Rule::ArgumentType,
                        format!("arg#{index} is neither owning or non-owning ref"),
                    );
                }
                if self.local_record(register).find(Special::ReferenceCount).is_none() {
                    return refuse(
                        Rule::ArgumentType,
                        format!("arg#{index} doesn't point to a type with bpf_refcount field"),
                    );
                }
                call.object = Some(TypeId(register.what));
                call.object_owned = register.reference != 0;
            }
            Wanted::Dynptr => self.check_kfunc_dynptr(call, number, register, convention)?,
            Wanted::Iterator => self.check_iterator(kernel, call, index, register, target)?,
            Wanted::Graph(special) => self.check_graph(call, index, register, special)?,
            Wanted::ConstString => self.check_constant_string(number, register)?,
            Wanted::Map => {
                if register.kind == Kind::Structure {
                    // As an iterator over maps gives it.
                    let map = TypeId(self.kernel_structure("bpf_map")?);
                    self.check_kfunc_structure(kernel, call, index, register, map)?;
                    if !is_trusted(register) {
                        return refuse(
                            Rule::ArgumentType,
                            format!("R{number} must be referenced or trusted"),
                        );
                    }
                    return Ok(1);
                }
                if register.kind != Kind::Map {
                    return refuse(
                        Rule::ArgumentType,
                        format!("pointer in R{number} isn't map pointer"),
                    );
                }
                if let Some((map, instance)) = call.map
                    && (map, instance) != (register.what, register.instance)
                {
                    return refuse(
                        Rule::MapField,
                        format!(
                            "workqueue pointer in R1 map_uid={instance} doesn't match map pointer in R2 map_uid={}",
                            register.instance
                        ),
                    );
                }
                call.map = Some((register.what, register.instance));
            }
            Wanted::WorkQueue => {
                if register.kind != Kind::MapValue {
                    return refuse(
                        Rule::ArgumentType,
                        format!("arg#{index} doesn't point to a map value"),
                    );
                }
                self.check_special(number, register, Special::WorkQueue)?;
                call.map = Some((register.what, register.instance));
            }
            Wanted::Callback => {
                if register.kind != Kind::Function {
                    return refuse(
                        Rule::ArgumentType,
                        format!("arg{index} expected pointer to func"),
                    );
                }
                call.function = Some(register.what as usize);
            }
            Wanted::Structure(structure) => {
                self.check_kfunc_structure(kernel, call, index, register, structure)?;
            }
            Wanted::Memory(target) => {
                let size = kernel.size(target).and_then(|size| u32::try_from(size).ok());
                let Some(size) = size else {
                    return unmodelled(format!("an argument without a size of {}", call.name));
                };
                self.check_kfunc_memory(number, register, size)?;
            }
            Wanted::SizedMemory => {
                let optional = register.is_null() && convention == Some(Convention::Optional);
                let size = self.read(number + 1)?;
                if !optional {
                    self.check_kfunc_sized(index, number, &size)?;
                }
                if next.and_then(Convention::of) == Some(Convention::KnownSize) {
                    let Some(value) = size.number.exact() else {
                        return refuse(
                            Rule::ArgumentSize,
                            format!("R{} must be a known constant", number + 1),
                        );
                    };
                    call.constant = Some(value);
                    self.mark_precise(number + 1)?;
                }
                return Ok(2);
            }
        }
        Ok(1)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the terms of one rule")]
    fn wanted(
        &self,
        kernel: &Btf,
        call: &Call<'_>,
        index: usize,
        register: &Register,
        convention: Option<Convention>,
        target: TypeId,
        next: Option<&str>,
    ) -> Check<Wanted> {
        let resolved = kernel.resolve(target);
        let name = resolved.map_or("", |(id, _)| kernel.name(id));
        let is_structure =
            matches!(resolved, Some((_, TypeKind::Struct(_) | TypeKind::Forward { .. })));
        if call.name == "bpf_cast_to_kern_ctx" || (is_structure && self.is_kernel_context(name)) {
            return Ok(Wanted::Context);
        }
        match convention {
            Some(Convention::Allocated) => return Ok(Wanted::Allocated),
            Some(Convention::ReferenceCounted) => return Ok(Wanted::ReferenceCounted),
            Some(Convention::Nullable) if register.is_null() => return Ok(Wanted::Null),
            Some(Convention::String) => return Ok(Wanted::ConstString),
            Some(Convention::Map) => return Ok(Wanted::Map),
            Some(Convention::Iterator) => return Ok(Wanted::Iterator),
            _ => {}
        }
        let traits = call.traits;
        let of_iterator =
            traits.makes_iterator() || traits.advances_iterator() || traits.destroys_iterator();
        if index == 0 && of_iterator {
            return Ok(Wanted::Iterator);
        }
        if is_structure {
            match name {
                "bpf_dynptr" | "bpf_dynptr_kern" => return Ok(Wanted::Dynptr),
                "bpf_list_head" => return Ok(Wanted::Graph(Special::ListHead)),
                "bpf_list_node" => return Ok(Wanted::Graph(Special::ListNode)),
                "bpf_rb_root" => return Ok(Wanted::Graph(Special::TreeRoot)),
                "bpf_rb_node" => return Ok(Wanted::Graph(Special::TreeNode)),
                "bpf_wq" => return Ok(Wanted::WorkQueue),
                _ => {}
            }
        }
        if matches!(resolved, Some((_, TypeKind::Prototype { .. }))) {
            return Ok(Wanted::Callback);
        }
        let as_structure =
            matches!(register.kind, Kind::Structure | Kind::Map) || register.is_socket();
        if as_structure && !register.flags.has(Flags::ALLOCATED) {
            return match resolved {
                Some((id, TypeKind::Struct(_))) => Ok(Wanted::Structure(id)),
                _ => refuse(
                    Rule::ArgumentType,
                    format!(
                        "kernel function {} args#{index} pointer type {} is not supported",
                        call.name,
                        kernel.describe(target)
                    ),
                ),
            };
        }
        let sized = next
            .and_then(Convention::of)
            .is_some_and(|next| matches!(next, Convention::Size | Convention::KnownSize));
        let plain = resolved.is_some_and(|(id, _)| is_plain(kernel, id, 4));
        let any_memory = sized && resolved.is_none();
        if !plain && !any_memory {
            let extra = if sized { "void, " } else { "" };
            let described = match resolved {
                Some((_, TypeKind::Struct(_))) => format!("STRUCT {name}"),
                _ => kernel.describe(target),
            };
            return refuse(
                Rule::ArgumentType,
                format!(
                    "arg#{index} pointer type {described} must point to {extra}scalar, or struct with scalar"
                ),
            );
        }
        Ok(if sized { Wanted::SizedMemory } else { Wanted::Memory(target) })
    }

    /// Whether the kernel's structure is what the context of such programs is made from.
    fn is_kernel_context(&self, name: &str) -> bool {
        use bpf_object::ProgramType as P;
        let wanted: &[&str] = match self.caller.program {
            P::SOCKET_FILTER
            | P::CLASSIFIER
            | P::ACTION
            | P::CGROUP_SKB
            | P::LWT_IN
            | P::LWT_OUT
            | P::LWT_XMIT
            | P::LWT_SEG6LOCAL
            | P::SK_SKB => &["__sk_buff", "sk_buff"],
            P::XDP => &["xdp_md", "xdp_buff"],
            P::CGROUP_SOCK => &["bpf_sock"],
            P::CGROUP_SOCK_ADDR => &["bpf_sock_addr"],
            P::SOCK_OPS => &["bpf_sock_ops"],
            P::SK_MSG => &["sk_msg_md"],
            P::FLOW_DISSECTOR => &["__sk_buff"],
            P::KPROBE => &["pt_regs", "bpf_user_pt_regs_t"],
            P::PERF_EVENT => &["bpf_perf_event_data"],
            P::CGROUP_DEVICE => &["bpf_cgroup_dev_ctx"],
            P::CGROUP_SYSCTL => &["bpf_sysctl"],
            P::CGROUP_SOCKOPT => &["bpf_sockopt"],
            P::SK_REUSEPORT => &["sk_reuseport_md"],
            P::SK_LOOKUP => &["bpf_sk_lookup"],
            P::NETFILTER => &["bpf_nf_ctx"],
            _ => &[],
        };
        wanted.contains(&name)
    }

    fn check_kfunc_offset(&self, call: &Call<'_>, number: u8, register: &Register) -> Check {
        if call.traits.releases() && register.reference != 0 {
            let moved = register.off != 0 || !register.number.is_zero();
            if moved && register.kind != Kind::Stack {
                return refuse(
                    Rule::ReleaseUnowned,
                    format!(
                        "R{number} must have zero offset when passed to release func or trusted arg to kfunc"
                    ),
                );
            }
        }
        match register.kind {
            Kind::Structure => self.check_offset_of(register, number, true),
            Kind::Context
            | Kind::Map
            | Kind::Socket
            | Kind::SockCommon
            | Kind::TcpSock
            | Kind::XdpSock
            | Kind::FlowKeys
            | Kind::Function => self.check_offset_of(register, number, false),
            _ => Ok(()),
        }
    }

    fn check_allocated(&self, call: &mut Call<'_>, index: usize, register: &Register) -> Check {
        let is_allocated = register.kind == Kind::Structure && register.flags.has(Flags::ALLOCATED);
        if !is_allocated || register.flags.has(Flags::NOT_OWNED) || register.is_nullable() {
            return refuse(
                Rule::ArgumentType,
                format!("arg#{index} expected pointer to allocated object"),
            );
        }
        let per_cpu = register.flags.has(Flags::PER_CPU);
        let expected = if per_cpu { "bpf_percpu_obj_drop_impl" } else { "bpf_obj_drop_impl" };
        if call.name != expected {
            return refuse(Rule::ArgumentType, format!("arg#{index} expected for {expected}()"));
        }
        if register.reference == 0 {
            return refuse(Rule::ReleaseUnowned, "allocated object must be referenced");
        }
        call.object = Some(TypeId(register.what));
        Ok(())
    }

    fn check_kfunc_dynptr(
        &mut self,
        call: &mut Call<'_>,
        number: u8,
        register: &Register,
        convention: Option<Convention>,
    ) -> Check {
        if convention == Some(Convention::Uninitialised) {
            let (sort, cloned) = match (call.name, call.dynptr) {
                ("bpf_dynptr_from_skb", _) => (dynptr::SKB, 0),
                ("bpf_dynptr_from_xdp", _) => (dynptr::XDP, 0),
                ("bpf_dynptr_clone", Some(parent)) => (parent.what, parent.reference),
                (name, _) => return unmodelled(format!("dynptrs made by {name}")),
            };
            return self.initialise_dynptr(number, register, sort, cloned);
        }
        call.dynptr = Some(self.initialised_dynptr(number, register)?);
        Ok(())
    }

    fn check_kfunc_structure(
        &self,
        kernel: &Btf,
        call: &Call<'_>,
        index: usize,
        register: &Register,
        wanted: TypeId,
    ) -> Check {
        let unsafe_flags = [Flags::USER, Flags::PER_CPU, Flags::UNTRUSTED];
        let is_unsafe = unsafe_flags.iter().any(|flag| register.flags.has(*flag));
        if register.kind == Kind::Structure && is_unsafe && !register.flags.has(Flags::RCU) {
            return refuse(
                Rule::ArgumentType,
                format!("arg#{index} is {} expected ptr_ or socket", register.name()),
            );
        }
        let (own, off) = match register.kind {
            Kind::Structure => (register.what, register.off),
            Kind::Map => (self.kernel_structure("bpf_map")?, 0),
            Kind::Socket => (self.kernel_structure("sock")?, 0),
            Kind::SockCommon => (self.kernel_structure("sock_common")?, 0),
            Kind::TcpSock => (self.kernel_structure("tcp_sock")?, 0),
            _ => return unmodelled("an XDP socket as a kernel structure"),
        };
        let wanted_name = kernel.name(wanted);
        let own_name = kernel.name(TypeId(own));
        // A release takes the very type; `nf_conn___init` is a form of `nf_conn`, but not the same.
        let strict = call.traits.releases() && register.reference != 0;
        let alias = bpf_object::btf::essential_name(own_name)
            == bpf_object::btf::essential_name(wanted_name)
            && own_name != wanted_name;
        let fits = if strict || alias {
            off == 0 && own_name == wanted_name
        } else {
            self.is_or_begins_with(own, off, wanted.0)
        };
        // What programs see of these is called otherwise.
        let is_view = matches!(
            (wanted_name, own_name),
            ("__sk_buff", "sk_buff") | ("xdp_md", "xdp_buff") | ("bpf_sock", "sock")
        );
        if !fits && !is_view {
            return refuse(
                Rule::ArgumentType,
                format!(
                    "kernel function {} args#{index} expected pointer to STRUCT {wanted_name} but R{} has a pointer to STRUCT {own_name}",
                    call.name,
                    index + 1
                ),
            );
        }
        Ok(())
    }

    /// Memory of a known size that the function reads and writes (`check_mem_reg`).
    fn check_kfunc_memory(&mut self, number: u8, register: &Register, size: u32) -> Check {
        if register.is_null() {
            return Ok(());
        }
        let mut valid = *register;
        self.not_null(&mut valid);
        *self.register_mut(number) = valid;
        for write in [false, true] {
            let touch = Touch { write, fills: Fills::No, empty_allowed: true };
            self.check_memory(number, size, touch)?;
        }
        *self.register_mut(number) = *register;
        Ok(())
    }

    fn check_kfunc_sized(&mut self, index: usize, number: u8, size: &Register) -> Check {
        let register = *self.register(number);
        let mut valid = register;
        self.not_null(&mut valid);
        *self.register_mut(number) = valid;
        for write in [false, true] {
            let touch = Touch { write, fills: Fills::No, empty_allowed: true };
            let outcome =
                self.check_sized_memory(number + 1, size, touch, &mut Gathered::default());
            if let Err(stop) = outcome {
                return Err(with_note(
                    stop,
                    format!(
                        "arg#{index} arg#{} memory, len pair leads to invalid memory access",
                        index + 1
                    ),
                ));
            }
        }
        *self.register_mut(number) = register;
        Ok(())
    }
}

fn with_note(mut stop: crate::stop::Stop, note: String) -> crate::stop::Stop {
    if let crate::stop::Cause::Refused { message, .. } = &mut *stop.0 {
        message.push('\n');
        message.push_str(&note);
    }
    stop
}

/// Numbers, and structures and arrays of nothing but numbers.
fn is_plain(types: &Btf, id: TypeId, depth: u32) -> bool {
    match types.resolve(id) {
        Some((_, TypeKind::Int(_) | TypeKind::Enum(_) | TypeKind::Enum64(_))) => true,
        Some((_, TypeKind::Struct(composite) | TypeKind::Union(composite))) => {
            depth > 0 && composite.members.iter().all(|m| is_plain(types, m.kind, depth - 1))
        }
        Some((_, TypeKind::Array(array))) => signature::is_number(types, array.element),
        _ => false,
    }
}

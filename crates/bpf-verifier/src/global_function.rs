//! Functions that are verified on their own, by their types and tags (kernel/bpf/btf.c, Linux 6.12:
//! btf_prepare_func_args).

use std::rc::Rc;

use bpf_object::btf::{Kind as TypeKind, TypeId};

use crate::change::Change;
use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::stop::{Check, refuse, unmodelled};

/// What a parameter may be given, and what the function may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GlobalArgument {
    Number,
    Context,
    Memory { size: u32, nullable: bool },
    Trusted { structure: u32, nullable: bool },
    Dynptr,
    Arena,
}

impl Engine<'_> {
    /// What a global function takes, by its types and tags (`btf_prepare_func_args`).
    pub(crate) fn global_arguments(&mut self, index: usize) -> Check<Rc<[GlobalArgument]>> {
        if let Some(known) = &self.signatures[index] {
            return Ok(Rc::clone(known));
        }
        let found: Rc<[GlobalArgument]> = self.read_arguments(index)?.into();
        self.signatures[index] = Some(Rc::clone(&found));
        Ok(found)
    }

    fn read_arguments(&self, index: usize) -> Check<Vec<GlobalArgument>> {
        let function = &self.code.functions[index];
        let name = &function.name;
        let (Some(types), Some(id)) = (self.types, function.kind) else {
            return unmodelled(format!("the global function {name} without types"));
        };
        let Some((returns, parameters)) = crate::signature::prototype(types, id) else {
            return unmodelled(format!("the global function {name} without types"));
        };
        if parameters.len() > 5 {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Global function {name}() with {} > 5 args. Buggy compiler.",
                    parameters.len()
                ),
            );
        }
        if !crate::signature::is_number(types, returns) {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Global function {name}() doesn't return scalar. Only those are supported."
                ),
            );
        }
        let mut arguments = Vec::new();
        for (number, parameter) in parameters.iter().enumerate() {
            arguments.push(self.global_argument(types, id, name, number, parameter.kind)?);
        }
        Ok(arguments)
    }

    fn global_argument(
        &self,
        types: &bpf_object::btf::Btf,
        function: TypeId,
        name: &str,
        number: usize,
        kind: TypeId,
    ) -> Check<GlobalArgument> {
        let tags = crate::signature::tags(types, function, number);
        let tagged = |tag: &str| {
            self.has(Change::ArgumentTags)
                && tags.iter().any(|found| *found == format!("arg:{tag}"))
        };
        let is_number = crate::signature::is_number(types, kind);
        if tagged("arena") {
            return Ok(GlobalArgument::Arena);
        }
        if is_number {
            if tagged("ctx") || tagged("nonnull") || tagged("trusted") || tagged("nullable") {
                return refuse(
                    Rule::GlobalFunction,
                    format!("arg#{number} is not a pointer, but is tagged as one"),
                );
            }
            return Ok(GlobalArgument::Number);
        }
        let Some((_, TypeKind::Pointer(target))) = types.resolve(kind) else {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Arg#{number} type {} in {name}() is not supported yet.",
                    types.describe(kind)
                ),
            );
        };
        let target_name = self.typedef_name(types, *target);
        if tagged("ctx") || self.is_context_type(&target_name) {
            return Ok(GlobalArgument::Context);
        }
        if !self.has(Change::MemoryForFunctions) {
            return refuse(
                Rule::GlobalFunction,
                format!("Arg#{number} type PTR in {name}() is not supported yet."),
            );
        }
        let nullable = tagged("nullable") || !tagged("nonnull");
        if tagged("trusted") {
            let structure = self.kernel_structure(bpf_object::btf::essential_name(&target_name))?;
            return Ok(GlobalArgument::Trusted { structure, nullable: tagged("nullable") });
        }
        if target_name == "bpf_dynptr" {
            return Ok(GlobalArgument::Dynptr);
        }
        let Some(size) = types.size(*target).and_then(|size| u32::try_from(size).ok()) else {
            let described = types.describe(*target);
            return refuse(
                Rule::GlobalFunction,
                format!("arg#{number} reference type('{described}') size cannot be determined"),
            );
        };
        Ok(GlobalArgument::Memory { size, nullable })
    }

    /// The name of what a pointer is to: of the typedef, if there is one.
    fn typedef_name(&self, types: &bpf_object::btf::Btf, target: TypeId) -> String {
        match types.resolve_qualifiers(target) {
            Some((id, TypeKind::Typedef(_))) if types.name(id) == "bpf_user_pt_regs_t" => {
                types.name(id).to_owned()
            }
            _ => types.resolve(target).map_or("", |(id, _)| types.name(id)).to_owned(),
        }
    }

    /// Whether a structure of that name is the context of this kind of program.
    fn is_context_type(&self, name: &str) -> bool {
        use bpf_interface::context::{self, Context};
        use bpf_object::ProgramType as P;
        if name.is_empty() {
            return false;
        }
        match (self.caller.program, context::of(self.caller.program)) {
            (_, Some(Context::Structure(layout))) => layout.name == name,
            (P::KPROBE, _) => matches!(name, "bpf_user_pt_regs_t" | "pt_regs" | "user_pt_regs"),
            (P::PERF_EVENT, _) => name == "bpf_perf_event_data",
            (P::RAW_TRACEPOINT, _) => name == "bpf_raw_tracepoint_args",
            _ => false,
        }
    }

    pub(crate) fn fresh_argument(&mut self, argument: GlobalArgument) -> Register {
        match argument {
            GlobalArgument::Number => Register::UNKNOWN,
            GlobalArgument::Context => Register::pointer(Kind::Context),
            GlobalArgument::Arena => Register { kind: Kind::Arena, ..Register::UNKNOWN },
            GlobalArgument::Memory { size, nullable } => {
                let mut register = Register { size, ..Register::pointer(Kind::Memory) };
                if nullable {
                    register.flags = Flags::NULLABLE;
                    register.id = self.new_id();
                }
                register
            }
            GlobalArgument::Trusted { structure, nullable } => {
                let mut register =
                    Register { what: structure, ..Register::pointer(Kind::Structure) };
                register.flags = Flags::TRUSTED;
                if nullable {
                    register.flags = register.flags.with(Flags::NULLABLE);
                    register.id = self.new_id();
                }
                register
            }
            GlobalArgument::Dynptr => {
                let id = self.new_id();
                Register {
                    what: crate::dynptr::LOCAL,
                    size: 1,
                    id,
                    number: Scalar::ZERO,
                    ..Register::pointer(Kind::Dynptr)
                }
            }
        }
    }

    /// Whether the registers are what the global function takes (`btf_check_func_arg_match`).
    pub(crate) fn check_global_arguments(&mut self, index: usize, name: &str) -> Check {
        use crate::helper_call::Touch;
        use crate::memory::Fills;
        let breach = |what: String| {
            refuse(
                Rule::GlobalFunction,
                format!("{what}\nCaller passes invalid args into func#{index} ('{name}')"),
            )
        };
        for (at, argument) in self.global_arguments(index)?.iter().enumerate() {
            let number = at as u8 + 1;
            let register = *self.register(number);
            match *argument {
                GlobalArgument::Number if !register.is_scalar() => {
                    return breach(format!("R{number} is not a scalar"));
                }
                GlobalArgument::Number => {}
                GlobalArgument::Context => {
                    if register.kind != Kind::Context {
                        return breach(format!("arg#{at} expects pointer to ctx"));
                    }
                    self.check_unmodified(&register, number)?;
                }
                GlobalArgument::Arena => {
                    if !register.is_scalar() && register.kind != Kind::Arena {
                        return breach(format!("R{number} is not a pointer to arena or scalar."));
                    }
                }
                GlobalArgument::Memory { size, nullable } => {
                    if register.is_null() {
                        if nullable {
                            continue;
                        }
                        return breach(format!("arg#{at} is expected to be non-NULL"));
                    }
                    if register.is_nullable() && !nullable {
                        return breach(format!("arg#{at} is expected to be non-NULL"));
                    }
                    // Only while it is checked: it may still be NULL afterwards.
                    let mut valid = register;
                    self.not_null(&mut valid);
                    *self.register_mut(number) = valid;
                    for write in [false, true] {
                        let touch = Touch { write, fills: Fills::No, empty_allowed: true };
                        self.check_memory(number, size, touch)?;
                    }
                    *self.register_mut(number) = register;
                }
                GlobalArgument::Trusted { structure, nullable } => {
                    if register.is_null() && nullable {
                        continue;
                    }
                    let trusted = register.kind == Kind::Structure
                        && (nullable || !register.is_nullable())
                        && crate::step::branch::is_trusted(&Register {
                            flags: register.flags.without(if nullable {
                                Flags::NULLABLE
                            } else {
                                Flags::NONE
                            }),
                            ..register
                        })
                        && self.is_or_begins_with(register.what, register.off, structure);
                    if !trusted {
                        return breach(format!(
                            "R{number} type={} expected=ptr_, trusted_ptr_, rcu_ptr_",
                            register.name()
                        ));
                    }
                }
                GlobalArgument::Dynptr => {
                    self.initialised_dynptr(number, &register)?;
                }
            }
        }
        Ok(())
    }
}

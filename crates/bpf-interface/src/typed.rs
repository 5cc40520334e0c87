//! Arguments that the kernel's types describe: of traced functions, tracepoints, LSM hooks, iterators
//! and members of struct_ops (btf_ctx_access in kernel/bpf/btf.c, Linux 6.12).

mod null;

use bpf_object::{
    AttachType as A, ProgramType as P,
    btf::{Btf, Kind, TypeId},
};

use crate::{caller::Caller, hook};

/// What a program gets as its context: each argument in 8 bytes, or 16 for a structure by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// With their offsets in the context.
    pub arguments: Vec<(u32, Argument)>,
    /// `None`: the target returns nothing.
    pub result: Option<Argument>,
    /// Where programs that see it find the result: behind the arguments.
    pub result_offset: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A number of that many bytes, or a pointer that can only be compared and passed on.
    Number {
        size: u32,
        pointer: bool,
    },
    /// A pointer to integers, which is a number to programs; before Linux 5.17 it can't be read.
    Integers,
    Structure(Pointer),
    /// Key or value of a map's entry, for its iterator; its size is the map's.
    Buffer {
        writable: bool,
    },
    /// Of a kind that can't be read: what C calls it may be found in the kernel's types.
    Unreadable(TypeId),
}

/// A pointer to a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub structure: TypeId,
    pub nullable: bool,
    /// It is what the kernel says and stays so while the program runs (`PTR_TRUSTED`).
    pub trusted: bool,
    pub space: Space,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Kernel,
    /// Of a process: readable with helpers only.
    User,
    PerCpu,
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Programs of this kind have no such arguments.
    #[error("programs of this kind attach to nothing that has types")]
    Kind,
    #[error("the kernel has no {0}")]
    Target(String),
    #[error("{0} is not a function")]
    NotAFunction(String),
}

impl Signature {
    /// The argument that begins at `offset`; the result included, if the program sees it.
    pub fn at(&self, offset: u32) -> Option<Argument> {
        if Some(offset) == self.result_offset {
            return self.result;
        }
        self.arguments.iter().find(|(start, _)| *start == offset).map(|(_, argument)| *argument)
    }
}

/// The context of a program with a target in the kernel.
pub fn signature(kernel: &Btf, caller: &Caller<'_>) -> Result<Signature, Missing> {
    let target = caller.target;
    match (caller.program, caller.attach) {
        (P::TRACING, A::TRACE_RAW_TP) => tracepoint(kernel, caller),
        (P::TRACING, A::TRACE_ITER) => iterator(kernel, caller),
        (P::TRACING, A::TRACE_FENTRY | A::TRACE_FEXIT | A::MODIFY_RETURN) => {
            function(kernel, caller, target)
        }
        (P::LSM, _) => function(kernel, caller, &format!("bpf_lsm_{target}")),
        (P::STRUCT_OPS, _) => member(kernel, caller),
        _ => Err(Missing::Kind),
    }
}

/// Whether the kernel has what a tracing or LSM program attaches to: without it the program can't be
/// loaded. Other kinds of programs name their targets when they are attached.
pub fn check_target(kernel: &Btf, caller: &Caller<'_>) -> Result<(), Missing> {
    match caller.program {
        P::TRACING | P::LSM => signature(kernel, caller).map(drop),
        _ => Ok(()),
    }
}

fn function(kernel: &Btf, caller: &Caller<'_>, name: &str) -> Result<Signature, Missing> {
    let prototype = prototype_of(kernel, name)?;
    // fexit and fmod_ret see the result, and so do LSM programs.
    let sees_result =
        matches!(caller.attach, A::TRACE_FEXIT | A::MODIFY_RETURN) || caller.program == P::LSM;
    let trusted = caller.program == P::LSM && hook::is_lsm_trusted(caller.target);
    read(kernel, prototype, name, 0, trusted, sees_result)
}

fn tracepoint(kernel: &Btf, caller: &Caller<'_>) -> Result<Signature, Missing> {
    let target = caller.target;
    let name = format!("btf_trace_{target}");
    let is_typedef = |kind: &Kind| matches!(kind, Kind::Typedef(_));
    let typedef = kernel.find(&name, is_typedef).ok_or_else(|| Missing::Target(name.clone()))?;
    let not_a_function = || Missing::NotAFunction(name.clone());
    let Some((_, Kind::Pointer(prototype))) = kernel.resolve(typedef) else {
        return Err(not_a_function());
    };
    // The function has the names of the arguments, the typedef hasn't.
    let named = prototype_of(kernel, &format!("__bpf_trace_{target}")).unwrap_or(*prototype);
    let mut signature = read(kernel, named, &name, 1, true, false)?;
    for (index, (_, argument)) in signature.arguments.iter_mut().enumerate() {
        if let Argument::Structure(pointer) = argument {
            match null::of_tracepoint(target, index) {
                null::Null::Never => {}
                null::Null::May => pointer.nullable = true,
                null::Null::Error => *argument = Argument::Number { size: 8, pointer: true },
            }
        }
    }
    Ok(signature)
}

fn iterator(kernel: &Btf, caller: &Caller<'_>) -> Result<Signature, Missing> {
    let name = format!("bpf_iter_{}", caller.target);
    let prototype = prototype_of(kernel, &name)?;
    let mut signature = read(kernel, prototype, &name, 0, true, false)?;
    for (offset, argument) in &mut signature.arguments {
        let Some(given) = null::of_iterator(caller.target, *offset) else { continue };
        match (given, &mut *argument) {
            (null::Given::Buffer { writable }, argument) => {
                *argument = Argument::Buffer { writable };
            }
            (null::Given::Structure { trusted }, Argument::Structure(pointer)) => {
                pointer.nullable = true;
                pointer.trusted = trusted;
            }
            _ => {}
        }
    }
    Ok(signature)
}

/// The target is `type/member`.
fn member(kernel: &Btf, caller: &Caller<'_>) -> Result<Signature, Missing> {
    let missing = || Missing::Target(caller.target.to_owned());
    let (operations, member) = caller.target.split_once('/').ok_or_else(missing)?;
    let is_struct = |kind: &Kind| matches!(kind, Kind::Struct(_));
    let structure = kernel.find(operations, is_struct).ok_or_else(missing)?;
    let field = kernel.member(structure, member).ok_or_else(missing)?;
    let Some((_, Kind::Pointer(prototype))) = kernel.resolve(field.kind) else {
        return Err(Missing::NotAFunction(caller.target.to_owned()));
    };
    let mut signature = read(kernel, *prototype, caller.target, 0, true, false)?;
    // The function that stands in for a missing one says which arguments may be NULL.
    let stand_in = prototype_of(kernel, &format!("{operations}__{member}"));
    let parameters = stand_in.ok().and_then(|id| match kernel.kind(id) {
        Some(Kind::Prototype { parameters, .. }) => Some(parameters),
        _ => None,
    });
    for (index, (_, argument)) in signature.arguments.iter_mut().enumerate() {
        let Argument::Structure(pointer) = argument else { continue };
        let name = parameters.and_then(|all| all.get(index)).and_then(|p| kernel.string(p.name));
        pointer.nullable |= name.is_some_and(|name| name.ends_with("__nullable"))
            // bpf_scx_is_valid_access (kernel/sched/ext.c)
            || (operations == "sched_ext_ops" && matches!(member, "dispatch" | "yield") && index == 1);
        // bpf_tcp_ca_is_valid_access (net/ipv4/bpf_tcp_ca.c)
        if operations == "tcp_congestion_ops" && kernel.name(pointer.structure) == "sock" {
            pointer.structure = kernel.find("tcp_sock", is_struct).unwrap_or(pointer.structure);
        }
    }
    Ok(signature)
}

fn prototype_of(kernel: &Btf, name: &str) -> Result<TypeId, Missing> {
    let is_function = |kind: &Kind| matches!(kind, Kind::Function { .. });
    let id = kernel.find(name, is_function).ok_or_else(|| Missing::Target(name.to_owned()))?;
    match kernel.kind(id) {
        Some(Kind::Function { prototype, .. }) => Ok(*prototype),
        _ => Err(Missing::NotAFunction(name.to_owned())),
    }
}

fn read(
    kernel: &Btf,
    prototype: TypeId,
    name: &str,
    skipped: usize,
    trusted: bool,
    sees_result: bool,
) -> Result<Signature, Missing> {
    let Some(Kind::Prototype { returns, parameters }) = kernel.kind(prototype) else {
        return Err(Missing::NotAFunction(name.to_owned()));
    };
    let mut arguments = Vec::new();
    let mut offset = 0;
    for parameter in parameters.iter().skip(skipped) {
        let mut argument = argument(kernel, parameter.kind, trusted);
        let nullable =
            kernel.string(parameter.name).is_some_and(|name| name.ends_with("__nullable"));
        if let Argument::Structure(pointer) = &mut argument {
            pointer.nullable |= nullable;
        }
        arguments.push((offset, argument));
        let size = kernel.size(parameter.kind).unwrap_or(8).clamp(1, 16) as u32;
        offset += size.next_multiple_of(8);
    }
    let result = (*returns != TypeId::VOID).then(|| argument(kernel, *returns, trusted));
    let result_offset = (sees_result && result.is_some()).then_some(offset);
    Ok(Signature { arguments, result, result_offset })
}

fn argument(kernel: &Btf, id: TypeId, trusted: bool) -> Argument {
    match kernel.resolve(id) {
        Some((_, Kind::Int(int))) => Argument::Number { size: int.size, pointer: false },
        Some((_, Kind::Enum(kind))) => Argument::Number { size: kind.size, pointer: false },
        Some((_, Kind::Enum64(kind))) => Argument::Number { size: kind.size, pointer: false },
        // By value: its bytes are numbers.
        Some((_, Kind::Struct(kind) | Kind::Union(kind))) => {
            Argument::Number { size: kind.size, pointer: false }
        }
        Some((_, Kind::Pointer(to))) => pointer(kernel, id, *to, trusted),
        _ => Argument::Unreadable(id),
    }
}

fn pointer(kernel: &Btf, id: TypeId, to: TypeId, trusted: bool) -> Argument {
    let mut space = Space::Kernel;
    if let Some(Kind::TypeTag { .. }) = kernel.kind(to) {
        match kernel.name(to) {
            "user" => space = Space::User,
            "percpu" => space = Space::PerCpu,
            _ => {}
        }
    }
    match kernel.resolve(to) {
        // `void *` and pointers to integers are numbers as far as safety goes.
        None if to == TypeId::VOID => Argument::Number { size: 8, pointer: true },
        Some((_, Kind::Int(_))) => Argument::Integers,
        Some((structure, Kind::Struct(_) | Kind::Union(_))) => {
            Argument::Structure(Pointer { structure, nullable: false, trusted, space })
        }
        // `const void *`
        None => Argument::Number { size: 8, pointer: true },
        _ => Argument::Unreadable(id),
    }
}

#[cfg(test)]
mod tests;

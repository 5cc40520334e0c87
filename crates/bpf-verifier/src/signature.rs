//! Functions of the program by their types.

use bpf_object::btf::{Btf, Kind, Parameter, TypeId};

/// What a function returns and takes.
pub(crate) fn prototype(types: &Btf, function: TypeId) -> Option<(TypeId, &[Parameter])> {
    let Kind::Function { prototype, .. } = types.kind(function)? else { return None };
    match types.kind(*prototype)? {
        Kind::Prototype { returns, parameters } => Some((*returns, parameters)),
        _ => None,
    }
}

pub(crate) fn returns_nothing(types: &Btf, function: TypeId) -> bool {
    prototype(types, function).is_some_and(|(returns, _)| returns == TypeId::VOID)
}

/// Integers and enumerations.
pub(crate) fn returns_number(types: &Btf, function: TypeId) -> bool {
    prototype(types, function).is_some_and(|(returns, _)| is_number(types, returns))
}

pub(crate) fn is_number(types: &Btf, id: TypeId) -> bool {
    matches!(types.resolve(id), Some((_, Kind::Int(_) | Kind::Enum(_) | Kind::Enum64(_))))
}

/// The tags of a parameter, such as `arg:nonnull`.
pub(crate) fn tags(types: &Btf, function: TypeId, parameter: usize) -> Vec<&str> {
    let mut found = Vec::new();
    for (id, entry) in types.own_types() {
        if let Kind::DeclarationTag { target, component, .. } = &entry.kind
            && *target == function
            && usize::try_from(*component) == Ok(parameter)
        {
            found.push(types.name(id));
        }
    }
    found
}

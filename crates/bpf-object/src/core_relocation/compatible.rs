//! Whether a type of the target may stand for one of the object.

use super::*;
use crate::btf::{Composite, essential_name};

/// Same kind; the two sizes of enumerations count as one.
pub fn same_sort(left: &Kind, right: &Kind) -> bool {
    let is_enum = |kind: &Kind| matches!(kind, Kind::Enum(_) | Kind::Enum64(_));
    std::mem::discriminant(left) == std::mem::discriminant(right)
        || (is_enum(left) && is_enum(right))
}

/// Whether a field of one type may be read as the other: integers of any width, pointers to
/// anything, structs of any name (their members are matched when the path goes on).
pub fn fields_are_compatible(
    local: &Btf,
    mut own: TypeId,
    target: &Btf,
    mut other: TypeId,
) -> bool {
    for _ in 0..MAX_DEPTH {
        // `void` is compatible with `void` only.
        let (own_id, own_kind, other_kind) = match (local.resolve(own), target.resolve(other)) {
            (Some((id, own)), Some((other_id, kind))) => {
                other = other_id;
                (id, own, kind)
            }
            (None, None) => return true,
            _ => return false,
        };
        let is_composite = |kind: &Kind| matches!(kind, Kind::Struct(_) | Kind::Union(_));
        if is_composite(own_kind) && is_composite(other_kind) {
            return true;
        }
        if !same_sort(own_kind, other_kind) {
            return false;
        }
        match (own_kind, other_kind) {
            (Kind::Pointer(_), _) | (Kind::Float { .. }, _) => return true,
            (Kind::Forward { .. } | Kind::Enum(_) | Kind::Enum64(_), _) => {
                let (own, other) = (local.name(own_id), target.name(other));
                return own.is_empty()
                    || other.is_empty()
                    || essential_name(own) == essential_name(other);
            }
            (Kind::Int(own), Kind::Int(other)) => {
                return own.bit_offset == 0 && other.bit_offset == 0;
            }
            (Kind::Array(own_array), Kind::Array(other_array)) => {
                (own, other) = (own_array.element, other_array.element);
            }
            _ => return false,
        }
    }
    false
}

/// Whether a type of the right name is the one that is meant: kinds are compared, through
/// pointers, arrays and prototypes; names and members aren't.
pub fn types_are_compatible(local: &Btf, own: TypeId, target: &Btf, other: TypeId) -> bool {
    let mut budget = 1 << 12;
    compatible_within(local, own, target, other, 32, &mut budget)
}

fn compatible_within(
    local: &Btf,
    mut own: TypeId,
    target: &Btf,
    mut other: TypeId,
    depth: u32,
    budget: &mut u32,
) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    loop {
        let Some(left) = budget.checked_sub(1) else { return false };
        *budget = left;
        let (own_kind, other_kind) = match (local.resolve(own), target.resolve(other)) {
            (Some((_, own)), Some((_, other))) => (own, other),
            (None, None) => return true,
            _ => return false,
        };
        if !same_sort(own_kind, other_kind) {
            return false;
        }
        (own, other) = match (own_kind, other_kind) {
            (Kind::Int(own), Kind::Int(other)) => {
                return own.bit_offset == 0 && other.bit_offset == 0;
            }
            (Kind::Pointer(own), Kind::Pointer(other)) => (*own, *other),
            (Kind::Array(own), Kind::Array(other)) => (own.element, other.element),
            (
                Kind::Prototype { returns: own_returns, parameters: own_list },
                Kind::Prototype { returns, parameters: list },
            ) => {
                let pairs = own_list.iter().zip(list);
                if own_list.len() != list.len()
                    || !pairs.into_iter().all(|(own, other)| {
                        compatible_within(local, own.kind, target, other.kind, depth, budget)
                    })
                {
                    return false;
                }
                (*own_returns, *returns)
            }
            (
                Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Enum(_)
                | Kind::Enum64(_)
                | Kind::Forward { .. },
                _,
            ) => return true,
            _ => return false,
        };
    }
}

/// Whether the target's type has all that the object's has: names, members, enumerators, signs.
pub fn types_match(local: &Btf, own: TypeId, target: &Btf, other: TypeId) -> bool {
    let mut search = Match { local, target, budget: 1 << 16 };
    search.types(own, other, false, 32)
}

struct Match<'a> {
    local: &'a Btf,
    target: &'a Btf,
    budget: u32,
}

impl Match<'_> {
    fn types(&mut self, mut own: TypeId, mut other: TypeId, mut behind: bool, depth: u32) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        loop {
            let Some(left) = self.budget.checked_sub(1) else { return false };
            self.budget = left;
            let pair = (self.local.resolve(own), self.target.resolve(other));
            let ((own_id, own_kind), (other_id, other_kind)) = match pair {
                (Some(own), Some(other)) => (own, other),
                (None, None) => return true,
                _ => return false,
            };
            let (own_name, other_name) = (self.local.name(own_id), self.target.name(other_id));
            if essential_name(own_name) != essential_name(other_name) {
                return false;
            }
            (own, other) = match (own_kind, other_kind) {
                (Kind::Forward { union: own }, Kind::Forward { union: other }) => {
                    return own == other;
                }
                // Behind a pointer a declaration is as good as the definition.
                (Kind::Forward { union }, Kind::Struct(_))
                | (Kind::Struct(_), Kind::Forward { union }) => return behind && !union,
                (Kind::Forward { union }, Kind::Union(_))
                | (Kind::Union(_), Kind::Forward { union }) => return behind && *union,
                (Kind::Struct(own), Kind::Struct(other))
                | (Kind::Union(own), Kind::Union(other)) => {
                    return behind || self.composites(own, other, depth);
                }
                (Kind::Enum(_) | Kind::Enum64(_), Kind::Enum(_) | Kind::Enum64(_)) => {
                    return self.enums(own_id, other_id);
                }
                (Kind::Int(own), Kind::Int(other)) => {
                    return own.bits == other.bits && own.is_signed() == other.is_signed();
                }
                (Kind::Pointer(own), Kind::Pointer(other)) => {
                    behind = true;
                    (*own, *other)
                }
                (Kind::Array(own), Kind::Array(other)) => {
                    if own.count != other.count {
                        return false;
                    }
                    (own.element, other.element)
                }
                (
                    Kind::Prototype { returns: own_returns, parameters: own_list },
                    Kind::Prototype { returns, parameters: list },
                ) => {
                    if own_list.len() != list.len() {
                        return false;
                    }
                    for (own, other) in own_list.iter().zip(list) {
                        if !self.types(own.kind, other.kind, false, depth) {
                            return false;
                        }
                    }
                    (*own_returns, *returns)
                }
                _ => return false,
            };
        }
    }

    fn enums(&self, own: TypeId, other: TypeId) -> bool {
        let (wanted, names) = (names(self.local, own), names(self.target, other));
        self.local.size(own) == self.target.size(other)
            && wanted.iter().all(|name| names.contains(name))
    }

    fn composites(&mut self, own: &Composite, other: &Composite, depth: u32) -> bool {
        let (local, target) = (self.local, self.target);
        own.members.len() <= other.members.len()
            && own.members.iter().all(|member| {
                let name = essential_name(local.string(member.name).unwrap_or_default());
                other.members.iter().any(|candidate| {
                    essential_name(target.string(candidate.name).unwrap_or_default()) == name
                        && self.types(member.kind, candidate.kind, false, depth)
                })
            })
    }
}

/// The essential names of an enumeration's values.
fn names(btf: &Btf, id: TypeId) -> Vec<&str> {
    let name = |id| essential_name(btf.string(id).unwrap_or_default());
    match btf.resolve(id) {
        Some((_, Kind::Enum(list))) => list.values.iter().map(|(id, _)| name(*id)).collect(),
        Some((_, Kind::Enum64(list))) => list.values.iter().map(|(id, _)| name(*id)).collect(),
        _ => Vec::new(),
    }
}

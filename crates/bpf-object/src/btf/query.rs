//! Questions about types: sizes, members, places of fields.

use super::*;

/// A field's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the start of the outermost struct.
    pub bit_offset: u64,
    pub kind: TypeId,
    /// The width if it is a bit field, else 0.
    pub bits: u8,
}

/// The name without its flavour: `task_struct___v5` is a `task_struct`.
pub fn essential_name(name: &str) -> &str {
    // The last `___` counts, if something stands on both sides of it.
    let at = name.rmatch_indices("___").map(|(at, _)| at).find(|at| {
        let (before, after) = (&name[..*at], &name[at + 3..]);
        !before.is_empty() && !before.ends_with('_') && !after.is_empty() && !after.starts_with('_')
    });
    at.map_or(name, |at| &name[..at])
}

impl Btf {
    /// The type behind typedefs, qualifiers and tags; `None` for `void` and for loops.
    pub fn resolve(&self, id: TypeId) -> Option<(TypeId, &Kind)> {
        self.skip(id, true)
    }

    /// The type behind qualifiers and tags, a typedef stays.
    pub fn resolve_qualifiers(&self, id: TypeId) -> Option<(TypeId, &Kind)> {
        self.skip(id, false)
    }

    fn skip(&self, mut id: TypeId, typedefs: bool) -> Option<(TypeId, &Kind)> {
        for _ in 0..MAX_DEPTH {
            match self.kind(id)? {
                Kind::Typedef(target) if typedefs => id = *target,
                Kind::Volatile(target)
                | Kind::Const(target)
                | Kind::Restrict(target)
                | Kind::TypeTag { target, .. } => id = *target,
                kind => return Some((id, kind)),
            }
        }
        None
    }

    /// In bytes. `None` for what has no size: functions, `void`, forward declarations.
    pub fn size(&self, id: TypeId) -> Option<u64> {
        self.size_within(id, MAX_DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: u32) -> Option<u64> {
        let (_, kind) = self.resolve(id)?;
        Some(match kind {
            Kind::Int(int) => int.size.into(),
            Kind::Pointer(_) => 8,
            Kind::Array(array) => self
                .size_within(array.element, depth.checked_sub(1)?)?
                .checked_mul(array.count.into())?,
            Kind::Struct(composite) | Kind::Union(composite) => composite.size.into(),
            Kind::Enum(list) => list.size.into(),
            Kind::Enum64(list) => list.size.into(),
            Kind::Float { size } | Kind::DataSection { size, .. } => (*size).into(),
            Kind::Variable { kind, .. } => self.size_within(*kind, depth.checked_sub(1)?)?,
            _ => return None,
        })
    }

    pub fn composite(&self, id: TypeId) -> Option<&Composite> {
        match self.resolve(id)?.1 {
            Kind::Struct(composite) | Kind::Union(composite) => Some(composite),
            _ => None,
        }
    }

    /// The member of that name, also inside anonymous structs and unions.
    pub fn member(&self, id: TypeId, name: &str) -> Option<Field> {
        // Budget against types that hold each other anonymously, many times over.
        let mut budget = 1 << 16;
        self.member_within(id, name, MAX_DEPTH, &mut budget)
    }

    fn member_within(&self, id: TypeId, name: &str, depth: u32, budget: &mut u32) -> Option<Field> {
        let depth = depth.checked_sub(1)?;
        for member in &self.composite(id)?.members {
            *budget = budget.checked_sub(1)?;
            let bit_offset = u64::from(member.bit_offset);
            match self.string(member.name)? {
                "" => {
                    if let Some(inner) = self.member_within(member.kind, name, depth, budget) {
                        return Some(Field { bit_offset: bit_offset + inner.bit_offset, ..inner });
                    }
                }
                found if found == name => {
                    return Some(Field { bit_offset, kind: member.kind, bits: member.bits });
                }
                _ => {}
            }
        }
        None
    }

    /// A field by its path, such as `task_struct.se.cfs_rq` or `sk_buff.cb[2]`: the first part
    /// names a struct, union or typedef, the others members (not through pointers).
    pub fn field(&self, path: &str) -> Option<Field> {
        let (root, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        let root = self.named(root).into_iter().find(|id| self.composite(*id).is_some())?;
        self.field_of(root, rest)
    }

    /// A field by its path from a type: `.member`, `[index]`, and so on.
    pub fn field_of(&self, root: TypeId, mut path: &str) -> Option<Field> {
        let mut place = Field { bit_offset: 0, kind: root, bits: 0 };
        while !path.is_empty() {
            let inner = if let Some(rest) = path.strip_prefix('[') {
                let (index, rest) = rest.split_once(']')?;
                path = rest;
                let Kind::Array(array) = self.resolve(place.kind)?.1 else { return None };
                let index: u64 = index.parse().ok()?;
                // The last member may be an array of no declared length.
                (index < array.count.into() || array.count == 0).then_some(())?;
                let bit_offset = self.size(array.element)?.checked_mul(8)?.checked_mul(index)?;
                Field { bit_offset, kind: array.element, bits: 0 }
            } else {
                let rest = path.strip_prefix('.')?;
                let (name, rest) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                path = rest;
                (!name.is_empty()).then_some(())?;
                self.member(place.kind, name)?
            };
            place = Field { bit_offset: place.bit_offset.checked_add(inner.bit_offset)?, ..inner };
        }
        Some(place)
    }

    /// The byte offset of `struct.field`. `None` if there is no such field, or it begins inside a
    /// byte.
    pub fn offset(&self, path: &str) -> Option<u32> {
        path.contains('.').then_some(())?;
        let field = self.field(path)?;
        (field.bit_offset % 8 == 0).then_some(())?;
        u32::try_from(field.bit_offset / 8).ok()
    }
}

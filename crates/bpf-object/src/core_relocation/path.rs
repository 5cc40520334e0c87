//! A path from a type to a field, and how it is found again in other types.

use super::compatible::{fields_are_compatible, types_are_compatible, types_match};
use super::*;
use crate::btf::{Array, essential_name};

/// How many steps a path may have.
const LONGEST: usize = 64;

#[derive(Clone, Debug)]
pub struct Path {
    pub root: TypeId,
    pub steps: Vec<Step>,
    pub bit_offset: u64,
    /// Index in the list, if the path is to an enumerator.
    enumerator: Option<usize>,
}

/// Members without a name are no steps of their own: other kernels may have them elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `kind` is the element's type.
    Element {
        kind: TypeId,
        index: u32,
    },
    Member {
        composite: TypeId,
        index: usize,
    },
}

impl Path {
    fn new(root: TypeId) -> Self {
        Self { root, steps: Vec::new(), bit_offset: 0, enumerator: None }
    }

    /// Follows the text's numbers in the object's own types.
    pub fn parse(btf: &Btf, root: TypeId, text: &str, kind: CoreKind) -> Option<Self> {
        let numbers: Option<Vec<u32>> = text.split(':').map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() <= LONGEST)?;
        let (first, rest) = numbers.split_first()?;
        let mut path = Self::new(root);
        if is_about_type(kind) {
            return (numbers == [0] && btf.kind(root).is_some()).then_some(path);
        }
        if is_about_enumerator(kind) {
            path.enumerator = Some(*first as usize);
            return (rest.is_empty() && path.enumerator(btf).is_some()).then_some(path);
        }
        let (mut id, _) = btf.resolve(root)?;
        path.element(btf, id, *first)?;
        for &index in rest {
            let (resolved, kind) = btf.resolve(id)?;
            match kind {
                Kind::Struct(composite) | Kind::Union(composite) => {
                    let member = composite.members.get(index as usize)?;
                    path.bit_offset = path.bit_offset.checked_add(member.bit_offset.into())?;
                    if !btf.string(member.name)?.is_empty() {
                        path.steps
                            .push(Step::Member { composite: resolved, index: index as usize });
                    }
                    id = member.kind;
                }
                Kind::Array(array) => {
                    (index < array.count || path.ends_flexibly(btf, array)).then_some(())?;
                    (id, _) = btf.resolve(array.element)?;
                    path.element(btf, id, index)?;
                }
                _ => return None,
            }
        }
        Some(path)
    }

    fn element(&mut self, btf: &Btf, kind: TypeId, index: u32) -> Option<()> {
        let bits = btf.size(kind)?.checked_mul(8)?.checked_mul(index.into())?;
        self.bit_offset = self.bit_offset.checked_add(bits)?;
        self.steps.push(Step::Element { kind, index });
        Some(())
    }

    /// Whether the array is one without a declared length at the end of a struct.
    fn ends_flexibly(&self, btf: &Btf, array: &Array) -> bool {
        let Some(Step::Member { composite, index }) = self.steps.last() else { return false };
        let members = btf.composite(*composite).map_or(0, |composite| composite.members.len());
        array.count == 0 && index + 1 == members
    }

    pub fn enumerator(&self, btf: &Btf) -> Option<u64> {
        let index = self.enumerator?;
        match btf.resolve(self.root)?.1 {
            // Sign-extended, as the compiler does.
            Kind::Enum(list) => list.values.get(index).map(|(_, value)| {
                if list.signed {
                    i64::from(value.cast_signed()).cast_unsigned()
                } else {
                    (*value).into()
                }
            }),
            Kind::Enum64(list) => list.values.get(index).map(|(_, value)| *value),
            _ => None,
        }
    }

    /// The same path from the type `root` of the target.
    pub fn find_in(&self, local: &Btf, target: &Btf, root: TypeId, kind: CoreKind) -> Option<Self> {
        let mut found = Self::new(root);
        if is_about_type(kind) {
            let matches = if kind == CoreKind::TypeMatches {
                types_match(local, self.root, target, root)
            } else {
                types_are_compatible(local, self.root, target, root)
            };
            return matches.then_some(found);
        }
        if let Some(index) = self.enumerator {
            let wanted = enumerator_names(local, self.root).into_iter().nth(index)?;
            let wanted = essential_name(wanted);
            let mut names = enumerator_names(target, root).into_iter();
            found.enumerator = names.position(|name| essential_name(name) == wanted);
            return found.enumerator.is_some().then_some(found);
        }
        let mut id = root;
        for (position, step) in self.steps.iter().enumerate() {
            let (resolved, kind) = target.resolve(id)?;
            match *step {
                Step::Member { composite, index } => {
                    let member = local.composite(composite)?.members.get(index)?;
                    let mut search = Search {
                        local,
                        target,
                        name: local.string(member.name)?,
                        kind: member.kind,
                        budget: 1 << 16,
                    };
                    let (bits, step, next) = search.member(resolved, MAX_DEPTH)??;
                    found.bit_offset = found.bit_offset.checked_add(bits)?;
                    found.steps.push(step);
                    id = next;
                }
                // The first step is an element of the type itself.
                Step::Element { index, .. } if position == 0 => {
                    id = resolved;
                    found.element(target, id, index)?;
                }
                Step::Element { index, .. } => {
                    let Kind::Array(array) = kind else { return None };
                    (index < array.count || found.ends_flexibly(target, array)).then_some(())?;
                    (id, _) = target.resolve(array.element)?;
                    found.element(target, id, index)?;
                }
            }
        }
        Some(found)
    }
}

fn is_about_type(kind: CoreKind) -> bool {
    matches!(
        kind,
        CoreKind::TypeIdLocal
            | CoreKind::TypeIdTarget
            | CoreKind::TypeExists
            | CoreKind::TypeSize
            | CoreKind::TypeMatches
    )
}

fn is_about_enumerator(kind: CoreKind) -> bool {
    matches!(kind, CoreKind::EnumeratorExists | CoreKind::EnumeratorValue)
}

fn enumerator_names(btf: &Btf, id: TypeId) -> Vec<&str> {
    let name = |id| btf.string(id).unwrap_or_default();
    match btf.resolve(id) {
        Some((_, Kind::Enum(list))) => list.values.iter().map(|(id, _)| name(*id)).collect(),
        Some((_, Kind::Enum64(list))) => list.values.iter().map(|(id, _)| name(*id)).collect(),
        _ => Vec::new(),
    }
}

/// The search for a member in a struct of the target.
struct Search<'a> {
    local: &'a Btf,
    target: &'a Btf,
    name: &'a str,
    kind: TypeId,
    budget: u32,
}

impl Search<'_> {
    /// Bit offset, step and type of the member. The outer `None`: the search is over without a
    /// result (a member of that name has an incompatible type); the inner one: not in this struct.
    #[expect(clippy::option_option, reason = "two sorts of failure")]
    fn member(&mut self, id: TypeId, depth: u32) -> Option<Option<(u64, Step, TypeId)>> {
        let depth = depth.checked_sub(1)?;
        let (composite, kind) = self.target.resolve(id)?;
        let (Kind::Struct(list) | Kind::Union(list)) = kind else { return Some(None) };
        for (index, member) in list.members.iter().enumerate() {
            self.budget = self.budget.checked_sub(1)?;
            let bits = u64::from(member.bit_offset);
            match self.target.string(member.name)? {
                "" => {
                    if let Some((inner, step, next)) = self.member(member.kind, depth)? {
                        return Some(Some((bits + inner, step, next)));
                    }
                }
                name if name == self.name => {
                    let (local, target) = (self.local, self.target);
                    return fields_are_compatible(local, self.kind, target, member.kind)
                        .then_some(Some((bits, Step::Member { composite, index }, member.kind)));
                }
                _ => {}
            }
        }
        Some(None)
    }
}

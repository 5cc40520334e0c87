//! Which types are the same, though they were described several times.
//!
//! Two types are the same if nothing that can be asked of them tells them apart: kind, name, sizes,
//! and the same of all that they refer to, through loops too. So types are sorted into classes by
//! what they are without references, and classes are split as long as the classes of what their
//! types refer to differ.

use super::*;

/// Types of one numbering, and which stand for others.
#[derive(Debug)]
pub(crate) struct Classes {
    /// Of each type; `void` first.
    class: Vec<u32>,
    /// Each type's replacement, by decision of the user or because it is declared only.
    replaced: HashMap<TypeId, TypeId>,
}

impl Classes {
    /// `types`: the first one's number is 1. `distinct` are the same as nothing else.
    pub fn new(
        types: &[Type],
        replaced: HashMap<TypeId, TypeId>,
        distinct: impl Fn(TypeId) -> bool,
    ) -> Self {
        let mut classes = Self { class: Vec::new(), replaced };
        loop {
            classes.split(types, &distinct);
            if !classes.complete_declared(types) {
                return classes;
            }
        }
    }

    /// What stands for the type.
    pub fn standing(&self, id: TypeId) -> TypeId {
        let mut id = id;
        // A chain of replacements; damage could make a ring of them.
        for _ in 0..MAX_DEPTH {
            match self.replaced.get(&id) {
                Some(next) => id = *next,
                None => break,
            }
        }
        id
    }

    pub fn class(&self, id: TypeId) -> u32 {
        self.class.get(self.standing(id).0 as usize).copied().unwrap_or(u32::MAX)
    }

    fn split(&mut self, types: &[Type], distinct: &impl Fn(TypeId) -> bool) {
        let mut seen: HashMap<(Type, u32), u32> = HashMap::new();
        let mut class = vec![0];
        for (entry, id) in types.iter().zip(1..) {
            let bare = entry.renumbered(|string| string, |_| TypeId::VOID);
            let mark = if distinct(TypeId(id)) { id } else { 0 };
            let next = seen.len() as u32 + 1;
            class.push(*seen.entry((bare, mark)).or_insert(next));
        }
        self.class = class;
        let references: Vec<Vec<TypeId>> = types.iter().map(Type::references).collect();
        let mut count = seen.len();
        loop {
            let mut seen: HashMap<Vec<u32>, u32> = HashMap::new();
            let mut class = vec![0];
            for (list, own) in references.iter().zip(self.class.iter().skip(1)) {
                let key = [*own].into_iter().chain(list.iter().map(|id| self.class(*id))).collect();
                let next = seen.len() as u32 + 1;
                class.push(*seen.entry(key).or_insert(next));
            }
            self.class = class;
            if seen.len() == count {
                return;
            }
            count = seen.len();
        }
    }

    /// What one object only declares is what the others define under that name, if they agree.
    fn complete_declared(&mut self, types: &[Type]) -> bool {
        let mut defined: HashMap<(StringId, bool), Vec<TypeId>> = HashMap::new();
        for (entry, id) in types.iter().zip(1..) {
            let union = match entry.kind {
                Kind::Struct(_) => false,
                Kind::Union(_) => true,
                _ => continue,
            };
            if entry.name == StringId(0) {
                continue;
            }
            let list = defined.entry((entry.name, union)).or_default();
            if !list.iter().any(|other| self.class(*other) == self.class(TypeId(id))) {
                list.push(TypeId(id));
            }
        }
        let mut found = false;
        for (entry, id) in types.iter().zip(1..) {
            let Kind::Forward { union } = entry.kind else { continue };
            let id = TypeId(id);
            if let Some([definition]) = defined.get(&(entry.name, union)).map(Vec::as_slice)
                && !self.replaced.contains_key(&id)
            {
                self.replaced.insert(id, *definition);
                found = true;
            }
        }
        found
    }
}

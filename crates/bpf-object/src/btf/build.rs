//! New types and strings.

use super::*;

impl Default for Btf {
    fn default() -> Self {
        Self::new()
    }
}

impl Btf {
    /// No types but `void`.
    pub fn new() -> Self {
        Self {
            base: None,
            strings: vec![0],
            types: Vec::new(),
            first: 1,
            first_string: 0,
            names: OnceLock::new(),
        }
    }

    /// No types but the base's.
    pub fn on(base: Arc<Btf>) -> Self {
        let first_string = base.first_string + base.strings.len() as u32;
        let first = base.count();
        Self { first, first_string, strings: Vec::new(), base: Some(base), ..Self::new() }
    }

    /// The string's place; it is added if it isn't there. A string ends at its first zero byte.
    pub fn intern(&mut self, text: &str) -> StringId {
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return StringId(0);
        }
        let mut at = 0;
        while let Some(rest) = self.strings.get(at..).filter(|rest| !rest.is_empty()) {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            if &rest[..end] == text.as_bytes() {
                return StringId(self.first_string + at as u32);
            }
            at += end + 1;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        StringId(self.first_string + at)
    }

    /// Adds a type. Its number is one more than the last one's. A list of more than 65535 members
    /// can't be written and is cut there.
    pub fn add(&mut self, name: &str, mut kind: Kind) -> TypeId {
        const LONGEST: usize = u16::MAX as usize;
        match &mut kind {
            Kind::Struct(composite) | Kind::Union(composite) => composite.members.truncate(LONGEST),
            Kind::Enum(list) => list.values.truncate(LONGEST),
            Kind::Enum64(list) => list.values.truncate(LONGEST),
            Kind::Prototype { parameters, .. } => parameters.truncate(LONGEST),
            Kind::DataSection { variables, .. } => variables.truncate(LONGEST),
            _ => {}
        }
        let id = TypeId(self.count());
        let name = self.intern(name);
        self.types.push(Type { name, kind });
        self.names = OnceLock::new();
        id
    }

    /// Puts another type in the place of an own one. False if there is none of that number.
    pub(crate) fn replace(&mut self, id: TypeId, kind: Kind) -> bool {
        let own = id.0.checked_sub(self.first).and_then(|own| self.types.get_mut(own as usize));
        own.map(|entry| entry.kind = kind).is_some()
    }
}

//! What types refer to: all numbers of types and strings in a type, for whoever renumbers them.

use super::*;

impl Type {
    /// The same type with other numbers.
    pub(crate) fn renumbered(
        &self,
        mut string: impl FnMut(StringId) -> StringId,
        mut id: impl FnMut(TypeId) -> TypeId,
    ) -> Type {
        let mut entry = self.clone();
        entry.name = string(entry.name);
        match &mut entry.kind {
            Kind::Int(_) | Kind::Forward { .. } | Kind::Float { .. } => {}
            Kind::Pointer(target)
            | Kind::Typedef(target)
            | Kind::Volatile(target)
            | Kind::Const(target)
            | Kind::Restrict(target)
            | Kind::Function { prototype: target, .. }
            | Kind::Variable { kind: target, .. }
            | Kind::DeclarationTag { target, .. }
            | Kind::TypeTag { target, .. } => *target = id(*target),
            Kind::Array(array) => {
                array.element = id(array.element);
                array.index = id(array.index);
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                for member in &mut composite.members {
                    member.name = string(member.name);
                    member.kind = id(member.kind);
                }
            }
            Kind::Enum(list) => {
                for (name, _) in &mut list.values {
                    *name = string(*name);
                }
            }
            Kind::Enum64(list) => {
                for (name, _) in &mut list.values {
                    *name = string(*name);
                }
            }
            Kind::Prototype { returns, parameters } => {
                *returns = id(*returns);
                for parameter in parameters {
                    parameter.name = string(parameter.name);
                    parameter.kind = id(parameter.kind);
                }
            }
            Kind::DataSection { variables, .. } => {
                for place in variables {
                    place.variable = id(place.variable);
                }
            }
        }
        entry
    }

    /// The types it refers to, in order.
    pub(crate) fn references(&self) -> Vec<TypeId> {
        let mut list = Vec::new();
        self.renumbered(
            |string| string,
            |id| {
                list.push(id);
                id
            },
        );
        list
    }
}

/// Strings with numbers, each once.
#[derive(Debug)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    places: HashMap<String, StringId>,
}

impl Strings {
    pub fn new() -> Self {
        Self { bytes: vec![0], places: HashMap::from([(String::new(), StringId(0))]) }
    }

    pub fn text(&self, id: StringId) -> &str {
        let rest = self.bytes.get(id.0 as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    pub fn intern(&mut self, text: &str) -> StringId {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = StringId(self.bytes.len() as u32);
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
        self.places.insert(text.to_owned(), place);
        place
    }
}

impl Btf {
    /// Of types and strings that fit together.
    pub(crate) fn of(types: Vec<Type>, strings: Strings) -> Self {
        Self { types, strings: strings.bytes, ..Self::new() }
    }
}

//! Type information (BTF): a model that can be read, asked, extended and written again.
//!
//! The format: Documentation/bpf/btf.rst. Reading checks the form (nothing is cut off, reserved
//! bits are zero); references between types are checked when they are followed, so that a damaged
//! reference gives `None` and a loop of types ends.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

mod build;
mod display;
mod duplicates;
mod extension;
mod loadable;
mod query;
mod read;
mod references;
mod write;

pub(crate) use duplicates::Classes;
pub use extension::{
    CoreKind, CoreRecord, Extension, FunctionRecord, LineRecord, Records, SectionRecords,
};
pub use query::{Field, essential_name};
pub(crate) use references::Strings;

pub(crate) const MAGIC: u16 = 0xeb9f;

/// How deep typedefs, arrays and anonymous members may nest before we call it a loop.
pub(crate) const MAX_DEPTH: u32 = 64;

/// The number of a type. 0 is `void`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    pub const VOID: Self = Self(0);
}

/// Where a string begins in the string section. 0 is the empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StringId(pub u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub name: StringId,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Int(Int),
    Pointer(TypeId),
    Array(Array),
    Struct(Composite),
    Union(Composite),
    Enum(Enum),
    /// A struct or union that is declared only.
    Forward {
        union: bool,
    },
    Typedef(TypeId),
    Volatile(TypeId),
    Const(TypeId),
    Restrict(TypeId),
    Function {
        prototype: TypeId,
        linkage: Linkage,
    },
    Prototype {
        returns: TypeId,
        parameters: Vec<Parameter>,
    },
    Variable {
        kind: TypeId,
        linkage: Linkage,
    },
    DataSection {
        size: u32,
        variables: Vec<Placement>,
    },
    Float {
        size: u32,
    },
    /// `component` is the member or parameter, or -1 for the whole.
    DeclarationTag {
        target: TypeId,
        component: i32,
        attribute: bool,
    },
    TypeTag {
        target: TypeId,
        attribute: bool,
    },
    Enum64(Enum64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Int {
    /// In bytes.
    pub size: u32,
    /// Bits of [`Int::SIGNED`], [`Int::CHAR`], [`Int::BOOL`].
    pub encoding: u8,
    /// Where the value begins in the bytes; only old compilers use it.
    pub bit_offset: u8,
    pub bits: u8,
}

impl Int {
    pub const SIGNED: u8 = 1;
    pub const CHAR: u8 = 2;
    pub const BOOL: u8 = 4;

    pub fn is_signed(&self) -> bool {
        self.encoding & Self::SIGNED != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Array {
    pub element: TypeId,
    pub index: TypeId,
    pub count: u32,
}

/// A struct or a union.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Composite {
    pub size: u32,
    /// Whether the members' encoding has room for the widths of bit fields.
    pub has_bit_fields: bool,
    pub members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub name: StringId,
    pub kind: TypeId,
    /// From the start of the struct.
    pub bit_offset: u32,
    /// The width of a bit field; 0 for other members.
    pub bits: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Enum {
    pub size: u32,
    pub signed: bool,
    pub values: Vec<(StringId, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Enum64 {
    pub size: u32,
    pub signed: bool,
    pub values: Vec<(StringId, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameter {
    pub name: StringId,
    pub kind: TypeId,
}

/// A variable's place in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    pub variable: TypeId,
    pub offset: u32,
    pub size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    Static,
    Global,
    Extern,
}

/// Why bytes are no BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset} of the type information: {reason}")]
pub struct BtfError {
    pub offset: usize,
    pub reason: &'static str,
}

/// The types of an object or a kernel; with a base, those of a kernel module, whose numbers go on
/// where the base's end.
#[derive(Clone, Debug)]
pub struct Btf {
    base: Option<Arc<Btf>>,
    strings: Vec<u8>,
    /// Own types; the first one's number is `first`.
    types: Vec<Type>,
    first: u32,
    /// The first own string's offset.
    first_string: u32,
    names: OnceLock<HashMap<String, Vec<TypeId>>>,
}

impl PartialEq for Btf {
    fn eq(&self, other: &Self) -> bool {
        self.base == other.base && self.strings == other.strings && self.types == other.types
    }
}

impl Btf {
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// How many types there are, `void` and the base's included: the next type's number.
    pub fn count(&self) -> u32 {
        self.first + self.types.len() as u32
    }

    /// All own types with their numbers, without the base's.
    pub fn own_types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().zip(self.first..).map(|(kind, id)| (TypeId(id), kind))
    }

    /// `None` for `void` and for numbers past the end.
    pub fn entry(&self, id: TypeId) -> Option<&Type> {
        match id.0.checked_sub(self.first) {
            Some(own) => self.types.get(own as usize),
            None => self.base.as_ref()?.entry(id),
        }
    }

    pub fn kind(&self, id: TypeId) -> Option<&Kind> {
        self.entry(id).map(|entry| &entry.kind)
    }

    /// The name of a type, empty if it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.entry(id).and_then(|entry| self.string(entry.name)).unwrap_or_default()
    }

    pub fn string(&self, id: StringId) -> Option<&str> {
        let Some(own) = id.0.checked_sub(self.first_string) else {
            return self.base.as_ref()?.string(id);
        };
        let rest = self.strings.get(own as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// The types of that name, the base's first.
    pub fn named(&self, name: &str) -> Vec<TypeId> {
        let mut found = self.named_essentially(name);
        found.retain(|id| self.name(*id) == name);
        found
    }

    /// The type of that name that satisfies `filter`.
    pub fn find(&self, name: &str, filter: impl Fn(&Kind) -> bool) -> Option<TypeId> {
        self.named(name).into_iter().find(|id| self.kind(*id).is_some_and(&filter))
    }

    /// The types whose name is `name` or a flavour of it (`name___flavour`), the base's first.
    pub fn named_essentially(&self, name: &str) -> Vec<TypeId> {
        let base = self.base.as_ref();
        let mut found = base.map_or_else(Vec::new, |base| base.named_essentially(name));
        found.extend(self.index().get(essential_name(name)).into_iter().flatten());
        found
    }

    /// The own types by essential name.
    fn index(&self) -> &HashMap<String, Vec<TypeId>> {
        self.names.get_or_init(|| {
            let mut names: HashMap<String, Vec<TypeId>> = HashMap::new();
            for (id, _) in self.own_types() {
                let name = essential_name(self.name(id));
                match names.get_mut(name) {
                    Some(list) => list.push(id),
                    None if name.is_empty() => {}
                    None => {
                        names.insert(name.to_owned(), vec![id]);
                    }
                }
            }
            names
        })
    }
}

//! Maps as objects define them.

use crate::btf::TypeId;
use crate::elf::DataKind;
use crate::kind::MapType;

mod data;
mod defined;
mod legacy;

pub(crate) use data::{data_map, struct_ops};
pub(crate) use defined::defined;
pub(crate) use legacy::legacy;

/// Programs may not write the map.
pub const READ_ONLY_FOR_PROGRAMS: u32 = 1 << 7;
/// Its values may be mapped into memory.
pub const MAPPABLE: u32 = 1 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub name: String,
    pub origin: Origin,
    pub kind: MapType,
    /// In bytes.
    pub key_size: u32,
    pub value_size: u32,
    /// 0 if the object leaves it to the loader.
    pub max_entries: u32,
    pub flags: u32,
    /// What further it means depends on the kind.
    pub extra: u64,
    pub numa_node: Option<u32>,
    pub pinned_by_name: bool,
    pub key_type: Option<TypeId>,
    pub value_type: Option<TypeId>,
    /// What the values of a map of maps are like. Its name is of no meaning.
    pub inner: Option<Box<Map>>,
    /// What a map of maps or of programs holds from the start.
    pub values: Vec<InitialValue>,
    /// The first value, for maps that are made of variables.
    pub contents: Option<Vec<u8>>,
    /// Addresses in `contents`, which have to be put there by whoever gives things addresses.
    pub pointers: Vec<Pointer>,
}

/// How a map came to be in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By a variable in section `.maps`, whose type is the definition.
    Types,
    /// By a record in section `maps`, as before Linux 4.18.
    Legacy,
    /// It is a section of variables.
    Data(DataKind),
    /// It holds the values of the kernel's configuration that the object asks for.
    Configuration,
    /// By a variable in section `.struct_ops` or `.struct_ops.link`.
    StructOps { link: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialValue {
    pub index: u32,
    pub target: PointerTarget,
}

/// An address of 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub offset: u64,
    pub target: PointerTarget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerTarget {
    /// Index in the object's list of maps.
    Map(usize),
    /// A byte of the map's first value.
    Value {
        map: usize,
        offset: u64,
    },
    Function(String),
}

impl Map {
    pub(crate) fn new(name: &str, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            origin,
            kind: MapType::UNSPECIFIED,
            key_size: 0,
            value_size: 0,
            max_entries: 0,
            flags: 0,
            extra: 0,
            numa_node: None,
            pinned_by_name: false,
            key_type: None,
            value_type: None,
            inner: None,
            values: Vec::new(),
            contents: None,
            pointers: Vec::new(),
        }
    }
}

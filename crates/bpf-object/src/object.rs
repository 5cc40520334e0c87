//! An object, read and understood, before anything is linked.

use std::collections::HashMap;

use crate::btf::{
    Btf, CoreRecord, Extension, FunctionRecord, Kind, LineRecord, Linkage, StringId, TypeId,
};
use crate::elf::{Elf, ElfRelocation};
use crate::error::{Error, Problem};
use crate::map::{Map, Origin};
use crate::section_name::ProgramKind;
use crate::slot::Slot;

mod externs;
mod functions;
mod maps;

/// What an ELF object of eBPF programs holds.
#[derive(Clone, Debug)]
pub struct Object {
    /// Empty if the object names none.
    pub license: String,
    /// The kernel it says it is for; only very old ones ask.
    pub version: Option<u32>,
    pub sections: Vec<SectionSummary>,
    pub functions: Vec<Function>,
    pub maps: Vec<Map>,
    pub variables: Vec<Variable>,
    pub externs: Vec<Extern>,
    /// Its types, with places and sizes of variables as they are in the object.
    pub types: Option<Btf>,
    pub(crate) places: Places,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSummary {
    pub name: String,
    pub size: u64,
    pub is_code: bool,
    pub relocations: usize,
}

/// A function as it stands in its section.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub role: Role,
    pub linkage: Linkage,
    /// The section's name.
    pub section: String,
    /// In bytes, from the section's start.
    pub offset: u64,
    /// Its type, if the object says so.
    pub kind: Option<TypeId>,
    pub(crate) place: (usize, u64),
    pub(crate) slots: Vec<Slot>,
    /// Offsets count slots from the function's start here.
    pub(crate) relocations: Vec<Relocation>,
    pub(crate) core: Vec<CoreRecord>,
    pub(crate) lines: Vec<LineRecord>,
}

impl Function {
    /// How many slots of 8 bytes it has, without what it calls.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An entry point, in a section of its kind. `None`: the section's name says nothing.
    Program(Option<ProgramKind>),
    /// Called by others.
    Subprogram,
}

/// A global variable in a map of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// Index in the object's list of maps.
    pub map: usize,
    pub offset: u64,
    pub size: u64,
    pub kind: Option<TypeId>,
}

/// A name that the object leaves to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    pub name: String,
    pub sort: ExternSort,
    /// The program copes with its absence.
    pub weak: bool,
    /// What the object believes it to be.
    pub kind: Option<TypeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternSort {
    /// A kernel function.
    Function,
    /// A kernel variable; without a type only its address is asked for.
    Variable { typed: bool },
    /// An option of the kernel's configuration, at this place of the map [`Origin::Configuration`].
    Configuration { map: usize, offset: u64, size: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub slot: usize,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The symbol's section and value, to which the instruction adds.
    Place {
        section: usize,
        value: u64,
    },
    Extern(usize),
}

/// What lies where in the ELF object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub sections: Vec<String>,
    /// Section and offset to index.
    pub functions: HashMap<(usize, u64), usize>,
    pub maps: HashMap<(usize, u64), usize>,
    /// Section to the map that it is.
    pub data: HashMap<usize, usize>,
}

pub(crate) const R_BPF_64_64: u32 = 1;
pub(crate) const R_BPF_64_ABS64: u32 = 2;
pub(crate) const R_BPF_64_ABS32: u32 = 3;
pub(crate) const R_BPF_64_32: u32 = 10;
/// Of GNU tools only: the 16 bits of a jump's distance.
pub(crate) const R_BPF_GNU_64_16: u32 = 256;

impl Object {
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let elf = Elf::parse(bytes)?;
        let types = match elf.section(".BTF") {
            Some((_, section)) => {
                let wrong = |source| Error::Btf { section: ".BTF", source };
                let mut types = Btf::parse(section.data).map_err(wrong)?;
                complete(&mut types, &elf);
                Some(types)
            }
            None => None,
        };
        let extension = match (elf.section(".BTF.ext"), &types) {
            (Some((_, section)), Some(_)) => Extension::parse(section.data)
                .map_err(|source| Error::Btf { section: ".BTF.ext", source })?,
            _ => Extension::default(),
        };
        let text = |name| elf.section(name).map(|(_, section)| section.data).unwrap_or_default();
        let license = text("license").split(|byte| *byte == 0).next().unwrap_or_default();
        let mut object = Self {
            license: String::from_utf8_lossy(license).into_owned(),
            version: crate::bytes::word(text("version"), 0),
            sections: elf.sections.iter().skip(1).map(summary).collect(),
            functions: Vec::new(),
            maps: Vec::new(),
            variables: Vec::new(),
            externs: Vec::new(),
            types,
            places: Places::default(),
        };
        object.places.sections = elf.sections.iter().map(|s| s.name.to_owned()).collect();
        let pending = object.read_maps(&elf)?;
        let externs = object.read_externs(&elf)?;
        object.read_functions(&elf, &externs, &extension)?;
        object.read_pointers(&elf, &pending)?;
        Ok(object)
    }

    /// The entry points.
    pub fn programs(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| matches!(function.role, Role::Program(_)))
    }

    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// The present bytes of a variable, or of an option of the kernel's configuration.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let (map, offset, size) = self.variable_place(name)?;
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.maps.get(map)?.contents.as_ref()?.get(start..end)
    }

    /// Sets a variable's value, before the object is linked and its maps are made.
    pub fn set_variable(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let absent = || Error::Absent { what: "variable", name: name.to_owned() };
        let (map, offset, size) = self.variable_place(name).ok_or_else(absent)?;
        if bytes.len() as u64 != size {
            let given = bytes.len() as u64;
            return Err(Error::VariableSize { name: name.to_owned(), size, given });
        }
        let contents = self.maps.get_mut(map).and_then(|map| map.contents.as_mut());
        let start = usize::try_from(offset).map_err(|_| absent())?;
        let end = start.checked_add(bytes.len()).ok_or_else(absent)?;
        let place = contents.and_then(|contents| contents.get_mut(start..end));
        place.ok_or_else(absent)?.copy_from_slice(bytes);
        Ok(())
    }

    fn variable_place(&self, name: &str) -> Option<(usize, u64, u64)> {
        let own = self.variables.iter().find(|variable| variable.name == name);
        own.map(|variable| (variable.map, variable.offset, variable.size)).or_else(|| {
            self.externs.iter().find_map(|external| match external.sort {
                ExternSort::Configuration { map, offset, size } if external.name == name => {
                    Some((map, offset, size))
                }
                _ => None,
            })
        })
    }

    pub(crate) fn at(&self, section: usize, offset: u64, problem: Problem) -> Error {
        let section = self.places.sections.get(section).cloned().unwrap_or_default();
        Error::At { section, offset, problem }
    }
}

fn summary(section: &crate::elf::Section<'_>) -> SectionSummary {
    SectionSummary {
        name: section.name.to_owned(),
        size: section.size,
        is_code: section.is_code(),
        relocations: section.relocations.len(),
    }
}

/// Compilers leave sizes and places of variables to the linker, and there is none.
pub(crate) fn complete(types: &mut Btf, elf: &Elf<'_>) {
    let lists: Vec<(TypeId, Kind)> = types
        .own_types()
        .filter(|(_, entry)| matches!(entry.kind, Kind::DataSection { .. }))
        .map(|(id, entry)| (id, entry.kind.clone()))
        .collect();
    for (id, mut kind) in lists {
        let Some((index, section)) = elf.section(types.name(id)) else { continue };
        let Kind::DataSection { size, variables } = &mut kind else { continue };
        *size = u32::try_from(section.size).unwrap_or(*size);
        let offsets: HashMap<&str, u64> =
            elf.symbols_in(index).map(|symbol| (symbol.name, symbol.value)).collect();
        for place in variables.iter_mut() {
            if let Some(offset) = offsets.get(types.name(place.variable)) {
                place.offset = u32::try_from(*offset).unwrap_or(place.offset);
            }
        }
        variables.sort_by_key(|place| place.offset);
        types.replace(id, kind);
    }
    // A hidden function is not verified on its own, whatever the compiler says of its linkage.
    for symbol in elf.symbols.iter().filter(|symbol| symbol.is_function() && symbol.is_hidden()) {
        let shared = |kind: &Kind| matches!(kind, Kind::Function { linkage: Linkage::Global, .. });
        let Some(id) = types.find(symbol.name, shared) else { continue };
        if let Some(Kind::Function { prototype, .. }) = types.kind(id) {
            let kind = Kind::Function { prototype: *prototype, linkage: Linkage::Static };
            types.replace(id, kind);
        }
    }
}

/// A section's relocations in the order of their places.
fn sorted(relocations: &[ElfRelocation]) -> Vec<ElfRelocation> {
    let mut sorted = relocations.to_vec();
    sorted.sort_by_key(|relocation| relocation.offset);
    sorted
}

/// The part of sorted records that lies in `start..end`.
fn within<R>(records: &[R], start: u64, end: u64, offset: impl Fn(&R) -> u64) -> &[R] {
    let from = records.partition_point(|record| offset(record) < start);
    let to = records.partition_point(|record| offset(record) < end);
    records.get(from..to).unwrap_or_default()
}

//! Static linking: several objects become one.
//!
//! Sections of one name are put behind each other, symbols are resolved by the rules of ELF (strong
//! before weak, the first of several weak ones, two strong ones are an error), types are merged so
//! that each is there once, and what is recorded about instructions moves with them. DWARF is left
//! out: it is for debuggers, and nothing that loads programs reads it.

use std::collections::HashMap;

use object::elf;

use crate::btf::{BtfError, TypeId};
use crate::elf::{Elf, Section, Symbol};
use crate::object::{R_BPF_64_32, R_BPF_64_64, R_BPF_64_ABS32, R_BPF_64_ABS64};
use crate::write::{NewRelocation, NewSection, NewSymbol, write};
use crate::{Error, Object};

mod types;

/// An object, and what to call it in errors.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
}

/// Why objects can't be linked to one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    #[error("there is no object to link")]
    Nothing,
    #[error("{name}: {source}")]
    Object { name: String, source: Error },
    #[error("`{symbol}` is defined in {first} and in {second}; one of them may be weak or static")]
    Twice { symbol: String, first: String, second: String },
    #[error("{first} says {what} `{in_first}`, {second} says `{in_second}`")]
    Disagree {
        what: &'static str,
        first: String,
        in_first: String,
        second: String,
        in_second: String,
    },
    #[error("`{symbol}` is `{in_first}` in {first} but `{in_second}` in {second}")]
    Types { symbol: String, first: String, in_first: String, second: String, in_second: String },
    #[error("section `{section}` is code in {first} and data in {second}")]
    Sections { section: String, first: String, second: String },
    #[error("{name}: section `{section}` at offset {offset:#x}: a relocation of type {sort}")]
    Relocation { name: String, section: String, offset: u64, sort: u32 },
    #[error("the result has more than 65,000 sections or is larger than 2 GiB")]
    TooLarge,
}

/// Links objects to one, in the order given.
pub fn combine(inputs: &[Input<'_>]) -> Result<Vec<u8>, CombineError> {
    if inputs.is_empty() {
        return Err(CombineError::Nothing);
    }
    let mut files = Vec::new();
    for input in inputs {
        let wrong = |source| CombineError::Object { name: input.name.to_owned(), source };
        // Each must be an object by itself, so that what is wrong is said of the right one.
        Object::parse(input.bytes).map_err(wrong)?;
        files.push((input.name, Elf::parse(input.bytes).map_err(wrong)?));
    }
    let mut output = Output::default();
    for file in 0..files.len() {
        output.add_sections(&files, file)?;
    }
    for file in 0..files.len() {
        output.add_symbols(&files, file)?;
    }
    for file in 0..files.len() {
        output.add_relocations(&files, file)?;
    }
    types::merge(&files, &mut output)?;
    if output.sections.len() > 65_000 {
        return Err(CombineError::TooLarge);
    }
    let bytes = write(&output.sections, &output.symbols);
    // What can't be read back must not be given out.
    Object::parse(&bytes)
        .map_err(|source| CombineError::Object { name: "the result".to_owned(), source })?;
    Ok(bytes)
}

type Files<'a> = [(&'a str, Elf<'a>)];

#[derive(Default)]
struct Output {
    sections: Vec<NewSection>,
    symbols: Vec<NewSymbol>,
    by_name: HashMap<String, usize>,
    /// Which file each section came from first.
    origins: Vec<usize>,
    /// (file, its section) to (section, where it begins there).
    places: HashMap<(usize, usize), (usize, u64)>,
    /// (file, its symbol) to symbol.
    symbol_numbers: HashMap<(usize, usize), usize>,
    globals: HashMap<String, Global>,
    /// Section to its symbol.
    section_symbols: HashMap<usize, usize>,
}

/// A name that is seen from outside of its object.
struct Global {
    symbol: usize,
    /// The file that defines it, and whether weakly. `None`: nobody yet.
    defined: Option<(usize, bool)>,
}

/// Sections that all objects must have alike, instead of behind each other.
const SINGLE: [(&str, &str); 2] = [("license", "licence"), ("version", "version")];

fn is_kept(section: &Section<'_>) -> bool {
    let kinds = [elf::SHT_PROGBITS.0, elf::SHT_NOBITS.0];
    kinds.contains(&section.sort)
        && section.flags & (elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0) != 0
        && !section.name.starts_with(".eh_frame")
        && !section.name.starts_with(".debug")
}

impl Output {
    fn add_sections(&mut self, files: &Files<'_>, file: usize) -> Result<(), CombineError> {
        let (name, elf) = &files[file];
        for (index, section) in elf.sections.iter().enumerate().filter(|(_, s)| is_kept(s)) {
            let Some(&at) = self.by_name.get(section.name) else {
                self.by_name.insert(section.name.to_owned(), self.sections.len());
                self.places.insert((file, index), (self.sections.len(), 0));
                self.origins.push(file);
                self.sections.push(NewSection {
                    name: section.name.to_owned(),
                    sort: section.sort,
                    flags: section.flags,
                    align: section.align.max(1),
                    size: section.size,
                    data: section.data.to_vec(),
                    relocations: Vec::new(),
                });
                continue;
            };
            let first = files[self.origins[at]].0.to_owned();
            let into = &mut self.sections[at];
            if let Some((_, what)) = SINGLE.iter().find(|(single, _)| *single == section.name) {
                if into.data != section.data {
                    let text = |bytes: &[u8]| {
                        String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
                    };
                    let (in_first, in_second) = (text(&into.data), text(section.data));
                    let second = (*name).to_owned();
                    return Err(CombineError::Disagree {
                        what,
                        first,
                        in_first,
                        second,
                        in_second,
                    });
                }
                self.places.insert((file, index), (at, 0));
                continue;
            }
            if (into.flags ^ section.flags) & elf::SHF_EXECINSTR.0 != 0 {
                let (section, second) = (section.name.to_owned(), (*name).to_owned());
                return Err(CombineError::Sections { section, first, second });
            }
            let align = section.align.clamp(1, 4096).max(if section.is_code() { 8 } else { 1 });
            let start = into.size.next_multiple_of(align);
            let size = start.checked_add(section.size).filter(|size| *size < 1 << 31);
            let size = size.ok_or(CombineError::TooLarge)?;
            if into.sort != section.sort && into.sort == elf::SHT_NOBITS.0 {
                // One has contents, so all must.
                into.sort = section.sort;
                into.data = vec![0; into.size as usize];
            }
            if into.sort != elf::SHT_NOBITS.0 {
                into.data.resize(start as usize, 0);
                into.data.extend(section.data);
                into.data.resize(size as usize, 0);
            }
            into.size = size;
            into.align = into.align.max(align);
            into.flags |= section.flags;
            self.places.insert((file, index), (at, start));
        }
        Ok(())
    }

    fn add_symbols(&mut self, files: &Files<'_>, file: usize) -> Result<(), CombineError> {
        let elf = &files[file].1;
        for (index, symbol) in elf.symbols.iter().enumerate() {
            let place = symbol.section.map(|section| self.places.get(&(file, section)).copied());
            let place = match place {
                None => None,
                // In a section that is left out.
                Some(None) => continue,
                Some(Some(place)) => Some(place),
            };
            if symbol.is_section() {
                if let Some((section, _)) = place {
                    let number = self.section_symbol(section);
                    self.symbol_numbers.insert((file, index), number);
                }
                continue;
            }
            if symbol.sort == elf::STT_FILE.0 || symbol.name.is_empty() {
                continue;
            }
            let new = NewSymbol {
                name: symbol.name.to_owned(),
                section: place.map(|(section, _)| section),
                value: symbol.value.wrapping_add(place.map_or(0, |(_, start)| start)),
                size: symbol.size,
                sort: symbol.sort,
                binding: symbol.binding,
                visibility: symbol.visibility,
            };
            let number = if symbol.is_local() {
                self.symbols.push(new);
                self.symbols.len() - 1
            } else {
                self.global(files, file, symbol, new)?
            };
            self.symbol_numbers.insert((file, index), number);
        }
        Ok(())
    }

    fn section_symbol(&mut self, section: usize) -> usize {
        *self.section_symbols.entry(section).or_insert_with(|| {
            self.symbols.push(NewSymbol {
                name: String::new(),
                section: Some(section),
                value: 0,
                size: 0,
                sort: elf::STT_SECTION.0,
                binding: elf::STB_LOCAL.0,
                visibility: elf::STV_DEFAULT.0,
            });
            self.symbols.len() - 1
        })
    }

    fn global(
        &mut self,
        files: &Files<'_>,
        file: usize,
        symbol: &Symbol<'_>,
        new: NewSymbol,
    ) -> Result<usize, CombineError> {
        let defined = new.section.map(|_| (file, symbol.is_weak()));
        // A licence is named alike in all objects, and is there once.
        let single = new.section.is_some_and(|section| {
            SINGLE.iter().any(|(single, _)| *single == self.sections[section].name)
        });
        let Some(global) = self.globals.get_mut(symbol.name) else {
            self.symbols.push(new);
            let number = self.symbols.len() - 1;
            self.globals.insert(symbol.name.to_owned(), Global { symbol: number, defined });
            return Ok(number);
        };
        let known = &mut self.symbols[global.symbol];
        // The narrower visibility counts: hidden (2) before default (0).
        let visibility = known.visibility.max(new.visibility);
        match (global.defined, defined) {
            (None, None) => {
                if !symbol.is_weak() {
                    known.binding = new.binding;
                }
            }
            (Some(_), None) => {}
            (None, Some(_)) | (Some((_, true)), Some((_, false))) => {
                *known = new;
                global.defined = defined;
            }
            (Some(_), Some((_, true))) => {}
            (Some((_, false)), Some(_)) if single => {}
            (Some((first, false)), Some((second, false))) => {
                let name = |file: usize| files[file].0.to_owned();
                let (first, second) = (name(first), name(second));
                return Err(CombineError::Twice { symbol: symbol.name.to_owned(), first, second });
            }
        }
        known.visibility = visibility;
        Ok(global.symbol)
    }

    fn add_relocations(&mut self, files: &Files<'_>, file: usize) -> Result<(), CombineError> {
        let (name, elf) = &files[file];
        for (index, section) in elf.sections.iter().enumerate() {
            let Some(&(at, start)) = self.places.get(&(file, index)) else { continue };
            for relocation in &section.relocations {
                let fail = || CombineError::Relocation {
                    name: (*name).to_owned(),
                    section: section.name.to_owned(),
                    offset: relocation.offset,
                    sort: relocation.sort,
                };
                let symbol =
                    *self.symbol_numbers.get(&(file, relocation.symbol)).ok_or_else(fail)?;
                let offset = relocation.offset.wrapping_add(start);
                if elf.symbols[relocation.symbol].is_section() {
                    // Where the section began, the file's part of it begins now.
                    let moved = elf.symbols[relocation.symbol]
                        .section
                        .and_then(|target| self.places.get(&(file, target)))
                        .map_or(0, |(_, start)| *start);
                    let data = &mut self.sections[at].data;
                    add(data, offset, relocation.sort, section.is_code(), moved)
                        .ok_or_else(fail)?;
                }
                let relocation = NewRelocation { offset, sort: relocation.sort, symbol };
                self.sections[at].relocations.push(relocation);
            }
        }
        Ok(())
    }
}

/// Adds to the number that a relocation at `offset` is relative to.
fn add(data: &mut [u8], offset: u64, sort: u32, is_code: bool, moved: u64) -> Option<()> {
    let at = usize::try_from(offset).ok()?;
    let half = |place: &mut [u8], moved: u32| {
        let old = u32::from_le_bytes(place.try_into().ok()?);
        place.copy_from_slice(&old.wrapping_add(moved).to_le_bytes());
        Some(())
    };
    match sort {
        // The instruction's immediate; calls count slots.
        R_BPF_64_64 if is_code => {
            half(data.get_mut(at.checked_add(4)?..at.checked_add(8)?)?, moved as u32)
        }
        R_BPF_64_32 => {
            half(data.get_mut(at.checked_add(4)?..at.checked_add(8)?)?, (moved / 8) as u32)
        }
        R_BPF_64_ABS32 => half(data.get_mut(at..at.checked_add(4)?)?, moved as u32),
        R_BPF_64_64 | R_BPF_64_ABS64 => {
            let place = data.get_mut(at..at.checked_add(8)?)?;
            let old = u64::from_le_bytes(place.try_into().ok()?);
            place.copy_from_slice(&old.wrapping_add(moved).to_le_bytes());
            Some(())
        }
        _ => None,
    }
}

/// A section that isn't loaded, such as the types.
fn unloaded(name: &str, data: Vec<u8>) -> NewSection {
    NewSection {
        name: name.to_owned(),
        sort: elf::SHT_PROGBITS.0,
        flags: 0,
        align: 4,
        size: data.len() as u64,
        data,
        relocations: Vec::new(),
    }
}

fn damaged(name: &str, section: &'static str, source: BtfError) -> CombineError {
    CombineError::Object { name: name.to_owned(), source: Error::Btf { section, source } }
}

/// A number of a file's types, in the numbering of all.
fn shifted(first: u32, id: TypeId) -> TypeId {
    if id == TypeId::VOID { id } else { TypeId(id.0.wrapping_add(first)) }
}

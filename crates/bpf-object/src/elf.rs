//! The parts of an ELF object that linking needs, as plain data.

use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget, SectionFlags, SectionIndex, SymbolFlags, SymbolIndex,
};

use crate::Error;

/// A section. Index 0 is the null section.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    pub name: &'a str,
    /// `sh_type` and `sh_flags`.
    pub sort: u32,
    pub flags: u64,
    pub align: u64,
    pub size: u64,
    /// Empty for sections without contents in the file.
    pub data: &'a [u8],
    pub relocations: Vec<ElfRelocation>,
}

#[derive(Clone, Copy, Debug)]
pub struct ElfRelocation {
    pub offset: u64,
    pub sort: u32,
    /// Index in [`Elf::symbols`].
    pub symbol: usize,
}

#[derive(Clone, Debug)]
pub struct Symbol<'a> {
    pub name: &'a str,
    /// `None` if it is not defined in this object.
    pub section: Option<usize>,
    pub value: u64,
    pub size: u64,
    /// `STT_*`, `STB_*`.
    pub sort: u8,
    pub binding: u8,
    /// `STV_*`.
    pub visibility: u8,
}

#[derive(Clone, Debug)]
pub struct Elf<'a> {
    pub sections: Vec<Section<'a>>,
    pub symbols: Vec<Symbol<'a>>,
}

impl Section<'_> {
    pub fn is_code(&self) -> bool {
        self.sort == elf::SHT_PROGBITS.0 && self.flags & elf::SHF_EXECINSTR.0 != 0
    }

    /// A section of global variables: it becomes a map.
    pub fn data_kind(&self) -> Option<DataKind> {
        let is = |prefix: &str| {
            self.name
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.flags & elf::SHF_ALLOC.0 != 0).then_some(())?;
        match () {
            () if is(".rodata") => Some(DataKind::ReadOnly),
            () if is(".data") => Some(DataKind::Initialised),
            () if is(".bss") => Some(DataKind::Zero),
            () => None,
        }
    }
}

/// The sorts of sections of global variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// `.rodata`
    ReadOnly,
    /// `.data`
    Initialised,
    /// `.bss`
    Zero,
}

impl Symbol<'_> {
    pub fn is_function(&self) -> bool {
        self.sort == elf::STT_FUNC.0
    }

    pub fn is_section(&self) -> bool {
        self.sort == elf::STT_SECTION.0
    }

    pub fn is_local(&self) -> bool {
        self.binding == elf::STB_LOCAL.0
    }

    /// Seen from outside of the object: such functions are verified on their own.
    pub fn is_shared(&self) -> bool {
        !self.is_local() && !self.is_hidden()
    }

    pub fn is_hidden(&self) -> bool {
        matches!(self.visibility, v if v == elf::STV_HIDDEN.0 || v == elf::STV_INTERNAL.0)
    }

    pub fn is_weak(&self) -> bool {
        self.binding == elf::STB_WEAK.0
    }
}

impl<'a> Elf<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let damaged = |error: object::Error| Error::Elf(error.to_string());
        let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(damaged)?;
        let header = file.elf_header();
        let machine = header.e_machine(LittleEndian);
        // Old compilers say none.
        if machine != elf::EM_BPF && machine != elf::EM_NONE {
            return Err(Error::Elf(format!("it is for machine {}", machine.0)));
        }
        let mut sections = Vec::new();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let at = section.index().0;
            // The null section and whatever the reader leaves out keep their numbers.
            while sections.len() < at {
                sections.push(Section {
                    name: "",
                    sort: 0,
                    flags: 0,
                    align: 0,
                    size: 0,
                    data: &[],
                    relocations: Vec::new(),
                });
            }
            let mut relocations = Vec::new();
            for (offset, relocation) in section.relocations() {
                let RelocationFlags::Elf { r_type, .. } = relocation.flags() else { continue };
                let symbol = match relocation.target() {
                    RelocationTarget::Symbol(SymbolIndex(symbol)) => symbol,
                    _ => usize::MAX,
                };
                relocations.push(ElfRelocation { offset, sort: r_type.0, symbol });
            }
            sections.push(Section {
                name: section.name().map_err(damaged)?,
                sort: section.elf_section_header().sh_type.get(LittleEndian).0,
                flags: sh_flags.0,
                align: section.align(),
                size: section.size(),
                data: section.data().map_err(damaged)?,
                relocations,
            });
        }
        let mut symbols = Vec::new();
        for symbol in file.symbols() {
            let SymbolFlags::Elf { st_info, st_other } = symbol.flags() else { continue };
            while symbols.len() < symbol.index().0 {
                symbols.push(Symbol {
                    name: "",
                    section: None,
                    value: 0,
                    size: 0,
                    sort: 0,
                    binding: 0,
                    visibility: 0,
                });
            }
            let section = symbol.section_index().map(|SectionIndex(index)| index);
            symbols.push(Symbol {
                name: symbol.name().map_err(damaged)?,
                section: section.filter(|index| *index < sections.len()),
                value: symbol.address(),
                size: symbol.size(),
                sort: st_info.0 & 0xf,
                binding: st_info.0 >> 4,
                visibility: st_other.0 & 3,
            });
        }
        Ok(Self { sections, symbols })
    }

    pub fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    /// The symbols that are defined in a section, except for the section's own.
    pub fn symbols_in(&self, section: usize) -> impl Iterator<Item = &Symbol<'a>> {
        self.symbols
            .iter()
            .filter(move |symbol| symbol.section == Some(section) && !symbol.is_section())
    }
}

//! ELF objects as bytes: what the linker and the assembler give out.

use object::elf;

/// A section to be written. Its number in the file is one more than its index in the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewSection {
    pub name: String,
    /// `SHT_*` and `SHF_*`.
    pub sort: u32,
    pub flags: u64,
    pub align: u64,
    /// Larger than the data only for sections without contents in the file.
    pub size: u64,
    pub data: Vec<u8>,
    pub relocations: Vec<NewRelocation>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRelocation {
    pub offset: u64,
    /// `R_BPF_*`.
    pub sort: u32,
    /// Index in the list of symbols.
    pub symbol: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct NewSymbol {
    pub name: String,
    /// Index in the list of sections.
    pub section: Option<usize>,
    pub value: u64,
    pub size: u64,
    /// `STT_*`, `STB_*`, `STV_*`.
    pub sort: u8,
    pub binding: u8,
    pub visibility: u8,
}

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: u64 = 24;
const RELOCATION: u64 = 16;

/// A relocatable object for eBPF.
pub(crate) fn write(sections: &[NewSection], symbols: &[NewSymbol]) -> Vec<u8> {
    let mut file = File { bytes: vec![0; HEADER], headers: Vec::new(), names: vec![0] };
    // The null section.
    file.headers.push([0; 10]);
    for section in sections {
        let is_file = section.sort != elf::SHT_NOBITS.0;
        let size = if is_file { section.data.len() as u64 } else { section.size };
        let header = Header { size, ..Header::of(section) };
        file.section(&section.name, header, if is_file { &section.data } else { &[] });
    }

    // Local symbols come first; the header says how many they are.
    let mut order: Vec<usize> = (0..symbols.len()).collect();
    order.sort_by_key(|index| symbols[*index].binding != elf::STB_LOCAL.0);
    let mut numbers = vec![0u64; symbols.len()];
    let mut strings = vec![0u8];
    let mut table = vec![0u8; SYMBOL as usize];
    for (number, index) in order.iter().enumerate() {
        let symbol = &symbols[*index];
        numbers[*index] = number as u64 + 1;
        table.extend((name(&mut strings, &symbol.name) as u32).to_le_bytes());
        table.extend([symbol.binding << 4 | symbol.sort, symbol.visibility]);
        let section = symbol.section.map_or(0, |section| section as u16 + 1);
        table.extend(section.to_le_bytes());
        table.extend(symbol.value.to_le_bytes());
        table.extend(symbol.size.to_le_bytes());
    }
    let locals = symbols.iter().filter(|symbol| symbol.binding == elf::STB_LOCAL.0).count();

    let with_relocations = || {
        let all = sections.iter().enumerate();
        all.filter(|(_, section)| !section.relocations.is_empty())
    };
    let symbol_table = sections.len() as u64 + 1 + with_relocations().count() as u64;
    for (index, section) in with_relocations() {
        let mut data = Vec::new();
        for relocation in &section.relocations {
            let number = numbers.get(relocation.symbol).copied().unwrap_or(0);
            data.extend(relocation.offset.to_le_bytes());
            data.extend((number << 32 | u64::from(relocation.sort)).to_le_bytes());
        }
        let header = Header {
            sort: elf::SHT_REL.0,
            flags: elf::SHF_INFO_LINK.0,
            size: data.len() as u64,
            link: symbol_table,
            info: index as u64 + 1,
            align: 8,
            entry: RELOCATION,
        };
        file.section(&format!(".rel{}", section.name), header, &data);
    }
    let header = Header {
        sort: elf::SHT_SYMTAB.0,
        size: table.len() as u64,
        link: symbol_table + 1,
        info: locals as u64 + 1,
        align: 8,
        entry: SYMBOL,
        ..Header::default()
    };
    file.section(".symtab", header, &table);
    let text = Header { sort: elf::SHT_STRTAB.0, align: 1, ..Header::default() };
    file.section(".strtab", Header { size: strings.len() as u64, ..text }, &strings);
    file.finish(text)
}

#[derive(Clone, Copy, Debug, Default)]
struct Header {
    sort: u32,
    flags: u64,
    size: u64,
    link: u64,
    info: u64,
    align: u64,
    entry: u64,
}

impl Header {
    fn of(section: &NewSection) -> Self {
        Self {
            sort: section.sort,
            flags: section.flags,
            align: section.align.max(1),
            ..Self::default()
        }
    }
}

struct File {
    bytes: Vec<u8>,
    /// The fields of each section's header, in order.
    headers: Vec<[u64; 10]>,
    names: Vec<u8>,
}

impl File {
    fn section(&mut self, title: &str, header: Header, data: &[u8]) {
        let align = (header.align.max(1) as usize).min(4096);
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        let offset = self.bytes.len() as u64;
        self.bytes.extend(data);
        let title = name(&mut self.names, title) as u64;
        let Header { sort, flags, size, link, info, align, entry } = header;
        self.headers.push([title, sort.into(), flags, 0, offset, size, link, info, align, entry]);
    }

    fn finish(mut self, text: Header) -> Vec<u8> {
        // Its own name is in it.
        name(&mut self.names, ".shstrtab");
        let names = self.names.clone();
        self.section(".shstrtab", Header { size: names.len() as u64, ..text }, &names);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let table = self.bytes.len() as u64;
        let count = self.headers.len() as u16;
        for [title, sort, flags, address, offset, size, link, info, align, entry] in self.headers {
            for word in [title as u32, sort as u32] {
                self.bytes.extend(word.to_le_bytes());
            }
            for double in [flags, address, offset, size] {
                self.bytes.extend(double.to_le_bytes());
            }
            for word in [link as u32, info as u32] {
                self.bytes.extend(word.to_le_bytes());
            }
            for double in [align, entry] {
                self.bytes.extend(double.to_le_bytes());
            }
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend(elf::ELFMAG);
        // 64 bits, little-endian, version 1, then padding.
        header.extend([2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend(elf::ET_REL.0.to_le_bytes());
        header.extend(elf::EM_BPF.0.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        for double in [0, 0, table] {
            header.extend(double.to_le_bytes());
        }
        header.extend(0u32.to_le_bytes());
        for half in [HEADER as u16, 0, 0, SECTION_HEADER as u16, count, count - 1] {
            header.extend(half.to_le_bytes());
        }
        self.bytes[..HEADER].copy_from_slice(&header);
        self.bytes
    }
}

/// The place of a string in a table; it is added if it isn't there.
fn name(strings: &mut Vec<u8>, text: &str) -> usize {
    if text.is_empty() {
        return 0;
    }
    let wanted: Vec<u8> = text.bytes().filter(|byte| *byte != 0).chain([0]).collect();
    let mut at = 0;
    while at < strings.len() {
        let rest = &strings[at..];
        if rest.starts_with(&wanted) {
            return at;
        }
        at += rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()) + 1;
    }
    strings.extend(wanted);
    strings.len() - text.bytes().filter(|byte| *byte != 0).count() - 1
}

/// An object of one program: what the assembler makes of a text. Nothing is said of types.
pub fn object_of_code(name: &str, section: &str, license: &str, code: &[u8]) -> Vec<u8> {
    let program = NewSection {
        name: section.to_owned(),
        sort: elf::SHT_PROGBITS.0,
        flags: elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0,
        align: 8,
        size: code.len() as u64,
        data: code.to_vec(),
        relocations: Vec::new(),
    };
    let license = NewSection {
        name: "license".to_owned(),
        sort: elf::SHT_PROGBITS.0,
        flags: elf::SHF_ALLOC.0 | elf::SHF_WRITE.0,
        align: 1,
        size: license.len() as u64 + 1,
        data: license.bytes().chain([0]).collect(),
        relocations: Vec::new(),
    };
    let symbol = NewSymbol {
        name: name.to_owned(),
        section: Some(0),
        value: 0,
        size: code.len() as u64,
        sort: elf::STT_FUNC.0,
        binding: elf::STB_GLOBAL.0,
        visibility: elf::STV_DEFAULT.0,
    };
    write(&[program, license], &[symbol])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Object, ProgramType};

    #[test]
    fn what_is_written_is_read() {
        let code = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat();
        let bytes = object_of_code("two", "xdp", "GPL", &code);
        let object = Object::parse(&bytes).unwrap();
        assert_eq!(object.license, "GPL");
        let program = object.link("two", None).unwrap();
        assert_eq!(program.kind.unwrap().program, ProgramType::XDP);
        assert_eq!(program.code, code);
    }

    /// As GNU's assembler writes it: the linker puts in the distance of a jump.
    #[test]
    fn jumps_that_are_relocated() {
        let jump = [0x05, 0, 0xff, 0xff, 0, 0, 0, 0];
        let skipped = [0xb7, 0, 0, 0, 1, 0, 0, 0];
        let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let data = [jump, skipped, exit].concat();
        let section = NewSection {
            name: "xdp".to_owned(),
            sort: elf::SHT_PROGBITS.0,
            flags: elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0,
            align: 8,
            size: data.len() as u64,
            data,
            relocations: vec![NewRelocation { offset: 0, sort: 256, symbol: 1 }],
        };
        let symbol = |name: &str, value, size, sort| NewSymbol {
            name: name.to_owned(),
            section: Some(0),
            value,
            size,
            sort,
            binding: elf::STB_LOCAL.0,
            visibility: elf::STV_DEFAULT.0,
        };
        let mut main = symbol("main", 0, 24, elf::STT_FUNC.0);
        main.binding = elf::STB_GLOBAL.0;
        let bytes = write(&[section], &[main, symbol("end", 16, 0, 0)]);
        let program = Object::parse(&bytes).unwrap().link("main", None).unwrap();
        assert_eq!(program.instructions[0].instruction.to_string(), "goto +0x1");
    }
}

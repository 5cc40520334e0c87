//! Functions with what is recorded about their instructions.

use super::*;
use crate::btf::Records;
use crate::elf::{Section, Symbol};

/// The records about one section, sorted by place.
#[derive(Default)]
struct About {
    functions: Vec<FunctionRecord>,
    lines: Vec<LineRecord>,
    core: Vec<CoreRecord>,
}

impl Object {
    /// `externs`: index of the symbol to index of the extern.
    pub(super) fn read_functions(
        &mut self,
        elf: &Elf<'_>,
        externs: &HashMap<usize, usize>,
        extension: &Extension,
    ) -> Result<(), Error> {
        let mut about = self.about(extension);
        for (index, section) in elf.sections.iter().enumerate() {
            if !section.is_code() || section.size == 0 {
                continue;
            }
            let relocations = sorted(&section.relocations);
            let about = about.remove(section.name).unwrap_or_default();
            // Two symbols may be for one function, but damage must not copy a section without end.
            let mut room = section.size.saturating_mul(4);
            for (symbol, start, end) in functions(elf, index, section) {
                let place = (index, start);
                let bounds =
                    || self.at(index, start, Problem::FunctionBounds(symbol.name.to_owned()));
                if start % 8 != 0 || end % 8 != 0 || start >= end || end - start > room {
                    return Err(bounds());
                }
                room -= end - start;
                let code = usize::try_from(start).ok().zip(usize::try_from(end).ok());
                let code = code.and_then(|(start, end)| section.data.get(start..end));
                let mut slots = Slot::read_all(code.ok_or_else(bounds)?);
                let relocations = within(&relocations, start, end, |r| r.offset);
                for jump in relocations.iter().filter(|r| r.sort == R_BPF_GNU_64_16) {
                    self.set_jump(elf, place, jump, &mut slots)?;
                }
                let relocations = relocations
                    .iter()
                    .filter(|relocation| relocation.sort != R_BPF_GNU_64_16)
                    .map(|relocation| self.relocation(elf, externs, index, start, relocation));
                let slot = |offset: u32| ((u64::from(offset) - start) / 8) as u32;
                let core = within(&about.core, start, end, |r| r.offset.into());
                let lines = within(&about.lines, start, end, |r| r.offset.into());
                let record = within(&about.functions, start, start + 1, |r| r.offset.into());
                let function = Function {
                    name: symbol.name.to_owned(),
                    role: role(section.name, &symbol),
                    linkage: if symbol.is_shared() { Linkage::Global } else { Linkage::Static },
                    section: section.name.to_owned(),
                    offset: start,
                    kind: record.first().map(|record| record.kind),
                    place,
                    slots,
                    relocations: relocations.collect::<Result<_, _>>()?,
                    core: core
                        .iter()
                        .map(|r| CoreRecord { offset: slot(r.offset), ..*r })
                        .collect(),
                    lines: lines
                        .iter()
                        .map(|r| LineRecord { offset: slot(r.offset), ..*r })
                        .collect(),
                };
                // Two symbols may be for one function.
                self.places.functions.entry(place).or_insert(self.functions.len());
                self.functions.push(function);
            }
        }
        Ok(())
    }

    fn about(&self, extension: &Extension) -> HashMap<String, About> {
        let mut about: HashMap<String, About> = HashMap::new();
        let Some(types) = &self.types else { return about };
        let name = |id: StringId| types.string(id).unwrap_or_default().to_owned();
        fn fill<R: Copy>(
            records: &Records<R>,
            about: &mut HashMap<String, About>,
            name: impl Fn(StringId) -> String,
            list: impl Fn(&mut About) -> &mut Vec<R>,
        ) {
            for group in records {
                let about = about.entry(name(group.section)).or_default();
                list(about).extend(group.records.iter().copied());
            }
        }
        fill(&extension.functions, &mut about, name, |about| &mut about.functions);
        fill(&extension.lines, &mut about, name, |about| &mut about.lines);
        fill(&extension.relocations, &mut about, name, |about| &mut about.core);
        for about in about.values_mut() {
            about.functions.sort_by_key(|record| record.offset);
            about.lines.sort_by_key(|record| record.offset);
            about.core.sort_by_key(|record| record.offset);
        }
        about
    }

    /// GNU's assembler leaves jumps to other places than labels of the function to the linker: the
    /// instruction holds what is to be added, in slots.
    fn set_jump(
        &self,
        elf: &Elf<'_>,
        (section, start): (usize, u64),
        relocation: &ElfRelocation,
        slots: &mut [Slot],
    ) -> Result<(), Error> {
        let fail = |problem| self.at(section, relocation.offset, problem);
        let symbol = elf.symbols.get(relocation.symbol).ok_or_else(|| fail(Problem::NoSymbol))?;
        if symbol.section != Some(section) || !relocation.offset.is_multiple_of(8) {
            return Err(fail(Problem::Target(symbol.name.to_owned())));
        }
        let slot = usize::try_from((relocation.offset - start) / 8).ok();
        let slot = slot.and_then(|slot| slots.get_mut(slot));
        let slot = slot.ok_or_else(|| fail(Problem::Misplaced))?;
        let distance = symbol.value.wrapping_sub(relocation.offset).cast_signed() / 8;
        let offset = i16::try_from(distance.saturating_add(slot.offset.into()));
        slot.offset = offset.map_err(|_| fail(Problem::TooFar))?;
        Ok(())
    }

    fn relocation(
        &self,
        elf: &Elf<'_>,
        externs: &HashMap<usize, usize>,
        section: usize,
        start: u64,
        relocation: &ElfRelocation,
    ) -> Result<Relocation, Error> {
        let fail = |problem| Err(self.at(section, relocation.offset, problem));
        if !matches!(relocation.sort, R_BPF_64_64 | R_BPF_64_32) {
            return fail(Problem::RelocationType(relocation.sort));
        }
        if !relocation.offset.is_multiple_of(8) {
            return fail(Problem::Misplaced);
        }
        let slot = ((relocation.offset - start) / 8) as usize;
        let Some(symbol) = elf.symbols.get(relocation.symbol) else {
            return fail(Problem::NoSymbol);
        };
        let target = match (symbol.section, externs.get(&relocation.symbol)) {
            (Some(section), _) => Target::Place { section, value: symbol.value },
            (None, Some(external)) => Target::Extern(*external),
            (None, None) => return fail(Problem::Target(symbol.name.to_owned())),
        };
        Ok(Relocation { slot, target })
    }
}

/// The functions of a section: symbol, start, end. A symbol without a size, as assemblers write
/// them, reaches to the next one.
fn functions<'a>(
    elf: &Elf<'a>,
    index: usize,
    section: &Section<'a>,
) -> Vec<(Symbol<'a>, u64, u64)> {
    let mut symbols: Vec<Symbol<'a>> =
        elf.symbols_in(index).filter(|symbol| symbol.is_function()).cloned().collect();
    if symbols.is_empty() {
        // Hand-written code may have no functions at all: it is one, whose name is a label's.
        let label = elf.symbols_in(index).find(|symbol| symbol.value == 0 && symbol.sort == 0);
        let name = label.map_or(section.name, |symbol| symbol.name);
        return vec![(
            Symbol {
                name,
                section: Some(index),
                value: 0,
                size: section.size,
                sort: 0,
                binding: 1,
                visibility: 0,
            },
            0,
            section.size,
        )];
    }
    symbols.sort_by_key(|symbol| symbol.value);
    let starts: Vec<u64> = symbols.iter().map(|symbol| symbol.value).collect();
    let extent = |symbol: Symbol<'a>| {
        let start = symbol.value;
        let next = starts.get(starts.partition_point(|other| *other <= start));
        let end = match symbol.size {
            0 => next.copied().unwrap_or(section.size),
            size => start.saturating_add(size),
        };
        (symbol, start, end)
    };
    symbols.into_iter().map(extent).collect()
}

fn role(section: &str, symbol: &Symbol<'_>) -> Role {
    if section == ".text" || section.starts_with(".text.") || symbol.is_local() {
        Role::Subprogram
    } else {
        Role::Program(ProgramKind::of_section(section))
    }
}

//! Merging what objects say of their types and instructions.

use super::*;
use crate::btf::{
    Btf, Classes, Extension, Kind, Linkage, Placement, Records, SectionRecords, StringId, Strings,
    Type,
};
use crate::object::complete;

struct Merger<'a> {
    files: &'a Files<'a>,
    output: &'a Output,
    /// The types of all files behind each other; the first one's number is 1.
    types: Vec<Type>,
    /// Per file: types as they were, and what to add to their numbers.
    parts: Vec<Option<(Btf, u32)>>,
    /// Strings of all files, by number.
    texts: Vec<String>,
    numbers: HashMap<String, StringId>,
}

/// Writes sections `.BTF` and `.BTF.ext`, if any file has them.
pub fn merge(files: &Files<'_>, output: &mut Output) -> Result<(), CombineError> {
    let mut merger = Merger {
        files,
        output,
        types: Vec::new(),
        parts: Vec::new(),
        texts: vec![String::new()],
        numbers: HashMap::from([(String::new(), StringId(0))]),
    };
    for (name, elf) in files {
        merger.read(name, elf)?;
    }
    if merger.types.is_empty() {
        return Ok(());
    }
    let same_only = |merger: &Merger<'_>, replaced| {
        Classes::new(&merger.types, replaced, |id| merger.is_distinct(id))
    };
    let classes = same_only(&merger, HashMap::new());
    let replaced = merger.resolve(&classes)?;
    let classes = same_only(&merger, replaced);
    let (types, extension) = merger.write(&classes)?;
    output.sections.push(unloaded(".BTF", types));
    output.sections.push(unloaded(".BTF.ext", extension));
    Ok(())
}

impl Merger<'_> {
    fn read(&mut self, name: &str, elf: &Elf<'_>) -> Result<(), CombineError> {
        let Some((_, section)) = elf.section(".BTF") else {
            self.parts.push(None);
            return Ok(());
        };
        let mut types = Btf::parse(section.data).map_err(|e| damaged(name, ".BTF", e))?;
        complete(&mut types, elf);
        let first = self.types.len() as u32;
        for (_, entry) in types.own_types() {
            let string = |id| self.string(types.string(id).unwrap_or_default());
            let entry = entry.renumbered(string, |id| shifted(first, id));
            self.types.push(entry);
        }
        self.parts.push(Some((types, first)));
        Ok(())
    }

    fn string(&mut self, text: &str) -> StringId {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = StringId(self.texts.len() as u32);
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn text(&self, id: StringId) -> &str {
        self.texts.get(id.0 as usize).map(String::as_str).unwrap_or_default()
    }

    fn entry(&self, id: TypeId) -> Option<&Type> {
        self.types.get((id.0 as usize).checked_sub(1)?)
    }

    /// Functions and variables are things, not types: two that look alike are still two. Lists of
    /// variables are made anew.
    fn is_distinct(&self, id: TypeId) -> bool {
        let kind = self.entry(id).map(|entry| &entry.kind);
        matches!(
            kind,
            Some(Kind::Function { .. } | Kind::Variable { .. } | Kind::DataSection { .. })
        )
    }

    fn file_of(&self, id: TypeId) -> usize {
        let begins_before =
            |part: &Option<(Btf, u32)>| part.as_ref().is_some_and(|(_, first)| *first < id.0);
        self.parts.iter().rposition(begins_before).unwrap_or(0)
    }

    /// Functions and variables that are one thing in several files: which stands for which.
    fn resolve(&self, classes: &Classes) -> Result<HashMap<TypeId, TypeId>, CombineError> {
        let mut named: HashMap<StringId, Vec<TypeId>> = HashMap::new();
        for (entry, id) in self.types.iter().zip(1..) {
            let linkage = match entry.kind {
                Kind::Function { linkage, .. } | Kind::Variable { linkage, .. } => linkage,
                _ => continue,
            };
            if linkage != Linkage::Static {
                named.entry(entry.name).or_default().push(TypeId(id));
            }
        }
        let mut replaced = HashMap::new();
        for (name, list) in named {
            let name = self.text(name);
            let definer = self.output.globals.get(name).and_then(|global| global.defined);
            let is_definition = |id: &&TypeId| {
                let kind = self.entry(**id).map(|entry| &entry.kind);
                let is_extern = matches!(
                    kind,
                    Some(
                        Kind::Function { linkage: Linkage::Extern, .. }
                            | Kind::Variable { linkage: Linkage::Extern, .. }
                    )
                );
                !is_extern && definer.is_some_and(|(file, _)| file == self.file_of(**id))
            };
            let Some(&stands) = list.iter().find(is_definition).or(list.first()) else { continue };
            for id in list.iter().filter(|id| **id != stands) {
                if !self.agree(classes, stands, *id) {
                    return Err(self.disagreement(name, stands, *id));
                }
                replaced.insert(*id, stands);
            }
        }
        Ok(replaced)
    }

    /// Whether two may be the same thing. Names of parameters don't matter, nor lengths that only
    /// one of them gives.
    fn agree(&self, classes: &Classes, left: TypeId, right: TypeId) -> bool {
        let kind = |id| self.entry(id).map(|entry| &entry.kind);
        let (Some(left), Some(right)) = (kind(left), kind(right)) else { return false };
        match (left, right) {
            (Kind::Function { prototype: left, .. }, Kind::Function { prototype: right, .. }) => {
                match (kind(*left), kind(*right)) {
                    (
                        Some(Kind::Prototype { returns: left, parameters: of_left }),
                        Some(Kind::Prototype { returns: right, parameters: of_right }),
                    ) => {
                        let same = |left, right| classes.class(left) == classes.class(right);
                        same(*left, *right)
                            && of_left.len() == of_right.len()
                            && of_left.iter().zip(of_right).all(|(l, r)| same(l.kind, r.kind))
                    }
                    _ => classes.class(*left) == classes.class(*right),
                }
            }
            (Kind::Variable { kind: left, .. }, Kind::Variable { kind: right, .. }) => {
                match (kind(*left), kind(*right)) {
                    (Some(Kind::Array(left)), Some(Kind::Array(right))) => {
                        classes.class(left.element) == classes.class(right.element)
                            && (left.count == right.count || left.count == 0 || right.count == 0)
                    }
                    _ => classes.class(*left) == classes.class(*right),
                }
            }
            _ => false,
        }
    }

    fn disagreement(&self, symbol: &str, left: TypeId, right: TypeId) -> CombineError {
        let describe = |id: TypeId| {
            let file = self.file_of(id);
            let text = self
                .parts
                .get(file)
                .and_then(Option::as_ref)
                .map(|(types, first)| types.describe(TypeId(id.0 - first)));
            (self.files[file].0.to_owned(), text.unwrap_or_default())
        };
        let (first, in_first) = describe(left);
        let (second, in_second) = describe(right);
        CombineError::Types { symbol: symbol.to_owned(), first, in_first, second, in_second }
    }

    fn write(&self, classes: &Classes) -> Result<(Vec<u8>, Vec<u8>), CombineError> {
        // The first of each class is kept.
        let mut numbers: HashMap<u32, TypeId> = HashMap::new();
        let mut kept = Vec::new();
        for (entry, id) in self.types.iter().zip(1..) {
            let id = TypeId(id);
            if classes.standing(id) != id || matches!(entry.kind, Kind::DataSection { .. }) {
                continue;
            }
            let next = TypeId(kept.len() as u32 + 1);
            if let std::collections::hash_map::Entry::Vacant(slot) =
                numbers.entry(classes.class(id))
            {
                slot.insert(next);
                kept.push(entry);
            }
        }
        let number = |id: TypeId| match id {
            TypeId::VOID => id,
            id => numbers.get(&classes.class(id)).copied().unwrap_or(TypeId::VOID),
        };
        let mut strings = Strings::new();
        let mut types: Vec<Type> = Vec::new();
        for entry in kept {
            let mut entry = entry.renumbered(|id| strings.intern(self.text(id)), number);
            self.hide(&mut entry, &strings);
            types.push(entry);
        }
        for (name, size, variables) in self.data_sections(classes, &number) {
            let kind = Kind::DataSection { size, variables };
            types.push(Type { name: strings.intern(&name), kind });
        }
        let extension = self.extension(&mut strings, &number)?;
        Ok((Btf::of(types, strings).to_bytes(), extension.to_bytes()))
    }

    /// What is hidden is not verified on its own, so its linkage is that of a static function.
    fn hide(&self, entry: &mut Type, strings: &Strings) {
        let Kind::Function { linkage, .. } = &mut entry.kind else { return };
        let global = self.output.globals.get(strings.text(entry.name));
        let symbol = global.and_then(|global| self.output.symbols.get(global.symbol));
        if *linkage == Linkage::Global && symbol.is_some_and(|s| s.visibility != 0) {
            *linkage = Linkage::Static;
        }
    }

    /// Name, size and variables of each section of variables.
    fn data_sections(
        &self,
        classes: &Classes,
        number: &impl Fn(TypeId) -> TypeId,
    ) -> Vec<(String, u32, Vec<Placement>)> {
        let mut sections: Vec<(String, u32, Vec<Placement>)> = Vec::new();
        for (entry, id) in self.types.iter().zip(1..) {
            let Kind::DataSection { size, variables } = &entry.kind else { continue };
            let file = self.file_of(TypeId(id));
            let name = self.text(entry.name);
            // Sections of externs are in the types only.
            let own = self.files[file].1.section(name);
            let place = own.and_then(|(index, _)| self.output.places.get(&(file, index)));
            let (size, start) = match place {
                Some((section, start)) => {
                    (self.output.sections[*section].size as u32, *start as u32)
                }
                None => (*size, 0),
            };
            let at = sections.iter().position(|(other, ..)| other == name).unwrap_or_else(|| {
                sections.push((name.to_owned(), size, Vec::new()));
                sections.len() - 1
            });
            let into = &mut sections[at];
            into.1 = into.1.max(size);
            for place in variables {
                let stands = classes.standing(place.variable);
                let is_defined_elsewhere =
                    stands != place.variable && own.is_some_and(|_| !self.is_extern(stands));
                let variable = number(place.variable);
                let is_known = into.2.iter().any(|known| known.variable == variable);
                // An extern that another file defines is in the list of that file's section.
                let is_resolved = self.is_extern(place.variable) && !self.is_extern(stands);
                if !is_defined_elsewhere && !is_known && !is_resolved {
                    let offset = place.offset.wrapping_add(start);
                    into.2.push(Placement { variable, offset, size: place.size });
                }
            }
        }
        for (_, _, variables) in &mut sections {
            variables.sort_by_key(|place| place.offset);
        }
        sections.retain(|(.., variables)| !variables.is_empty());
        sections
    }

    fn is_extern(&self, id: TypeId) -> bool {
        matches!(
            self.entry(id).map(|entry| &entry.kind),
            Some(
                Kind::Function { linkage: Linkage::Extern, .. }
                    | Kind::Variable { linkage: Linkage::Extern, .. }
            )
        )
    }

    fn extension(
        &self,
        strings: &mut Strings,
        number: &impl Fn(TypeId) -> TypeId,
    ) -> Result<Extension, CombineError> {
        let mut merged = Extension::default();
        for (file, (name, elf)) in self.files.iter().enumerate() {
            let Some((types, first)) = self.parts.get(file).and_then(Option::as_ref) else {
                continue;
            };
            let Some((_, section)) = elf.section(".BTF.ext") else { continue };
            let extension =
                Extension::parse(section.data).map_err(|e| damaged(name, ".BTF.ext", e))?;
            let place = |section: StringId| {
                let (index, _) = elf.section(types.string(section)?)?;
                let (section, start) = self.output.places.get(&(file, index))?;
                Some((self.output.sections[*section].name.as_str(), *start as u32))
            };
            let string = |strings: &mut Strings, id: StringId| {
                strings.intern(types.string(id).unwrap_or_default())
            };
            let id = |id: TypeId| number(shifted(*first, id));
            append(&mut merged.functions, extension.functions, strings, place, |_, record, by| {
                record.offset = record.offset.wrapping_add(by);
                record.kind = id(record.kind);
            });
            append(&mut merged.lines, extension.lines, strings, place, |strings, record, by| {
                record.offset = record.offset.wrapping_add(by);
                record.file = string(strings, record.file);
                record.text = string(strings, record.text);
            });
            let relocations = extension.relocations;
            append(&mut merged.relocations, relocations, strings, place, |strings, record, by| {
                record.offset = record.offset.wrapping_add(by);
                record.root = id(record.root);
                record.path = string(strings, record.path);
            });
        }
        Ok(merged)
    }
}

/// Puts a file's records behind those of the same sections.
fn append<'a, R>(
    into: &mut Records<R>,
    records: Records<R>,
    strings: &mut Strings,
    place: impl Fn(StringId) -> Option<(&'a str, u32)>,
    change: impl Fn(&mut Strings, &mut R, u32),
) {
    for mut group in records {
        // What is said of sections that are left out is left out, too.
        let Some((name, start)) = place(group.section) else { continue };
        let section = strings.intern(name);
        for record in &mut group.records {
            change(strings, record, start);
        }
        match into.iter_mut().find(|known| known.section == section) {
            Some(known) => known.records.append(&mut group.records),
            None => into.push(SectionRecords { section, records: group.records }),
        }
    }
}

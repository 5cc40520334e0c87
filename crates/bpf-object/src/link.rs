//! A program made of an entry point and all that it calls.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bpf_isa::{Placed, decode};

use crate::btf::{Btf, CoreKind, Kind, Linkage, StringId, TypeId};
use crate::core_relocation::{Answer, answer, patch};
use crate::error::{Error, Problem};
use crate::object::{Extern, ExternSort, Function, Object, Role, Target};
use crate::section_name::ProgramKind;
use crate::slot::{Slot, pseudo};

/// In calls of weak externs that the target doesn't have; the extern's number is added.
const ABSENT_FUNCTION: i32 = 2_002_000_000;

/// A program whose calls, maps and variables are bound. Maps are named by their index in the
/// object's list ([`bpf_isa::Wide::MapByIndex`] and `MapValueByIndex`).
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: String,
    /// The section's name.
    pub section: String,
    /// `None` if the section's name says nothing.
    pub kind: Option<ProgramKind>,
    pub instructions: Vec<Placed>,
    /// The encoded instructions.
    pub code: Vec<u8>,
    /// The entry point first, then what it calls, in the order of their slots.
    pub functions: Vec<LinkedFunction>,
    /// Sorted by slot; a line goes on until the next.
    pub lines: Vec<Line>,
    pub externs: Vec<ExternUse>,
    pub core: Vec<CoreUse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedFunction {
    pub name: String,
    pub slot: usize,
    pub slots: usize,
    pub linkage: Linkage,
    /// The type of the function in the object's types.
    pub kind: Option<TypeId>,
}

/// Where the instructions from `slot` on come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub slot: usize,
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// The line's text, often empty.
    pub text: String,
    /// Where file and text stand in the object's types.
    pub strings: (StringId, StringId),
}

/// An instruction that names something of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternUse {
    pub slot: usize,
    /// Index in the object's list.
    pub external: usize,
    /// Its number in the target's types. `None`: the target doesn't have it, or none was given, or
    /// it is a variable without a type, whose address the loader must put there.
    pub target: Option<TypeId>,
}

/// A CO-RE relocation that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreUse {
    pub slot: usize,
    pub kind: CoreKind,
    /// The local type that it begins at.
    pub root: TypeId,
    pub path: String,
    pub answer: Answer,
}

impl Object {
    /// Links a program, or any function, by name. CO-RE relocations and externs are answered by
    /// `target`, the types of the kernel it is for; without one, a program that asks for the
    /// target's types is refused, and externs stay open.
    pub fn link(&self, name: &str, target: Option<&Btf>) -> Result<Program, Error> {
        let of_name = |program: bool| {
            self.functions.iter().position(|function| {
                function.name == name && matches!(function.role, Role::Program(_)) == program
            })
        };
        let absent = || Error::Absent { what: "program", name: name.to_owned() };
        let entry = of_name(true).or_else(|| of_name(false)).ok_or_else(absent)?;
        self.link_from(entry, target)
    }

    /// Links all programs.
    pub fn link_all(&self, target: Option<&Btf>) -> Result<Vec<Program>, Error> {
        let entries = self.functions.iter().enumerate();
        let entries = entries.filter(|(_, function)| matches!(function.role, Role::Program(_)));
        entries.map(|(entry, _)| self.link_from(entry, target)).collect()
    }

    fn link_from(&self, entry: usize, target: Option<&Btf>) -> Result<Program, Error> {
        let mut linker = Linker {
            object: self,
            target,
            slots: Vec::new(),
            order: Vec::new(),
            starts: HashMap::new(),
            calls: Vec::new(),
            externs: Vec::new(),
            core: Vec::new(),
        };
        linker.enter(entry);
        let mut done = 0;
        while let Some(&function) = linker.order.get(done) {
            linker.append(function)?;
            done += 1;
        }
        linker.bind_calls()?;
        linker.finish(entry)
    }
}

struct Linker<'a> {
    object: &'a Object,
    target: Option<&'a Btf>,
    slots: Vec<Slot>,
    /// Functions in the order in which they are appended.
    order: Vec<usize>,
    /// Function to its first slot; `None` until it is appended.
    starts: HashMap<usize, Option<usize>>,
    /// Slots of calls and of functions' addresses, with the function they mean.
    calls: Vec<(usize, usize)>,
    externs: Vec<ExternUse>,
    core: Vec<CoreUse>,
}

impl Linker<'_> {
    /// Sees to it that the function is appended, once.
    fn enter(&mut self, function: usize) {
        if let Entry::Vacant(entry) = self.starts.entry(function) {
            entry.insert(None);
            self.order.push(function);
        }
    }

    fn append(&mut self, index: usize) -> Result<(), Error> {
        let function = &self.object.functions[index];
        let start = self.slots.len();
        self.starts.insert(index, Some(start));
        self.slots.extend(&function.slots);
        // Before other patches: what the compiler has put there is compared.
        self.apply_core(function, start)?;
        let mut relocated = HashMap::new();
        for relocation in &function.relocations {
            relocated.insert(relocation.slot, relocation.target);
        }
        let mut at = 0;
        while let Some(slot) = function.slots.get(at) {
            let target = relocated.remove(&at);
            match target {
                Some(Target::Extern(external)) => {
                    self.bind_extern(function, at, start, external)?
                }
                Some(Target::Place { section, value }) => {
                    self.bind_place(function, at, start, section, value)?;
                }
                // Assembled by hand, without symbols for what is called.
                None if slot.is_local_call() && self.is_inner(function, at) => {}
                None if slot.is_local_call() => {
                    let offset = self.byte(function, at) as i64 + 8 + i64::from(slot.imm) * 8;
                    self.call(function, at, start, function.place.0, offset)?;
                }
                // The address of a function in the same section.
                None if slot.is_wide() && slot.src == pseudo::CODE => {
                    let offset = self.byte(function, at) as i64 + 8 + i64::from(slot.imm) * 8;
                    self.call(function, at, start, function.place.0, offset)?;
                }
                None => {}
            }
            at += if slot.is_wide() { 2 } else { 1 };
        }
        // What is left lies on the second half of an instruction.
        match relocated.keys().next() {
            Some(&at) => Err(self.fail(function, at, Problem::Misplaced)),
            None => Ok(()),
        }
    }

    fn apply_core(&mut self, function: &Function, start: usize) -> Result<(), Error> {
        let Some(local) = &self.object.types else { return Ok(()) };
        for record in &function.core {
            let at = record.offset as usize;
            let describe = || local.describe(record.root);
            let target = match self.target {
                Some(target) => target,
                // It asks for nothing of the target.
                None if record.kind == CoreKind::TypeIdLocal => local,
                None => return Err(self.fail(function, at, Problem::NoTarget(describe()))),
            };
            let wrong =
                |source| self.fail(function, at, Problem::Core { kind: describe(), source });
            let answer = answer(record, local, target).map_err(wrong)?;
            // Within the function: a record must not change its neighbour.
            let end = start + function.slots.len();
            let own = self.slots.get_mut(start..end).unwrap_or_default();
            patch(own, at, &answer).map_err(|source| {
                let section = &self.object.places.sections[function.place.0];
                let offset = function.place.1 + at as u64 * 8;
                let problem = Problem::Core { kind: describe(), source };
                Error::At { section: section.clone(), offset, problem }
            })?;
            self.core.push(CoreUse {
                slot: start + at,
                kind: record.kind,
                root: record.root,
                path: local.string(record.path).unwrap_or_default().to_owned(),
                answer,
            });
        }
        Ok(())
    }

    /// Whether a call without a relocation stays in its function, at a place that has no name.
    fn is_inner(&self, function: &Function, at: usize) -> bool {
        let target = at as i64 + 1 + i64::from(function.slots[at].imm);
        let Ok(target) = usize::try_from(target) else { return false };
        let place = (function.place.0, self.byte(function, target));
        target < function.slots.len() && !self.object.places.functions.contains_key(&place)
    }

    /// A relocation against something in the object.
    fn bind_place(
        &mut self,
        function: &Function,
        at: usize,
        start: usize,
        section: usize,
        value: u64,
    ) -> Result<(), Error> {
        let slot = function.slots[at];
        let places = &self.object.places;
        if slot.is_local_call() {
            // Against a section the instruction holds the distance, against a function -1.
            let offset = value.cast_signed().wrapping_add((i64::from(slot.imm) + 1) * 8);
            return self.call(function, at, start, section, offset);
        }
        if !slot.is_wide() || at + 1 >= function.slots.len() {
            return Err(self.fail(function, at, Problem::Misplaced));
        }
        let offset = value.wrapping_add_signed(slot.imm.into());
        let number = |number: usize| {
            i32::try_from(number).map_err(|_| self.fail(function, at, Problem::TooFar))
        };
        let (src, imm, next) = if let Some(map) = places.maps.get(&(section, offset)) {
            (pseudo::MAP_BY_INDEX, number(*map)?, 0)
        } else if let Some(map) = places.data.get(&section) {
            let offset =
                u32::try_from(offset).map_err(|_| self.fail(function, at, Problem::Misplaced))?;
            (pseudo::MAP_VALUE_BY_INDEX, number(*map)?, offset.cast_signed())
        } else if places.functions.contains_key(&(section, offset)) {
            self.slots[start + at].src = pseudo::CODE;
            self.slots[start + at + 1].imm = 0;
            return self.call(function, at, start, section, offset as i64);
        } else {
            let name = places.sections.get(section).cloned().unwrap_or_default();
            return Err(self.fail(function, at, Problem::Target(name)));
        };
        self.set_wide(start + at, src, imm, next);
        Ok(())
    }

    fn bind_extern(
        &mut self,
        function: &Function,
        at: usize,
        start: usize,
        index: usize,
    ) -> Result<(), Error> {
        let slot = function.slots[at];
        let external = &self.object.externs[index];
        if !slot.is_call() && (!slot.is_wide() || at + 1 >= function.slots.len()) {
            return Err(self.fail(function, at, Problem::Misplaced));
        }
        if let ExternSort::Configuration { map, offset, .. } = external.sort {
            if slot.is_call() {
                return Err(self.fail(function, at, Problem::Misplaced));
            }
            let offset = offset as i64 + i64::from(slot.imm);
            let range = |_| self.fail(function, at, Problem::Misplaced);
            let offset = u32::try_from(offset).map_err(range)?;
            let map = i32::try_from(map).map_err(range)?;
            self.set_wide(start + at, pseudo::MAP_VALUE_BY_INDEX, map, offset.cast_signed());
            return Ok(());
        }
        // The address of a variable without a type is known to the kernel's symbol table only.
        let typed = external.sort != ExternSort::Variable { typed: false };
        let found = self.target.filter(|_| typed).and_then(|target| resolve(external, target));
        if found.is_none() && self.target.is_some() && !external.weak && typed {
            let problem = Problem::Unresolved(external.name.clone());
            return Err(self.fail(function, at, problem));
        }
        let missing = found.is_none() && self.target.is_some() && external.weak;
        let number = found.map_or(0, |id| id.0.cast_signed());
        if slot.is_call() {
            self.slots[start + at] = match missing {
                true => Slot::poison(ABSENT_FUNCTION.saturating_add(index as i32)),
                false => Slot { src: pseudo::KERNEL_CALL, offset: 0, imm: number, ..slot },
            };
        } else {
            // The address of what is not there is zero.
            let src = if missing { 0 } else { pseudo::VARIABLE };
            self.set_wide(start + at, src, number, 0);
        }
        self.externs.push(ExternUse { slot: start + at, external: index, target: found });
        Ok(())
    }

    fn set_wide(&mut self, at: usize, src: u8, imm: i32, next: i32) {
        let [first, second, ..] = &mut self.slots[at..] else { return };
        (first.src, first.imm, second.imm) = (src, imm, next);
    }

    /// Notes a call of the function at that place, and sees to it that the function comes along.
    fn call(
        &mut self,
        function: &Function,
        at: usize,
        start: usize,
        section: usize,
        offset: i64,
    ) -> Result<(), Error> {
        let place = u64::try_from(offset).ok().map(|offset| (section, offset));
        let Some(&callee) = place.and_then(|place| self.object.places.functions.get(&place)) else {
            let section = self.object.places.sections.get(section).cloned().unwrap_or_default();
            return Err(self.fail(function, at, Problem::NoFunction { section, offset }));
        };
        self.enter(callee);
        self.calls.push((start + at, callee));
        Ok(())
    }

    fn bind_calls(&mut self) -> Result<(), Error> {
        for (slot, callee) in &self.calls {
            let start = self.starts.get(callee).copied().flatten().unwrap_or(0);
            let distance = start as i64 - *slot as i64 - 1;
            self.slots[*slot].imm = i32::try_from(distance).map_err(|_| {
                let function = &self.object.functions[*callee];
                self.fail(function, 0, Problem::TooFar)
            })?;
        }
        Ok(())
    }

    fn finish(self, entry: usize) -> Result<Program, Error> {
        let code = Slot::write_all(&self.slots);
        let placed: Vec<(usize, &Function)> = self
            .order
            .iter()
            .map(|index| {
                let start = self.starts.get(index).copied().flatten().unwrap_or(0);
                (start, &self.object.functions[*index])
            })
            .collect();
        let instructions = decode(&code).map_err(|error| {
            let holder = placed.iter().rev().find(|(start, _)| *start <= error.slot);
            let (start, function) = holder.copied().unwrap_or((0, &self.object.functions[entry]));
            self.fail(function, error.slot - start, Problem::Instruction(error.reason))
        })?;
        let function = |(slot, function): &(usize, &Function)| LinkedFunction {
            name: function.name.clone(),
            slot: *slot,
            slots: function.slots.len(),
            linkage: function.linkage,
            kind: function.kind,
        };
        let text = |id| {
            let types = self.object.types.as_ref();
            types.and_then(|types| types.string(id)).unwrap_or_default().to_owned()
        };
        let lines = placed.iter().flat_map(|(start, function)| {
            function.lines.iter().map(move |record| (start + record.offset as usize, record))
        });
        let line = |(slot, record): (usize, &crate::btf::LineRecord)| Line {
            slot,
            file: text(record.file),
            line: record.line,
            column: record.column,
            text: text(record.text),
            strings: (record.file, record.text),
        };
        let main = &self.object.functions[entry];
        Ok(Program {
            name: main.name.clone(),
            section: main.section.clone(),
            kind: match &main.role {
                Role::Program(kind) => kind.clone(),
                Role::Subprogram => None,
            },
            instructions,
            functions: placed.iter().map(function).collect(),
            lines: lines.map(line).collect(),
            externs: self.externs,
            core: self.core,
            code,
        })
    }

    /// From the start of the section.
    fn byte(&self, function: &Function, at: usize) -> u64 {
        function.place.1 + at as u64 * 8
    }

    fn fail(&self, function: &Function, at: usize, problem: Problem) -> Error {
        self.object.at(function.place.0, self.byte(function, at), problem)
    }
}

/// The extern's number in the kernel's types.
fn resolve(external: &Extern, target: &Btf) -> Option<TypeId> {
    target.find(&external.name, |kind| match external.sort {
        ExternSort::Function => matches!(kind, Kind::Function { .. }),
        _ => matches!(kind, Kind::Variable { .. }),
    })
}

impl Program {
    /// The source line of the instruction at `slot`.
    pub fn line(&self, slot: usize) -> Option<&Line> {
        let function = self.function(slot)?;
        let at = self.lines.partition_point(|line| line.slot <= slot).checked_sub(1)?;
        self.lines.get(at).filter(|line| line.slot >= function.slot)
    }

    /// What functions there are, as the kernel takes it (`struct bpf_func_info`); empty if a
    /// function's type is not known, since the kernel wants all or none.
    pub fn function_info(&self) -> Vec<u8> {
        let record = |function: &LinkedFunction| Some([function.slot as u32, function.kind?.0]);
        let records: Option<Vec<[u32; 2]>> = self.functions.iter().map(record).collect();
        records.iter().flatten().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Where instructions come from, as the kernel takes it (`struct bpf_line_info`).
    pub fn line_info(&self) -> Vec<u8> {
        let record = |line: &Line| {
            let (StringId(file), StringId(text)) = line.strings;
            [line.slot as u32, file, text, line.line << 10 | line.column]
        };
        self.lines.iter().flat_map(record).flat_map(u32::to_le_bytes).collect()
    }

    /// The function that holds `slot`.
    pub fn function(&self, slot: usize) -> Option<&LinkedFunction> {
        let at = self.functions.partition_point(|function| function.slot <= slot).checked_sub(1)?;
        self.functions.get(at).filter(|function| slot < function.slot + function.slots)
    }
}

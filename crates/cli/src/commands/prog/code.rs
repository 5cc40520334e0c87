//! Programs as text, with what the bare instructions don't say: names and source lines.

use bpf_isa::text::{Syntax, disassemble};
use bpf_isa::{Callee, Distance, Instruction, Placed, Wide};
use bpf_object::{Map, Object, Program};
use std::collections::BTreeMap;

/// One instruction as it is shown.
#[derive(Clone, Debug)]
pub struct Row {
    pub slot: usize,
    pub text: String,
    /// What it names: a helper, a map, a function.
    pub note: Option<String>,
}

pub struct Listing<'a> {
    object: &'a Object,
    program: &'a Program,
    syntax: Syntax,
    labels: BTreeMap<usize, String>,
}

impl<'a> Listing<'a> {
    pub fn new(object: &'a Object, program: &'a Program, syntax: Syntax) -> Self {
        Self { object, program, syntax, labels: labels(program) }
    }

    pub fn label(&self, slot: usize) -> Option<&str> {
        self.labels.get(&slot).map(String::as_str)
    }

    pub fn row(&self, placed: &Placed) -> Row {
        let text = disassemble(std::slice::from_ref(placed), self.syntax, &self.labels);
        // The label stands in a line of its own.
        let text = text.lines().last().unwrap_or_default().to_owned();
        Row { slot: placed.slot, text, note: self.note(placed) }
    }

    fn note(&self, placed: &Placed) -> Option<String> {
        let function = |distance: i32| {
            let slot = usize::try_from(placed.slot as i64 + 1 + i64::from(distance)).ok()?;
            let function = self.program.functions.iter().find(|f| f.slot == slot)?;
            Some(function.name.clone())
        };
        match placed.instruction {
            Instruction::Call { callee: Callee::Helper(id) } => Some(helper(id)),
            Instruction::Call { callee: Callee::Local(distance) } => function(distance),
            Instruction::Call { callee: Callee::Kernel { .. } } => self.external(placed.slot),
            Instruction::LoadWide { value, .. } => match value {
                Wide::MapByIndex(map) => Some(format!("map {}", self.map(map)?.name)),
                Wide::MapValueByIndex { map, offset } => {
                    Some(self.variable(usize::try_from(map).ok()?, offset))
                }
                Wide::Code(distance) => Some(format!("&{}", function(distance)?)),
                Wide::Variable(_) => self.external(placed.slot),
                _ => None,
            },
            _ => None,
        }
    }

    fn map(&self, index: i32) -> Option<&Map> {
        self.object.maps.get(usize::try_from(index).ok()?)
    }

    fn external(&self, slot: usize) -> Option<String> {
        let used = self.program.externs.iter().find(|used| used.slot == slot)?;
        Some(self.object.externs.get(used.external)?.name.clone())
    }

    fn variable(&self, map: usize, offset: i32) -> String {
        let offset = u64::from(offset.cast_unsigned());
        let holds = |variable: &&bpf_object::Variable| {
            variable.map == map
                && (variable.offset..variable.offset + variable.size).contains(&offset)
        };
        match self.object.variables.iter().find(holds) {
            Some(variable) if variable.offset == offset => format!("&{}", variable.name),
            Some(variable) => format!("&{}+{}", variable.name, offset - variable.offset),
            None => {
                let name = self.object.maps.get(map).map_or("?", |map| map.name.as_str());
                format!("&{name}[{offset}]")
            }
        }
    }
}

/// A helper's name, or its number if it is of a kernel that we don't know.
pub fn helper(id: i32) -> String {
    let known = u32::try_from(id).ok().and_then(bpf_interface::helper::by_id);
    known.map_or_else(|| format!("helper {id}"), |helper| helper.name.to_owned())
}

/// Functions by their names, other targets of jumps by number.
fn labels(program: &Program) -> BTreeMap<usize, String> {
    let mut labels = BTreeMap::new();
    for placed in &program.instructions {
        let distance = match placed.instruction {
            Instruction::Jump { distance: Distance::Near(slots) } => i32::from(slots),
            Instruction::Jump { distance: Distance::Far(slots) } => slots,
            Instruction::JumpIf { offset, .. } => offset.into(),
            Instruction::MayGoto { offset } => offset.into(),
            _ => continue,
        };
        let target = placed.slot as i64 + 1 + i64::from(distance);
        if let Ok(target) = usize::try_from(target) {
            labels.insert(target, String::new());
        }
    }
    for (number, label) in labels.values_mut().enumerate() {
        *label = format!("L{}", number + 1);
    }
    labels
}

//! A refusal, so that it can be understood: where, how the path led there, what is known.

use std::fmt;

use bpf_isa::text::{Syntax, disassemble_one};
use bpf_isa::{Callee, Condition, Instruction, Wide};

use crate::code::Calls;
use crate::engine::Engine;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::state::{Frame, Jump};
use crate::verdict::{Refusal, RefusedAt, Step};

/// The registers that calls keep: r6 to r9.
const KEPT: u16 = 0x3c0;

/// So many steps of the path are shown.
const STEPS: usize = 64;

impl Engine<'_> {
    pub(crate) fn explain(&self, rule: Rule, message: String, slot: Option<usize>) -> Refusal {
        let mut refusal = Refusal {
            rule,
            slot,
            message,
            registers: Vec::new(),
            path: Vec::new(),
            hint: rule.hint().to_owned(),
            place: None,
            processed: self.processed,
        };
        let Some(slot) = slot else { return refusal };
        let Some(instruction) = self.code.at(slot) else { return refusal };
        let (reads, _) = crate::code::reads_and_writes(&instruction, |callee| {
            Calls::arguments(&self.kernel_calls(), callee)
        });
        refusal.registers = registers(self.state.frame(), reads);
        let (path, moved) = self.path(rule, reads);
        refusal.path = path;
        if let Some(slot) = moved {
            refusal.hint = format!(
                "the call at {slot} may move the packet: if this pointed there, read it from the \
                 context again behind the call, and check it again"
            );
        }
        refusal.place = Some(self.place(slot, &instruction));
        refusal
    }

    fn place(&self, slot: usize, instruction: &Instruction) -> RefusedAt {
        let program = self.request.program;
        let function = &self.code.functions[self.code.function_of(slot)];
        let line = program.line(slot);
        RefusedAt {
            function: function.name.clone(),
            file: line.map(|line| line.file.clone()).unwrap_or_default(),
            line: line.map_or(0, |line| line.line),
            column: line.map_or(0, |line| line.column),
            text: line.map(|line| line.text.trim().to_owned()).unwrap_or_default(),
            instruction: self.spell(slot, instruction),
        }
    }

    /// The branches that led here, and the instructions that last wrote what matters.
    /// Also where the packet may have been moved away from under a pointer.
    fn path(&self, rule: Rule, registers: u16) -> (Vec<Step>, Option<usize>) {
        let mut moved = None;
        let mut steps = Vec::new();
        let mut wanted = registers;
        // A register that a call keeps, but with a pointer in it that no longer counts.
        let mut lost = if rule == Rule::InvalidAccess { registers & KEPT } else { 0 };
        for slot in self.way_back() {
            if steps.len() >= STEPS {
                break;
            }
            let Some(instruction) = self.code.at(slot.0) else { continue };
            let (reads, writes) = crate::code::reads_and_writes(&instruction, |callee| {
                Calls::arguments(&self.kernel_calls(), callee)
            });
            let decides = matches!(instruction, Instruction::JumpIf { .. });
            lost &= !writes;
            let moves = lost != 0 && self.changes_packet(slot.0, &instruction);
            if moves && moved.is_none() {
                moved = Some(slot.0);
            }
            if writes & wanted == 0 && !decides && !moves {
                continue;
            }
            if !decides && writes & wanted != 0 {
                wanted = wanted & !writes | reads;
            }
            let mut what = self.spell(slot.0, &instruction);
            if let Instruction::JumpIf { condition, .. } = instruction {
                let taken = slot.1 != slot.0 + 1;
                what.push_str(if taken { ": taken" } else { ": not taken" });
                debug_assert!(condition != Condition::Set || !what.is_empty());
            }
            let line = self.request.program.line(slot.0);
            let line = line.map(|line| (line.file.clone(), line.line));
            steps.push(Step { slot: slot.0, line, what });
        }
        steps.reverse();
        (steps, moved)
    }

    fn changes_packet(&self, slot: usize, instruction: &Instruction) -> bool {
        let Instruction::Call { callee } = *instruction else { return false };
        Calls::changes_packet(&self.kernel_calls(), slot, callee)
    }

    /// An instruction, and the name of what it calls or points to.
    fn spell(&self, slot: usize, instruction: &Instruction) -> String {
        let text = disassemble_one(instruction, Syntax::Llvm);
        let map = |index: i32| self.maps.get(usize::try_from(index).ok()?);
        let name = match *instruction {
            Instruction::Call { callee: Callee::Helper(id) } => {
                bpf_interface::helper::by_id(id.cast_unsigned()).map(|it| it.name.to_owned())
            }
            Instruction::Call { callee: Callee::Local(distance) } => {
                let target = slot.checked_add_signed(distance as isize + 1);
                let function = self.code.functions.iter().find(|f| Some(f.start) == target);
                function.map(|function| function.name.clone())
            }
            Instruction::Call { callee } => {
                self.kernel_calls().named(slot, callee).map(str::to_owned)
            }
            Instruction::LoadWide { value: Wide::MapByIndex(index), .. } => {
                map(index).map(|map| format!("map {}", map.name))
            }
            _ => None,
        };
        match name.filter(|name| !name.is_empty()) {
            Some(name) => format!("{text}   ; {name}"),
            None => text,
        }
    }

    /// The instructions before the present one, the nearest first, each with the one after it.
    fn way_back(&self) -> Vec<(usize, usize)> {
        let mut way = Vec::new();
        let mut segment: &[Jump] = &self.state.history;
        let (mut slot, mut first) = (self.slot, self.state.first);
        let mut parent = self.state.parent;
        loop {
            let mut end = segment.len();
            while way.len() < 4096 {
                let at_start =
                    slot == first && (end == 0 || (end == 1 && segment[0].slot as usize == slot));
                if at_start {
                    break;
                }
                let before = match end.checked_sub(1).map(|at| segment[at]) {
                    Some(jump) if jump.slot as usize == slot => {
                        end -= 1;
                        jump.previous as usize
                    }
                    _ => match slot.checked_sub(1) {
                        Some(before) => before,
                        None => return way,
                    },
                };
                way.push((before, slot));
                slot = before;
            }
            let Some(id) = parent else { return way };
            if way.len() >= 4096 {
                return way;
            }
            let checkpoint = &self.checkpoints[id as usize];
            segment = &checkpoint.state.history;
            way.push((checkpoint.state.last, slot));
            slot = checkpoint.state.last;
            first = checkpoint.state.first;
            parent = checkpoint.state.parent;
        }
    }
}

/// The registers of the mask with what is known of them.
pub(crate) fn registers(frame: &Frame, mask: u16) -> Vec<(String, String)> {
    let numbers = (0..11usize).filter(|number| mask & 1 << number != 0);
    numbers
        .filter(|number| frame.registers[*number].kind != Kind::Uninitialised)
        .map(|number| (format!("r{number}"), describe(&frame.registers[number])))
        .collect()
}

/// What is known of a register, in a few words.
pub(crate) fn describe(register: &Register) -> String {
    let number = &register.number;
    let range = || {
        if let Some(value) = number.exact() {
            return value.cast_signed().to_string();
        }
        let mut parts = Vec::new();
        if number.s64.min != i64::MIN || number.s64.max != i64::MAX {
            parts.push(format!("{}..={}", number.s64.min, number.s64.max));
        } else if number.u64.min != 0 || number.u64.max != u64::MAX {
            parts.push(format!("{}..={} unsigned", number.u64.min, number.u64.max));
        }
        if number.bits.mask != u64::MAX && parts.is_empty() {
            parts.push(format!("bits {:#x} unknown", number.bits.mask));
        }
        if parts.is_empty() { "any number".to_owned() } else { parts.join(", ") }
    };
    if register.is_scalar() {
        return range();
    }
    let mut text = register.name();
    match register.off {
        0 => {}
        off => text.push_str(&format!("{off:+}")),
    }
    if !number.is_exact() {
        text.push_str(&format!(" + ({})", range()));
    }
    if register.is_packet() {
        text.push_str(&match register.range() {
            Some(range) => format!(", {range} bytes checked"),
            None => ", at the packet's end".to_owned(),
        });
    }
    if register.kind == Kind::Memory {
        text.push_str(&format!(", {} bytes", register.size));
    }
    if register.flags.has(Flags::NULLABLE) {
        text.push_str(", may be NULL");
    }
    text
}

/// One screen.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refused [{}]: {}", self.rule, self.message)?;
        if let Some(place) = &self.place {
            write!(f, "  --> ")?;
            if place.file.is_empty() {
                write!(f, "{}", place.function)?;
            } else {
                write!(f, "{}:{}:{} in {}", place.file, place.line, place.column, place.function)?;
            }
            writeln!(f, ", instruction {}", self.slot.unwrap_or(0))?;
            if !place.text.is_empty() {
                writeln!(f, "   |  {}", place.text)?;
            }
            writeln!(f, "   |  {}", place.instruction)?;
        }
        for (name, value) in &self.registers {
            writeln!(f, "   =  {name}: {value}")?;
        }
        if !self.path.is_empty() {
            writeln!(f, "  how it came there:")?;
        }
        for step in &self.path {
            write!(f, "   {:>5}: {}", step.slot, step.what)?;
            match &step.line {
                Some((file, line)) if !file.is_empty() => {
                    let file = file.rsplit('/').next().unwrap_or(file);
                    writeln!(f, "   ({file}:{line})")?;
                }
                _ => writeln!(f)?,
            }
        }
        writeln!(f, "  rule: {}", self.rule.title())?;
        write!(f, "  what usually helps: {}", self.hint)
    }
}

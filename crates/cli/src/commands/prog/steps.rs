//! What a run did, instruction by instruction, with names and source lines.

use super::code::Listing;
use super::disasm::short;
use super::input::Ready;
use crate::failure::Failure;
use crate::output::{Paint, Style, visible};
use bpf_isa::Placed;
use bpf_isa::text::Syntax;
use bpf_object::Program;
use bpf_vm::Trace;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The program whose runs are shown. Others that it goes on with by tail calls are not read: of
/// their instructions the positions are known.
pub struct Steps<'a> {
    ready: &'a Ready,
    linked: Program,
}

impl<'a> Steps<'a> {
    pub fn of(ready: &'a Ready) -> Result<Self, Failure> {
        let linked = ready.file.link(&ready.program);
        let linked = linked.map_err(|error| ready.file.cannot_link(&ready.program, &error))?;
        Ok(Self { ready, linked })
    }

    fn listing(&self) -> Listing<'_> {
        Listing::new(&self.ready.file.object, &self.linked, Syntax::Llvm)
    }

    fn placed(&self, step: &bpf_vm::Step) -> Option<&Placed> {
        let instructions = &self.linked.instructions;
        let at = instructions.binary_search_by_key(&step.slot, |placed| placed.slot).ok()?;
        instructions.get(at).filter(|_| step.program == 0)
    }

    pub fn text(&self, trace: &Trace, style: Style) -> String {
        let listing = self.listing();
        let mut text = String::new();
        let mut last_line = None;
        for (number, step) in trace.steps.iter().enumerate() {
            let Some(placed) = self.placed(step) else {
                let _ = writeln!(text, "      program {}, slot {}", step.program, step.slot);
                last_line = None;
                continue;
            };
            if let Some(line) = self.linked.line(step.slot)
                && last_line != Some((&line.file, line.line))
            {
                last_line = Some((&line.file, line.line));
                let code = line.text.trim();
                let gap = if code.is_empty() { "" } else { "   " };
                let line = format!("; {code}{gap}{}:{}", short(&line.file), line.line);
                let _ = writeln!(text, "      {}", style.paint(Paint::Faint, &visible(&line)));
            }
            let row = listing.row(placed);
            let indent = "  ".repeat(step.depth);
            let mut left = format!("{:6}: {indent}{}", row.slot, row.text.trim());
            if let Some(note) = &row.note {
                let _ = write!(left, " ; {}", visible(note));
            }
            let changed: Vec<String> = trace
                .changes(number)
                .into_iter()
                .map(|(register, value)| format!("r{register} = {value:#x}"))
                .collect();
            let line = match changed.is_empty() {
                true => left,
                false => format!("{left:<56} {}", changed.join(", ")),
            };
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if trace.is_cut() {
            let rest = trace.executed - trace.steps.len() as u64;
            let _ =
                writeln!(text, "      {rest} more instructions were carried out (--trace-limit)");
        }
        text
    }

    pub fn value(&self, trace: &Trace) -> Value {
        let listing = self.listing();
        let step = |(number, step): (usize, &bpf_vm::Step)| {
            let registers: serde_json::Map<String, Value> = trace
                .changes(number)
                .into_iter()
                .map(|(register, value)| (format!("r{register}"), format!("{value:#x}").into()))
                .collect();
            let mut value = json!({ "slot": step.slot, "changed": registers });
            if step.program != 0 {
                value["program"] = step.program.into();
            }
            if step.depth != 0 {
                value["depth"] = step.depth.into();
            }
            if let Some(placed) = self.placed(step) {
                value["text"] = listing.row(placed).text.trim().into();
                if let Some(line) = self.linked.line(step.slot) {
                    value["file"] = line.file.clone().into();
                    value["line"] = line.line.into();
                }
            }
            value
        };
        trace.steps.iter().enumerate().map(step).collect()
    }
}

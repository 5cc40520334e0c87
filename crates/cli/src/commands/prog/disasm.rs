//! `skep prog disasm`: instructions with the source lines they come from.

use super::code::{Listing, Row};
use super::object_file::{ObjectFile, Target};
use crate::failure::Failure;
use crate::output::{Format, Paint, Screen, Style, visible};
use bpf_isa::text::Syntax;
use bpf_object::Program;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog disasm filter.o
  skep prog disasm filter.o --prog on_packet --no-source
  skep prog disasm filter.o --prog on_packet --native
  skep prog disasm filter.o --prog on_packet > on_packet.s; skep prog asm on_packet.s -o again.o

Linked, with all that a program calls. FILE is an ELF object or bare instructions.";

/// Show a program's instructions with the source lines they come from
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Object, or an executable with one in it
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only this program or function
    #[arg(long = "prog", value_name = "NAME")]
    program: Option<String>,

    /// How instructions are written
    #[arg(long, value_enum, default_value_t = Dialect::Llvm)]
    syntax: Dialect,

    /// Leave out source lines
    #[arg(long)]
    no_source: bool,

    /// Show the machine's instructions that our compiler makes of them, instead
    #[arg(long, conflicts_with_all = ["syntax", "no_source"])]
    native: bool,

    #[command(flatten)]
    target: Target,

    /// Output format; `table` is text
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// As llvm-objdump prints it: r1 = *(u64 *)(r2 + 0x8)
    Llvm,
    /// Mnemonics, as in the public conformance vectors: ldxdw %r1, [%r2+8]
    Mnemonic,
}

impl From<Dialect> for Syntax {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Llvm => Self::Llvm,
            Dialect::Mnemonic => Self::Mnemonic,
        }
    }
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let file = ObjectFile::read(&args.file, &args.target)?;
    if args.native {
        return super::native::run(&file, args.program.as_deref(), args.output, screen);
    }
    let mut programs = Vec::new();
    for (name, linked) in file.programs(args.program.as_deref())? {
        programs.push(linked.map_err(|error| file.cannot_link(&name, &error))?);
    }
    let source = !args.no_source;
    match args.output {
        Format::Table => {
            let style = screen.style();
            let texts: Vec<String> = programs
                .iter()
                .map(|program| {
                    let listing = Listing::new(&file.object, program, args.syntax.into());
                    text(&listing, program, source, style)
                })
                .collect();
            screen.print(&texts.join("\n"))?;
        }
        format => {
            let value = |program: &Program| {
                value(&Listing::new(&file.object, program, args.syntax.into()), program)
            };
            let values = Value::Array(programs.iter().map(value).collect());
            match format {
                Format::Yaml => screen.print_yaml(&values)?,
                _ => screen.print_json(&values)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What `asm` reads back: all that is not an instruction is a label or a comment.
fn text(listing: &Listing<'_>, program: &Program, source: bool, style: Style) -> String {
    let faint = |text: &str| style.paint(Paint::Faint, &visible(text));
    let kind = program.kind.as_ref().map(|kind| format!(" ({})", kind.program));
    let mut text = style.paint(
        Paint::Heading,
        &visible(&format!(
            "; {}{}, section {}, {} instructions",
            program.name,
            kind.unwrap_or_default(),
            program.section,
            program.instructions.len()
        )),
    );
    text.push('\n');
    let mut last_line = None;
    for placed in &program.instructions {
        if let Some(function) = program.functions.iter().skip(1).find(|f| f.slot == placed.slot) {
            text +=
                &format!("\n{}\n", style.paint(Paint::Heading, &format!("; {}:", function.name)));
            last_line = None;
        }
        let line = program.line(placed.slot).filter(|_| source);
        if let Some(line) = line
            && last_line != Some((&line.file, line.line))
        {
            last_line = Some((&line.file, line.line));
            let code = line.text.trim();
            let gap = if code.is_empty() { "" } else { "   " };
            text += &faint(&format!("; {code}{gap}{}:{}", short(&line.file), line.line));
            text.push('\n');
        }
        if let Some(label) = listing.label(placed.slot) {
            text += &format!("{label}:\n");
        }
        let row = listing.row(placed);
        text += &format!("{:6}: {}", row.slot, row.text);
        if let Some(note) = &row.note {
            text += &format!("   {}", faint(&format!("; {note}")));
        }
        text.push('\n');
    }
    text
}

fn value(listing: &Listing<'_>, program: &Program) -> Value {
    let instruction = |placed| {
        let Row { slot, text, note } = listing.row(placed);
        let mut value = json!({ "slot": slot, "text": text });
        if let Some(note) = note {
            value["note"] = note.into();
        }
        if let Some(line) = program.line(slot) {
            value["file"] = line.file.clone().into();
            value["line"] = line.line.into();
        }
        value
    };
    json!({
        "program": program.name,
        "section": program.section,
        "functions": program.functions.iter().map(|function| {
            json!({ "name": function.name, "slot": function.slot, "slots": function.slots })
        }).collect::<Vec<_>>(),
        "instructions": program.instructions.iter().map(instruction).collect::<Vec<_>>(),
    })
}

/// A source file's name without folders of the machine it was compiled on.
pub fn short(path: &str) -> &str {
    let keep = path.rsplit('/').take(3).map(|part| part.len() + 1).sum::<usize>();
    match path.starts_with('/') {
        true => &path[path.len().saturating_sub(keep.saturating_sub(1))..],
        false => path,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_paths_are_shortened() {
        assert_eq!(super::short("/home/me/project/src/a.c"), "project/src/a.c");
        assert_eq!(super::short("src/very/long/path/a.c"), "src/very/long/path/a.c");
        assert_eq!(super::short("/a.c"), "/a.c");
        assert_eq!(super::short(""), "");
    }
}

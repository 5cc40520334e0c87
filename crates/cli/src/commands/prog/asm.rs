//! `skep prog asm`: text to an object.

use super::disasm::Dialect;
use super::object_file::{read, write};
use crate::failure::Failure;
use crate::output::{Screen, diagnostic};
use api::v1::{Diagnostic, File, diagnostic::Severity};
use bpf_isa::text::assemble;
use bpf_isa::{SLOT, encode};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog asm drop.s -o drop.o --section xdp
  skep prog asm drop.s                      the bytes, eight to a line
  skep prog asm drop.s -o drop.bin --raw    instructions alone, without ELF around them

Exit codes: 0 done, 2 a file can't be read or written, 4 the text is no program.";

/// Make an object of a program's text
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Text: one instruction per line, labels (`name:`), comments (`;`, `#`, `//`)
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Object to write; without it the bytes are printed
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,

    /// How instructions are written
    #[arg(long, value_enum, default_value_t = Dialect::Llvm)]
    syntax: Dialect,

    /// Section of the program, which says its type: xdp, tc, socket, kprobe/do_exit ...
    #[arg(long, value_name = "NAME", default_value = "socket", conflicts_with = "raw")]
    section: String,

    /// Name of the program [default: the file's]
    #[arg(long = "prog", value_name = "NAME", conflicts_with = "raw")]
    program: Option<String>,

    /// Licence that the object names
    #[arg(long, default_value = "GPL", conflicts_with = "raw")]
    license: String,

    /// Write the instructions alone
    #[arg(long, requires = "out")]
    raw: bool,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let bytes = read(&args.file)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("{} is no text", args.file.display())))?;
    let instructions = match assemble(&text, args.syntax.into()) {
        Ok(instructions) => instructions,
        Err(error) => {
            let name = args.file.display().to_string();
            let diagnostic = Diagnostic {
                severity: Severity::Error.into(),
                file: name.clone(),
                line: error.line as u32,
                column: error.column as u32,
                message: "this is no instruction".into(),
                label: error.message,
                ..Default::default()
            };
            let files = [File { name, text }];
            screen.complain(&diagnostic::render(&[diagnostic], &files, screen.error_style()));
            return Err(Failure::Rejected);
        }
    };
    let code = encode(&instructions);
    let Some(out) = &args.out else {
        screen.print(&hexadecimal(&code))?;
        return Ok(ExitCode::SUCCESS);
    };
    if args.raw {
        write(out, &code)?;
    } else {
        let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = args.program.clone().or(stem).unwrap_or_else(|| "program".to_owned());
        let object = bpf_object::object_of_code(&name, &args.section, &args.license, &code);
        write(out, &object)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn hexadecimal(code: &[u8]) -> String {
    let line = |slot: &[u8]| {
        let bytes: Vec<String> = slot.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ") + "\n"
    };
    code.chunks(SLOT).map(line).collect()
}

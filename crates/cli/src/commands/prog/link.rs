//! `skep prog link`: several objects to one.

use super::object_file::{read, write};
use crate::failure::Failure;
use crate::output::Screen;
use bpf_object::{Input, combine};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog link main.o maps.o -o filter.o
  skep prog link debug.o -o small.o         drops DWARF, merges types

A strong definition takes the place of weak ones, the first of several weak ones is taken. What no
object defines stays for the kernel to provide. Sections of one name are put behind each other.

Exit codes: 0 done, 2 a file can't be read or written, 4 the objects don't fit together.";

/// Link objects statically: symbols, maps, types and source lines become one object's
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Objects, in the order in which they are put behind each other
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Object to write
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut objects = Vec::new();
    for path in &args.files {
        objects.push((path.display().to_string(), read(path)?));
    }
    let inputs: Vec<Input<'_>> =
        objects.iter().map(|(name, bytes)| Input { name, bytes }).collect();
    match combine(&inputs) {
        Ok(bytes) => {
            write(&args.out, &bytes)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            screen.complain(&format!("error: {error}\n"));
            Err(Failure::Rejected)
        }
    }
}

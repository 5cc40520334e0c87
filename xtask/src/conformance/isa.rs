//! The public vectors for the instruction set, run by our own engines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result, bail};
use bpf_isa::vector::{Expected, Vector};
use clap::Args;

#[derive(Args)]
pub struct Isa {
    /// A folder of FILE.data
    folder: PathBuf,
}

pub fn run(options: &Isa) -> Result<()> {
    let entries = fs::read_dir(&options.folder);
    let entries = entries.with_context(|| options.folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "data"));
    files.sort();
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        match try_vector(file) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("{}: {error:#}", file.display());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if files.is_empty() {
        bail!("there is no *.data in {}", options.folder.display());
    }
    if failed > 0 {
        // The line above is the last: no error message follows it.
        process::exit(1);
    }
    Ok(())
}

fn try_vector(file: &Path) -> Result<()> {
    let mut vector = Vector::parse(&fs::read_to_string(file)?)?;
    let program = match vector.program() {
        Ok(program) => program,
        // What no assembly can say is refused, too.
        Err(_) if matches!(vector.expected, Expected::Error(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let result = bpf_vm::conformance::run(&program, &mut vector.memory);
    match (vector.expected, result) {
        (Expected::Result(expected), Ok(result)) if result == expected => Ok(()),
        (Expected::Result(expected), Ok(result)) => {
            bail!("the result is {result:#x}, not {expected:#x}")
        }
        (Expected::Result(_), Err(error)) => Err(error.into()),
        (Expected::Error(_), Err(_)) => Ok(()),
        (Expected::Error(expected), Ok(result)) => {
            bail!("the result is {result:#x}, but it should fail: {expected}")
        }
    }
}

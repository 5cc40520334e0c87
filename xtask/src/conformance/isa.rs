//! The public vectors for the instruction set, run by our own engines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result, bail};
use bpf_isa::vector::{Expected, Vector};
use bpf_vm::conformance::{self, Engine};
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
    let mut any_failed = false;
    for (name, engine, is_object) in WAYS {
        let (mut passed, mut failed) = (0, 0);
        for file in &files {
            match try_vector(file, engine, is_object) {
                Ok(()) => passed += 1,
                Err(error) => {
                    failed += 1;
                    println!("{}, {name}: {error:#}", file.display());
                }
            }
        }
        println!("{name}: {passed} passed, {failed} failed");
        any_failed |= failed > 0;
    }
    if files.is_empty() {
        bail!("there is no *.data in {}", options.folder.display());
    }
    if any_failed {
        // The line above is the last: no error message follows it.
        process::exit(1);
    }
    Ok(())
}

/// Each engine takes programs as their bytes and as ELF objects.
const WAYS: [(&str, Engine, bool); 4] = [
    ("interpreter", Engine::Interpreter, false),
    ("compiler", Engine::Compiler, false),
    ("interpreter, ELF", Engine::Interpreter, true),
    ("compiler, ELF", Engine::Compiler, true),
];

fn try_vector(file: &Path, engine: Engine, is_object: bool) -> Result<()> {
    let mut vector = Vector::parse(&fs::read_to_string(file)?)?;
    let program = match vector.program() {
        Ok(program) => program,
        // What no assembly can say is refused, too.
        Err(_) if matches!(vector.expected, Expected::Error(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let result = if is_object {
        let object = bpf_object::object_of_code("main", ".text", "", &program);
        conformance::run_object(engine, &object, &mut vector.memory)
    } else {
        conformance::run(engine, &program, &mut vector.memory)
    };
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

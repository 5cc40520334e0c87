//! The public vectors for the instruction set, run by our own engines.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use anyhow::{Context as _, Result, bail};
use bpf_isa::vector::{Expected, Vector};
use bpf_vm::conformance::{self, Engine};
use clap::Args;

use crate::foreign::{Emulated, Processor};

#[derive(Args)]
pub struct Isa {
    /// A folder of FILE.data
    folder: PathBuf,
    /// Run them as on another processor, by an emulator
    #[arg(long, value_name = "PROCESSOR")]
    target: Option<Processor>,
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
    let emulated = match options.target {
        Some(Processor::Aarch64) => Some(Emulated::build("bpf-vm", "skep-conformance", "dev")?),
        None => None,
    };
    let mut any_failed = false;
    for (name, engine, is_object) in WAYS {
        let (mut passed, mut failed) = (0, 0);
        for file in &files {
            match try_vector(file, engine, is_object, emulated.as_ref()) {
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

fn try_vector(
    file: &Path,
    engine: Engine,
    is_object: bool,
    emulated: Option<&Emulated>,
) -> Result<()> {
    let mut vector = Vector::parse(&fs::read_to_string(file)?)?;
    let mut program = match vector.program() {
        Ok(program) => program,
        // What no assembly can say is refused, too.
        Err(_) if matches!(vector.expected, Expected::Error(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if is_object {
        program = bpf_object::object_of_code("main", ".text", "", &program);
    }
    let memory = &mut vector.memory;
    let result = match (emulated, is_object) {
        (Some(emulated), _) => run_emulated(emulated, engine, is_object, &program, memory)?,
        (None, true) => conformance::run_object(engine, &program, memory).map_err(Into::into),
        (None, false) => conformance::run(engine, &program, memory).map_err(Into::into),
    };
    match (vector.expected, result) {
        (Expected::Result(expected), Ok(result)) if result == expected => Ok(()),
        (Expected::Result(expected), Ok(result)) => {
            bail!("the result is {result:#x}, not {expected:#x}")
        }
        (Expected::Result(_), Err(error)) => Err(error),
        (Expected::Error(_), Err(_)) => Ok(()),
        (Expected::Error(expected), Ok(result)) => {
            bail!("the result is {result:#x}, but it should fail: {expected}")
        }
    }
}

/// The program's result, or why there is none, by the plugin of the public runner.
fn run_emulated(
    emulated: &Emulated,
    engine: Engine,
    is_object: bool,
    program: &[u8],
    memory: &[u8],
) -> Result<Result<u64>> {
    let mut command = emulated.command();
    command.arg(hex(memory)).arg(match engine {
        Engine::Interpreter => "--interp",
        Engine::Compiler => "--jit",
    });
    if is_object {
        command.arg("--elf");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("running the emulator")?;
    // It is closed at the end of the statement, which is the end of the program.
    child.stdin.take().context("a pipe")?.write_all(hex(program).as_bytes())?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        let printed = String::from_utf8(output.stdout)?;
        return Ok(Ok(u64::from_str_radix(printed.trim(), 16).context(printed)?));
    }
    // Whoever ends without an exit code has crashed.
    if output.status.code() != Some(1) {
        bail!("the emulator: {}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(anyhow::anyhow!("{}", said.trim())))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string succeeds.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

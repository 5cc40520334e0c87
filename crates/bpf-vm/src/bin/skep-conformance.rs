//! The plugin that the public conformance runner starts, once per test.
//!
//! `skep-conformance [MEMORY] [OPTIONS]`: the memory in hexadecimal, the program likewise on
//! standard input. Prints `r0` in hexadecimal, or says on standard error why there is none.
//! `--jit` compiles the program, `--elf` says that it is an ELF object with a function `main`.

#![forbid(unsafe_code)]

use std::io::Read as _;
use std::process::ExitCode;

use bpf_vm::conformance::{self, Engine};

const USAGE: &str = "usage: skep-conformance [MEMORY-HEX] [--interp | --jit] [--elf] < PROGRAM-HEX";

fn main() -> ExitCode {
    match run() {
        Ok(result) => {
            println!("{result:x}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u64, String> {
    let mut memory = Vec::new();
    let mut engine = Engine::Interpreter;
    let mut is_object = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "" => {}
            "--interp" => engine = Engine::Interpreter,
            "--jit" => engine = Engine::Compiler,
            "--elf" => is_object = true,
            option if option.starts_with('-') => {
                return Err(format!("{option} is not supported\n{USAGE}"));
            }
            hex => memory = bytes(hex).map_err(|error| format!("the memory: {error}\n{USAGE}"))?,
        }
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| format!("standard input: {error}"))?;
    let program = bytes(&text).map_err(|error| format!("the program: {error}\n{USAGE}"))?;
    let result = match is_object {
        true => conformance::run_object(engine, &program, &mut memory),
        false => conformance::run(engine, &program, &mut memory),
    };
    result.map_err(|error| error.to_string())
}

/// Pairs of digits, however they are spaced.
fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() % 2 == 1 {
        return Err("there is half a byte".to_owned());
    }
    let byte = |pair: &[char]| {
        let pair: String = pair.iter().collect();
        let is_hex = pair.chars().all(|c| c.is_ascii_hexdigit());
        let parsed = u8::from_str_radix(&pair, 16).ok().filter(|_| is_hex);
        parsed.ok_or_else(|| format!("{pair:?} is not a byte in hexadecimal"))
    };
    digits.chunks(2).map(byte).collect()
}

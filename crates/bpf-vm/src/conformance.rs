//! The environment that the public conformance vectors expect: `r1` and `r2` are the memory and
//! its length, helper 5 ends the program if its argument is zero and returns it otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Call, CompileError, CompileOptions, Fault, Helper, Input, LoadError, Program, Stop};

/// More than any vector needs.
const FUEL: u64 = 1 << 32;

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Interpreter,
    Compiler,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("refused: {0}")]
    Load(#[from] LoadError),
    #[error("ended: {0}")]
    Fault(#[from] Fault),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("the object: {0}")]
    Object(#[from] bpf_object::Error),
}

/// Like [`run`], for an ELF object: its function `main`.
pub fn run_object(engine: Engine, object: &[u8], memory: &mut [u8]) -> Result<u64, Failure> {
    let object = bpf_object::Object::parse(object)?;
    let program = object.link("main", None)?;
    let instructions: Vec<_> = program.instructions.iter().map(|p| p.instruction).collect();
    run(engine, &bpf_isa::encode(&instructions), memory)
}

/// Runs a program in that environment; returns `r0`.
pub fn run(engine: Engine, program: &[u8], memory: &mut [u8]) -> Result<u64, Failure> {
    let helpers: HashMap<i32, Helper> = HashMap::from([(5, Arc::new(unwind) as Helper)]);
    let mut program = Program::load(program, &helpers)?;
    if engine == Engine::Compiler {
        program = program.compile(CompileOptions::default())?;
    }
    let mut input = Input { fuel: FUEL, ..Input::default() };
    if !memory.is_empty() {
        let length = memory.len() as u64;
        input.arguments[0] = input.memory.lend_packet(memory);
        input.arguments[1] = length;
    }
    Ok(program.run(&mut input)?)
}

fn unwind(call: &mut Call<'_, '_>) -> Result<u64, Stop> {
    match call.arguments[0] {
        0 => Err(Stop::Exit(0)),
        value => Ok(value),
    }
}

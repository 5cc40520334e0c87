//! The environment that the public conformance vectors expect: `r1` and `r2` are the memory and
//! its length, helper 5 ends the program if its argument is zero and returns it otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Call, Fault, Helper, Input, LoadError, Program, Stop};

/// More than any vector needs.
const FUEL: u64 = 1 << 32;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("refused: {0}")]
    Load(#[from] LoadError),
    #[error("ended: {0}")]
    Fault(#[from] Fault),
}

/// Runs a program in that environment; returns `r0`.
pub fn run(program: &[u8], memory: &mut [u8]) -> Result<u64, Failure> {
    let helpers: HashMap<i32, Helper> = HashMap::from([(5, Arc::new(unwind) as Helper)]);
    let program = Program::load(program, &helpers)?;
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

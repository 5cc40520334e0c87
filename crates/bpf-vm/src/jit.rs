//! The compiler: operations to machine code, in linear time.
//!
//! `ir.rs` is the form in between, `flow.rs` what is known of a program's ways, and the modules
//! next to them improve it, each in one respect; none of them knows a processor. `x86` and
//! `aarch64` do. What code needs of the runtime is in `native.rs`.
//!
//! **Invariant:** in a program compiled as [`Mode::Checked`], every access that isn't provably in
//! the frame is held against what was lent, every way back costs fuel, and all registers have
//! values that the program has put there. [`Mode::Verified`] leaves all of that out, since a
//! verifier has proved it for exactly these instructions.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod bound;
mod cache;
mod dead;
mod direct;
mod flow;
mod ir;
mod keys;
mod mapping;
pub(crate) mod native;
mod needs;
mod packets;
mod select;
mod service;
mod values;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::io;

use crate::fault::Stop;
use crate::program::Program;
use crate::run::{FRAME, Run, with_stack};
pub(crate) use bound::Array;
use bound::Bound;
use flow::{Flow, Liveness};
use mapping::Mapping;
use native::Outer;

/// What is taken for granted about a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Checked,
    Verified,
}

/// What a user can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// Hides constants of the program, so that nobody can have chosen bytes of the code. Costs a
    /// few instructions for each.
    pub blind_constants: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("there is no compiler for this processor: the interpreter runs everywhere")]
    Unsupported,
    #[error("the program that was verified is another one")]
    NotVerified,
    #[error("the program is too long: its code would be longer than jumps reach")]
    TooLong,
    #[error("the system gives no executable memory: {0}")]
    Memory(#[from] io::Error),
}

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Code {
    mapping: Mapping,
    /// Where the main function is entered, and where any other.
    enter: usize,
    enter_function: usize,
    /// Entries of functions: operation and offset in the code, sorted.
    functions: Vec<(u32, u32)>,
    /// Whether a frame is looked at at all.
    uses_frame: bool,
    /// Whether it calls helpers, may be ended early, or is checked.
    uses_run: bool,
    /// Whether functions that it calls find in their frames what others have left.
    leaves_frames: bool,
    /// How many bytes of its frame the main function reaches.
    frame: usize,
}

/// What a back end makes.
struct Emitted {
    bytes: Vec<u8>,
    enter: usize,
    enter_function: usize,
    functions: Vec<(u32, u32)>,
    uses_frame: bool,
    uses_run: bool,
}

pub(crate) fn compile(
    program: &Program,
    mode: Mode,
    options: CompileOptions,
) -> Result<Code, CompileError> {
    compile_with(program, mode, options, false)
}

/// `plain`: for a processor without any extension.
fn compile_with(
    program: &Program,
    mode: Mode,
    options: CompileOptions,
    plain: bool,
) -> Result<Code, CompileError> {
    let mut code = ir::lower(program);
    select::form(program, &mut code);
    let flow = Flow::new(program, &code);
    let mut bound = Bound::new(program);
    values::improve(&mut code, &flow, mode, &mut bound);
    let mut liveness = Liveness::new(&flow, &code, mode);
    dead::remove(&mut code, &flow, &mut liveness, mode);
    let emitted = emit(&code, &flow, &liveness, &bound, mode, options, plain)?;
    let Emitted { bytes, enter, enter_function, functions, uses_frame, uses_run } = emitted;
    let mapping = Mapping::new(&bytes)?;
    let leaves_frames = mode == Mode::Verified;
    let frame = FRAME;
    Ok(Code {
        mapping,
        enter,
        enter_function,
        functions,
        uses_frame,
        uses_run,
        leaves_frames,
        frame,
    })
}

#[cfg(target_arch = "x86_64")]
fn emit(
    code: &[ir::Inst],
    flow: &Flow,
    liveness: &Liveness,
    bound: &Bound<'_>,
    mode: Mode,
    options: CompileOptions,
    plain: bool,
) -> Result<Emitted, CompileError> {
    let features = if plain { x86::Features::NONE } else { *x86::FEATURES };
    Ok(x86::emit(features, code, flow, liveness, bound, mode, options))
}

#[cfg(target_arch = "aarch64")]
fn emit(
    code: &[ir::Inst],
    flow: &Flow,
    liveness: &Liveness,
    bound: &Bound<'_>,
    mode: Mode,
    options: CompileOptions,
    plain: bool,
) -> Result<Emitted, CompileError> {
    let features = if plain { aarch64::Features::NONE } else { *aarch64::FEATURES };
    aarch64::emit(features, code, flow, liveness, bound, mode, options)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn emit(
    _: &[ir::Inst],
    _: &Flow,
    _: &Liveness,
    _: &Bound<'_>,
    _: Mode,
    _: CompileOptions,
    _: bool,
) -> Result<Emitted, CompileError> {
    Err(CompileError::Unsupported)
}

impl Code {
    /// Says how many bytes of its frame the main function reaches, as a verifier has found.
    pub fn with_frame_of(self, bytes: u32) -> Self {
        Self { frame: (bytes as usize).next_multiple_of(16).min(FRAME), ..self }
    }

    /// The address under which code calls the function that begins at this operation.
    pub fn function(&self, entry: u32) -> Option<u64> {
        let index = self.functions.binary_search_by_key(&entry, |(entry, _)| *entry).ok()?;
        Some(self.mapping.address() + u64::from(self.functions[index].1))
    }

    /// Runs the main function if it needs nothing but its arguments and a stack.
    #[inline]
    pub fn execute_alone(&self, arguments: &[u64; 5]) -> Option<u64> {
        if self.uses_run {
            return None;
        }
        if self.uses_frame {
            return Some(with_stack(|stack_end| {
                self.enter(std::ptr::null_mut(), arguments, stack_end)
            }));
        }
        Some(self.enter(std::ptr::null_mut(), arguments, 0))
    }

    /// `run` is what [`native::begin`] says, or nothing if code doesn't use it.
    #[inline]
    fn enter(&self, run: *mut (), arguments: &[u64; 5], frame: u64) -> u64 {
        type Enter = extern "C" fn(*mut (), *const u64, u64) -> u64;
        let start = self.mapping.address() as usize + self.enter;
        // SAFETY: there stands code of this type, which `emit` has made of a program.
        let enter = unsafe { std::mem::transmute::<usize, Enter>(start) };
        enter(run, arguments.as_ptr(), frame)
    }

    pub fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    /// Runs the main function as the first of a run.
    #[inline]
    pub fn start(
        &self,
        program: &Program,
        run: &mut Run<'_>,
        arguments: &[u64; 5],
    ) -> Result<u64, Stop> {
        let result = self.enter_main(program, run, arguments);
        native::end(run, result)
    }

    /// Runs a function, maybe while another program waits for its result.
    pub fn execute(
        &self,
        program: &Program,
        run: &mut Run<'_>,
        entry: usize,
        arguments: &[u64; 5],
    ) -> Result<u64, Stop> {
        let outer = Outer::of(run);
        let result = match entry {
            0 => self.enter_main(program, run, arguments),
            _ => self.enter_other(program, run, entry as u32, arguments),
        };
        outer.put_back(run);
        native::end(run, result)
    }

    #[inline]
    fn enter_main(&self, program: &Program, run: &mut Run<'_>, arguments: &[u64; 5]) -> u64 {
        run.leaves_frames |= self.leaves_frames;
        let frame = match self.uses_frame {
            true if self.frame < FRAME => run.enter_part_of_frame(self.frame),
            true => run.enter_frame(),
            false => run.frame_end(),
        };
        let run = native::begin(program, run, frame);
        self.enter(run, arguments, frame)
    }

    fn enter_other(
        &self,
        program: &Program,
        run: &mut Run<'_>,
        entry: u32,
        arguments: &[u64; 5],
    ) -> u64 {
        run.leaves_frames |= self.leaves_frames;
        let frame = if self.uses_frame { run.enter_frame() } else { run.frame_end() };
        let run = native::begin(program, run, frame);
        type Enter = extern "C" fn(*mut (), *const u64, u64, u64) -> u64;
        let start = self.mapping.address() as usize + self.enter_function;
        // SAFETY: as above.
        let enter = unsafe { std::mem::transmute::<usize, Enter>(start) };
        // Callers have the entry from the program's functions, all of which have code.
        match self.function(entry) {
            Some(function) => enter(run, arguments.as_ptr(), frame, function),
            None => 0,
        }
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;

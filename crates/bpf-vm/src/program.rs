//! A loaded program, and what it is run on.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bpf_isa::Placed;
use bpf_verifier::Verified;

use crate::fault::{Fault, LoadError, Reason, Stop};
use crate::helper::Shared;
use crate::jit::{self, Code, CompileError, CompileOptions, Mode};
use crate::memory::Memory;
use crate::op::Op;
use crate::platform::{Helper, Platform};
use crate::run::{self, FRAME, Run};
use crate::trace::Trace;
use crate::{interpret, load};

/// A program, ready to run. It has no state of its own: several threads may run it.
pub struct Program {
    /// What it was loaded from.
    pub(crate) source: Box<[Placed]>,
    /// Every target in here is the index of another, and the last is [`Op::End`].
    pub(crate) ops: Vec<Op>,
    /// For each of `ops`, the slot where its instruction begins.
    pub(crate) slots: Vec<u32>,
    pub(crate) helpers: Vec<Helper>,
    /// The numbers of those that were bound by number: index to number.
    pub(crate) helper_ids: Vec<Option<i32>>,
    /// The runtime, if its helpers are what the program was bound to.
    pub(crate) shared: Option<Arc<Shared>>,
    /// Helpers that may be called by the number in a register: number to index.
    pub(crate) numbered: HashMap<i32, u32>,
    /// What may be called by address: slot to index in `ops`.
    pub(crate) functions: HashMap<u32, u32>,
    /// Runs instead of the interpreter.
    pub(crate) code: Option<Code>,
}

/// What a run is given.
#[derive(Debug)]
pub struct Input<'m> {
    pub memory: Memory<'m>,
    /// `r1` to `r5`.
    pub arguments: [u64; 5],
    /// How many instructions the program may repeat: each jump back costs as many as it goes
    /// back, a call the length of the way that it takes back. Instructions that run once are free.
    pub fuel: u64,
    /// What helpers find by [`Call::state`](crate::Call::state).
    pub state: Option<&'m mut dyn Any>,
    /// Where the interpreter notes down what it does.
    pub trace: Option<&'m mut Trace>,
}

impl Default for Input<'_> {
    fn default() -> Self {
        Self { memory: Memory::new(), arguments: [0; 5], fuel: u64::MAX, state: None, trace: None }
    }
}

impl Program {
    /// Loads a program from its encoding.
    pub fn load(bytes: &[u8], platform: &dyn Platform) -> Result<Self, LoadError> {
        load::load(&bpf_isa::decode(bytes)?, platform)
    }

    /// As [`Self::load`], of instructions that are decoded already.
    pub fn load_placed(
        instructions: &[bpf_isa::Placed],
        platform: &dyn Platform,
    ) -> Result<Self, LoadError> {
        load::load(instructions, platform)
    }

    /// Why a run that comes to the [`Op::End`] at this place can't go on.
    pub(crate) fn end_at(&self, position: usize) -> Reason {
        if position + 1 == self.ops.len() { Reason::PastTheEnd } else { Reason::WritesFramePointer }
    }

    /// Runs the function that begins at `slot`, one whose address the program takes.
    pub(crate) fn run_function(&self, slot: u32, input: &mut Input<'_>) -> Result<u64, Fault> {
        match self.functions.get(&slot) {
            Some(entry) => run::run_from(self, *entry as usize, input),
            None => {
                let target = code_address(slot);
                let reason = Reason::NoSuchFunction { target };
                Err(Fault { slot: slot as usize, reason })
            }
        }
    }

    /// Compiles the program, so that it runs as machine code. Every access is still held against
    /// the memory that was lent, and fuel is counted.
    pub fn compile(mut self, options: CompileOptions) -> Result<Self, CompileError> {
        self.code = Some(jit::compile(&self, Mode::Checked, options)?);
        Ok(self)
    }

    /// Compiles the program without the checks that a verifier has made unnecessary. What was
    /// verified must be exactly these instructions.
    ///
    /// # Safety
    ///
    /// The helpers and addresses that the program was bound to are those that were verified (maps
    /// have the shapes of [`Verified::maps`]), and it is run only on contexts of
    /// [`Verified::program_type`].
    pub unsafe fn compile_verified(
        mut self,
        verified: &Verified,
        options: CompileOptions,
    ) -> Result<Self, CompileError> {
        if !verified.covers(&self.source) {
            return Err(CompileError::NotVerified);
        }
        // A program that nothing bounds but its fuel keeps what counts it.
        let mode = if verified.facts().bounded { Mode::Verified } else { Mode::Checked };
        let frame = verified.facts().functions.first().map_or(FRAME as u32, |main| main.stack);
        self.code = Some(jit::compile(&self, mode, options)?.with_frame_of(frame));
        Ok(self)
    }

    /// Compiles the program without checks.
    ///
    /// # Safety
    ///
    /// As for [`Self::compile_verified`], by any verifier: the kernel has accepted exactly these
    /// instructions, for example.
    pub unsafe fn compile_unchecked(
        mut self,
        options: CompileOptions,
    ) -> Result<Self, CompileError> {
        self.code = Some(jit::compile(&self, Mode::Verified, options)?);
        Ok(self)
    }

    /// The machine code, if the program was compiled.
    pub fn machine_code(&self) -> Option<&[u8]> {
        self.code.as_ref().map(Code::bytes)
    }

    /// Runs the program from its first instruction; returns `r0`.
    ///
    /// Takes the input exclusively, since the memory in it must not be lent to two runs at once.
    pub fn run(&self, input: &mut Input<'_>) -> Result<u64, Fault> {
        run::run(self, input)
    }

    /// Runs the program as the first of a run.
    #[inline]
    pub(crate) fn start(&self, run: &mut Run<'_>, arguments: &[u64; 5]) -> Result<u64, Stop> {
        match &self.code {
            Some(code) if !run.is_interpreted => code.start(self, run, arguments),
            _ => self.execute(run, 0, arguments),
        }
    }

    /// Runs the function that begins at the operation `entry`, in the run's current frame.
    pub(crate) fn execute(
        &self,
        run: &mut Run<'_>,
        entry: usize,
        arguments: &[u64; 5],
    ) -> Result<u64, Stop> {
        match &self.code {
            Some(code) if !run.is_interpreted => code.execute(self, run, entry, arguments),
            _ if run.trace.is_some() => interpret::execute::<true>(self, run, entry, arguments),
            _ => interpret::execute::<false>(self, run, entry, arguments),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("ops", &self.ops).finish_non_exhaustive()
    }
}

/// The highest half of the addresses of code. No machine has memory there, so such an address
/// can be called but not read.
const CODE: u64 = 0x00c0_de00 << 32;

/// The address under which programs see their function that begins at `slot`.
pub fn code_address(slot: u32) -> u64 {
    CODE | u64::from(slot)
}

pub(crate) fn slot_of_code(address: u64) -> Option<u32> {
    (address & !u64::from(u32::MAX) == CODE).then_some(address as u32)
}

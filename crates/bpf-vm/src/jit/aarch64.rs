//! The back end for AArch64.
//!
//! Each register of the program is one of the processor's (`register.rs`), so that there is nothing
//! to allocate. Code is emitted once, for the distances that programs of its length usually have;
//! if it turns out longer, then again with jumps that reach farther. What happens rarely (an access
//! outside of the last region, faults, a helper that ends the run) stands behind everything else.
//!
//! What ARMv8.0 lacks (atomic operations in one instruction) is used where the processor has it.

mod access;
mod alu;
mod arrays;
mod assembler;
mod atomic;
mod branch;
mod call;
mod emit;
mod frame;
mod immediate;
mod register;
mod slow;

use std::sync::LazyLock;

use super::bound::Bound;
use super::flow::{Flow, Liveness};
use super::ir::Inst;
use super::keys::Keys;
use super::{CompileError, CompileOptions, Emitted, Mode};
use branch::Reach;
use emit::{Emitter, Job};

/// What not every processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Atomic operations in one instruction: the "large system extensions" of ARMv8.1.
    pub lse: bool,
}

impl Features {
    pub const NONE: Self = Self { lse: false };
}

pub(super) static FEATURES: LazyLock<Features> =
    LazyLock::new(|| Features { lse: std::arch::is_aarch64_feature_detected!("lse") });

pub(super) fn emit(
    features: Features,
    code: &[Inst],
    flow: &Flow,
    liveness: &Liveness,
    bound: &Bound<'_>,
    mode: Mode,
    options: CompileOptions,
) -> Result<Emitted, CompileError> {
    let keys = options.blind_constants.then(Keys::new);
    let job = Job::new(code, flow, liveness, bound, mode, features);
    let mut reach = Reach::expected(code.len(), mode);
    loop {
        let emitter = Emitter::new(&job, keys.clone(), reach).emit();
        if emitter.asm.position() < reach.words() {
            return Ok(emitter.finish());
        }
        reach = reach.longer().ok_or(CompileError::TooLong)?;
    }
}

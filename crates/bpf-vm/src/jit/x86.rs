//! The back end for x86-64.
//!
//! Each register of the program is one of the processor's (`register.rs`), so that there is nothing
//! to allocate. Code is emitted twice: the first time every jump ahead is long, and the positions
//! that come out are bounds for the second time, which uses short jumps where they surely reach.
//! What happens rarely (an access outside of the last region, faults, a helper that ends the run)
//! stands behind everything else.

mod access;
mod alu;
mod arrays;
mod assembler;
mod call;
mod divide;
mod emit;
mod frame;
mod reciprocal;
mod register;
mod slow;

use std::sync::LazyLock;

use super::bound::Bound;
use super::flow::{Flow, Liveness};
use super::ir::Inst;
use super::keys::Keys;
use super::{CompileOptions, Emitted, Mode};
use emit::{Emitter, Job};

/// What not every processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub bmi2: bool,
}

impl Features {
    pub const NONE: Self = Self { bmi2: false };
}

pub(super) static FEATURES: LazyLock<Features> =
    LazyLock::new(|| Features { bmi2: std::is_x86_feature_detected!("bmi2") });

pub(super) fn emit(
    features: Features,
    code: &[Inst],
    flow: &Flow,
    liveness: &Liveness,
    bound: &Bound<'_>,
    mode: Mode,
    options: CompileOptions,
) -> Emitted {
    let keys = options.blind_constants.then(Keys::new);
    let job = Job::new(code, flow, liveness, bound, mode, features);
    let first = Emitter::new(&job, keys.clone(), &[]).emit();
    let estimates = first.labels;
    let second = Emitter::new(&job, keys, &estimates).emit();
    second.finish()
}

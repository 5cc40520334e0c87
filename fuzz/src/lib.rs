//! Random input for what must withstand any: the instruction set's decoder and texts, the readers
//! of objects and types, and programs that our verifier accepts.
//!
//! There is no feedback and no corpus of finds: a [`Target`] makes one input out of one [`Random`]
//! number and holds the code to a promise. So every find is a number, and the same number finds it
//! again: `cargo xtask fuzz TARGET --seed NUMBER --count 1`. It is plain Rust on the stable
//! toolchain, quick enough for millions of inputs a minute, and small runs of it are ordinary tests.
//!
//! The crate knows how to break things, not how they work: promises are about public APIs only.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

mod instructions;
mod objects;
mod programs;
mod random;
mod types;

pub use instructions::Instructions;
pub use objects::Objects;
pub use programs::Programs;
pub use random::Random;
pub use types::Types;

/// Something that is tried on random input.
pub trait Target {
    /// Tries one input. What sort of input it was, for the statistics; or the promise that was
    /// broken, with the input.
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String>;

    /// What share of the inputs had what in them.
    fn mix(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// All targets by name.
pub const TARGETS: &[(&str, &str)] = &[
    ("instructions", "decoder, encoder, disassembler and assembler agree"),
    ("objects", "damaged ELF objects are read and linked, or refused"),
    ("programs", "what our verifier accepts runs without fault, in all engines alike"),
    ("types", "damaged BTF is read, asked and written, or refused"),
];

/// `files` are objects to damage, in addition to what the crate makes itself. The kernel is asked
/// about one program in `kernel`, if that isn't 0.
pub fn target(
    name: &str,
    files: &[Vec<u8>],
    kernel: usize,
) -> Result<Box<dyn Target>, TargetError> {
    Ok(match name {
        "instructions" => Box::new(Instructions),
        "objects" => Box::new(Objects::new(files)),
        "programs" => Box::new(Programs::new(kernel)?),
        "types" => Box::new(Types::new(files)),
        _ => return Err(TargetError::Unknown(name.to_owned())),
    })
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("there is no target `{0}`; there are {names}", names = names())]
    Unknown(String),
    #[error(transparent)]
    Programs(#[from] programs::SetupError),
}

fn names() -> String {
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub seed: u64,
    pub count: u64,
    pub time: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub tried: u64,
    pub took: Duration,
    /// The inputs of each sort.
    pub sorts: BTreeMap<&'static str, Sort>,
    /// Numbers that break a promise, with the promise.
    pub finds: Vec<(u64, String)>,
    pub mix: Vec<(&'static str, f64)>,
}

/// Inputs of one sort.
#[derive(Clone, Debug, Default)]
pub struct Sort {
    pub count: u64,
    /// Numbers of the first few: what is rare may be worth a look.
    pub first: Vec<u64>,
}

const RARE: usize = 4;

impl Sort {
    fn add(&mut self, number: u64) {
        self.count += 1;
        if self.first.len() <= RARE {
            self.first.push(number);
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if self.first.len() <= RARE {
            let first: Vec<String> = self.first.iter().map(u64::to_string).collect();
            write!(f, " ({})", first.join(" "))?;
        }
        Ok(())
    }
}

/// One bad promise is usually broken by many inputs.
const ENOUGH_FINDS: usize = 20;

/// Tries inputs number `seed`, `seed + 1` and so on.
pub fn run(target: &mut dyn Target, limits: Limits) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    while report.tried < limits.count && report.finds.len() < ENOUGH_FINDS {
        // Looking at the clock costs as much as a small program.
        if report.tried % 64 == 0 && started.elapsed() >= limits.time {
            break;
        }
        let number = limits.seed.wrapping_add(report.tried);
        report.tried += 1;
        let mut random = Random::new(number);
        let attempt = || target.attempt(&mut random);
        match panic::catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(sort)) => report.sorts.entry(sort).or_default().add(number),
            Ok(Err(find)) => report.finds.push((number, find)),
            Err(_) => report.finds.push((number, "it panicked".to_owned())),
        }
    }
    report.took = started.elapsed();
    report.mix = target.mix();
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, find) in &self.finds {
            writeln!(f, "--seed {number}: {find}")?;
        }
        let Self { tried, took, sorts, finds, mix } = self;
        if !mix.is_empty() {
            let parts: Vec<String> =
                mix.iter().map(|(name, share)| format!("{name} {:.0}%", share * 100.0)).collect();
            writeln!(f, "inputs with: {}", parts.join(", "))?;
        }
        let rate = *tried as f64 / took.as_secs_f64().max(1e-9);
        write!(f, "{tried} inputs in {:.1} s ({rate:.0} a second)", took.as_secs_f64())?;
        for (name, sort) in sorts {
            write!(f, ", {sort} {name}")?;
        }
        write!(f, ": {} finds", finds.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run that finds nothing.
    pub fn holds(target: &mut dyn Target, count: u64) -> Report {
        let report = run(target, Limits { seed: 1, count, time: Duration::from_secs(60) });
        assert!(report.finds.is_empty(), "{report}");
        report
    }

    #[test]
    fn every_target_that_is_told_of_is_there() {
        for (name, _) in TARGETS {
            assert!(target(name, &[], 0).is_ok(), "{name}");
        }
    }

    #[test]
    fn finds_carry_their_number() {
        struct Picky;
        impl Target for Picky {
            fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
                match random.below(10) {
                    0 => Err("zero".to_owned()),
                    1 => panic!("one"),
                    _ => Ok("fine"),
                }
            }
        }
        let limits = Limits { seed: 5, count: 50, time: Duration::from_secs(60) };
        let report = run(&mut Picky, limits);
        assert!(report.finds.len() > 1);
        for (number, find) in report.finds {
            let again = run(&mut Picky, Limits { seed: number, count: 1, ..limits });
            assert_eq!(again.finds, [(number, find)]);
        }
    }
}

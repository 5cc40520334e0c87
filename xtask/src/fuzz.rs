//! `cargo xtask fuzz`: random input for decoders, readers and engines, in the release profile.
//!
//! What is tried is in `fuzz/`; each input is a number, so what is found is found again by it.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::foreign::{Emulated, Processor};
use crate::{linker_cache, workspace};

#[derive(Args)]
pub struct Fuzz {
    /// What to try: instructions, objects, types, programs
    target: String,
    /// Stop after so many seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Stop after so many inputs
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    count: u64,
    /// The number of the first input
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Also ask the kernel about one program in N; takes root
    #[arg(long, value_name = "N", default_value_t = 0)]
    kernel: u64,
    /// Run it as on another processor, by an emulator
    #[arg(long = "target", value_name = "PROCESSOR")]
    processor: Option<Processor>,
    /// Objects to damage, in addition to small ones of our own and those that `cargo xtask
    /// conformance verifier` has compiled
    #[arg(long = "object", value_name = "FILE")]
    objects: Vec<PathBuf>,
}

pub fn run(options: &Fuzz) -> Result<()> {
    let mut command = match options.processor {
        Some(Processor::Aarch64) => Emulated::build("fuzz", "skep-fuzz", "release")?.command(),
        None => {
            let built = workspace::build(&["--release", "-p", "fuzz", "--bins"])?;
            let found = built.executables.iter().find(|(name, _)| name == "skep-fuzz");
            let (_, program) = found.context("no skep-fuzz")?;
            Command::new(program)
        }
    };
    command.arg(&options.target);
    let Fuzz { seed, count, seconds, kernel, .. } = *options;
    command.args([seed, count, seconds, kernel].map(|number| number.to_string()));
    command.args(selftests()).args(&options.objects);
    // Exit codes are the program's: 1 for finds, and its last line says how many.
    let status = command.status().context("running skep-fuzz")?;
    if !status.success() {
        process::exit(status.code().unwrap_or(2));
    }
    Ok(())
}

/// The compiled selftests, if they are there.
fn selftests() -> Vec<PathBuf> {
    let folder = linker_cache::cache_root().map(|root| root.join("selftests-6.12/objects"));
    let Some(Ok(entries)) = folder.map(fs::read_dir) else { return Vec::new() };
    let mut objects: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    objects.retain(|path| path.extension().is_some_and(|extension| extension == "o"));
    objects.sort();
    objects
}

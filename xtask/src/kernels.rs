//! The kernels we promise, in QEMU: `cargo xtask test --kernels` tries every eBPF object on them,
//! `cargo xtask kernels profile` writes down what each of them has.
//!
//! Each kernel is Debian's, unpacked into the cache and never installed. It boots an initramfs whose
//! only process is `crates/kernel-guest`, which loads the objects and tells what this kernel makes of
//! them. Delete the cache folder to get newer kernels; SKEP_VERBOSE=1 shows every check.

pub mod debian;
mod guest;
mod initramfs;
mod profile;
mod types;
mod verdicts;

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{linker_cache, report, setup, workspace};

/// (what we call it, the Debian release that has it)
const KERNELS: &[(&str, &str)] = &[
    ("5.10", "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
    // Whatever is newest.
    ("newest", "sid"),
];

/// Software emulation is slow, but a guest that works is done in a fraction of this.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[derive(clap::Subcommand)]
pub enum Task {
    /// Write down what each kernel has, in crates/bpf-interface/profiles
    Profile {
        /// Some of 5.10, 6.1, 6.12, newest; all without
        kernels: Vec<String>,
    },
    /// Compare what `skep prog verify --kernel` would say of objects with what the kernels say
    Verdicts(verdicts::Options),
}

pub fn task(task: &Task) -> Result<()> {
    match task {
        Task::Profile { kernels } => profile::run(kernels),
        Task::Verdicts(options) => verdicts::run(options),
    }
}

/// A kernel of the matrix, fetched.
struct Fetched {
    name: &'static str,
    kernel: debian::Kernel,
    folder: PathBuf,
}

/// The kernels whose name is in `only`; all of them if it is empty.
fn fetch(only: &[String]) -> Result<Vec<Fetched>> {
    if env::consts::ARCH != "x86_64" {
        bail!("the kernel matrix runs on x86_64 only, for now");
    }
    setup::toolchain()?;
    setup::packages(&[setup::Group::Kernels])?;
    if let Some(name) = only.iter().find(|name| KERNELS.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = KERNELS.iter().map(|(name, _)| *name).collect();
        bail!("no kernel `{name}` in the matrix; there are {}", known.join(", "));
    }
    let cache = linker_cache::cache_root().context("HOME is not set")?.join("kernels");
    let chosen = KERNELS
        .iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name));
    chosen
        .map(|(name, suite)| {
            let folder = cache.join(suite);
            let kernel = debian::fetch(&folder, suite)
                .with_context(|| format!("getting the kernel of {suite}"))?;
            Ok(Fetched { name, kernel, folder })
        })
        .collect()
}

/// Tries every object on the kernels whose name is in `only`; on all of them if it is empty.
pub fn run(only: &[String]) -> Result<()> {
    let kernels = fetch(only)?;
    let program = guest_program()?;
    let mut failed = Vec::new();
    for Fetched { name, kernel, folder } in kernels {
        let initramfs = folder.join("initramfs");
        initramfs::write(&initramfs, &program, &kernel.modules, &[])?;
        println!("… {name:<12} {}", kernel.release);
        let started = Instant::now();
        let outcome = guest::run(&kernel.image, &initramfs, "check", TIME_LIMIT)?;
        let took = report::duration(started.elapsed());
        let (passed, refused) = (outcome.passed(), outcome.failures().count());
        if outcome.is_success() {
            println!("✓ {name:<12} {}: {passed} checks passed   {took}", kernel.release);
        } else {
            println!("✗ {name:<12} {}: {passed} passed, {refused} failed   {took}", kernel.release);
            failed.push(name);
        }
        outcome.print(env::var_os("SKEP_VERBOSE").is_some());
    }
    if !failed.is_empty() {
        bail!("failed on kernel {}", failed.join(", "));
    }
    Ok(())
}

/// Builds the guest's only program, linked statically: there is nothing else in the guest.
fn guest_program() -> Result<PathBuf> {
    let triple = workspace::host_triple()?;
    let flags = format!(r#"target.{triple}.rustflags=["-Ctarget-feature=+crt-static"]"#);
    let built =
        workspace::build(&["--package", "kernel-guest", "--target", &triple, "--config", &flags])?;
    let program = built.executables.into_iter().find(|(name, _)| name == "kernel-guest");
    program.map(|(_, path)| path).context("cargo built no `kernel-guest`")
}

//! Tests on a processor that isn't this machine's: AArch64, which QEMU emulates for one program at a
//! time. The executables are static, so that they need no libraries of that processor.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{setup, workspace};

const TARGET: &str = setup::AARCH64;
const EMULATOR: &str = "qemu-aarch64";

/// What compiles to machine code, and holds it against the interpreter.
const TESTS: [&str; 9] = [
    "--package=bpf-vm",
    "--lib",
    "--test=programs",
    "--test=random",
    "--test=shared_maps",
    "--test=tables",
    "--test=vectors",
    "--quiet",
    "--",
];

/// Runs the tests that depend on the processor; says so if that is not possible here.
pub fn test(arguments: &[String]) -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        println!("skipped: this is AArch64, nothing needs an emulator");
        return Ok(());
    }
    if !setup::foreign_if_possible()? {
        println!("skipped: the tests of the compiler for AArch64, for want of what is named above");
        return Ok(());
    }
    println!("as on AArch64:");
    workspace::run(cargo().arg("test").args(["--target", TARGET]).args(TESTS).args(arguments))
}

/// Runs the tests of packets as on a system without memory below 4 GiB.
pub fn test_window() -> Result<()> {
    println!("as without memory below 4 GiB:");
    let tests = ["--lib", "--test=kernel_helpers", "--test=tables", "--quiet"];
    let window = ["--package=bpf-vm", "--features=packet-window"];
    workspace::run(workspace::cargo().arg("test").args(window).args(tests))
}

/// Cargo with the linker that rustc brings, and the emulator.
fn cargo() -> Command {
    let mut cargo = workspace::cargo();
    let variable = TARGET.replace('-', "_").to_uppercase();
    cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), "rust-lld");
    cargo.env(format!("CARGO_TARGET_{variable}_RUNNER"), EMULATOR);
    cargo
}

/// What can be emulated.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Processor {
    Aarch64,
}

/// An executable of `package` for AArch64, and the emulator to run it with.
#[derive(Debug)]
pub struct Emulated {
    executable: PathBuf,
}

impl Emulated {
    pub fn build(package: &str, name: &str, profile: &str) -> Result<Self> {
        if !setup::foreign_if_possible()? {
            bail!("programs for AArch64 can't be built and run here");
        }
        let arguments = ["--profile", profile, "-p", package, "--bin", name, "--target", TARGET];
        let built = workspace::build_with(cargo(), &arguments)?;
        let found = built.executables.into_iter().find(|(built, _)| built == name);
        let (_, executable) = found.with_context(|| format!("no {name} was built"))?;
        Ok(Self { executable })
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(EMULATOR);
        command.arg(&self.executable);
        command
    }
}

//! `cargo xtask test`: the tests of every crate, by plain `cargo test`, so that it is the same
//! everywhere. Tests that need root or a program that isn't there skip and say why.

use anyhow::Result;
use clap::Args;

use crate::{foreign, kernels, setup, workspace};

#[derive(Args)]
pub struct Options {
    /// Load every eBPF object on the kernels of the QEMU matrix instead; arguments choose some of
    /// them, e.g. `--kernels 5.10`
    #[arg(long)]
    kernels: bool,
    /// Run what depends on the processor as on AArch64 instead, by an emulator; without arguments,
    /// all tests come before that
    #[arg(long, conflicts_with = "kernels")]
    aarch64: bool,
    /// What is passed on to `cargo test`, e.g. `-p policy some_test -- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    if options.kernels {
        return kernels::run(&options.arguments);
    }
    if options.aarch64 {
        return foreign::test(&options.arguments);
    }
    setup::toolchain()?;
    setup::packages_if_possible(&[setup::Group::Demo, setup::Group::Tests])?;
    workspace::run(workspace::cargo().arg("test").args(&options.arguments))?;
    match options.arguments.is_empty() {
        true => foreign::test_window().and_then(|()| foreign::test(&[])),
        false => Ok(()),
    }
}

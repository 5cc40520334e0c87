//! `cargo xtask`: everything one does with this repository, one module per command.
//!
//! It must run on a machine that has nothing but rustup and gcc, so it depends on no crate that
//! embeds eBPF objects: those need the linker that [`setup`] builds.

#![forbid(unsafe_code)]

mod bench;
mod binaries;
mod build_ebpf;
mod conformance;
mod demo;
mod dist;
mod foreign;
mod fuzz;
mod kernels;
mod linker_cache;
mod report;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, try, test and package Skep", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building, testing and the demo need; the other commands do this themselves
    Setup,
    /// Compile the eBPF objects and list their programs, maps and sizes
    BuildEbpf,
    /// Measure what SPECIFICATION.md promises
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Compare the verdicts of published truth tables with the kernel's, probe by probe
    #[command(subcommand)]
    Conformance(conformance::Table),
    /// Show Skep at work: a small shop on an isolated node
    Demo(demo::Options),
    /// Try random input on decoders, readers and engines
    Fuzz(fuzz::Fuzz),
    /// Boot the kernels that Skep is promised for
    #[command(subcommand)]
    Kernels(kernels::Task),
    /// Run the tests
    Test(test::Options),
    /// Check the rules of the repository: layers, unsafe, file sizes, licences
    Tidy,
    /// Package a release build as target/dist/skep-VERSION-ARCH.tar.gz
    Dist,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::BuildEbpf => build_ebpf::run(),
        Command::Bench(bench) => bench::run(&bench),
        Command::Conformance(table) => conformance::run(&table),
        Command::Demo(options) => demo::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Kernels(task) => kernels::task(&task),
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy::run(),
        Command::Dist => dist::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Not through `main`'s return value: a user of a tool has no use for its backtrace.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

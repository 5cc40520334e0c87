//! `skep prog`: eBPF programs as files and in the kernel. Needs no agent.

pub mod asm;
pub mod bench;
mod code;
pub mod diff;
pub mod disasm;
mod input;
pub mod inspect;
pub mod kernel;
pub mod link;
pub mod machine;
mod native;
pub mod object_file;
pub mod profile;
pub mod run;
mod skeleton;
mod steps;
mod typed;
pub mod verify;

use crate::failure::Failure;
use crate::output::Screen;
use std::process::ExitCode;

/// Look at eBPF programs, check and run them, with or without a kernel
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Inspect(inspect::Args),
    Disasm(disasm::Args),
    Asm(asm::Args),
    Link(link::Args),
    Verify(verify::Args),
    Profile(profile::Args),
    Run(run::Args),
    Diff(diff::Args),
    Bench(bench::Args),
    #[command(visible_alias = "ls")]
    List(kernel::ListArgs),
    Show(kernel::ShowArgs),
    Dump(kernel::DumpArgs),
    Pin(kernel::PinArgs),
}

pub fn run(command: Command, screen: &Screen) -> Result<ExitCode, Failure> {
    match command {
        Command::Inspect(args) => inspect::run(&args, screen),
        Command::Disasm(args) => disasm::run(&args, screen),
        Command::Asm(args) => asm::run(&args, screen),
        Command::Link(args) => link::run(&args, screen),
        Command::Verify(args) => verify::run(&args, screen),
        Command::Profile(args) => profile::run(&args, screen),
        Command::Run(args) => run::run(&args, screen),
        Command::Diff(args) => diff::run(&args, screen),
        Command::Bench(args) => bench::run(&args, screen),
        Command::List(args) => kernel::list(&args, screen),
        Command::Show(args) => kernel::show(&args, screen),
        Command::Dump(args) => kernel::dump(&args, screen),
        Command::Pin(args) => kernel::pin(&args),
    }
}

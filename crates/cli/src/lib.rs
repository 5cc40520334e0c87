//! `skep`, the command line: asks the agent over its API and shows the answers.
//!
//! One module per command under [`commands`]; what they share is how to reach the agent
//! ([`client`]), how to fail ([`failure`]) and how to print ([`output`]). The crate decides
//! nothing: parsing manifests, matching flows and explaining verdicts are the agent's, so that
//! every client gets the same answers.

#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod failure;
mod input;
mod kind;
mod output;
mod when;

use clap::FromArgMatches as _;
use std::process::ExitCode;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let args = match args::Cli::from_arg_matches(&command().get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let screen = output::Screen::new(args.color);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::Output(error).report(&screen),
    };
    match runtime.block_on(commands::run(args, &screen)) {
        Ok(code) => code,
        Err(failure) => failure.report(&screen),
    }
}

/// The command line as clap sees it, for documentation.
pub fn command() -> clap::Command {
    args::command()
}

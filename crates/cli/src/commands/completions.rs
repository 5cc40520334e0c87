//! `skep completions`: scripts for shells.

use crate::failure::Failure;
use crate::output::Screen;
use clap_complete::Shell;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep completions bash > /etc/bash_completion.d/skep
  skep completions zsh > \"${fpath[1]}/_skep\"
  skep completions fish > ~/.config/fish/completions/skep.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "skep", &mut script);
    screen.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

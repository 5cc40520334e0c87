//! `skep man`: manual pages.

use crate::failure::Failure;
use crate::output::Screen;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the manual pages, one for each command, to a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  skep man --out /usr/local/share/man/man1")]
pub struct Args {
    /// Folder; made if it isn't there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let folder = &args.out;
    let failed = |error| {
        Failure::Usage(format!("cannot write manual pages to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(crate::command(), folder).map_err(failed)?;
    screen.print(&format!("manual pages are in {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

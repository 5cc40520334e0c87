//! `skepd`: parses the command line, sets up logging, and runs the agent.

#![forbid(unsafe_code)]

use agent::{LockError, Options};
use clap::Parser;
use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    host::memory::give_back_early();
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::new(&options.log);
    // Colours are for people who look on, not for files.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(colours).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(agent::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// As the help says.
fn exit_code(error: &anyhow::Error) -> u8 {
    if matches!(error.downcast_ref(), Some(LockError::Held { .. } | LockError::PinsHeld { .. })) {
        3
    } else if error.is::<bpf_kernel::privilege::Unprivileged>()
        || error.is::<Box<bpf_kernel::privilege::Unprivileged>>()
        || matches!(error.downcast_ref(), Some(datapath::Error::Kernel(_)))
    {
        4
    } else {
        1
    }
}

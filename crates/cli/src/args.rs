//! What can be typed: global options and the list of commands.

use crate::commands::{
    apply, completions, delete, describe, endpoint, get, identity, lb, man, monitor, observe,
    policy, prog, service, sim, status,
};
use crate::output::Color;
use clap::{Arg, CommandFactory as _, Parser, Subcommand};
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  skep apply -f shop.yaml                  make a manifest part of the desired state
  skep status                              how the node is doing
  skep observe -f --verdict dropped        watch what is refused, and why
  skep policy explain --from shop/client --to shop/cache --port 6379
  skep prog inspect filter.o               what is in an eBPF object

Exit codes:
  0  done
  1  a negative answer: denied, not found
  2  the command line or its values make no sense
  3  the agent cannot be reached
  4  the input was refused; nothing was applied
  5  the agent failed";

/// Asks and instructs skepd, the agent that connects, protects and watches this node's workloads.
#[derive(Debug, Parser)]
#[command(name = "skep", version, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    /// Socket that skepd listens on
    #[arg(
        long,
        global = true,
        env = "SKEP_SOCKET",
        value_name = "PATH",
        default_value = api::DEFAULT_SOCKET
    )]
    pub socket: PathBuf,

    /// Colours; `auto` means on a terminal only, and never if NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Apply(apply::Args),
    Get(get::Args),
    Describe(describe::Args),
    Delete(delete::Args),
    Status(status::Args),
    Observe(Box<observe::Args>),
    #[command(subcommand)]
    Policy(policy::Command),
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(endpoint::Command),
    #[command(subcommand, visible_alias = "svc")]
    Service(service::Command),
    #[command(subcommand)]
    Identity(identity::Command),
    #[command(subcommand)]
    Lb(lb::Command),
    #[command(subcommand)]
    Monitor(monitor::Command),
    #[command(subcommand)]
    Prog(Box<prog::Command>),
    Sim(Box<sim::Args>),
    Completions(completions::Args),
    Man(man::Args),
}

/// Commands that ask no agent, so that their help doesn't speak of its socket.
const OFFLINE: [&str; 4] = ["prog", "sim", "completions", "man"];

/// The command line as clap sees it.
pub fn command() -> clap::Command {
    OFFLINE.iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |offline| {
            // It is taken, as everywhere, but not shown.
            offline.arg(
                Arg::new("socket")
                    .long("socket")
                    .global(true)
                    .hide(true)
                    .value_parser(clap::value_parser!(PathBuf)),
            )
        })
    })
}

//! One module per command. Each has its arguments, what it asks the agent, and a pure function
//! that renders the answer.

pub mod apply;
pub mod completions;
pub mod delete;
pub mod describe;
pub mod endpoint;
pub mod get;
pub mod identity;
pub mod lb;
pub mod man;
pub mod monitor;
pub mod observe;
pub mod policy;
pub mod prog;
pub mod service;
pub mod sim;
pub mod status;

use crate::args::{Cli, Command};
use crate::client;
use crate::failure::Failure;
use crate::output::Screen;
use std::process::ExitCode;

pub async fn run(cli: Cli, screen: &Screen) -> Result<ExitCode, Failure> {
    let agent = client::Agent::new(cli.socket);
    match cli.command {
        Command::Apply(args) => apply::run(args, &agent, screen).await,
        Command::Get(args) => get::run(args, &agent, screen).await,
        Command::Describe(args) => describe::run(args, &agent, screen).await,
        Command::Delete(args) => delete::run(args, &agent, screen).await,
        Command::Status(args) => status::run(args, &agent, screen).await,
        Command::Observe(args) => observe::run(*args, &agent, screen).await,
        Command::Policy(command) => policy::run(command, &agent, screen).await,
        Command::Endpoint(command) => endpoint::run(command, &agent, screen).await,
        Command::Service(command) => service::run(command, &agent, screen).await,
        Command::Identity(command) => identity::run(command, &agent, screen).await,
        Command::Lb(command) => lb::run(command, &agent, screen).await,
        Command::Monitor(command) => monitor::run(command, &agent, screen).await,
        Command::Prog(command) => prog::run(*command, screen),
        Command::Sim(args) => sim::run(&args, screen),
        Command::Completions(args) => completions::run(args, screen),
        Command::Man(args) => man::run(&args, screen),
    }
}

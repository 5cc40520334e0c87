//! `skep status`: how the node is doing.

mod render;

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{Format, Screen};
use api::v1::StatusRequest;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep status
  skep status --verbose                  also features, programs, maps and sources
  skep status -o json | jq .events";

/// Show how the node is doing
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Also features of the kernel, programs, fill of the maps, sources
    #[arg(short, long)]
    verbose: bool,

    /// Output format; `table` is text
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut client = agent.connect().await?;
    let status = client.status(StatusRequest {}).await?.into_inner();
    match args.output {
        Format::Table => screen.print(&render::text(&status, args.verbose, screen.style()))?,
        Format::Json => screen.print_json(&api::json::to_value(&status)?)?,
        Format::Yaml => screen.print_yaml(&api::json::to_value(&status)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

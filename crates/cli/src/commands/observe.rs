//! `skep observe`: flows, live or recent.

pub mod filters;

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::Screen;
use crate::output::flow::Lines;
use crate::when;
use api::v1::{Flow, ObserveRequest};
use filters::Filters;
use jiff::tz::TimeZone;
use std::process::ExitCode;
use tokio_stream::StreamExt as _;

const LONG: &str = "\
Shows flow events: the start of each flow, its first reply, its end with counters, and every drop \
with its reason, together with the workloads, processes, services and policy rules behind them.

Without --follow, --last or --since, the last 20 that match. Filters combine: every kind of filter \
given must match, and a filter with several values (comma-separated or repeated) matches if one of \
them does. A plain filter (--workload) is about either end of a flow, --from-... about the end \
that sent the first packet, --to-... about the other. A mark is shown where events were lost.";

const AFTER: &str = "\
Examples:
  skep observe -f                                  everything, live
  skep observe --namespace shop --verdict dropped  the last 20 drops in a namespace, and why
  skep observe -f --from-workload shop/client --to-port 6379
  skep observe --since 5m --to-label app=web --protocol tcp --kind end
  skep observe -f --process curl                   by pid, name or path of the binary
  skep observe --last 100 -o json | jq -c '[.source.workload, .summary]'

docs/flow-json.md describes the JSON, one object per line.";

/// Watch flows: what talks to what, what was refused and why
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Go on with live events until interrupted
    #[arg(short, long)]
    follow: bool,

    /// The latest N events that match
    #[arg(long, value_name = "N")]
    last: Option<u64>,

    /// Events at or after this time: 5m, 1h30m (before now), or 2026-01-31T14:02:11Z
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<prost_types::Timestamp>,

    /// Events before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<prost_types::Timestamp>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = FlowFormat::Compact, value_name = "FORMAT")]
    output: FlowFormat,

    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FlowFormat {
    /// One line per event
    Compact,
    /// Columns with a heading
    Table,
    /// One JSON object per line
    Json,
}

/// How many events are shown unless the user says.
const DEFAULT_LAST: u64 = 20;

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut client = agent.connect().await?;
    let mut flows = client.observe(request(&args)).await?.into_inner();
    let lines = Lines { style: screen.style(), zone: TimeZone::system() };
    if args.output == FlowFormat::Table {
        screen.print(&lines.heading())?;
    }
    while let Some(flow) = flows.next().await {
        screen.print(&line(&flow?, args.output, &lines)?)?;
    }
    if args.follow && args.until.is_none() {
        return Err(Failure::Agent(
            "skepd ended the stream; it is stopping or was restarted".to_owned(),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> ObserveRequest {
    let bounded = args.follow || args.since.is_some() || args.until.is_some();
    ObserveRequest {
        allow: args.filters.message().into_iter().collect(),
        deny: Vec::new(),
        last: args.last.or_else(|| (!bounded).then_some(DEFAULT_LAST)),
        since: args.since,
        until: args.until,
        follow: args.follow,
    }
}

fn line(flow: &Flow, format: FlowFormat, lines: &Lines) -> Result<String, Failure> {
    Ok(match format {
        FlowFormat::Compact => lines.compact(flow),
        FlowFormat::Table => lines.table(flow),
        FlowFormat::Json => format!("{}\n", api::json::to_value(flow)?),
    })
}

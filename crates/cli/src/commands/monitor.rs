//! `skep monitor drops`: what is dropped, why, and how fast.

mod board;

use crate::client::Agent;
use crate::commands::observe::filters::Filters;
use crate::failure::Failure;
use crate::output::Screen;
use crate::output::flow::Lines;
use crate::when;
use api::v1::{DropCount, FlowFilter, ObserveRequest, StatusRequest, Verdict};
use board::Board;
use jiff::tz::TimeZone;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio_stream::StreamExt as _;

const LONG: &str = "\
Shows live why packets are dropped: a table of reasons with totals and rates, and the latest drops \
below it. Filters pick the drops that are shown; the totals are the node's.

Totals are counted in the kernel and lose nothing, also when there are more drops than events. On \
a terminal the picture is redrawn; otherwise each one is printed below the last.";

const AFTER: &str = "\
Examples:
  skep monitor drops
  skep monitor drops --namespace shop --drops 30
  skep monitor drops --count 1           one picture, for scripts

To see drops as a stream: skep observe -f --verdict dropped";

/// Live pictures of the node
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What is dropped, why, and how fast
    #[command(long_about = LONG, after_help = AFTER)]
    Drops {
        /// Time between pictures
        #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = when::parse_span)]
        interval: Duration,

        /// Stop after N pictures
        #[arg(long, value_name = "N")]
        count: Option<u64>,

        /// How many of the latest drops to show
        #[arg(long, value_name = "N", default_value_t = 10)]
        drops: usize,

        #[command(flatten)]
        filters: Box<Filters>,
    },
}

/// Back to the upper left corner, and clear.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let Command::Drops { interval, count, drops, filters } = command;
    let mut client = agent.connect().await?;
    let filter = FlowFilter {
        verdicts: vec![Verdict::Dropped.into()],
        ..filters.message().unwrap_or_default()
    };
    let request = ObserveRequest {
        allow: vec![filter],
        last: Some(drops as u64),
        follow: true,
        ..Default::default()
    };
    let mut flows = client.observe(request).await?.into_inner();
    let lines = Lines { style: screen.style(), zone: TimeZone::system() };
    let redraw = std::io::stdout().is_terminal();
    let mut board = Board::new(drops);
    // Time for the drops that were kept to arrive before the first picture.
    let first = tokio::time::Instant::now() + interval.min(Duration::from_millis(200));
    let mut ticks = tokio::time::interval_at(first, interval);
    let mut pictures = 0;
    while count.is_none_or(|count| pictures < count) {
        tokio::select! {
            flow = flows.next() => match flow {
                Some(flow) => board.dropped(flow?),
                None => return Err(Failure::Agent(
                    "skepd ended the stream; it is stopping or was restarted".to_owned(),
                )),
            },
            _ = ticks.tick() => {
                let counts: Vec<DropCount> =
                    client.status(StatusRequest {}).await?.into_inner().drops;
                board.counted(&counts, Instant::now());
                let picture = board.render(&lines);
                screen.print(&if redraw { format!("{CLEAR}{picture}") } else { picture })?;
                pictures += 1;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

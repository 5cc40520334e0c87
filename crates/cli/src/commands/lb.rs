//! `skep lb`: the edge balancer.

mod capture;
mod describe;
mod history;
mod list;
mod status;
mod testrun;
mod which;

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{Format, Screen};
use api::v1::{
    BalancerHistoryRequest, BalancerMetricsRequest, BalancerStatusRequest, BalancerStatusResponse,
    DrainBackendRequest, WhichBackendRequest,
};
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep lb list                                     VIPs, and how many backends serve each
  skep lb describe 203.0.113.10                    backends, shares, health, counters
  skep lb which --src 198.51.100.7:51234 --dst 203.0.113.10:443
  skep lb drain 10.0.0.3                           no new flows; --undo gives it back
  skep lb history 10.0.0.3                         what has become of a backend
  skep lb metrics                                  for Prometheus
  skep lb capture --dropped -w drops.pcapng        packets, and what became of them";

/// The edge balancer: VIPs, backends, which backend a flow gets
#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub enum Command {
    /// List VIPs
    #[command(after_help = "Examples:\n  skep lb list\n  skep lb ls -o json | jq -r '.[].name'")]
    #[command(visible_alias = "ls")]
    List {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
    /// Show interfaces, traffic, drops and how full the tables are
    #[command(after_help = "Examples:\n  skep lb status\n  skep lb status -o json")]
    Status {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
    /// Show VIPs with their backends: share, state, health, traffic
    #[command(
        after_help = "Examples:\n  skep lb describe 203.0.113.10\n  skep lb describe default/edge -o yaml"
    )]
    Describe {
        /// Part of a VIP's name, or a LoadBalancer as NAMESPACE/NAME; all if left out
        #[arg(value_name = "VIP")]
        vip: Option<String>,

        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
    /// Tell which backend a flow gets, and why; exit code 1 if it would be dropped
    #[command(
        after_help = "Examples:\n  skep lb which --src 198.51.100.7:51234 --dst 203.0.113.10:443"
    )]
    Which {
        /// The client
        #[arg(long, value_name = "ADDRESS:PORT")]
        src: String,

        /// The VIP
        #[arg(long, value_name = "ADDRESS:PORT")]
        dst: String,

        /// tcp or udp
        #[arg(long, default_value = "tcp", value_name = "NAME")]
        protocol: String,
    },
    /// Take new flows from a backend, of all VIPs; it keeps those it has
    #[command(after_help = "Examples:\n  skep lb drain 10.0.0.3\n  skep lb drain 10.0.0.3 --undo")]
    Drain {
        /// Address of the backend
        backend: String,

        /// Give it back
        #[arg(long)]
        undo: bool,
    },
    /// Show what has become of backends: health, drains
    #[command(after_help = "Examples:\n  skep lb history\n  skep lb history 10.0.0.3 --last 20")]
    History {
        /// Only of this backend
        backend: Option<String>,

        /// At most so many events, the latest
        #[arg(short = 'l', long, default_value_t = 50, value_name = "NUMBER")]
        last: u32,

        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
    /// Print all counters in the text format of Prometheus
    #[command(after_help = "Examples:\n  skep lb metrics | grep dropped")]
    Metrics,
    Capture(Box<capture::Args>),
    Testrun(Box<testrun::Args>),
}

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    match command {
        Command::Capture(args) => capture::run(*args, agent, screen).await,
        Command::Testrun(args) => testrun::run(&args, screen),
        Command::List { output } => {
            let status =
                agent.connect().await?.balancer_status(BalancerStatusRequest::default()).await?;
            show(&status.into_inner(), output, screen, list::table)
        }
        Command::Status { output } => {
            let status =
                agent.connect().await?.balancer_status(BalancerStatusRequest::default()).await?;
            show(&status.into_inner(), output, screen, status::render)
        }
        Command::Describe { vip, output } => {
            let request = BalancerStatusRequest { filter: vip.unwrap_or_default() };
            let status = agent.connect().await?.balancer_status(request).await?.into_inner();
            if status.vips.is_empty() {
                screen.print("no such VIP; `skep lb list` shows them\n")?;
                return Ok(ExitCode::from(1));
            }
            show(&status, output, screen, describe::render)
        }
        Command::Which { src, dst, protocol } => {
            let request = WhichBackendRequest { source: src, destination: dst, protocol };
            let answer = agent.connect().await?.which_backend(request).await?.into_inner();
            screen.print(&which::render(&answer, screen.style()))?;
            Ok(ExitCode::from(u8::from(answer.backend.is_empty())))
        }
        Command::Drain { backend, undo } => {
            let request = DrainBackendRequest { backend: backend.clone(), undo };
            let answer = agent.connect().await?.drain_backend(request).await?.into_inner();
            screen.print(&drained(&backend, undo, &answer))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::History { backend, last, output } => {
            let request =
                BalancerHistoryRequest { backend: backend.unwrap_or_default(), limit: last };
            let events =
                agent.connect().await?.balancer_history(request).await?.into_inner().events;
            match output {
                Format::Table => screen.print(&history::table(&events, screen.style()))?,
                Format::Json => screen.print_json(&crate::output::values(&events)?)?,
                Format::Yaml => screen.print_yaml(&crate::output::values(&events)?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics => {
            let text = agent
                .connect()
                .await?
                .balancer_metrics(BalancerMetricsRequest {})
                .await?
                .into_inner()
                .text;
            screen.print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(
    status: &BalancerStatusResponse,
    output: Format,
    screen: &Screen,
    render: fn(&BalancerStatusResponse, crate::output::Style) -> String,
) -> Result<ExitCode, Failure> {
    match output {
        Format::Table => screen.print(&render(status, screen.style()))?,
        Format::Json => screen.print_json(&crate::output::values(std::slice::from_ref(status))?)?,
        Format::Yaml => screen.print_yaml(&crate::output::values(std::slice::from_ref(status))?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn drained(backend: &str, undo: bool, answer: &api::v1::DrainBackendResponse) -> String {
    let vips = match answer.vips.as_slice() {
        [] => "no VIP".to_owned(),
        [one] => one.clone(),
        several => format!("{} VIPs", several.len()),
    };
    let milliseconds = answer.effective_after_us as f64 / 1000.0;
    match (answer.changed, undo) {
        (true, false) => format!(
            "{backend} gets no new flows of {vips}, after {milliseconds:.1} ms; it keeps those it \
             has\nto give it back: skep lb drain {backend} --undo\n"
        ),
        (true, true) => {
            format!("{backend} gets new flows of {vips} again, after {milliseconds:.1} ms\n")
        }
        (false, false) => format!("{backend} was drained already\n"),
        (false, true) => format!("{backend} was not drained\n"),
    }
}

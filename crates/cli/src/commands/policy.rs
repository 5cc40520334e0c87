//! `skep policy explain`: which rule decides about traffic.

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{Format, Paint, Screen, Style};
use api::v1::{ExplainPolicyRequest, ExplainPolicyResponse};
use std::process::ExitCode;

const LONG: &str = "\
Says whether traffic would be allowed, and which rule of which file and line decides.

Sends no packet: the agent asks the policies in force. --from and --to take a workload \
(namespace/name; the namespace default may be left out), an address, an entity (host, world), and \
--to also a service (service:namespace/name).";

const AFTER: &str = "\
Examples:
  skep policy explain --from shop/client --to shop/cache --port 6379
  skep policy explain --from world --to shop/web --port 443
  skep policy explain --from shop/web-1 --to 192.0.2.7 --port 53 --protocol udp
  if skep policy explain --from a --to b --port 80 >/dev/null; then ...

Exit codes: 0 allowed, 1 denied, 2 the question makes no sense, 3 the agent cannot be reached.";

/// Questions about policies
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Would this traffic be allowed, and which rule decides?
    #[command(long_about = LONG, after_help = AFTER)]
    Explain {
        /// Who sends the first packet
        #[arg(long, value_name = "WHO")]
        from: String,

        /// Who is to receive it
        #[arg(long, value_name = "WHO")]
        to: String,

        /// Destination port
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        /// tcp, udp or sctp
        #[arg(long, default_value = "tcp", ignore_case = true, value_parser = ["tcp", "udp", "sctp"])]
        protocol: String,

        /// Output format; `table` is text
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
}

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let Command::Explain { from, to, port, protocol, output } = command;
    let request = ExplainPolicyRequest {
        from,
        to,
        port: port.into(),
        protocol: protocol.to_ascii_lowercase(),
    };
    let mut client = agent.connect().await?;
    let response = client.explain_policy(request).await.map_err(not_an_answer)?.into_inner();
    match output {
        Format::Table => screen.print(&text(&response, screen.style()))?,
        Format::Json => screen.print_json(&api::json::to_value(&response)?)?,
        Format::Yaml => screen.print_yaml(&api::json::to_value(&response)?)?,
    }
    if response.allowed { Ok(ExitCode::SUCCESS) } else { Err(Failure::Negative) }
}

/// An unknown workload must not look like a denial.
fn not_an_answer(status: tonic::Status) -> Failure {
    match Failure::from(status) {
        Failure::NotFound(message) => Failure::Usage(message),
        other => other,
    }
}

fn text(response: &ExplainPolicyResponse, style: Style) -> String {
    let text = match response.text.as_str() {
        "" => response.explanation_text(),
        text => text.to_owned(),
    };
    let text = text.trim_end();
    let paint = if response.allowed { Paint::Good } else { Paint::Bad };
    match text.split_once('\n') {
        Some((verdict, rest)) => format!("{}\n{rest}\n", style.paint(paint, verdict)),
        None => format!("{}\n", style.paint(paint, text)),
    }
}

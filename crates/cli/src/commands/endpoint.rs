//! `skep endpoint list`: workloads' interfaces on this node.

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{self, Cell, Format, Paint, Screen, Style, Table, labels, or_dash, qualified};
use api::v1::endpoint::State;
use api::v1::{Endpoint, ListEndpointsRequest};
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep endpoint list
  skep endpoint list -n shop -l app=web
  skep endpoint list -o json | jq '.[] | select(.state != \"READY\")'

POLICY names the directions that policies restrict; `skep describe workload NAME` names them.";

/// Workloads' interfaces on this node
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List endpoints: identity, addresses, interface, state
    #[command(visible_alias = "ls", after_help = AFTER)]
    List {
        /// Only endpoints of this namespace
        #[arg(short, long, value_name = "NAME")]
        namespace: Option<String>,

        /// Only endpoints with these labels, such as app=web,tier in (a,b)
        #[arg(short = 'l', long, value_name = "LABELS")]
        selector: Option<String>,

        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
}

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let Command::List { namespace, selector, output } = command;
    let request = ListEndpointsRequest {
        namespace: namespace.unwrap_or_default(),
        selector: selector.unwrap_or_default(),
    };
    let mut client = agent.connect().await?;
    let endpoints = client.list_endpoints(request).await?.into_inner().endpoints;
    match output {
        Format::Table => screen.print(&table(&endpoints, screen.style()))?,
        Format::Json => screen.print_json(&output::values(&endpoints)?)?,
        Format::Yaml => screen.print_yaml(&output::values(&endpoints)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn table(endpoints: &[Endpoint], style: Style) -> String {
    let mut table = Table::new([
        "ID",
        "WORKLOAD",
        "IDENTITY",
        "ADDRESSES",
        "INTERFACE",
        "POLICY",
        "STATE",
        "LABELS",
    ]);
    for endpoint in endpoints {
        table.row([
            number(endpoint.id).into(),
            qualified(&endpoint.namespace, &endpoint.workload).into(),
            number(endpoint.identity).into(),
            or_dash(endpoint.addresses.join(",")).into(),
            or_dash(endpoint.interface.clone()).into(),
            restrictions(endpoint).into(),
            state(endpoint),
            labels(&endpoint.labels).into(),
        ]);
    }
    table.render(style)
}

/// Numbers are given from 1 on.
fn number(number: u32) -> String {
    if number == 0 { "-".to_owned() } else { number.to_string() }
}

/// Directions in which policies restrict it.
pub fn restrictions(endpoint: &Endpoint) -> &'static str {
    match (endpoint.ingress_restricted, endpoint.egress_restricted) {
        (true, true) => "ingress,egress",
        (true, false) => "ingress",
        (false, true) => "egress",
        (false, false) => "-",
    }
}

/// The state, and why if it isn't ready.
pub fn state(endpoint: &Endpoint) -> Cell {
    let (paint, word) = match endpoint.state() {
        State::Ready => (Paint::Good, "ready"),
        State::Waiting => (Paint::Warning, "waiting"),
        State::Preparing => (Paint::Warning, "preparing"),
        State::Failed => (Paint::Bad, "failed"),
        State::Removing => (Paint::Faint, "removing"),
        State::Unknown => (Paint::Plain, "-"),
    };
    match endpoint.message.as_str() {
        "" => Cell::new(paint, word),
        message => Cell::new(paint, format!("{word}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_in_a_table() {
        let web = Endpoint {
            id: 3,
            namespace: "shop".into(),
            workload: "web-1".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            identity: 257,
            addresses: vec!["10.42.0.3".into(), "fd00::3".into()],
            interface: "skep3".into(),
            state: State::Ready.into(),
            ingress_restricted: true,
            ..Default::default()
        };
        let cache = Endpoint {
            namespace: "shop".into(),
            workload: "cache".into(),
            state: State::Waiting.into(),
            message: "no container is named cache".into(),
            ..Default::default()
        };
        insta::assert_snapshot!(table(&[web, cache], Style::PLAIN), @r#"
        ID   WORKLOAD     IDENTITY   ADDRESSES           INTERFACE   POLICY    STATE                                  LABELS
        3    shop/web-1   257        10.42.0.3,fd00::3   skep3       ingress   ready                                  app=web
        -    shop/cache   -          -                   -           -         waiting: no container is named cache   -
        "#);
    }
}

//! `skep identity list`: label sets and their numbers.

use crate::client::Agent;
use crate::failure::Failure;
use crate::output::{self, Format, Screen, Style, Table, labels, or_dash};
use api::v1::{Identity, ListIdentitiesRequest};
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep identity list
  skep identity list -l app=web
  skep identity list -o json

Numbers below 256 are reserved (host 1, world 2, ...); those from 16777216 on stand for address
blocks in policies and are this node's own.";

/// Sets of labels, and their numbers in the kernel
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List identities: number, labels, endpoints that have it
    #[command(visible_alias = "ls", after_help = AFTER)]
    List {
        /// Only identities with these labels, such as app=web,tier in (a,b)
        #[arg(short = 'l', long, value_name = "LABELS")]
        selector: Option<String>,

        /// Output format
        #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
        output: Format,
    },
}

pub async fn run(command: Command, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let Command::List { selector, output } = command;
    let request = ListIdentitiesRequest { selector: selector.unwrap_or_default() };
    let mut client = agent.connect().await?;
    let identities = client.list_identities(request).await?.into_inner().identities;
    match output {
        Format::Table => screen.print(&table(&identities, screen.style()))?,
        Format::Json => screen.print_json(&output::values(&identities)?)?,
        Format::Yaml => screen.print_yaml(&output::values(&identities)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(identities: &[Identity], style: Style) -> String {
    let mut table = Table::new(["IDENTITY", "NAMESPACE", "LABELS", "ENDPOINTS"]);
    for identity in identities {
        let endpoints: Vec<String> = identity.endpoints.iter().map(u32::to_string).collect();
        let what = match identity.name.as_str() {
            "" => labels(&identity.labels),
            name => name.to_owned(),
        };
        table.row([
            identity.number.to_string().into(),
            or_dash(identity.namespace.clone()).into(),
            what.into(),
            or_dash(endpoints.join(",")).into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_in_a_table() {
        let host = Identity { number: 1, name: "host".into(), ..Default::default() };
        let web = Identity {
            number: 257,
            namespace: "shop".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            endpoints: vec![3, 4],
            ..Default::default()
        };
        let block = Identity { number: 1 << 24, name: "10.0.0.0/8".into(), ..Default::default() };
        insta::assert_snapshot!(table(&[host, web, block], Style::PLAIN), @r#"
        IDENTITY   NAMESPACE   LABELS       ENDPOINTS
        1          -           host         -
        257        shop        app=web      3,4
        16777216   -           10.0.0.0/8   -
        "#);
    }
}

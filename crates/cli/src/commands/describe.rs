//! `skep describe`: one object with all that the agent knows about it.

use super::{delete, endpoint, service};
use crate::client::Agent;
use crate::failure::Failure;
use crate::kind::KindName;
use crate::output::flow::Lines;
use crate::output::{
    Cell, Format, Paint, Screen, Table, diagnostic, labels, or_dash, place, qualified,
};
use crate::when;
use api::v1::{DescribeRequest, DescribeResponse, Endpoint, Object, SelectingPolicy};
use jiff::tz::TimeZone;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep describe workload shop/web-1      endpoint, identity, policies that select it, drops
  skep describe netpol cache -n shop     the workloads it selects
  skep describe svc shop/web             addresses and backends

Exit codes: 0 shown, 1 there is no such object.";

/// Show one object with all that the agent knows about it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Kind: workload (wl), service (svc), netpol, endpointslice (eps), ns
    kind: KindName,

    /// Name, or namespace/name
    name: String,

    /// Namespace of a name without one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// How many recent drops to show at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    drops: u32,

    /// Output format; `table` is text
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let object = delete::object(args.kind, &args.name, &args.namespace);
    let request = DescribeRequest { object: Some(object), max_drops: args.drops };
    let mut client = agent.connect().await?;
    let response = client.describe(request).await?.into_inner();
    match args.output {
        Format::Table => {
            let lines = Lines { style: screen.style(), zone: TimeZone::system() };
            screen.print(&text(&response, &lines))?;
        }
        Format::Json => screen.print_json(&api::json::to_value(&response)?)?,
        Format::Yaml => screen.print_yaml(&api::json::to_value(&response)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(response: &DescribeResponse, lines: &Lines) -> String {
    let style = lines.style;
    let mut out = facts(response).render(style);
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            out += &format!("\n{}\n{body}", style.paint(Paint::Heading, title));
        }
    };
    section("Policies", policies(&response.policies).render(style));
    if !response.services.is_empty() {
        section("Services", indented(&service::table(&response.services, style)));
    }
    if !response.endpoints.is_empty() {
        section("Endpoints", indented(&endpoint::table(&response.endpoints, style)));
    }
    let drops: String = response.drops.iter().map(|flow| lines.compact(flow)).collect();
    section("Recent drops", indented(&drops));
    section("Diagnostics", indented(&diagnostic::render(&response.diagnostics, &[], style)));
    out
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
        .collect()
}

fn facts(response: &DescribeResponse) -> Table {
    let mut table = Table::without_headings();
    let mut fact = |name: &str, value: Cell| {
        table.row([Cell::new(Paint::Heading, name), value]);
    };
    let object: Object = response.object.clone().unwrap_or_default();
    fact(&object.kind, qualified(&object.namespace, &object.name).into());
    fact("Source", place(&object.file, object.line).into());
    fact("Labels", labels(&object.labels).into());
    fact("Status", or_dash(object.status.clone()).into());
    fact("Age", when::age(object.age).into());
    if let Some(endpoint) = &response.endpoint {
        endpoint_facts(endpoint, &mut fact);
    }
    if let Some(identity) = &response.identity {
        let text = format!("{} {}", identity.number, labels(&identity.labels));
        fact("Identity", text.into());
    }
    table
}

fn endpoint_facts(endpoint: &Endpoint, fact: &mut impl FnMut(&str, Cell)) {
    let interface = match endpoint.interface.as_str() {
        "" => "-".to_owned(),
        name => format!("{name} (index {}) {}", endpoint.ifindex, endpoint.attachment),
    };
    fact("Endpoint", endpoint.id.to_string().into());
    fact("State", endpoint::state(endpoint));
    fact("Addresses", or_dash(endpoint.addresses.join(", ")).into());
    fact("Place", or_dash(endpoint.place.clone()).into());
    fact("Cgroup", or_dash(endpoint.cgroup.clone()).into());
    fact("Interface", interface.trim_end().into());
    let restricted = match endpoint::restrictions(endpoint) {
        "-" => "no policy selects it: all traffic is allowed".to_owned(),
        directions => format!("{} restricted", directions.replace(',', " and ")),
    };
    fact("Policy", restricted.into());
}

fn policies(policies: &[SelectingPolicy]) -> Table {
    let mut table = Table::without_headings().indented(2);
    for policy in policies {
        let object = policy.policy.clone().unwrap_or_default();
        let direction = |restricts: bool, name: &str, rules: u32| {
            let rules = api::text::counted(rules.into(), "rule");
            if restricts { format!("{name}: {rules}") } else { String::new() }
        };
        table.row([
            qualified(&object.namespace, &object.name).into(),
            direction(policy.ingress, "ingress", policy.ingress_rules).into(),
            direction(policy.egress, "egress", policy.egress_rules).into(),
            Cell::new(Paint::Faint, place(&policy.file, policy.line)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Style;
    use crate::output::flow::tests::flows;
    use api::v1::{Diagnostic, Identity, ObjectRef, diagnostic::Severity, endpoint::State};

    #[test]
    fn a_workload_with_everything() {
        let labels = [("app".to_owned(), "cache".to_owned())];
        let response = DescribeResponse {
            object: Some(Object {
                kind: "Workload".into(),
                namespace: "shop".into(),
                name: "cache-0".into(),
                labels: labels.clone().into(),
                file: "examples/shop.yaml".into(),
                line: 20,
                status: "ready".into(),
                age: Some(prost_types::Duration { seconds: 7200, nanos: 0 }),
                ..Default::default()
            }),
            endpoint: Some(Endpoint {
                id: 4,
                state: State::Ready.into(),
                addresses: vec!["10.42.0.4".into(), "fd00::4".into()],
                place: "netns /run/netns/cache".into(),
                interface: "skep4".into(),
                ifindex: 12,
                attachment: "tcx".into(),
                ingress_restricted: true,
                ..Default::default()
            }),
            identity: Some(Identity { number: 258, labels: labels.into(), ..Default::default() }),
            policies: vec![SelectingPolicy {
                policy: Some(ObjectRef {
                    kind: "NetworkPolicy".into(),
                    namespace: "shop".into(),
                    name: "cache".into(),
                }),
                file: "examples/shop.yaml".into(),
                line: 38,
                ingress: true,
                ingress_rules: 1,
                ..Default::default()
            }],
            drops: flows()[..1].to_vec(),
            diagnostics: vec![Diagnostic {
                severity: Severity::Warning.into(),
                message: "cgroup of the namespace is not known".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let lines = Lines { style: Style::PLAIN, zone: TimeZone::UTC };
        insta::assert_snapshot!(text(&response, &lines), @r#"
        Workload    shop/cache-0
        Source      examples/shop.yaml:20
        Labels      app=cache
        Status      ready
        Age         2 h
        Endpoint    4
        State       ready
        Addresses   10.42.0.4, fd00::4
        Place       netns /run/netns/cache
        Cgroup      -
        Interface   skep4 (index 12) tcx
        Policy      ingress restricted
        Identity    258 app=cache

        Policies
          shop/cache   ingress: 1 rule      examples/shop.yaml:38

        Recent drops
          14:02:11.318  shop/client-7f4 (curl 4120)         ✗  shop/cache-0:6379 tcp           denied: no rule of shop/cache allows it (examples/shop.yaml:38)

        Diagnostics
          warning: cgroup of the namespace is not known
        "#);
    }
}

//! The options that pick flows.

use api::v1::{Direction, DropReason, EndFilter, FlowFilter, FlowKind, Verdict};

/// All options are lists; the agent checks their values, except where only names are possible.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub struct Filters {
    /// Workload of either end: namespace/name, name, or a beginning of it with *
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    workload: Vec<String>,
    /// Workload of the source
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    from_workload: Vec<String>,
    /// Workload of the destination
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    to_workload: Vec<String>,

    /// Namespace of either end
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Namespace of the source
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    from_namespace: Vec<String>,
    /// Namespace of the destination
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    to_namespace: Vec<String>,

    /// Labels of either end, such as app=web,tier in (a,b)
    #[arg(short, long, value_name = "LABELS")]
    label: Vec<String>,
    /// Labels of the source
    #[arg(long, value_name = "LABELS")]
    from_label: Vec<String>,
    /// Labels of the destination
    #[arg(long, value_name = "LABELS")]
    to_label: Vec<String>,

    /// Identity of either end: a number, or the name of a reserved one such as world
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    identity: Vec<String>,
    /// Identity of the source
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    from_identity: Vec<String>,
    /// Identity of the destination
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    to_identity: Vec<String>,

    /// Address or block of either end, service addresses included
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    ip: Vec<String>,
    /// Address or block of the source
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    from_ip: Vec<String>,
    /// Address or block of the destination
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    to_ip: Vec<String>,

    /// Port of either end, or a range such as 8000-8100
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,
    /// Port of the source
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    from_port: Vec<String>,
    /// Port of the destination
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    to_port: Vec<String>,

    /// Process of either end: pid, name, a part of the binary's path, or exec id
    #[arg(long, value_name = "PROCESS", value_delimiter = ',')]
    process: Vec<String>,
    /// Process of the source
    #[arg(long, value_name = "PROCESS", value_delimiter = ',')]
    from_process: Vec<String>,
    /// Process of the destination
    #[arg(long, value_name = "PROCESS", value_delimiter = ',')]
    to_process: Vec<String>,

    /// Service of either end: namespace/name or name
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    service: Vec<String>,

    /// tcp, udp, sctp, icmp, icmpv4, icmpv6, or the number of an IP protocol
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    protocol: Vec<String>,

    /// forwarded, dropped, error, audit, redirected, traced, translated
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = verdict)]
    verdict: Vec<Verdict>,

    /// start, reply, end, drop, cut
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kind: Vec<FlowKind>,

    /// Why it was dropped, such as policy-default; `skep monitor drops` names those that occur
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = drop_reason)]
    drop_reason: Vec<DropReason>,

    /// ingress, egress: whose policy decided
    #[arg(long, value_name = "DIRECTION", value_delimiter = ',', value_parser = direction)]
    direction: Vec<Direction>,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::from_str_name(&text.to_ascii_uppercase())
        .filter(|verdict| *verdict != Verdict::Unknown)
        .ok_or_else(|| {
            "verdicts are forwarded, dropped, error, audit, redirected, traced, translated".into()
        })
}

fn kind(text: &str) -> Result<FlowKind, String> {
    FlowKind::from_str_name(&text.to_ascii_uppercase())
        .filter(|kind| *kind != FlowKind::Unknown)
        .ok_or_else(|| "kinds are start, reply, end, drop, cut".into())
}

fn direction(text: &str) -> Result<Direction, String> {
    Direction::from_str_name(&text.to_ascii_uppercase())
        .filter(|direction| *direction != Direction::Unknown)
        .ok_or_else(|| "directions are ingress and egress".into())
}

fn drop_reason(text: &str) -> Result<DropReason, String> {
    DropReason::from_name(&text.to_ascii_lowercase().replace('_', "-")).ok_or_else(|| {
        let names: Vec<&str> = (1..)
            .map_while(|number| DropReason::try_from(number).ok())
            .map(DropReason::name)
            .collect();
        format!("reasons are {}", names.join(", "))
    })
}

impl Filters {
    /// None if nothing is filtered.
    pub fn message(&self) -> Option<FlowFilter> {
        let filter = FlowFilter {
            either: end(EndFilter {
                workloads: self.workload.clone(),
                namespaces: self.namespace.clone(),
                selectors: self.label.clone(),
                identities: self.identity.clone(),
                addresses: self.ip.clone(),
                ports: self.port.clone(),
                processes: self.process.clone(),
            }),
            from: end(EndFilter {
                workloads: self.from_workload.clone(),
                namespaces: self.from_namespace.clone(),
                selectors: self.from_label.clone(),
                identities: self.from_identity.clone(),
                addresses: self.from_ip.clone(),
                ports: self.from_port.clone(),
                processes: self.from_process.clone(),
            }),
            to: end(EndFilter {
                workloads: self.to_workload.clone(),
                namespaces: self.to_namespace.clone(),
                selectors: self.to_label.clone(),
                identities: self.to_identity.clone(),
                addresses: self.to_ip.clone(),
                ports: self.to_port.clone(),
                processes: self.to_process.clone(),
            }),
            protocols: self.protocol.clone(),
            verdicts: self.verdict.iter().map(|verdict| (*verdict).into()).collect(),
            kinds: self.kind.iter().map(|kind| (*kind).into()).collect(),
            drop_reasons: self.drop_reason.iter().map(|reason| (*reason).into()).collect(),
            services: self.service.clone(),
            directions: self.direction.iter().map(|direction| (*direction).into()).collect(),
        };
        (filter != FlowFilter::default()).then_some(filter)
    }
}

fn end(filter: EndFilter) -> Option<EndFilter> {
    (filter != EndFilter::default()).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        filters: Filters,
    }

    fn message(line: &str) -> Option<FlowFilter> {
        let words = std::iter::once("skep").chain(line.split_whitespace());
        Command::try_parse_from(words).unwrap().filters.message()
    }

    #[test]
    fn options_become_fields() {
        assert_eq!(message(""), None);
        let filter = message(
            "--from-workload shop/a,shop/b --to-port 80 --port 1-9 --verdict dropped,Forwarded \
             --kind end --drop-reason policy_default,no-backend --direction egress --label a=1,b=2",
        )
        .unwrap();
        insta::assert_snapshot!(api::json::to_value(&filter).unwrap(), @r#"{"either":{"selectors":["a=1,b=2"],"ports":["1-9"]},"from":{"workloads":["shop/a","shop/b"]},"to":{"ports":["80"]},"verdicts":["DROPPED","FORWARDED"],"kinds":["END"],"drop_reasons":["POLICY_DEFAULT","NO_BACKEND"],"directions":["EGRESS"]}"#);
    }

    #[test]
    fn wrong_names_are_refused_with_the_right_ones() {
        let parse = |line: &str| {
            let words = std::iter::once("skep").chain(line.split_whitespace());
            Command::try_parse_from(words).unwrap_err().to_string()
        };
        assert!(parse("--verdict denied").contains("forwarded, dropped"));
        assert!(parse("--kind begin").contains("start, reply"));
        assert!(parse("--direction in").contains("ingress"));
        let reasons = parse("--drop-reason because");
        assert!(reasons.contains("policy-default") && reasons.contains("no-endpoint"), "{reasons}");
    }
}

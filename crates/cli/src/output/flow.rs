//! Flows, one line each.

use super::{Paint, Style, qualified, visible};
use crate::when;
use api::flow::socket_address;
use api::v1::{Flow, FlowEnd, FlowKind, Verdict};
use jiff::tz::TimeZone;

/// How flows are written to a terminal.
#[derive(Clone, Debug)]
pub struct Lines {
    pub style: Style,
    pub zone: TimeZone,
}

/// Columns are padded to these; longer text pushes the rest to the right, since a stream can't be
/// measured beforehand.
const SOURCE: usize = 34;
const DESTINATION: usize = 30;

impl Lines {
    /// `14:02:11.318  shop/client (curl 4120)  ✗  shop/cache:6379 tcp  denied: ...`
    pub fn compact(&self, flow: &Flow) -> String {
        let time = self.style.paint(Paint::Faint, &when::clock(flow.time, &self.zone));
        let summary = summary(flow);
        if flow.kind() == FlowKind::Lost {
            return format!("{time}  {}\n", self.style.paint(Paint::Warning, &summary));
        }
        let (mark, paint) = mark(flow);
        let source = format!("{:<SOURCE$}", source(flow));
        let destination = format!("{} {}", destination(flow), flow.protocol_name());
        let mark = self.style.paint(paint, mark);
        let summary = self.style.paint(paint, &summary);
        format!("{time}  {source}  {mark}  {:<DESTINATION$}  {summary}\n", destination.trim_end())
    }

    pub fn heading(&self) -> String {
        let line = format!(
            "{:<12}  {:<SOURCE$}  {:<DESTINATION$}  {:<6}  {:<7}  {:<9}  REASON",
            "TIME", "SOURCE", "DESTINATION", "PROTO", "EVENT", "VERDICT"
        );
        format!("{}\n", self.style.paint(Paint::Heading, &line))
    }

    pub fn table(&self, flow: &Flow) -> String {
        let time = when::clock(flow.time, &self.zone);
        let (_, paint) = mark(flow);
        // Padded before it is coloured, for the codes have no width.
        let verdict =
            self.style.paint(paint, &format!("{:<9}", lower(flow.verdict().as_str_name())));
        let line = format!(
            "{time:<12}  {:<SOURCE$}  {:<DESTINATION$}  {:<6}  {:<7}  {verdict}  {}",
            source(flow),
            destination(flow),
            flow.protocol_name(),
            lower(flow.kind().as_str_name()),
            summary(flow)
        );
        format!("{line}\n")
    }
}

fn lower(name: &str) -> String {
    if name.ends_with("UNKNOWN") { "-".to_owned() } else { name.to_ascii_lowercase() }
}

fn summary(flow: &Flow) -> String {
    let text = if flow.summary.is_empty() { flow.summary_text() } else { flow.summary.clone() };
    visible(&text).into_owned()
}

fn mark(flow: &Flow) -> (&'static str, Paint) {
    match (flow.kind(), flow.verdict()) {
        (FlowKind::Drop | FlowKind::Cut, _) | (_, Verdict::Dropped | Verdict::Error) => {
            ("✗", Paint::Bad)
        }
        (FlowKind::Reply, _) => ("◄", Paint::Plain),
        (FlowKind::Start, _) => ("►", Paint::Good),
        _ => ("►", Paint::Plain),
    }
}

/// The port of the source matters only where nothing better names it.
fn source(flow: &Flow) -> String {
    let address = flow.ip.as_ref().map_or("", |ip| &ip.source);
    let port = flow.ports().map(|ports| ports.0);
    let text = match &flow.source {
        _ if flow.kind() == FlowKind::Lost => "-".to_owned(),
        Some(end) if !end.workload.is_empty() => qualified(&end.namespace, &end.workload),
        end => named_address(end.as_ref(), address, port),
    };
    match flow.source.as_ref().and_then(|end| end.process.as_ref()) {
        Some(process) => {
            format!("{text} ({} {})", visible(process_name(process)), process.pid)
        }
        None => text,
    }
}

fn destination(flow: &Flow) -> String {
    let address = flow.ip.as_ref().map_or("", |ip| &ip.destination);
    let port = flow.ports().map(|ports| ports.1);
    match &flow.destination {
        _ if flow.kind() == FlowKind::Lost => "-".to_owned(),
        Some(end) if !end.workload.is_empty() => {
            let name = qualified(&end.namespace, &end.workload);
            port.map_or(name.clone(), |port| format!("{name}:{port}"))
        }
        end => named_address(end.as_ref(), address, port),
    }
}

/// `world 203.0.113.9:51514`.
fn named_address(end: Option<&FlowEnd>, address: &str, port: Option<u32>) -> String {
    let address = match port {
        Some(port) if !address.is_empty() => socket_address(address, port),
        _ => address.to_owned(),
    };
    let name = end.map_or("", |end| &end.identity_name);
    let text = format!("{name} {address}");
    match text.trim() {
        "" => "?".to_owned(),
        text => text.to_owned(),
    }
}

fn process_name(process: &api::v1::Process) -> &str {
    let file = process.binary.rsplit('/').next().unwrap_or("");
    if process.comm.is_empty() { file } else { &process.comm }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use api::v1::*;

    /// A denied request, one let through, its end, and a mark of lost events.
    pub fn flows() -> Vec<Flow> {
        let client = FlowEnd {
            endpoint: 3,
            identity: 300,
            namespace: "shop".into(),
            workload: "client-7f4".into(),
            process: Some(Process {
                pid: 4120,
                comm: "curl".into(),
                binary: "/usr/bin/curl".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let end = |name: &str| FlowEnd {
            namespace: "shop".into(),
            workload: name.into(),
            ..Default::default()
        };
        let time = |millis: i32| {
            Some(prost_types::Timestamp { seconds: 1_769_868_131, nanos: millis * 1_000_000 })
        };
        let denied = Flow {
            time: time(318),
            kind: FlowKind::Drop.into(),
            verdict: Verdict::Dropped.into(),
            drop_reason: DropReason::PolicyDefault.into(),
            ip: Some(Ip { source: "10.0.0.7".into(), destination: "10.0.0.9".into(), version: 4 }),
            l4: Some(Layer4::new(6, (51514, 6379), (0, 0), 2)),
            source: Some(client.clone()),
            destination: Some(end("cache-0")),
            denied_by: vec![PolicyRule {
                namespace: "shop".into(),
                name: "cache".into(),
                file: "examples/shop.yaml".into(),
                line: 38,
                ..Default::default()
            }],
            ..Default::default()
        };
        let start = Flow {
            time: time(402),
            kind: FlowKind::Start.into(),
            verdict: Verdict::Forwarded.into(),
            ip: Some(Ip {
                source: "2001:db8::9".into(),
                destination: "10.0.0.2".into(),
                version: 6,
            }),
            l4: Some(Layer4::new(17, (51514, 8080), (0, 0), 0)),
            source: Some(FlowEnd { identity_name: "world".into(), ..Default::default() }),
            destination: Some(end("web-1")),
            ..Default::default()
        };
        let over = Flow {
            time: time(950),
            kind: FlowKind::End.into(),
            forward: Some(Counters { packets: 6, bytes: 480 }),
            reverse: Some(Counters { packets: 5, bytes: 1536 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 3_200_000 }),
            source: Some(client),
            ..start.clone()
        };
        let lost = Flow {
            time: time(951),
            kind: FlowKind::Lost.into(),
            lost: Some(LostEvents { count: 12, ..Default::default() }),
            ..Default::default()
        };
        let reply = Flow { kind: FlowKind::Reply.into(), ip: None, ..start.clone() };
        vec![denied, start, reply, over, lost]
    }

    #[test]
    fn compact_and_table() {
        let lines = Lines { style: Style::PLAIN, zone: TimeZone::UTC };
        let compact: String = flows().iter().map(|flow| lines.compact(flow)).collect();
        insta::assert_snapshot!(compact, @r#"
        14:02:11.318  shop/client-7f4 (curl 4120)         ✗  shop/cache-0:6379 tcp           denied: no rule of shop/cache allows it (examples/shop.yaml:38)
        14:02:11.402  world [2001:db8::9]:51514           ►  shop/web-1:8080 udp             allowed, no policy restricts it
        14:02:11.402  world                               ◄  shop/web-1:8080 udp             reply
        14:02:11.950  shop/client-7f4 (curl 4120)         ►  shop/web-1:8080 udp             end, 6 packets 480 B out, 5 packets 1.5 KiB back, 3.2 ms
        14:02:11.951  12 events missing
        "#);
        let table: String = flows().iter().map(|flow| lines.table(flow)).collect();
        insta::assert_snapshot!(lines.heading() + &table, @r#"
        TIME          SOURCE                              DESTINATION                     PROTO   EVENT    VERDICT    REASON
        14:02:11.318  shop/client-7f4 (curl 4120)         shop/cache-0:6379               tcp     drop     dropped    denied: no rule of shop/cache allows it (examples/shop.yaml:38)
        14:02:11.402  world [2001:db8::9]:51514           shop/web-1:8080                 udp     start    forwarded  allowed, no policy restricts it
        14:02:11.402  world                               shop/web-1:8080                 udp     reply    forwarded  reply
        14:02:11.950  shop/client-7f4 (curl 4120)         shop/web-1:8080                 udp     end      forwarded  end, 6 packets 480 B out, 5 packets 1.5 KiB back, 3.2 ms
        14:02:11.951  -                                   -                                       lost     -          12 events missing
        "#);
    }

    #[test]
    fn an_empty_flow_is_no_trouble() {
        let lines = Lines { style: Style { color: true }, zone: TimeZone::UTC };
        assert!(lines.compact(&Flow::default()).contains('?'));
        assert!(lines.table(&Flow::default()).contains('?'));
    }
}

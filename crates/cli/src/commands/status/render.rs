//! The status in words.

use crate::output::{Cell, Paint, Style, Table, place};
use crate::when;
use api::text::{bytes, count, counted, rate};
use api::v1::{Diagnostic, ProgramStatus, StatusResponse, diagnostic::Severity};

pub fn text(status: &StatusResponse, verbose: bool, style: Style) -> String {
    let mut table = Table::without_headings();
    let mut group = |name: &str, lines: Vec<Cell>| {
        for (position, line) in lines.into_iter().enumerate() {
            let name = if position == 0 { name } else { "" };
            table.row([Cell::new(Paint::Heading, name), line]);
        }
    };
    group("node", vec![node(status).into()]);
    group("datapath", datapath(status));
    group("traffic", traffic(status).into_iter().map(Cell::from).collect());
    group("drops", drops(status));
    group("events", vec![events(status)]);
    for (name, severity, paint) in
        [("errors", Severity::Error, Paint::Bad), ("warnings", Severity::Warning, Paint::Warning)]
    {
        let of_severity = |diagnostic: &&Diagnostic| diagnostic.severity() == severity;
        let lines = status.diagnostics.iter().filter(of_severity);
        group(name, lines.flat_map(|diagnostic| sentences(diagnostic, paint)).collect());
    }
    if verbose {
        group("features", features(status));
        group("programs", status.programs.iter().map(program).collect());
        group("maps", maps(status).into_iter().map(Cell::from).collect());
        group("sources", sources(status));
    }
    table.render(style)
}

fn node(status: &StatusResponse) -> String {
    format!(
        "{}   up {}   kernel {}   agent {} ({})",
        status.node_name,
        when::age(status.uptime),
        status.kernel_release,
        status.version,
        bytes(status.memory_bytes)
    )
}

fn datapath(status: &StatusResponse) -> Vec<Cell> {
    let counts = status.counts.unwrap_or_default();
    let endpoints = match counts.endpoints - counts.endpoints_ready.min(counts.endpoints) {
        0 => counted(counts.endpoints.into(), "endpoint"),
        waiting => {
            format!("{} ({waiting} not ready)", counted(counts.endpoints.into(), "endpoint"))
        }
    };
    let policies = match counts.policies {
        1 => "1 policy".to_owned(),
        number => format!("{} policies", count(number.into())),
    };
    let numbers = [
        endpoints,
        counted(counts.services.into(), "service"),
        counted(counts.backends.into(), "backend"),
        policies,
    ];
    let mut lines = vec![Cell::from(numbers.join("   "))];
    let missing: Vec<&ProgramStatus> =
        status.programs.iter().filter(|program| program.attached < program.wanted).collect();
    if !missing.is_empty() {
        lines.extend(missing.into_iter().map(program));
    } else if !status.programs.is_empty() {
        lines.push(Cell::new(Paint::Good, "all programs attached"));
    }
    lines
}

fn program(program: &ProgramStatus) -> Cell {
    let paint = if program.attached < program.wanted { Paint::Bad } else { Paint::Plain };
    let mut text = format!(
        "{} ({}) attached {} of {}",
        program.name, program.attachment, program.attached, program.wanted
    );
    if !program.message.is_empty() {
        text += &format!(": {}", program.message);
    }
    Cell::new(paint, text)
}

fn traffic(status: &StatusResponse) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(connections) = &status.connections {
        lines.push(format!(
            "{} of {}   {} created   {} expired   {} evicted",
            counted(connections.entries, "connection"),
            count(connections.capacity),
            count(connections.created),
            count(connections.expired),
            count(connections.evicted)
        ));
    }
    if let Some(traffic) = &status.traffic {
        lines.push(format!(
            "{} forwarded ({}), {} of them straight to another endpoint",
            counted(traffic.forwarded_packets, "packet"),
            bytes(traffic.forwarded_bytes),
            count(traffic.redirected_packets)
        ));
        lines.push(format!(
            "services: {} and {} translated",
            counted(traffic.socket_translated, "socket"),
            counted(traffic.packet_translated, "packet")
        ));
        if traffic.shortcut_packets > 0 {
            lines.push(format!("{} of them sent on by XDP", count(traffic.shortcut_packets)));
        }
    }
    lines
}

fn drops(status: &StatusResponse) -> Vec<Cell> {
    let line = |drop: &api::v1::DropCount| {
        let reason = drop.reason();
        let packets = counted(drop.packets, "packet");
        Cell::from(format!("{packets}   {}: {}", reason.name(), reason.explanation()))
    };
    status.drops.iter().filter(|drop| drop.packets > 0).map(line).collect()
}

fn events(status: &StatusResponse) -> Cell {
    let events = status.events.unwrap_or_default();
    let paint = if events.lost > 0 { Paint::Warning } else { Paint::Plain };
    let mut text = format!("{}   {} lost", rate(events.per_second), count(events.lost));
    if events.limited > 0 {
        text += &format!("   {} held back by the rate limit", count(events.limited));
    }
    text += &format!("   {} of the last {} kept", count(events.kept), count(events.keep_limit));
    Cell::new(paint, text)
}

/// `policy shop/web: the message` and below it `(file:line)` and the help.
fn sentences(diagnostic: &Diagnostic, paint: Paint) -> Vec<Cell> {
    let object = diagnostic.object.as_ref().map(|object| {
        let name = crate::output::qualified(&object.namespace, &object.name);
        format!("{} {name}: ", object.kind)
    });
    let text = format!("{}{}", object.unwrap_or_default(), diagnostic.message);
    let mut lines = vec![Cell::new(paint, text)];
    if !diagnostic.file.is_empty() {
        lines.push(format!("  ({})", place(&diagnostic.file, diagnostic.line)).into());
    }
    if !diagnostic.help.is_empty() {
        lines.push(format!("  {}", diagnostic.help).into());
    }
    lines
}

fn features(status: &StatusResponse) -> Vec<Cell> {
    let width = status.features.iter().map(|feature| feature.name.len()).max().unwrap_or(0);
    let line = |feature: &api::v1::Feature| {
        let (mark, paint) =
            if feature.available { ("✓", Paint::Plain) } else { ("-", Paint::Faint) };
        let text = format!("{mark} {:<width$}   {}", feature.name, feature.note);
        Cell::new(paint, text.trim_end())
    };
    status.features.iter().map(line).collect()
}

fn maps(status: &StatusResponse) -> Vec<String> {
    let width = status.maps.iter().map(|map| map.name.len()).max().unwrap_or(0);
    let line = |map: &api::v1::MapStatus| {
        let percent = (map.entries as f64 / map.capacity.max(1) as f64 * 100.0).ceil();
        format!(
            "{:<width$}   {} of {} ({percent}%)",
            map.name,
            count(map.entries),
            count(map.capacity)
        )
    };
    status.maps.iter().map(line).collect()
}

fn sources(status: &StatusResponse) -> Vec<Cell> {
    let line = |source: &api::v1::Source| {
        let paint = if source.synced { Paint::Plain } else { Paint::Warning };
        let mut text = format!("{}   {}", source.name, counted(source.objects.into(), "object"));
        if !source.synced {
            text += "   not read yet";
        }
        if !source.message.is_empty() {
            text += &format!("   {}", source.message);
        }
        Cell::new(paint, text)
    };
    status.sources.iter().map(line).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use api::v1::*;

    pub fn status() -> StatusResponse {
        StatusResponse {
            node_name: "worker-1".into(),
            version: "0.1.0".into(),
            uptime: Some(prost_types::Duration { seconds: 3 * 3600 + 5, nanos: 0 }),
            kernel_release: "6.12.107".into(),
            memory_bytes: 41 << 20,
            counts: Some(Counts {
                endpoints: 42,
                endpoints_ready: 41,
                identities: 20,
                services: 312,
                backends: 1204,
                policies: 18,
                rule_sets: 9,
            }),
            programs: vec![ProgramStatus {
                name: "from_endpoint".into(),
                attachment: "tcx".into(),
                attached: 41,
                wanted: 42,
                message: "skep7: the interface is gone".into(),
            }],
            features: vec![
                Feature { name: "tcx".into(), available: true, note: String::new() },
                Feature {
                    name: "redirect-peer".into(),
                    available: false,
                    note: "from Linux 5.10; through the host's stack".into(),
                },
            ],
            maps: vec![MapStatus { name: "endpoints".into(), entries: 84, capacity: 16_384 }],
            events: Some(EventStatus {
                per_second: 18_210.0,
                total: 1_000_000,
                kept: 65_536,
                keep_limit: 65_536,
                ..Default::default()
            }),
            drops: vec![
                DropCount { reason: DropReason::PolicyDefault.into(), packets: 1_204, bytes: 9 },
                DropCount { reason: DropReason::NoBackend.into(), packets: 1, bytes: 60 },
            ],
            connections: Some(ConnectionStatus {
                entries: 1,
                capacity: 131_072,
                created: 5_000,
                expired: 4_999,
                evicted: 0,
            }),
            traffic: Some(TrafficStatus {
                forwarded_packets: 90_000,
                forwarded_bytes: 1 << 30,
                redirected_packets: 80_000,
                packet_translated: 0,
                socket_translated: 12,
                shortcut_packets: 0,
            }),
            diagnostics: vec![Diagnostic {
                severity: diagnostic::Severity::Warning.into(),
                file: "policies/api.yaml".into(),
                line: 23,
                message: "field spec.egress[0].toServices is not supported yet, rule skipped"
                    .into(),
                object: Some(ObjectRef {
                    kind: "NetworkPolicy".into(),
                    namespace: "default".into(),
                    name: "api".into(),
                }),
                ..Default::default()
            }],
            sources: vec![
                Source { name: "api".into(), synced: true, objects: 7, ..Default::default() },
                Source {
                    name: "files /etc/skep".into(),
                    objects: 1,
                    message: "permission denied".into(),
                    ..Default::default()
                },
            ],
        }
    }

    #[test]
    fn a_busy_node() {
        insta::assert_snapshot!(text(&status(), false, Style::PLAIN), @r#"
        node       worker-1   up 3 h   kernel 6.12.107   agent 0.1.0 (41 MiB)
        datapath   42 endpoints (1 not ready)   312 services   1,204 backends   18 policies
                   from_endpoint (tcx) attached 41 of 42: skep7: the interface is gone
        traffic    1 connection of 131,072   5,000 created   4,999 expired   0 evicted
                   90,000 packets forwarded (1 GiB), 80,000 of them straight to another endpoint
                   services: 12 sockets and 0 packets translated
        drops      1,204 packets   policy-default: no rule allows it
                   1 packet   no-backend: the service has no backend
        events     18.2k/s   0 lost   65,536 of the last 65,536 kept
        warnings   NetworkPolicy default/api: field spec.egress[0].toServices is not supported yet, rule skipped
                     (policies/api.yaml:23)
        "#);
    }

    #[test]
    fn verbose_adds_sections() {
        let short = text(&status(), false, Style::PLAIN);
        let long = text(&status(), true, Style::PLAIN);
        insta::assert_snapshot!(long.strip_prefix(&short).unwrap(), @r#"
        features   ✓ tcx
                   - redirect-peer   from Linux 5.10; through the host's stack
        programs   from_endpoint (tcx) attached 41 of 42: skep7: the interface is gone
        maps       endpoints   84 of 16,384 (1%)
        sources    api   7 objects
                   files /etc/skep   1 object   not read yet   permission denied
        "#);
    }

    #[test]
    fn an_empty_answer_is_no_trouble() {
        assert!(text(&StatusResponse::default(), true, Style::PLAIN).starts_with("node"));
    }
}

//! `skep lb history`.

use crate::output::{Cell, Paint, Style, Table, or_dash};
use api::v1::BalancerEvent;

pub fn table(events: &[BalancerEvent], style: Style) -> String {
    if events.is_empty() {
        return "nothing has happened since skepd started\n".to_owned();
    }
    let mut table = Table::new(["TIME", "BACKEND", "WHAT", "SUBJECT", "BECAUSE"]);
    for event in events {
        let paint = match event.kind.as_str() {
            "unhealthy" => Paint::Bad,
            "drained" => Paint::Warning,
            _ => Paint::Good,
        };
        table.row([
            event.time.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            or_dash(event.backend.clone()).into(),
            Cell::new(paint, event.kind.as_str()),
            event.subject.as_str().into(),
            event.message.as_str().into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_a_table() {
        let event = BalancerEvent {
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            kind: "unhealthy".into(),
            backend: "10.0.0.1".into(),
            subject: "tcp 80".into(),
            message: "connection refused".into(),
        };
        insta::assert_snapshot!(table(&[event], Style::PLAIN), @r"
        TIME                   BACKEND    WHAT        SUBJECT   BECAUSE
        2023-11-14T22:13:20Z   10.0.0.1   unhealthy   tcp 80    connection refused
        ");
    }
}

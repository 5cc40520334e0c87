//! What the picture is made from: counters of two moments, and the latest drops.

use crate::output::flow::Lines;
use crate::output::{Cell, Paint, Table};
use api::text;
use api::v1::{DropCount, DropReason, Flow};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

#[derive(Debug)]
pub struct Board {
    flows: VecDeque<Flow>,
    capacity: usize,
    reasons: BTreeMap<i32, Reason>,
    counted: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reason {
    packets: u64,
    bytes: u64,
    per_second: f64,
}

impl Board {
    pub fn new(capacity: usize) -> Self {
        Board { flows: VecDeque::new(), capacity, reasons: BTreeMap::new(), counted: None }
    }

    pub fn dropped(&mut self, flow: Flow) {
        if self.flows.len() >= self.capacity {
            self.flows.pop_front();
        }
        if self.capacity > 0 {
            self.flows.push_back(flow);
        }
    }

    /// Rates are those since the last call; the first has none.
    pub fn counted(&mut self, counts: &[DropCount], now: Instant) {
        let passed = self.counted.map(|last| now.duration_since(last).as_secs_f64());
        for count in counts {
            let before = self.reasons.get(&count.reason).map_or(0, |reason| reason.packets);
            let per_second = match passed {
                Some(passed) if passed > 0.0 => {
                    count.packets.saturating_sub(before) as f64 / passed
                }
                _ => 0.0,
            };
            let reason = Reason { packets: count.packets, bytes: count.bytes, per_second };
            self.reasons.insert(count.reason, reason);
        }
        self.counted = Some(now);
    }

    pub fn render(&self, lines: &Lines) -> String {
        let mut table = Table::new(["REASON", "PACKETS", "BYTES", "RATE", ""]);
        for (number, reason) in self.reasons.iter().filter(|(_, reason)| reason.packets > 0) {
            let name = DropReason::try_from(*number).unwrap_or(DropReason::Unknown);
            let paint = if reason.per_second > 0.0 { Paint::Bad } else { Paint::Plain };
            table.row([
                Cell::new(paint, name.name()),
                text::count(reason.packets).into(),
                text::bytes(reason.bytes).into(),
                Cell::new(paint, text::rate(reason.per_second)),
                Cell::new(Paint::Faint, name.explanation()),
            ]);
        }
        let drops: String = self.flows.iter().map(|flow| lines.compact(flow)).collect();
        let nothing = if self.reasons.is_empty() { "nothing has been dropped\n" } else { "" };
        format!("{}{nothing}\n{drops}", table.render(lines.style))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Style;
    use crate::output::flow::tests::flows;
    use jiff::tz::TimeZone;
    use std::time::Duration;

    #[test]
    fn rates_and_the_latest_drops() {
        let mut board = Board::new(1);
        let lines = Lines { style: Style::PLAIN, zone: TimeZone::UTC };
        assert!(board.render(&lines).contains("nothing has been dropped"));
        let count = |packets| {
            let reason = DropReason::PolicyDefault.into();
            vec![DropCount { reason, packets, bytes: packets * 60 }]
        };
        let start = Instant::now();
        board.counted(&count(1_000), start);
        board.counted(&count(1_024), start + Duration::from_secs(2));
        board.dropped(Flow::default());
        board.dropped(flows()[0].clone());
        insta::assert_snapshot!(board.render(&lines), @r#"
        REASON           PACKETS   BYTES    RATE
        policy-default   1,024     60 KiB   12/s   no rule allows it

        14:02:11.318  shop/client-7f4 (curl 4120)         ✗  shop/cache-0:6379 tcp           denied: no rule of shop/cache allows it (examples/shop.yaml:38)
        "#);
    }
}

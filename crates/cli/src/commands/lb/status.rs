//! `skep lb status`.

use crate::output::{Cell, Paint, Style, Table};
use api::v1::BalancerStatusResponse;

pub fn render(status: &BalancerStatusResponse, style: Style) -> String {
    let mut text = String::new();
    if !status.problem.is_empty() {
        text += &style.paint(Paint::Bad, "problem");
        text += &format!("  {}\n", status.problem);
    }
    let mut table = Table::without_headings();
    let mut head = |head: &str, cells: [Cell; 2]| {
        let [first, second] = cells;
        table.row([Cell::new(Paint::Heading, head), first, second]);
    };
    if status.interfaces.is_empty() {
        head("interfaces", ["none".into(), "".into()]);
    }
    for (position, interface) in status.interfaces.iter().enumerate() {
        let attachment = match interface.attachment.as_str() {
            "" => Cell::new(Paint::Bad, "not attached"),
            attachment => Cell::new(Paint::Good, attachment),
        };
        let title = if position == 0 { "interfaces" } else { "" };
        head(title, [interface.name.as_str().into(), attachment]);
        for note in &interface.notes {
            head("", ["".into(), Cell::new(Paint::Warning, note.as_str())]);
        }
    }
    for (title, drops) in [("traffic", false), ("drops", true)] {
        let mut title = title;
        for counter in status.counters.iter().filter(|counter| counter.drop == drops) {
            let paint = if drops { Paint::Warning } else { Paint::Plain };
            let count = Cell::new(paint, counter.count.to_string());
            head(title, [counter.name.as_str().into(), count]);
            title = "";
        }
        if drops && title == "drops" {
            head("drops", ["none".into(), "".into()]);
        }
    }
    let mut title = "tables";
    for one in &status.tables {
        head(
            title,
            [one.name.as_str().into(), format!("{} of {}", one.entries, one.capacity).into()],
        );
        title = "";
    }
    let mut title = "drained";
    for backend in &status.drained {
        head(title, [backend.as_str().into(), "by command".into()]);
        title = "";
    }
    text + &table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::{BalancerCounter, BalancerInterface, BalancerTable};

    #[test]
    fn what_there_is() {
        let status = BalancerStatusResponse {
            interfaces: vec![BalancerInterface {
                name: "eth0".into(),
                attachment: "generic XDP".into(),
                notes: vec!["no native XDP: not supported".into()],
            }],
            counters: vec![
                BalancerCounter { name: "no-backend".into(), count: 2, drop: true },
                BalancerCounter { name: "forwarded".into(), count: 9, drop: false },
            ],
            tables: vec![BalancerTable { name: "flows".into(), entries: 1, capacity: 10 }],
            ..Default::default()
        };
        insta::assert_snapshot!(render(&status, Style::PLAIN), @r"
        interfaces   eth0         generic XDP
                                  no native XDP: not supported
        traffic      forwarded    9
        drops        no-backend   2
        tables       flows        1 of 10
        ");
    }
}

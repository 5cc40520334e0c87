//! Explanations as text: verdict first, names before numbers, the reason beside each rule.

use super::{DirectionReport, DirectionState, Explanation, Mismatch, PolicyReport};
use crate::rule::Direction;
use std::fmt;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", if self.allowed { "allowed" } else { "denied" })?;
        let width = self.egress.subject.len().max(self.ingress.subject.len());
        direction(f, &self.egress, width)?;
        direction(f, &self.ingress, width)?;
        match &self.hint {
            Some(hint) => writeln!(f, "To allow it: {hint}."),
            None => Ok(()),
        }
    }
}

fn direction(f: &mut fmt::Formatter<'_>, report: &DirectionReport, width: usize) -> fmt::Result {
    let name = report.direction.name();
    write!(f, "{name:<8} {:<width$}  ", report.subject)?;
    match &report.state {
        DirectionState::NotEnforced => writeln!(f, "not a workload of this node"),
        DirectionState::NodeItself => {
            writeln!(f, "allowed: traffic of the node with its own workloads always is")
        }
        DirectionState::NotRestricted => {
            writeln!(f, "not restricted (no policy selects it for {name})")
        }
        DirectionState::Restricted { policies, decided_by, .. } => {
            for (position, policy) in policies.iter().enumerate() {
                if position > 0 {
                    write!(f, "{:width$}", "", width = width + 11)?;
                }
                writeln!(f, "restricted by {} ({})", policy.policy, policy.origin)?;
                let decided = decided_by
                    .as_ref()
                    .filter(|rule| rule.policy == policy.policy)
                    .map(|rule| rule.index);
                rules(f, report.direction, policy, decided)?;
            }
            Ok(())
        }
    }
}

fn rules(
    f: &mut fmt::Formatter<'_>,
    direction: Direction,
    policy: &PolicyReport,
    decided: Option<u32>,
) -> fmt::Result {
    if policy.rules.is_empty() {
        writeln!(f, "         no rules: nothing is allowed")?;
    }
    let key = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let texts: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| {
            let place = format!("rule {} (line {})", rule.index + 1, rule.origin.line);
            let ports =
                if rule.ports.is_empty() { String::new() } else { format!(" port {}", rule.ports) };
            format!("{place:<17} {key} {}{ports}", rule.peers)
        })
        .collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    for (rule, text) in policy.rules.iter().zip(texts) {
        write!(f, "         {text:<width$}  ")?;
        match &rule.mismatch {
            None if decided == Some(rule.index) => writeln!(f, "✓ decides")?,
            None => writeln!(f, "✓")?,
            Some(Mismatch::Peer(reason) | Mismatch::Port(reason)) => writeln!(f, "✗ {reason}")?,
        }
    }
    Ok(())
}

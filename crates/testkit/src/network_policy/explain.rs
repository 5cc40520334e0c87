//! Why a probe's answer isn't the expected one: what the agent says of it, and what it saw.

use std::fmt;

use super::case::{Expected, Mark};
use super::run::Disagreement;
use crate::Skep;
use crate::probe::Target;

pub(super) fn explanation(skep: &Skep, expected: &Expected, target: &Target) -> String {
    let protocol = target.transport.to_string();
    let rules = skep.explain(&expected.from, &expected.to, &protocol, target.port);
    let port = target.port.to_string();
    let protocol = protocol.to_lowercase();
    let events = skep.run([
        "observe",
        "--last",
        "20",
        "--from-workload",
        &expected.from,
        "--to-workload",
        &expected.to,
        "--to-port",
        &port,
        "--protocol",
        &protocol,
    ]);
    let events = events.unwrap_or_else(|error| format!("{error:#}\n"));
    format!("skep policy explain:\n{rules}\nskep observe:\n{events}")
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, step, steps, expected, got, .. } = self;
        let Expected { from, to, port, .. } = expected;
        writeln!(f, "✗ case {case}, step {step} of {steps}: {}", self.description)?;
        let (combined, egress, ingress) =
            (word(expected.combined), word(expected.egress), word(expected.ingress));
        writeln!(f, "  {from} ► {to} {port}: expected {combined}, got {got}")?;
        writeln!(f, "  expected of {from}'s egress: {egress}; of {to}'s ingress: {ingress}")?;
        self.explanation.lines().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Allowed => "allowed",
        Mark::Denied => "denied",
    }
}

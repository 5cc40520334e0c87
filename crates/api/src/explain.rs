//! An explanation as text: [`ExplainPolicyResponse::explanation_text`], which the agent puts in
//! `ExplainPolicyResponse.text`.

use crate::v1::{DirectionExplanation, ExplainPolicyResponse, RuleExplanation};
use std::fmt::Write as _;

impl ExplainPolicyResponse {
    /// The verdict alone in the first line, then a block for each direction, then the hint.
    pub fn explanation_text(&self) -> String {
        let mut text = String::from(if self.allowed { "allowed\n" } else { "denied\n" });
        if !self.directions.is_empty() {
            text.push('\n');
        }
        let width = self.directions.iter().map(|d| d.subject.chars().count()).max().unwrap_or(0);
        for direction in &self.directions {
            write_direction(&mut text, direction, width);
        }
        if !self.hint.is_empty() {
            text.push_str(&self.hint);
            text.push('\n');
        }
        text
    }
}

fn write_direction(text: &mut String, direction: &DirectionExplanation, width: usize) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{:<9}{:<width$}   ", direction.direction().name(), direction.subject);
    if direction.restricted {
        let policies: Vec<String> = direction
            .policies
            .iter()
            .map(|p| format!("{}{}", qualified(&p.namespace, &p.name), place(&p.file, p.line)))
            .collect();
        let _ = write!(text, "restricted by {}", policies.join(", "));
    } else {
        let word = direction.direction().name();
        let _ = write!(text, "not restricted (no policy selects it for {word})");
    }
    if !direction.note.is_empty() {
        let _ = write!(text, "; {}", direction.note);
    }
    text.push('\n');
    let several = direction.policies.len() > 1;
    let rows: Vec<(String, &RuleExplanation)> = direction
        .policies
        .iter()
        .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
        .map(|(policy, rule)| {
            let owner = if several { format!("{} ", policy.name) } else { String::new() };
            let line = if rule.line > 0 { format!(" (line {})", rule.line) } else { String::new() };
            (format!("{owner}rule {}{line}", u64::from(rule.rule) + 1), rule)
        })
        .collect();
    let name_width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let rule_width = rows.iter().map(|(_, rule)| rule.text.chars().count()).max().unwrap_or(0);
    for (name, rule) in &rows {
        let result = match (rule.peer_matches && rule.port_matches, rule.deny) {
            (true, false) => "✓ allows it".to_owned(),
            (true, true) => "✗ denies it".to_owned(),
            (false, _) => format!("✗ {}", rule.mismatch_text()),
        };
        let _ = writeln!(
            text,
            "         {name:<name_width$}  {:<rule_width$}  {}",
            rule.text,
            result.trim_end()
        );
    }
}

impl RuleExplanation {
    fn mismatch_text(&self) -> &str {
        match (self.mismatch.as_str(), self.peer_matches) {
            ("", false) => "another peer",
            ("", true) => "another port",
            (mismatch, _) => mismatch,
        }
    }
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn place(file: &str, line: u32) -> String {
    if file.is_empty() { String::new() } else { format!(" ({file}:{line})") }
}

#[cfg(test)]
mod tests {
    use crate::v1::*;

    #[test]
    fn denied_for_want_of_a_rule() {
        let rule = |rule, text: &str, peer_matches, mismatch: &str| RuleExplanation {
            rule,
            line: 46 + 4 * rule,
            text: text.into(),
            peer_matches,
            mismatch: mismatch.into(),
            ..Default::default()
        };
        let response = ExplainPolicyResponse {
            directions: vec![
                DirectionExplanation {
                    direction: Direction::Egress.into(),
                    subject: "shop/client".into(),
                    allowed: true,
                    ..Default::default()
                },
                DirectionExplanation {
                    direction: Direction::Ingress.into(),
                    subject: "shop/cache".into(),
                    restricted: true,
                    policies: vec![PolicyExplanation {
                        namespace: "shop".into(),
                        name: "cache".into(),
                        file: "examples/shop.yaml".into(),
                        line: 38,
                        rules: vec![
                            rule(0, "from app=web", false, "client has app=client"),
                            rule(1, "from any, port 80/tcp", true, ""),
                        ],
                        ..Default::default()
                    }],
                    ..Default::default()
                },
            ],
            hint: "To allow it: add a `from` with podSelector app=client to shop/cache, port 6379."
                .into(),
            ..Default::default()
        };
        insta::assert_snapshot!(response.explanation_text(), @r#"
        denied

        egress   shop/client   not restricted (no policy selects it for egress)
        ingress  shop/cache    restricted by shop/cache (examples/shop.yaml:38)
                 rule 1 (line 46)  from app=web           ✗ client has app=client
                 rule 2 (line 50)  from any, port 80/tcp  ✗ another port
        To allow it: add a `from` with podSelector app=client to shop/cache, port 6379.
        "#);
    }
}

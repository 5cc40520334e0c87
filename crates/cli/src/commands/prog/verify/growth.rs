//! How much costlier programs are for the verifier than they were: by the report of an earlier run.

use super::Report;
use crate::commands::prog::object_file::{read, unreadable};
use crate::failure::Failure;
use bpf_verifier::Facts;
use serde_json::Value;
use std::path::Path;

/// What a program costs the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub processed: u64,
    pub states: u64,
    /// Of the deepest function.
    pub stack: u64,
}

impl Cost {
    pub fn of(facts: &Facts) -> Self {
        let stack = facts.functions.iter().map(|function| function.stack).max().unwrap_or(0);
        Self { processed: facts.processed.into(), states: facts.states.into(), stack: stack.into() }
    }

    fn of_report(cost: &Value) -> Option<Self> {
        let functions = cost["functions"].as_array()?;
        let stack = functions.iter().filter_map(|function| function["stack"].as_u64()).max();
        Some(Self {
            processed: cost["processed"].as_u64()?,
            states: cost["states"].as_u64()?,
            stack: stack.unwrap_or(0),
        })
    }

    /// What is more than it was: name, before, now.
    pub fn grown_since(&self, before: &Self) -> Vec<(&'static str, u64, u64)> {
        let all = [
            ("processed", before.processed, self.processed),
            ("states", before.states, self.states),
            ("stack", before.stack, self.stack),
        ];
        all.into_iter().filter(|(_, before, now)| now > before).collect()
    }

    /// By how many percent more instructions are looked at; 0 if it isn't more.
    pub fn percent_since(&self, before: &Self) -> f64 {
        let more = self.processed.saturating_sub(before.processed);
        more as f64 * 100.0 / before.processed.max(1) as f64
    }
}

/// The programs of an earlier report, with what they cost then.
pub struct Baseline {
    /// File, program, cost; without a cost it wasn't accepted.
    programs: Vec<(String, String, Option<Cost>)>,
}

impl Baseline {
    /// Reads what `verify -o json` wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(&read(path)?).map_err(|error| {
            unreadable(path, &format!("it is no report of `skep prog verify -o json`: {error}"))
        })?;
        Self::of(&value)
            .ok_or_else(|| unreadable(path, &"it is no report of `skep prog verify -o json`"))
    }

    fn of(value: &Value) -> Option<Self> {
        let mut programs = Vec::new();
        for entry in value.as_array()? {
            let file = entry["file"].as_str()?.to_owned();
            // Files that could not be read have no programs.
            let Some(program) = entry["program"].as_str() else { continue };
            programs.push((file, program.to_owned(), Cost::of_report(&entry["cost"])));
        }
        Some(Self { programs })
    }

    /// By file and name; a build in another folder is known by the file's own name.
    pub fn cost(&self, file: &str, program: &str) -> Option<Cost> {
        let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
        let known = || self.programs.iter().filter(|(_, known, _)| known == program);
        let found = known()
            .find(|(known, ..)| known == file)
            .or_else(|| known().find(|(known, ..)| name(known) == name(file)))?;
        found.2
    }
}

/// Gives each program of the report what it cost before.
pub fn compare(report: &mut Report, baseline: &Baseline) {
    for judged in &mut report.judged {
        judged.before = baseline.cost(&judged.file, &judged.program);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn programs_of_an_earlier_report() {
        let cost = json!({ "processed": 100, "states": 4, "functions": [{ "stack": 8 }, { "stack": 24 }] });
        let baseline = Baseline::of(&json!([
            { "file": "a/x.o", "program": "one", "cost": cost },
            { "file": "a/x.o", "program": "two", "verdict": "refused" },
            { "file": "broken.o", "verdict": "unreadable" },
        ]))
        .unwrap();
        let before = Cost { processed: 100, states: 4, stack: 24 };
        for (file, program, expected) in [
            ("a/x.o", "one", Some(before)),
            ("b/x.o", "one", Some(before)),
            ("b/y.o", "one", None),
            ("a/x.o", "two", None),
            ("a/x.o", "three", None),
        ] {
            assert_eq!(baseline.cost(file, program), expected, "{file} {program}");
        }
        let now = Cost { processed: 150, states: 4, stack: 32 };
        assert_eq!(now.grown_since(&before), [("processed", 100, 150), ("stack", 24, 32)]);
        assert_eq!((now.percent_since(&before), before.percent_since(&now)), (50.0, 0.0));
        assert!(Baseline::of(&json!({})).is_none() && Baseline::of(&json!([1])).is_none());
    }
}

//! All outcomes, counted by file and by cause.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::agreement::{self, Relation};
use super::engine::Answer;
use super::expectation::Side;

/// What came of one test in one of the two ways to run it.
#[derive(Debug)]
pub struct Outcome {
    pub file: String,
    pub test: String,
    pub privileged: bool,
    pub expected: Side,
    pub answer: Answer,
    pub took: Option<Duration>,
}

impl Outcome {
    pub fn relation(&self) -> Relation {
        agreement::relation(&self.expected, &self.answer)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.relation() {
            Relation::Agrees => "agrees",
            Relation::FalseRefusal => "FALSE REFUSAL",
            Relation::FalseAccept { memory: true } => "FALSE ACCEPT (memory)",
            Relation::FalseAccept { memory: false } => "FALSE ACCEPT",
            Relation::NotModelled => "not modelled",
            Relation::Broken => "BROKEN",
        };
        let side = if self.privileged { "" } else { " @unpriv" };
        write!(f, "{}/{}{side}: {what}: expected ", self.file, self.test)?;
        match (self.expected.accepted, self.expected.messages.last()) {
            (true, _) => write!(f, "accepted")?,
            (false, None) => write!(f, "refused")?,
            (false, Some(message)) => write!(f, "refused `{message}`")?,
        }
        match &self.answer {
            Answer::Accepted { processed } => {
                write!(f, ", got accepted ({processed} instructions)")
            }
            Answer::Refused { rule: Some(rule), message } => write!(f, ", got {rule} `{message}`"),
            Answer::Refused { rule: None, message } => write!(f, ", got refused `{message}`"),
            Answer::NotModelled(what) | Answer::Broken(what) => write!(f, ", got: {what}"),
        }
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    outcomes: Vec<Outcome>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    agree: usize,
    refused: usize,
    accepted: usize,
    not_modelled: usize,
    broken: usize,
}

impl Counts {
    fn add(&mut self, relation: Relation) {
        self.all += 1;
        match relation {
            Relation::Agrees => self.agree += 1,
            Relation::FalseRefusal => self.refused += 1,
            Relation::FalseAccept { .. } => self.accepted += 1,
            Relation::NotModelled => self.not_modelled += 1,
            Relation::Broken => self.broken += 1,
        }
    }

    fn share(&self) -> f64 {
        100.0 * self.agree as f64 / self.all.max(1) as f64
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} {:>6} {:>6.1}% {:>8} {:>8} {:>8} {:>7}",
            self.all,
            self.agree,
            self.share(),
            self.refused,
            self.accepted,
            self.not_modelled,
            self.broken
        )
    }
}

const COLUMNS: &str = "tests  agree             false    false      not  broken\n\
                       \u{20}                                refusal   accept modelled";

impl Tally {
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// The share of the privileged tests that agree, in percent.
    pub fn agreement(&self) -> f64 {
        self.counts(|outcome| outcome.privileged).share()
    }

    fn counts(&self, filter: impl Fn(&Outcome) -> bool) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.outcomes.iter().filter(|outcome| filter(outcome)) {
            counts.add(outcome.relation());
        }
        counts
    }

    fn by_file(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: BTreeMap<&str, Counts> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.privileged) {
            files.entry(&outcome.file).or_default().add(outcome.relation());
        }
        writeln!(f, "\nfiles that don't agree wholly (privileged)\n{:<45}{COLUMNS}", "")?;
        for (file, counts) in files.iter().filter(|(_, counts)| counts.agree < counts.all) {
            writeln!(f, "{file:<44} {counts}")?;
        }
        Ok(())
    }

    fn by_cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes: BTreeMap<(Relation, String), usize> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.privileged) {
            let relation = outcome.relation();
            if let Some(cause) = cause(outcome) {
                *causes.entry((relation, cause)).or_default() += 1;
            }
        }
        let mut causes: Vec<_> = causes.into_iter().collect();
        causes.sort_by_key(|((relation, _), count)| (*relation, usize::MAX - count));
        writeln!(f, "\ncauses (privileged)")?;
        for ((relation, cause), count) in causes {
            let name = match relation {
                Relation::Agrees => continue,
                Relation::FalseRefusal => "false refusal",
                Relation::FalseAccept { memory: true } => "false accept, memory",
                Relation::FalseAccept { memory: false } => "false accept",
                Relation::NotModelled => "not modelled",
                Relation::Broken => "broken",
            };
            writeln!(f, "{count:>5} {name}: {cause}")?;
        }
        Ok(())
    }

    /// How near our counts of processed instructions are to another engine's, where both accept.
    pub fn compare_processed(&self, other: &Self) -> String {
        let mut theirs: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for outcome in &other.outcomes {
            if let Answer::Accepted { processed } = outcome.answer {
                theirs.insert((&outcome.file, &outcome.test), processed);
            }
        }
        let (mut both, mut near, mut equal) = (0, 0, 0);
        let mut farthest: Option<(f64, String)> = None;
        for outcome in self.outcomes.iter().filter(|outcome| outcome.privileged) {
            let Answer::Accepted { processed } = outcome.answer else { continue };
            let Some(&expected) = theirs.get(&(outcome.file.as_str(), outcome.test.as_str()))
            else {
                continue;
            };
            both += 1;
            let ratio = f64::from(processed) / f64::from(expected.max(1));
            equal += usize::from(processed == expected);
            near += usize::from((0.9..=1.1).contains(&ratio));
            let distance = ratio.ln().abs();
            if farthest.as_ref().is_none_or(|(most, _)| distance > *most) {
                let name = format!("{}/{}", outcome.file, outcome.test);
                farthest = Some((distance, format!("{name}: {processed} for {expected}")));
            }
        }
        let farthest = farthest.map(|(_, text)| format!(", farthest {text}")).unwrap_or_default();
        format!("processed instructions: {equal} of {both} equal, {near} within 10%{farthest}")
    }

    /// What doesn't agree, as rows of a table.
    pub fn table(&self) -> String {
        let mut rows = String::from("| test | expected | our answer |\n|---|---|---|\n");
        for outcome in &self.outcomes {
            if !outcome.privileged || outcome.relation() == Relation::Agrees {
                continue;
            }
            let expected = match (outcome.expected.accepted, outcome.expected.messages.last()) {
                (true, _) => "accepted".to_owned(),
                (false, None) => "refused".to_owned(),
                (false, Some(message)) => format!("refused: {message}"),
            };
            let answer = match &outcome.answer {
                Answer::Accepted { .. } => "accepted".to_owned(),
                Answer::Refused { message, .. } => format!("refused: {message}"),
                Answer::NotModelled(what) => format!("not modelled: {what}"),
                Answer::Broken(what) => what.clone(),
            };
            let [expected, answer] = [expected, answer].map(|text| text.replace('|', "\\|"));
            rows += &format!("| {}/{} | {expected} | {answer} |\n", outcome.file, outcome.test);
        }
        rows
    }

    fn times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times: Vec<(Duration, &Outcome)> =
            self.outcomes.iter().filter_map(|outcome| Some((outcome.took?, outcome))).collect();
        times.sort_by_key(|(took, _)| *took);
        let (Some((median, _)), Some((most, slowest))) = (times.get(times.len() / 2), times.last())
        else {
            return Ok(());
        };
        let build = if cfg!(debug_assertions) { ", in a debug build" } else { "" };
        writeln!(
            f,
            "time: median {median:.1?}, longest {most:.1?} ({}/{}){build}",
            slowest.file, slowest.test
        )
    }
}

/// What tests have in common that don't agree: the message or the gap, without its numbers.
fn cause(outcome: &Outcome) -> Option<String> {
    match (outcome.relation(), &outcome.answer) {
        (Relation::Agrees, _) => None,
        (_, Answer::Refused { rule, message }) => {
            let rule = rule.map(|rule| format!("{rule} ")).unwrap_or_default();
            Some(rule + &without_numbers(message))
        }
        (_, Answer::NotModelled(what) | Answer::Broken(what)) => Some(without_numbers(what)),
        (_, Answer::Accepted { .. }) => {
            let message = outcome.expected.messages.last();
            Some(message.map_or_else(|| "no message".to_owned(), |text| without_numbers(text)))
        }
    }
}

fn without_numbers(text: &str) -> String {
    let mut result = String::new();
    for character in text.chars() {
        if !character.is_ascii_digit() {
            result.push(character);
        } else if !result.ends_with('#') {
            result.push('#');
        }
    }
    result
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_file(f)?;
        self.by_cause(f)?;
        writeln!(f, "\n{:<45}{COLUMNS}", "")?;
        writeln!(f, "{:<44} {}", "privileged", self.counts(|outcome| outcome.privileged))?;
        let good = self.counts(|outcome| outcome.privileged && outcome.expected.accepted);
        let bad = self.counts(|outcome| outcome.privileged && !outcome.expected.accepted);
        writeln!(f, "{:<44} {good}", "  good")?;
        writeln!(f, "{:<44} {bad}", "  bad")?;
        writeln!(f, "{:<44} {}", "unprivileged", self.counts(|outcome| !outcome.privileged))?;
        let said: Vec<bool> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.privileged)
            .filter_map(|outcome| agreement::says_the_same(&outcome.expected, &outcome.answer))
            .collect();
        let same = said.iter().filter(|same| **same).count();
        writeln!(f, "messages: {same} of {} rightly refused are worded as expected", said.len())?;
        let unsound = Relation::FalseAccept { memory: true };
        let unsound: Vec<_> = self.outcomes.iter().filter(|o| o.relation() == unsound).collect();
        writeln!(f, "false accepts of memory-safety failures: {}", unsound.len())?;
        for outcome in unsound {
            let side = if outcome.privileged { "" } else { " @unpriv" };
            writeln!(f, "  {}/{}{side}", outcome.file, outcome.test)?;
        }
        self.times(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_no_numbers() {
        assert_eq!(without_numbers("R10 off=-8 0x1f"), "R# off=-# #x#f");
    }
}

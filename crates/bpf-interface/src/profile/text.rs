//! The text form of a profile: `key: values`, or `key type: values`.

use std::{collections::BTreeSet, fmt};

use bpf_object::{AttachType, MapType, ProgramType};

use super::Profile;
use crate::{feature::Ability, version::Version};

const TITLE: &str = "# What a Linux kernel offers to eBPF programs (skep profile, format 1)";

/// A line that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}")?;
        writeln!(f, "release: {}", self.release)?;
        writeln!(f, "version: {}", self.version)?;
        writeln!(f, "source: {}", self.source)?;
        writeln!(f, "abilities: {}", joined(self.abilities.iter().map(|one| one.name())))?;
        writeln!(f, "programs: {}", joined(self.programs.iter().map(|one| name(one, one.0))))?;
        writeln!(f, "attach: {}", joined(self.attaches.iter().map(|one| name(one, one.0))))?;
        writeln!(f, "maps: {}", joined(self.maps.iter().map(|one| name(one, one.0))))?;
        for (program, helpers) in &self.helpers {
            writeln!(f, "helpers {}: {}", name(program, program.0), ranges(helpers))?;
        }
        let common = self.common_functions();
        for (program, functions) in &self.functions {
            let own = joined(functions.difference(&common));
            writeln!(f, "functions {}: {own}", name(program, program.0))?;
        }
        if common.is_empty() { Ok(()) } else { writeln!(f, "functions all: {}", joined(common)) }
    }
}

/// Numbers without a name are written as numbers.
fn name(known: &dyn fmt::Display, number: u32) -> String {
    let name = known.to_string();
    if name.contains(' ') { number.to_string() } else { name }
}

fn joined<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
}

/// `1-3 5 7-9`
fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    joined(parts.iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }))
}

impl Profile {
    /// Those that programs of all types may call.
    fn common_functions(&self) -> BTreeSet<String> {
        let mut all = self.functions.values();
        let first = all.next().cloned().unwrap_or_default();
        all.fold(first, |common, one| common.intersection(one).cloned().collect())
    }

    /// Reads the text form. Lines that begin with `#` are left out.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut profile = Self::new("", Version::new(0, 0), "");
        let mut has_version = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |reason: String| ParseError { line: index + 1, reason };
            let (key, values) = line
                .split_once(':')
                .ok_or_else(|| error("there is no colon behind a key".to_owned()))?;
            let values = values.trim();
            has_version |= key == "version";
            profile.read(key, values).map_err(error)?;
        }
        if has_version {
            Ok(profile)
        } else {
            Err(ParseError { line: text.lines().count(), reason: "there is no version".to_owned() })
        }
    }

    fn read(&mut self, key: &str, values: &str) -> Result<(), String> {
        match key {
            "release" => values.clone_into(&mut self.release),
            "source" => values.clone_into(&mut self.source),
            "version" => self.version = values.parse().map_err(|e| format!("{e}"))?,
            // Abilities that a newer Skep has found are of no use to this one.
            "abilities" => {
                self.abilities.extend(values.split_whitespace().filter_map(Ability::from_name))
            }
            "programs" => self.programs = each(values, program)?,
            "attach" => {
                self.attaches = each(values, |word| {
                    number(word, AttachType::from_name, AttachType, "attach type")
                })?;
            }
            "maps" => {
                self.maps =
                    each(values, |word| number(word, MapType::from_name, MapType, "map type"))?;
            }
            _ => match key.split_once(' ') {
                Some(("helpers", of)) => {
                    self.helpers.insert(program(of)?, numbers(values)?);
                }
                // The types come before it.
                Some(("functions", "all")) => {
                    for functions in self.functions.values_mut() {
                        functions.extend(values.split_whitespace().map(str::to_owned));
                    }
                }
                Some(("functions", of)) => {
                    let names = values.split_whitespace().map(str::to_owned).collect();
                    self.functions.insert(program(of)?, names);
                }
                _ => return Err(format!("`{key}` is not a key of profiles")),
            },
        }
        Ok(())
    }
}

fn each<T: Ord>(
    values: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<BTreeSet<T>, String> {
    values.split_whitespace().map(read).collect()
}

fn program(word: &str) -> Result<ProgramType, String> {
    number(word, ProgramType::from_name, ProgramType, "program type")
}

fn number<T>(
    word: &str,
    by_name: impl Fn(&str) -> Option<T>,
    by_number: impl Fn(u32) -> T,
    what: &str,
) -> Result<T, String> {
    by_name(word)
        .or_else(|| word.parse().ok().map(by_number))
        .ok_or_else(|| format!("`{word}` is no {what}"))
}

/// No kernel has so many helpers; a file that says so is damaged.
const MOST_HELPERS: u32 = 10_000;

fn numbers(values: &str) -> Result<BTreeSet<u32>, String> {
    let mut all = BTreeSet::new();
    for word in values.split_whitespace() {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last < MOST_HELPERS => {
                all.extend(first..=last);
            }
            _ => return Err(format!("`{word}` is no number or range of helpers")),
        }
    }
    Ok(all)
}

//! `cargo xtask tidy`: the rules of this repository that neither rustc nor clippy knows.
//!
//! Each submodule holds one kind of rule, with its table at the top, so that an exception is an
//! edit of a table that a reviewer sees. The checks are pure; only this file reads the disk.

mod edges;
mod layers;
mod lexer;
mod metadata;
mod provenance;
mod sources;

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace;
use metadata::Metadata;

/// Something against a rule. Where it is, what is wrong and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A path relative to the workspace, or the name of a crate.
    pub place: String,
    pub line: Option<usize>,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Warning,
    Problem,
}

impl Finding {
    pub fn problem(place: impl Into<String>, line: Option<usize>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, place: place.into(), line, text: text.into() }
    }

    pub fn warning(place: impl Into<String>, line: Option<usize>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place: place.into(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        };
        write!(f, "{severity}: {}", self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)
    }
}

pub fn run() -> Result<()> {
    let metadata = Metadata::read()?;
    let members = metadata.members();
    let mut findings = edges::check(&members);
    findings.extend(provenance::check(&metadata.packages));
    for member in &members {
        findings.extend(sources::check_manifest(member, &read(&member.manifest)?));
    }
    for path in tracked_files()? {
        // What isn't UTF-8 is no text. A tracked file may be deleted in the working tree.
        let Ok(text) = fs::read_to_string(workspace::root().join(&path)) else { continue };
        findings.extend(sources::check_text(&path, &text));
        if path.ends_with(".rs") {
            findings.extend(sources::check_rust(&path, &text, &members));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (warnings, problems) = (count(Severity::Warning), count(Severity::Problem));
    let suffix = if warnings == 0 { String::new() } else { format!(", {warnings} warnings") };
    println!("tidy: {} crates, {problems} problems{suffix}", members.len());
    if problems > 0 {
        bail!("the rules are explained in CONTRIBUTING.md");
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| path.to_owned())
}

/// What git has or would have, relative to the root.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args(["ls-files", "-z"]);
    git.args(["--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let list = workspace::output(&mut git).context("tidy looks at what git tracks")?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

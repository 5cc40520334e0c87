//! What is wrong with a text that a user wrote, where, and what to do.

mod excerpt;
mod render;

pub(crate) use excerpt::clean;
pub use render::{render, render_all};

use model::Origin;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is not applied.
    Error,
    /// The object is applied, but part of it has no effect.
    Warning,
    Note,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One finding. Plain data, so that the API can carry it and a client that has the text can
/// render it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// One line, without a full stop.
    pub message: String,
    /// As the user named it.
    pub file: String,
    /// From 1; 0 if the finding is about the file as a whole.
    pub line: u32,
    /// In characters, from 1; 0 if the finding is about the file as a whole.
    pub column: u32,
    /// How many bytes of the line, from the column on, it is about.
    pub length: u32,
    /// Stands under the marked text; may be empty.
    pub label: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding about a file as a whole.
    pub fn about_file(severity: Severity, file: impl Into<String>, message: String) -> Self {
        Diagnostic {
            severity,
            message: clean(message),
            file: file.into(),
            line: 0,
            column: 0,
            length: 0,
            label: String::new(),
            help: None,
        }
    }

    pub fn at(severity: Severity, origin: &Origin, length: u32, message: String) -> Self {
        Diagnostic {
            line: origin.line,
            column: origin.column,
            length,
            ..Diagnostic::about_file(severity, origin.file.as_ref(), message)
        }
    }

    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = clean(label.into());
        self
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(clean(help.into()));
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One line, for logs: `web.yaml:7:3: error: unknown field ...: did you mean ...`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: {}", self.severity, self.message)?;
        for more in [Some(&self.label), self.help.as_ref()].into_iter().flatten() {
            if !more.is_empty() {
                write!(f, "; {more}")?;
            }
        }
        Ok(())
    }
}

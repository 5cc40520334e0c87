//! Printing: where to, with or without colour, in which format.

pub mod diagnostic;
pub mod flow;
pub mod table;

pub use table::{Cell, Table};

use crate::failure::Failure;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

/// What a piece of text is, rather than which colour it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    /// Less important.
    Faint,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub color: bool,
}

impl Style {
    #[cfg(test)]
    pub const PLAIN: Style = Style { color: false };

    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Heading => "1",
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Plain => return text.to_owned(),
        };
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Standard output and standard error.
#[derive(Debug)]
pub struct Screen {
    output: Style,
    error: Style,
}

impl Screen {
    pub fn new(color: Color) -> Self {
        let style = |is_terminal: bool| Style {
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => is_terminal && wants_color(),
            },
        };
        Screen {
            output: style(io::stdout().is_terminal()),
            error: style(io::stderr().is_terminal()),
        }
    }

    pub fn style(&self) -> Style {
        self.output
    }

    pub fn error_style(&self) -> Style {
        self.error
    }

    pub fn print(&self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut output = io::stdout().lock();
        output.write_all(bytes)?;
        output.flush()?;
        Ok(())
    }

    /// On standard error. If even that can't be written there is no one left to tell.
    pub fn complain(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    pub fn print_json(&self, value: &Value) -> Result<(), Failure> {
        self.print(&format!("{value:#}\n"))
    }

    pub fn print_yaml(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_saphyr::to_string(value)
            .map_err(|error| Failure::Output(io::Error::other(error)))?;
        self.print(&format!("{}\n", text.trim_end()))
    }
}

/// The convention of no-color.org, and terminals that can't.
fn wants_color() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The JSON form of each message.
pub fn values<M: prost::Message + prost::Name>(messages: &[M]) -> Result<Value, Failure> {
    let values: Result<_, _> = messages.iter().map(api::json::to_value).collect();
    Ok(Value::Array(values?))
}

/// Names of processes and files are chosen by whoever runs them: control characters in them must
/// not reach the terminal.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let escape = |c: char| {
            if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
        };
        Cow::Owned(text.chars().map(escape).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// `namespace/name`, or the name alone.
pub fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// `a=1,b=2`, or `-`.
pub fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_dash(pairs.join(","))
}

pub fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `file:line`, or `-`.
pub fn place(file: &str, line: u32) -> String {
    match (file, line) {
        ("", _) => "-".to_owned(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_are_shown() {
        assert_eq!(super::visible("plain ü"), "plain ü");
        assert_eq!(super::visible("a\x1b[31m\tb"), "a\\u{1b}[31m\\tb");
    }
}

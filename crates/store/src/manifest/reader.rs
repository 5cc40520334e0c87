//! A walk over located nodes that turns them into typed values and collects what is wrong.
//! Every step answers with an `Option`: `None` after a problem was reported, so that the walk goes
//! on and finds the next one.

use super::node::{Entry, Node, Place, Scalar, Value};
use super::selector::shorten;
use super::suggest::nearest;
use crate::diagnostic::{Diagnostic, Severity, clean};
use model::Origin;
use std::fmt::Display;
use std::sync::Arc;

pub struct Reader<'t> {
    file: Arc<str>,
    text: &'t str,
    /// How many lines of its file stand before the text.
    lines_before: u32,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    pub fn new(file: &str, text: &'t str, lines_before: u32) -> Self {
        Reader { file: file.into(), text, lines_before, diagnostics: Vec::new() }
    }

    pub fn origin(&self, place: Place) -> Origin {
        Origin {
            file: Arc::clone(&self.file),
            line: place.line.saturating_add(self.lines_before),
            column: place.column,
        }
    }

    pub fn report(&mut self, severity: Severity, place: Place, message: impl Display) -> Draft<'_> {
        let marked = self.text.get(place.start..place.end).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default();
        let length = u32::try_from(marked.trim_end().len()).unwrap_or(u32::MAX);
        let origin = self.origin(place);
        let index = self.diagnostics.len();
        self.diagnostics.push(Diagnostic::at(severity, &origin, length, message.to_string()));
        Draft(&mut self.diagnostics[index])
    }

    pub fn error(&mut self, place: Place, message: impl Display) -> Draft<'_> {
        self.report(Severity::Error, place, message)
    }

    pub fn warn(&mut self, place: Place, message: impl Display) -> Draft<'_> {
        self.report(Severity::Warning, place, message)
    }

    fn wrong_type(&mut self, node: &Node, name: &str, wanted: &str) {
        let found = node.describe();
        let quote = match (&node.value, wanted) {
            (Value::Scalar { text, quoted: false }, "text") if !text.is_empty() => {
                Some(format!("write \"{}\" in quotes", shorten(text)))
            }
            _ => None,
        };
        let draft = self
            .error(node.place, format_args!("`{name}` must be {wanted}"))
            .label(format_args!("this is {found}"));
        if let Some(quote) = quote {
            draft.help(quote);
        }
    }

    pub fn text<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n str> {
        match node.scalar() {
            Some(Scalar::Text(text)) => Some(text),
            _ => {
                self.wrong_type(node, name, "text");
                None
            }
        }
    }

    pub fn flag(&mut self, node: &Node, name: &str) -> Option<bool> {
        match node.scalar() {
            Some(Scalar::Bool(flag)) => Some(flag),
            _ => {
                self.wrong_type(node, name, "true or false");
                None
            }
        }
    }

    /// A port number, 1 to 65535.
    pub fn port(&mut self, node: &Node, name: &str) -> Option<u16> {
        match node.scalar() {
            Some(number @ (Scalar::Integer(_) | Scalar::Float)) => {
                let port = match number {
                    Scalar::Integer(Some(n)) => u16::try_from(n).ok().filter(|port| *port > 0),
                    _ => None,
                };
                if port.is_none() {
                    self.error(node.place, format_args!("`{name}` is not a port"))
                        .label("ports are whole numbers, 1 to 65535");
                }
                port
            }
            _ => {
                self.wrong_type(node, name, "a port number");
                None
            }
        }
    }

    pub fn items<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::Sequence(items) => Some(items),
            _ => {
                self.wrong_type(node, name, "a list");
                None
            }
        }
    }

    pub fn mapping<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Mapping(entries) => Some(entries),
            _ => {
                self.wrong_type(node, name, "a mapping");
                None
            }
        }
    }

    pub fn fields<'n>(&mut self, node: &'n Node, name: &str) -> Option<Fields<'n>> {
        let entries = self.mapping(node, name)?;
        Some(Fields { place: node.place, entries, known: Vec::new(), reported: Vec::new() })
    }
}

/// A diagnostic just reported, to be completed.
pub struct Draft<'r>(&'r mut Diagnostic);

impl Draft<'_> {
    pub fn label(self, label: impl Display) -> Self {
        self.0.label = clean(label.to_string());
        self
    }

    pub fn help(self, help: impl Display) -> Self {
        self.0.help = Some(clean(help.to_string()));
        self
    }
}

/// A mapping with a fixed set of fields. `finish` reports those nobody asked for.
pub struct Fields<'n> {
    pub place: Place,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    /// Unknown fields that were reported before the end.
    reported: Vec<&'n str>,
}

fn unknown(entry: &Entry) -> String {
    format!("unknown field `{}`", shorten(&entry.key))
}

impl<'n> Fields<'n> {
    pub fn entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.known.push(name);
        self.entries.iter().find(|entry| &*entry.key == name)
    }

    /// The value of a field; `null` is the same as leaving it out.
    pub fn optional(&mut self, name: &'static str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    pub fn required(&mut self, reader: &mut Reader, name: &'static str) -> Option<&'n Node> {
        let entry = self.entry(name);
        let value = entry.map(|entry| &entry.value).filter(|value| !value.is_null());
        if let (None, Some(entry)) = (value, entry) {
            reader.error(entry.key_place, format_args!("field `{name}` is empty"));
        } else if value.is_none() {
            // A misspelt field is reported once, as what it is.
            let misspelt = self.entries.iter().find(|entry| {
                !self.known.contains(&&*entry.key) && nearest(&entry.key, &[name]).is_some()
            });
            match misspelt {
                Some(entry) => {
                    reader
                        .error(entry.key_place, unknown(entry))
                        .label(format_args!("did you mean `{name}`?"));
                    self.reported.push(&entry.key);
                }
                None => drop(reader.error(self.place, format_args!("field `{name}` is missing"))),
            }
        }
        value
    }

    /// Fields that are right but mean nothing to Skep.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    pub fn finish(self, reader: &mut Reader) {
        for entry in self.entries {
            if self.known.contains(&&*entry.key) || self.reported.contains(&&*entry.key) {
                continue;
            }
            let draft = reader.error(entry.key_place, unknown(entry));
            if let Some(near) = nearest(&entry.key, &self.known) {
                draft.label(format_args!("did you mean `{near}`?"));
            } else {
                let mut known = self.known.clone();
                known.sort_unstable();
                draft.help(format_args!("fields here are: {}", known.join(", ")));
            }
        }
    }
}

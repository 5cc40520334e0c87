//! Diagnostics with the line they speak of.

use super::Style;
use api::v1::{Diagnostic, File, diagnostic::Severity};
use codespan_reporting::diagnostic as report;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::{self, Config, termcolor};
use std::ops::Range;

/// What was found in a manifest that was read here, not by the agent.
pub fn of_manifest(found: &store::Diagnostic) -> Diagnostic {
    let severity = match found.severity {
        store::Severity::Error => Severity::Error,
        _ => Severity::Warning,
    };
    Diagnostic {
        severity: severity.into(),
        file: found.file.clone(),
        line: found.line,
        column: found.column,
        end_column: found.column + found.length,
        message: found.message.clone(),
        label: found.label.clone(),
        help: found.help.clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// All of them, each followed by an empty line if more follow. `files` are those that were sent.
pub fn render(diagnostics: &[Diagnostic], files: &[File], style: Style) -> String {
    let texts: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| one(diagnostic, files, style).trim_end().to_owned() + "\n")
        .collect();
    texts.join("\n")
}

fn one(diagnostic: &Diagnostic, files: &[File], style: Style) -> String {
    let file = files.iter().find(|file| file.name == diagnostic.file);
    let text = match file {
        Some(file) => file.text.clone(),
        // Just as many lines as are needed to show the one in question with its number.
        None if diagnostic.line > 0 && !diagnostic.source_line.is_empty() => {
            let before = diagnostic.line.min(100_000) - 1;
            "\n".repeat(before as usize) + &diagnostic.source_line
        }
        None => String::new(),
    };
    let name = if diagnostic.file == "-" { "standard input" } else { diagnostic.file.as_str() };
    let mut message = diagnostic.message.clone();
    let span = span(diagnostic, &text);
    if span.is_none() && !name.is_empty() {
        message = format!("{message} ({})", super::place(name, diagnostic.line));
    }
    let severity = match diagnostic.severity() {
        Severity::Warning => report::Severity::Warning,
        Severity::Error | Severity::Unknown => report::Severity::Error,
    };
    let mut out = report::Diagnostic::new(severity).with_message(message);
    if let Some(span) = span {
        out = out.with_label(report::Label::primary((), span).with_message(&diagnostic.label));
    } else if !diagnostic.label.is_empty() {
        out = out.with_note(&diagnostic.label);
    }
    if !diagnostic.help.is_empty() {
        out = out.with_note(format!("help: {}", diagnostic.help));
    }
    let source = SimpleFile::new(name, text);
    let mut buffer =
        if style.color { termcolor::Buffer::ansi() } else { termcolor::Buffer::no_color() };
    match term::emit_to_write_style(&mut buffer, &Config::default(), &source, &out) {
        Ok(()) => String::from_utf8_lossy(buffer.as_slice()).into_owned(),
        Err(_) => format!("{}: {}\n", out.severity_name(), out.message),
    }
}

trait SeverityName {
    fn severity_name(&self) -> &'static str;
}

impl SeverityName for report::Diagnostic<()> {
    fn severity_name(&self) -> &'static str {
        if self.severity == report::Severity::Warning { "warning" } else { "error" }
    }
}

/// Bytes of the text that the diagnostic marks: lines and columns count from 1, columns in
/// characters. None if the text has no such place.
fn span(diagnostic: &Diagnostic, text: &str) -> Option<Range<usize>> {
    let index = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
    if text.is_empty() {
        return None;
    }
    let start = text.split_inclusive('\n').take(index).map(str::len).sum::<usize>();
    let line = text[start..].split_inclusive('\n').next().unwrap_or("").trim_end();
    if start >= text.len() && index > 0 && !text.ends_with('\n') {
        return None;
    }
    let offset = |column: u32| {
        let characters = (column as usize).saturating_sub(1);
        line.char_indices().nth(characters).map_or(line.len(), |(position, _)| position)
    };
    let first = offset(diagnostic.column);
    let last = if diagnostic.end_column > diagnostic.column {
        offset(diagnostic.end_column)
    } else {
        offset(diagnostic.column.saturating_add(1))
    };
    Some(start + first..start + last.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misspelt() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error.into(),
            file: "web.yaml".into(),
            line: 2,
            column: 3,
            end_column: 14,
            message: "unknown field `podSelecter`".into(),
            label: "did you mean `podSelector`?".into(),
            ..Default::default()
        }
    }

    #[test]
    fn with_the_file() {
        let file = File { name: "web.yaml".into(), text: "spec:\n  podSelecter: {}\n".into() };
        let mut warning = misspelt();
        warning.severity = Severity::Warning.into();
        warning.help = "see `skep apply --help`".into();
        let both = [misspelt(), warning];
        insta::assert_snapshot!(render(&both, &[file], Style::PLAIN), @r#"
        error: unknown field `podSelecter`
          ┌─ web.yaml:2:3
          │
        2 │   podSelecter: {}
          │   ^^^^^^^^^^^ did you mean `podSelector`?

        warning: unknown field `podSelecter`
          ┌─ web.yaml:2:3
          │
        2 │   podSelecter: {}
          │   ^^^^^^^^^^^ did you mean `podSelector`?
          │
          = help: see `skep apply --help`
        "#);
    }

    #[test]
    fn with_the_line_alone() {
        let mut diagnostic = misspelt();
        diagnostic.line = 12;
        diagnostic.source_line = "  podSelecter: {}".into();
        insta::assert_snapshot!(render(&[diagnostic], &[], Style::PLAIN), @r#"
        error: unknown field `podSelecter`
           ┌─ web.yaml:12:3
           │
        12 │   podSelecter: {}
           │   ^^^^^^^^^^^ did you mean `podSelector`?
        "#);
    }

    #[test]
    fn without_text_or_place() {
        let mut nowhere = misspelt();
        (nowhere.file, nowhere.line) = (String::new(), 0);
        insta::assert_snapshot!(render(&[misspelt(), nowhere], &[], Style::PLAIN), @r#"
        error: unknown field `podSelecter` (web.yaml:2)
         = did you mean `podSelector`?

        error: unknown field `podSelecter`
         = did you mean `podSelector`?
        "#);
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        for (line, column, end_column) in [
            (1, 99, 2),
            (2, 1, 1),
            (3, 1, 5),
            (9, 9, 9),
            (u32::MAX, u32::MAX - 1, u32::MAX),
            (1, 0, 0),
        ] {
            for text in ["", "a: ü\n", "a: ü\nb"] {
                let file = File { name: "web.yaml".into(), text: text.into() };
                let diagnostic = Diagnostic { line, column, end_column, ..misspelt() };
                let rendered = render(&[diagnostic], &[file], Style::PLAIN);
                assert!(rendered.starts_with("error: unknown field"), "{rendered}");
            }
        }
    }
}

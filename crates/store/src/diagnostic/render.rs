//! Diagnostics as people read them.

use super::excerpt::Excerpt;
use super::{Diagnostic, Severity};
use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::{self, Config, Styles, StylesWriter, termcolor::Buffer};

/// Renders one diagnostic, with the marked line if `text` (of the file it names) is at hand.
pub fn render(diagnostic: &Diagnostic, text: Option<&str>, colour: bool) -> String {
    let line = text.and_then(|text| {
        let number = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
        text.split('\n').nth(number)
    });
    match line {
        Some(line) => with_line(diagnostic, line.trim_end_matches('\r'), colour),
        None => without_line(diagnostic, colour),
    }
}

/// Renders all, one after another; `text` gives the text of a file, if it has it.
pub fn render_all<'t>(
    diagnostics: &[Diagnostic],
    text: impl Fn(&str) -> Option<&'t str>,
    colour: bool,
) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| render(diagnostic, text(&diagnostic.file), colour))
        .collect::<Vec<_>>()
        .join("\n")
}

fn severity(severity: Severity) -> codespan::Severity {
    match severity {
        Severity::Error => codespan::Severity::Error,
        Severity::Warning => codespan::Severity::Warning,
        Severity::Note => codespan::Severity::Note,
    }
}

fn without_line(diagnostic: &Diagnostic, colour: bool) -> String {
    let place = match (diagnostic.file.as_str(), diagnostic.line) {
        ("", _) => None,
        (file, 0) => Some(file.to_owned()),
        (file, line) => Some(format!("{file}:{line}:{}", diagnostic.column)),
    };
    let notes = place
        .map(|place| format!("in {place}"))
        .into_iter()
        .chain((!diagnostic.label.is_empty()).then(|| diagnostic.label.clone()))
        .chain(diagnostic.help.clone())
        .collect();
    let report = codespan::Diagnostic::new(severity(diagnostic.severity))
        .with_message(&diagnostic.message)
        .with_notes(notes);
    emit(&SimpleFile::new("", ""), &report, colour)
}

fn with_line(diagnostic: &Diagnostic, line: &str, colour: bool) -> String {
    let Diagnostic { file, line: number, column, length, .. } = diagnostic;
    let excerpt = Excerpt::new(file, *number, *column, *length, line);
    let label = codespan::Label::primary((), excerpt.marked.clone());
    let report = codespan::Diagnostic::new(severity(diagnostic.severity))
        .with_message(&diagnostic.message)
        .with_label(label.with_message(&diagnostic.label))
        .with_notes(diagnostic.help.iter().cloned().collect());
    emit(&excerpt, &report, colour)
}

fn emit<'f, F>(files: &'f F, report: &codespan::Diagnostic<F::FileId>, colour: bool) -> String
where
    F: codespan_reporting::files::Files<'f>,
{
    let mut buffer = if colour { Buffer::ansi() } else { Buffer::no_color() };
    let styles = Styles::default();
    let mut writer = StylesWriter::new(&mut buffer, &styles);
    let shown = term::emit_to_write_style(&mut writer, &Config::default(), files, report);
    if shown.is_err() {
        return format!("{}\n", report.message);
    }
    compact(&String::from_utf8_lossy(&buffer.into_inner()))
}

/// Leaves out the lines that hold the border alone.
fn compact(rendered: &str) -> String {
    let mut kept = String::with_capacity(rendered.len());
    for line in rendered.lines() {
        let plain = without_colour(line);
        if !matches!(plain.trim(), "" | "│") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn without_colour(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Origin;

    fn sample() -> Diagnostic {
        Diagnostic::at(
            Severity::Error,
            &Origin::new("web.yaml", 2, 3),
            4,
            "unknown field `pört`".into(),
        )
        .with_label("did you mean `port`?")
    }

    #[test]
    fn with_the_text() {
        insta::assert_snapshot!(render(&sample(), Some("spec:\n  pört: 1\n"), false), @r"
        error: unknown field `pört`
          ┌─ web.yaml:2:3
        2 │   pört: 1
          │   ^^^ did you mean `port`?
        ");
    }

    #[test]
    fn without_the_text() {
        insta::assert_snapshot!(render(&sample(), None, false), @r"
        error: unknown field `pört`
         = in web.yaml:2:3
         = did you mean `port`?
        ");
    }

    /// A JSON manifest on one line.
    #[test]
    fn long_lines() {
        let line = format!("{}\u{1b}{}", "äb".repeat(100), "c".repeat(200));
        let diagnostic = Diagnostic { line: 1, column: 201, length: 3, ..sample() };
        insta::assert_snapshot!(render(&diagnostic, Some(&line), false), @r"
        error: unknown field `pört`
          ┌─ web.yaml:1:201
        1 │ …äbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäbäb·ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc…
          │                                                    ^^^ did you mean `port`?
        ");
    }

    #[test]
    fn colour_only_when_asked() {
        let coloured = render(&sample(), Some("spec:\n  pört: 1\n"), true);
        assert!(coloured.contains("\u{1b}["));
        let plain: String = coloured.lines().map(|line| without_colour(line) + "\n").collect();
        assert_eq!(plain, render(&sample(), Some("spec:\n  pört: 1\n"), false));
    }

    #[test]
    fn places_outside_the_text() {
        for (line, column) in [(0, 0), (1, 0), (1, 99), (9, 1), (u32::MAX, u32::MAX)] {
            let diagnostic = Diagnostic { line, column, length: u32::MAX, ..sample() };
            assert!(render(&diagnostic, Some("ä\n"), false).starts_with("error: unknown"));
        }
    }
}

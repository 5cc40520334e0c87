//! The line of a text that a diagnostic marks, fit to be shown.

use codespan_reporting::files::{Error, Files};
use std::ops::Range;

/// Longer lines (JSON is often a single one) are cut around what is marked.
const WIDTH: usize = 140;
/// How much of a cut line stands before what is marked.
const BEFORE: usize = 50;

/// One line, as the whole of a file whose other lines nobody asks for.
pub struct Excerpt<'d> {
    file: &'d str,
    line: u32,
    column: u32,
    text: String,
    pub marked: Range<usize>,
}

impl<'d> Excerpt<'d> {
    /// `column` counts characters from 1, `length` bytes.
    pub fn new(file: &'d str, line: u32, column: u32, length: u32, written: &str) -> Self {
        let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(1);
        let cut = written.chars().nth(WIDTH).is_some();
        let first = if cut { before.saturating_sub(BEFORE) } else { 0 };
        let mut text = String::new();
        if first > 0 {
            text.push('…');
        }
        let mut marked = None;
        // How much of `written` was marked so far: what is shown may be longer or shorter.
        let mut done = 0;
        let mut end = None;
        for (position, character) in written.chars().enumerate().skip(first) {
            if cut && position >= first + WIDTH {
                end = end.or(marked.map(|_| text.len()));
                text.push('…');
                break;
            }
            if position == before {
                marked = Some(text.len());
            }
            if marked.is_some() {
                if done >= length {
                    end = end.or(Some(text.len()));
                }
                done += character.len_utf8();
            }
            text.push(shown(character));
        }
        let start = marked.unwrap_or(text.len());
        let end = end.unwrap_or(text.len()).max(start);
        Excerpt { file, line, column, text, marked: start..end }
    }
}

/// Nothing that a terminal would obey.
fn shown(character: char) -> char {
    if character.is_control() && character != '\t' { '·' } else { character }
}

/// Keeps text of a user to what can stand in a line of a message.
pub fn clean(text: String) -> String {
    if text.chars().any(|c| c.is_control()) {
        text.chars().map(shown_in_line).collect()
    } else {
        text
    }
}

fn shown_in_line(character: char) -> char {
    if character == '\t' { ' ' } else { shown(character) }
}

impl<'a> Files<'a> for Excerpt<'_> {
    type FileId = ();
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(self.file)
    }

    fn source(&'a self, (): ()) -> Result<&'a str, Error> {
        Ok(&self.text)
    }

    fn line_index(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(0)
    }

    fn line_number(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(usize::try_from(self.line).unwrap_or(usize::MAX))
    }

    fn column_number(&'a self, (): (), _: usize, _: usize) -> Result<usize, Error> {
        Ok(usize::try_from(self.column).unwrap_or(usize::MAX))
    }

    fn line_range(&'a self, (): (), _: usize) -> Result<Range<usize>, Error> {
        Ok(0..self.text.len())
    }
}

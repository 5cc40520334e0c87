//! Aligned columns without lines around them.

use super::{Paint, Style, visible};

/// Between columns.
const GAP: usize = 3;

#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub fn new(paint: Paint, text: impl Into<String>) -> Self {
        Cell { text: visible(&text.into()).into_owned(), paint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(Paint::Plain, text)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let headings = headings.map(|heading| Cell::new(Paint::Heading, heading));
        Table { rows: vec![headings.into()], indent: 0 }
    }

    pub fn without_headings() -> Self {
        Table::default()
    }

    pub fn indented(self, indent: usize) -> Self {
        Table { indent, ..self }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub fn render(&self, style: Style) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column| self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            // Blanks are written only before something, so that no line ends in them.
            let mut blanks = self.indent;
            for (cell, width) in row.iter().zip(&widths) {
                if !cell.text.is_empty() {
                    text.extend(std::iter::repeat_n(' ', blanks));
                    text += &style.paint(cell.paint, &cell.text);
                    blanks = 0;
                }
                blanks += width - cell.width() + GAP;
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["web".into(), Cell::new(Paint::Good, "ready"), "".into()]);
        table.row(["übergröße".into(), Cell::new(Paint::Bad, "failed"), "no veth".into()]);
        insta::assert_snapshot!(table.render(Style::PLAIN), @r#"
        NAME        STATE    NOTE
        web         ready
        übergröße   failed   no veth
        "#);
        let colored = table.render(Style { color: true });
        assert!(colored.contains("web         \x1b[32mready\x1b[0m\n"), "{colored:?}");
        assert_eq!(Table::without_headings().indented(2).render(Style::PLAIN), "");
    }
}

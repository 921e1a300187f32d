//! Columns that are aligned without a terminal's help.

/// A table of text: the first column is aligned to the left, the others to the right unless said otherwise.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
    left: Vec<usize>,
}

/// Text, and how it is painted.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

/// Colours of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// None.
    Plain,
    /// Good: green.
    Good,
    /// Bad: red.
    Bad,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Paint {
    /// `text` in this colour, if colours are wanted.
    pub(super) fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Cell {
    /// Text in a colour.
    pub(super) fn new(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint }
    }

    /// Text as it is.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Paint::Plain)
    }
}

impl Table {
    /// An empty one; `left` are the columns that are aligned to the left.
    pub(super) fn new(left: &[usize]) -> Self {
        Self { rows: Vec::new(), left: left.to_vec() }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines, indented by two, columns two apart.
    pub(super) fn lines(&self, colour: bool) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths, colour)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], colour: bool) -> String {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push_str("  ");
            let space = " ".repeat(width - cell.text.chars().count());
            let text = cell.paint.on(&cell.text, colour);
            if self.left.contains(&column) {
                line.push_str(&text);
                line.push_str(&space);
            } else {
                line.push_str(&space);
                line.push_str(&text);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[0]);
        table.row(vec![Cell::plain("metric"), Cell::plain("derper")]);
        table.row(vec![Cell::plain("p99 µs"), Cell::new("1,204.5", Paint::Bad)]);
        table
    }

    #[test]
    fn columns_are_aligned_by_characters_not_bytes() {
        assert_eq!(table().lines(false), ["  metric   derper", "  p99 µs  1,204.5"]);
    }

    #[test]
    fn colour_does_not_move_columns() {
        assert_eq!(table().lines(true)[1], "  p99 µs  \x1b[31m1,204.5\x1b[0m");
    }
}

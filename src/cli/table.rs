//! Tables for people: no borders, one line a row, as wide as the terminal.

use super::console::Channel;
use super::render::one_line;
use super::style::Style;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Row, presets};

/// A table being filled.
pub(crate) struct Table {
    columns: Vec<&'static str>,
    /// The columns that give way where the terminal is narrow.
    flexible: Vec<usize>,
    rows: Vec<Vec<(Style, String)>>,
    is_wrapped: bool,
}

/// The longest text in a cell, where no terminal limits it.
const LONGEST: usize = 1_000;
/// On a narrower terminal the lines of the table run over its end: nothing could be read otherwise.
const NARROWEST: u16 = 72;

impl Table {
    /// A table with these headers. Those that begin with `~` are cut where the terminal is narrow.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        let flexible = columns.iter().enumerate().filter(|(_, name)| name.starts_with('~')).map(|(i, _)| i).collect();
        let columns = columns.iter().map(|name| name.trim_start_matches('~')).collect();
        Self { columns, flexible, rows: Vec::new(), is_wrapped: false }
    }

    /// Breaks long texts into lines instead of cutting them.
    pub(crate) fn wrapped(mut self) -> Self {
        self.is_wrapped = true;
        self
    }

    /// Adds a row; one cell a column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (Style, String)>) {
        self.rows.push(cells.into_iter().map(|(style, text)| (style, one_line(&text, LONGEST))).collect());
    }

    /// The table as text, to be written to `channel`. Without a terminal it is as wide as its content.
    pub(crate) fn render(&self, channel: &Channel) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if channel.is_coloured {
            table.enforce_styling().style_text_only();
        }
        if let Some(width) = channel.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(NARROWEST)).set_truncation_indicator("…");
        }
        table.set_header(self.columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(|(style, text)| cell(*style, text)).collect::<Vec<Cell>>());
            if !self.is_wrapped {
                row.max_height(1);
            }
            table.add_row(row);
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if !self.flexible.contains(&i) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt()
    }
}

fn cell(style: Style, text: &str) -> Cell {
    let cell = Cell::new(text);
    match style {
        Style::Plain => cell,
        Style::Dim => cell.add_attribute(Attribute::Dim),
        Style::Bold => cell.add_attribute(Attribute::Bold),
        Style::Good => cell.fg(Color::DarkGreen),
        Style::Bad => cell.fg(Color::DarkRed),
        Style::Warn => cell.fg(Color::DarkYellow),
        Style::Busy => cell.fg(Color::DarkCyan),
    }
}

/// A cell without a style.
pub(crate) fn plain(text: impl Into<String>) -> (Style, String) {
    (Style::Plain, text.into())
}

/// A cell for what matters less.
pub(crate) fn dim(text: impl Into<String>) -> (Style, String) {
    (Style::Dim, text.into())
}

/// A cell that shows a state or status.
pub(crate) fn state(word: &str) -> (Style, String) {
    (Style::of_word(word), word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Table, dim, plain, state};
    use crate::cli::console::Channel;
    use std::io::sink;

    fn example() -> Table {
        let mut table = Table::new(&["ID", "STATE", "~TITLE"]);
        table.row([
            plain("a1"),
            state("completed"),
            plain("make the tests pass again\nand more of what is too long for such a narrow terminal"),
        ]);
        table.row([plain("b22"), state("working"), dim("x\x1b[31m")]);
        table
    }

    #[test]
    fn a_table_has_one_line_a_row_and_no_escape_sequences() {
        insta::assert_snapshot!(example().render(&Channel::plain(sink())), @r"
        ID   STATE      TITLE
        a1   completed  make the tests pass again and more of what is too long for such a narrow terminal
        b22  working    x[31m
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_column_that_gives_way() {
        let text = example().render(&Channel::terminal(sink(), false, Some(72)));
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("completed") && text.contains("make") && text.contains('…'), "{text}");
    }

    #[test]
    fn colours_change_no_column() {
        let coloured = example().render(&Channel::terminal(sink(), true, None));
        assert!(coloured.contains("\x1b["));
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some(at) = rest.find('\x1b') {
            bare.push_str(&rest[..at]);
            rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
        }
        bare.push_str(rest);
        let trimmed: Vec<&str> = bare.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n"), example().render(&Channel::plain(sink())));
    }
}

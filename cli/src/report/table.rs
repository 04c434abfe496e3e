//! Tables without borders: aligned, fitted to the terminal, plain in a pipe.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Row, Table};

use crate::console::Console;

/// A table under a header of one word a column.
pub(crate) struct Listing {
    table: Table,
    colour: bool,
    fitted: bool,
}

impl Listing {
    /// With these column names; a name that begins with `>` is of numbers, and aligned right.
    pub(crate) fn new(console: Console, columns: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let fitted = console.stdout_is_terminal();
        if fitted {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_truncation_indicator("…");
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
            table.force_no_tty();
        }
        let colour = console.colours_stdout();
        if !colour {
            table.force_no_tty();
            if fitted && let Some(width) = terminal_width() {
                table.set_width(width);
            }
        }
        table.set_header(columns.iter().map(|name| name.trim_start_matches('>')));
        for (index, name) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if name.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table, colour, fitted }
    }

    /// Adds a row. A cell whose text is a state's name is coloured by it.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cell = |text: String| {
            let colour = if self.colour { state_colour(&text) } else { None };
            let cell = Cell::new(clean(&text));
            match colour {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        };
        let mut row = Row::from(cells.into_iter().map(cell).collect::<Vec<_>>());
        if self.fitted {
            row.max_height(1);
        }
        self.table.add_row(row);
    }

    /// The text of rows that each are some tenant's: with these columns, and where the rows are of
    /// `all` tenants with theirs as the second.
    pub(crate) fn by_tenant(
        console: Console,
        columns: &[&str],
        all: bool,
        rows: impl Iterator<Item = (String, Vec<String>)>,
    ) -> String {
        let mut columns = columns.to_vec();
        if all {
            columns.insert(1, "TENANT");
        }
        let mut listing = Self::new(console, &columns);
        for (tenant, mut cells) in rows {
            if all {
                cells.insert(1, tenant);
            }
            listing.row(cells);
        }
        listing.text()
    }

    /// The text, without blanks at the ends of lines.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<String> =
            self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Names come from others: no control character of theirs reaches a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn state_colour(text: &str) -> Option<Color> {
    match text {
        "succeeded" | "ready" => Some(Color::Green),
        "failed" | "lost" | "failing" => Some(Color::Red),
        "running" | "assigned" | "starting" | "rolling-out" => Some(Color::Cyan),
        "cancelled" | "disconnected" | "draining" | "stopping" | "paused" | "not-ready"
        | "backing-off" => Some(Color::Yellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let mut listing = Listing::new(Console::detect(false), &["NAME", ">TASKS", "STATE"]);
        listing.row(["a".into(), "10".into(), "ready".into()]);
        listing.row(["longer\x1b".into(), "7".into(), "lost".into()]);
        assert_eq!(
            listing.text(),
            "NAME     TASKS  STATE\na           10  ready\nlonger\u{fffd}      7  lost"
        );
    }
}

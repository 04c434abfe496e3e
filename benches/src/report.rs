//! The page: sections of rows, each with its bar where the project has set one.

use std::fmt::Write;

/// Everything measured in one run.
pub(crate) struct Report {
    machine: String,
    quick: bool,
    sections: Vec<Section>,
}

/// One benchmark's part of the page.
pub(crate) struct Section {
    title: String,
    rows: Vec<Row>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

/// Figures side by side, under headings of their own.
struct Table {
    headings: Vec<String>,
    lines: Vec<Vec<String>>,
}

struct Row {
    what: String,
    figure: String,
    bar: String,
}

impl Report {
    /// `quick`: see [`Self::is_quick`].
    pub(crate) fn new(machine: String, quick: bool) -> Self {
        Self { machine, quick, sections: Vec::new() }
    }

    /// Whether it is only to be seen that a benchmark works: its counts may be small, and its figures
    /// are of no account.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    pub(crate) fn add(&mut self, section: Section) {
        eprint!("{}", section.to_markdown());
        self.sections.push(section);
    }

    pub(crate) fn to_markdown(&self) -> String {
        let mut page = format!(
            "# Benchmarks\n\nMeasured by `cargo xtask bench`, all in one run, release build, on\n\n{}\n",
            self.machine
        );
        for section in &self.sections {
            let _ = write!(page, "\n{}", section.to_markdown());
        }
        page
    }
}

impl Section {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), rows: Vec::new(), tables: Vec::new(), notes: Vec::new() }
    }

    /// A row whose figure has no bar to meet.
    pub(crate) fn row(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.rows.push(Row { what: what.into(), figure: figure.into(), bar: String::new() });
    }

    /// A row with the bar that the project has set itself.
    pub(crate) fn bar(&mut self, what: &str, figure: String, bar: &str, met: bool) {
        let verdict = if met { "met" } else { "**missed**" };
        self.rows.push(Row { what: what.to_owned(), figure, bar: format!("{bar}: {verdict}") });
    }

    /// A table below the rows; each line has a cell for each heading.
    pub(crate) fn table(&mut self, headings: &[&str], lines: Vec<Vec<String>>) {
        let headings = headings.iter().map(|&heading| heading.to_owned()).collect();
        self.tables.push(Table { headings, lines });
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n", self.title);
        if !self.rows.is_empty() {
            text.push_str("\n| what | figure | bar |\n|---|---|---|\n");
        }
        for row in &self.rows {
            let _ = writeln!(text, "| {} | {} | {} |", row.what, row.figure, row.bar);
        }
        for table in &self.tables {
            let rule = "---|".repeat(table.headings.len());
            let _ = write!(text, "\n| {} |\n|{rule}\n", table.headings.join(" | "));
            for line in &table.lines {
                let _ = writeln!(text, "| {} |", line.join(" | "));
            }
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

//! The page: sections of rows, each with its bar where the project has set one.

use std::fmt::Write;

/// Everything measured in one run.
pub(crate) struct Report {
    machine: String,
    sections: Vec<Section>,
}

/// One benchmark's part of the page.
pub(crate) struct Section {
    title: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    what: String,
    figure: String,
    bar: String,
}

impl Report {
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, sections: Vec::new() }
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
        Self { title: title.to_owned(), rows: Vec::new(), notes: Vec::new() }
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

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n| what | figure | bar |\n|---|---|---|\n", self.title);
        for row in &self.rows {
            let _ = writeln!(text, "| {} | {} | {} |", row.what, row.figure, row.bar);
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

//! Rows of a table whose first line names the columns: comma-separated, fields quoted
//! where need be. A row is a line: a quote that is never closed spoils that one alone.

use csv_core::{ReadRecordResult, Reader};

use super::TraceError;

/// Most columns of a table.
const MAX_COLUMNS: usize = 256;

/// Splits lines into fields.
pub(super) struct Splitter {
    reader: Reader,
    text: Vec<u8>,
    ends: [usize; MAX_COLUMNS],
}

/// The fields of one line.
pub(super) struct Row<'a> {
    text: &'a [u8],
    ends: &'a [usize],
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self { reader: Reader::new(), text: Vec::new(), ends: [0; MAX_COLUMNS] }
    }

    /// The fields of a line that is not blank; what is wrong where it is no row.
    pub(super) fn split(&mut self, line: &str) -> Result<Row<'_>, String> {
        self.reader.reset();
        // No field is longer written out than it was quoted.
        self.text.resize(line.len() + 1, 0);
        let (mut written, mut fields) = (0, 0);
        for piece in [line.as_bytes(), b"\n"] {
            let text = self.text.get_mut(written..).unwrap_or_default();
            let ends = self.ends.get_mut(fields..).unwrap_or_default();
            let (result, _, more_written, more_fields) = self.reader.read_record(piece, text, ends);
            written += more_written;
            fields += more_fields;
            match result {
                ReadRecordResult::OutputEndsFull | ReadRecordResult::OutputFull => {
                    return Err(format!("it has over {MAX_COLUMNS} fields"));
                }
                ReadRecordResult::Record => {
                    let ends = self.ends.get(..fields).unwrap_or_default();
                    return Ok(Row { text: &self.text, ends });
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            }
        }
        Err("a quote is not closed".to_owned())
    }
}

impl<'a> Row<'a> {
    /// How many fields it has.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The field at `place`, without blanks around it; empty where there is none.
    pub(super) fn field(&self, place: Option<usize>) -> &'a str {
        let Some(place) = place else { return "" };
        let Some(end) = self.ends.get(place) else { return "" };
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        // Commas and quotes are ASCII: what lies between is whole characters.
        let text = self.text.get(*start..*end).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default().trim()
    }

    /// A whole number, `None` where the field is empty.
    pub(super) fn number(&self, place: Option<usize>, name: &str) -> Result<Option<u64>, String> {
        let text = self.field(place);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("{name} is not a whole number"))
    }

    /// Where each of `names` stands, in a row that names the columns. One that may be
    /// called differently is looked for under each of its names.
    pub(super) fn place(&self, names: &[&str]) -> Option<usize> {
        (0..self.len()).find(|place| names.contains(&self.field(Some(*place))))
    }
}

/// Refuses a table that lacks columns that must be there.
pub(super) fn require(columns: &[(&'static str, Option<usize>)]) -> Result<(), TraceError> {
    let missing: Vec<&'static str> =
        columns.iter().filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(TraceError::Columns { missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Result<Vec<String>, String> {
        let mut splitter = Splitter::new();
        let row = splitter.split(line)?;
        Ok((0..row.len()).map(|place| row.field(Some(place)).to_owned()).collect())
    }

    #[test]
    fn fields_may_be_quoted_empty_and_set_apart() {
        assert_eq!(fields("a, b ,,c").unwrap(), ["a", "b", "", "c"]);
        assert_eq!(fields("\"a,b\",\"say \"\"hi\"\"\",ü").unwrap(), ["a,b", "say \"hi\"", "ü"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_spoils_its_line_alone() {
        let mut splitter = Splitter::new();
        assert_eq!(splitter.split("a,\"b").err().unwrap(), "a quote is not closed");
        assert_eq!(splitter.split("c,d").unwrap().field(Some(1)), "d");
        assert!(splitter.split(&",".repeat(300)).err().unwrap().contains("over 256"));
    }

    #[test]
    fn columns_are_found_by_name() {
        let mut splitter = Splitter::new();
        let row = splitter.split("sn,gpu,cpu_milli").unwrap();
        assert_eq!((row.place(&["name", "sn"]), row.place(&["model"])), (Some(0), None));
        let error = require(&[("cpu_milli", Some(2)), ("model", None)]).unwrap_err();
        assert_eq!(error.to_string(), "the first line names no column model");
    }
}

//! A TOML file as written, so that every error about it names file, line, column and
//! key. Used for job files and for configuration; knows the meaning of neither.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::error::Error;
use crate::exit::Exit;

/// Largest file that is read: far above any that a person writes.
const MAX_FILE: u64 = 4 << 20;

/// The text of a file and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: Arc<str>,
    /// The kind of error that a bad value in it is.
    exit: Exit,
    /// The table within it that keys are looked for in; empty for the whole file.
    base: Vec<String>,
    /// Where that table begins, in bytes.
    start: usize,
}

impl Source {
    /// Reads `path`; `what` is like "job file".
    pub(crate) fn read(path: &Path, what: &str, exit: Exit) -> Result<Self, Error> {
        let doing = format!("read the {what}");
        let meta = std::fs::metadata(path).map_err(|cause| Error::file(&doing, path, &cause))?;
        if meta.len() > MAX_FILE {
            let text = format!(
                "`{}` has {} bytes; a {what} has at most 4 MiB",
                path.display(),
                meta.len()
            );
            return Err(Error::new(exit, text).todo("pass long data as input or mounts"));
        }
        let bytes = std::fs::read(path).map_err(|cause| Error::file(&doing, path, &cause))?;
        let text = String::from_utf8(bytes).map_err(|cause| {
            let at = cause.utf8_error().valid_up_to();
            Error::new(exit, format!("{}: byte {at} is not UTF-8", path.display()))
                .todo(format!("write the {what} as UTF-8 text"))
        })?;
        Ok(Self { path: path.to_owned(), text: text.into(), exit, base: Vec::new(), start: 0 })
    }

    /// Text that was never in a file.
    #[cfg(test)]
    pub(crate) fn from_text(path: &str, text: &str, exit: Exit) -> Self {
        Self { path: path.into(), text: text.into(), exit, base: Vec::new(), start: 0 }
    }

    /// The same file, of which the table at `path` is meant; it begins at byte `start`.
    pub(crate) fn within(&self, path: &[String], start: usize) -> Self {
        Self { base: path.to_vec(), start, ..self.clone() }
    }

    /// The same, where it begins is looked up.
    pub(crate) fn within_found(&self, path: &[String]) -> Self {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let start = self.table().ok().and_then(|table| key_of(table.get_ref(), &parts));
        self.within(path, start.unwrap_or(0))
    }

    /// The file's tables, with places.
    pub(crate) fn table(&self) -> Result<Spanned<DeTable<'_>>, Error> {
        DeTable::parse(&self.text).map_err(|error| self.explain(&error))
    }

    /// The file's name without its ending.
    pub(crate) fn stem(&self) -> String {
        self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The folder that paths in it are relative to.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Reads a value of type `T`.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        toml::from_str(&self.text).map_err(|error| self.explain(&error))
    }

    /// Reads a part of the file's table, or of one in it; places in the errors are those of
    /// the file.
    pub(crate) fn parse_table<T: DeserializeOwned>(
        &self,
        table: DeTable<'_>,
        span: &Range<usize>,
    ) -> Result<T, Error> {
        let value = Spanned::new(span.clone(), DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| self.explain(&error))
    }

    /// An error about the value of `key`, a path like `retry.backoff`.
    pub(crate) fn error_at(&self, key: &str, problem: impl std::fmt::Display) -> Error {
        Error::new(self.exit, problem).placed(&self.place_of(key).unwrap_or_else(|| {
            // What was not written is missed at the beginning.
            format!("{}: `{}`", self.place(self.start), self.full(key))
        }))
    }

    /// The key as the file names it.
    pub(crate) fn full(&self, key: &str) -> String {
        self.base.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".")
    }

    /// Where the value of `key` is written, and the key; `None` where it is not.
    pub(crate) fn place_of(&self, key: &str) -> Option<String> {
        let table = DeTable::parse(&self.text).ok()?;
        let path: Vec<&str> = self.base.iter().map(String::as_str).chain(key.split('.')).collect();
        let place = self.place(offset_of(table.get_ref(), &path)?);
        Some(format!("{place}: `{}`", self.full(key)))
    }

    /// What the parser refuses, with its place.
    pub(crate) fn explain(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start);
        let place = self.place(offset);
        let message = error.message();
        if let Some((unknown, known)) = unknown_key(message) {
            let advice = match closest(unknown, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            return Error::new(self.exit, format!("{place}: unknown key `{unknown}`")).todo(advice);
        }
        if let Some(missing) = message.strip_prefix("missing field ") {
            return Error::new(
                self.exit,
                format!("{}: {missing} is missing", self.place(self.start)),
            )
            .todo("add it");
        }
        let key = DeTable::parse(&self.text)
            .ok()
            .and_then(|table| key_at(table.get_ref(), offset))
            .or_else(|| self.key_on_line(offset))
            .map(|key| format!("`{key}`: "))
            .unwrap_or_default();
        Error::new(self.exit, format!("{place}: {key}{message}"))
    }

    /// The key before the `=` on a line of a file that is no TOML as a whole.
    fn key_on_line(&self, offset: usize) -> Option<String> {
        let start = self.text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
        let (key, _) = self.text.get(start..)?.lines().next()?.split_once('=')?;
        let key = key.trim();
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!key.is_empty() && key.chars().all(bare)).then(|| key.to_owned())
    }

    /// File, line and column of a byte.
    pub(crate) fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// The dotted path of the deepest value that covers `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(rest) = key_at(inner, offset)
        {
            return Some(format!("{name}.{rest}"));
        }
        let covers = value.span().contains(&offset) || key.span().contains(&offset);
        covers.then(|| name.to_string())
    })
}

/// Where the value at the end of `path` begins.
fn offset_of(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    find(table, path).map(|(_, value)| value)
}

/// Where the key at the end of `path` begins.
fn key_of(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    find(table, path).map(|(key, _)| key)
}

/// Where key and value at the end of `path` begin.
fn find(table: &DeTable<'_>, path: &[&str]) -> Option<(usize, usize)> {
    let (head, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(name, _)| name.get_ref() == head)?;
    match value.get_ref() {
        _ if rest.is_empty() => Some((key.span().start, value.span().start)),
        DeValue::Table(inner) => find(inner, rest),
        _ => None,
    }
}

/// The key that serde does not know, and those that it does.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, known) = rest.split_once('`')?;
    let known = known.split('`').skip(1).step_by(2).collect();
    Some((unknown, known))
}

/// The known key that is at most two slips of the pen away.
pub(crate) fn closest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    wrun_protocol::closest::closest(&unknown.replace('-', "_"), known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_no_slip_of_the_pen() {
        assert_eq!(closest("time-limit", &["time_limit", "count"]), Some("time_limit"));
        assert_eq!(closest("zzz", &["time_limit", "count"]), None);
    }

    #[test]
    fn a_value_is_found_by_its_dotted_key() {
        let source = Source::from_text("a.toml", "x = 1\n[retry]\nbackoff = 3\n", Exit::Config);
        let error = source.error_at("retry.backoff", "no").to_string();
        assert_eq!(error, "a.toml:3:11: `retry.backoff`: no");
    }

    #[test]
    fn text_that_is_no_toml_is_placed() {
        let source = Source::from_text("a.toml", "x = 1\ny = = 2\n", Exit::Config);
        let error = source.parse::<toml::Table>().unwrap_err().to_string();
        assert!(error.starts_with("a.toml:2:"), "{error}");
    }
}

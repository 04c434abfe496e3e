//! Settings of the processes that stay: a flag or its environment variable first (clap
//! reads both), then the TOML file, then a default. An unknown key or an impossible value
//! in the file is an error that names file, line and key.

pub(crate) mod inference;
pub(crate) mod machine;
pub(crate) mod server;
pub(crate) mod worker;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::error::Error;
use crate::exit::Exit;
use crate::toml_source::Source;

/// The file's content and the file; the default content where there is none.
pub(crate) fn read<T: DeserializeOwned + Default>(
    given: Option<&Path>,
    name: &str,
) -> Result<(T, Option<Source>), Error> {
    let path = match given {
        Some(path) => Some(path.to_owned()),
        None => default_paths(name).into_iter().find(|path| path.exists()),
    };
    let Some(path) = path else { return Ok((T::default(), None)) };
    let source = Source::read(&path, "configuration file", Exit::Config)?;
    Ok((source.parse()?, Some(source)))
}

fn default_paths(name: &str) -> Vec<PathBuf> {
    let file = format!("{name}.toml");
    let own = machine::config_home().map(|home| home.join("wrun").join(&file));
    own.into_iter().chain([Path::new("/etc/wrun").join(&file)]).collect()
}

/// A path in the file is relative to the file's folder.
pub(crate) fn beside(source: Option<&Source>, path: PathBuf) -> PathBuf {
    match source {
        Some(source) => source.folder().join(path),
        None => path,
    }
}

/// An error about a setting, placed in the file where the file set it.
pub(crate) fn setting_error(
    source: Option<&Source>,
    in_file: bool,
    key: &str,
    problem: &dyn std::fmt::Display,
) -> Error {
    match source.filter(|_| in_file) {
        Some(source) => source.error_at(key, problem),
        None => Error::new(Exit::Config, format!("`{key}`: {problem}")),
    }
}

/// Reads a value that is one text in the file.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Reads a list of values that are one text each in the file.
fn texts<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let values = texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom));
    values.collect()
}

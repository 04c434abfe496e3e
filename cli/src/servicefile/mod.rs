//! The service file: a job file and more, in TOML. Its table is taken apart, so that the job
//! file's own type reads its part; what makes a job end is refused with its reason.

mod fields;
mod plan;
mod schema;
mod spec;
mod target;
#[cfg(test)]
mod tests;

use toml::de::DeTable;

use crate::error::Error;
use crate::exit::Exit;
use crate::jobfile::JobFile;
use crate::toml_source::{Source, closest};
use fields::{ServiceTables, TABLES};

pub(crate) use plan::load;
pub(crate) use schema::ServiceFile;

/// Fields of a job file that a service cannot have, and why.
const UNFIT: [(&str, &str); 17] = [
    ("input", "a service has no input"),
    ("stdin", "a service has no input"),
    ("for_each", "a service has no input"),
    ("for_each_line", "a service has no input"),
    ("count", "`scale` says how many replicas there are"),
    ("time_limit", "a service stays"),
    ("cpu_time_limit", "a service stays"),
    ("output_limit", "what a service writes goes to its log"),
    ("retries", "`restart` says what becomes of a replica that has ended"),
    ("retry", "`restart` says what becomes of a replica that has ended"),
    ("hold", "deploy it when it is wanted"),
    ("begin", "deploy it when it is wanted"),
    ("deadline", "a service stays; undeploy it"),
    ("depends_on", "deploy it when it is wanted"),
    ("gang", "replicas do not wait for each other"),
    ("max_running", "use `scale.max`"),
    ("cache", "a service observes the outside"),
];

/// Whether the file is a service's and not a job's.
pub(crate) fn is_service(source: &Source) -> bool {
    let table = source.table();
    table.is_ok_and(|table| TABLES.iter().any(|name| table.get_ref().contains_key(*name)))
}

/// What the file says: of a job, and of the service that it is.
fn read(source: &Source) -> Result<(JobFile, ServiceTables), Error> {
    let table = source.table()?;
    let span = table.span();
    let (mut own, mut job) = (DeTable::new(), DeTable::new());
    let known = schema::keys();
    for (key, value) in table.into_inner() {
        let name = key.get_ref().to_string();
        if let Some((_, why)) = UNFIT.iter().find(|(unfit, _)| *unfit == name) {
            let problem = format!("cannot be set for a service: {why}");
            return Err(source.error_at(&name, problem));
        }
        if !known.contains(&name) {
            return Err(unknown(source, &name, key.span().start, &known));
        }
        let part = if TABLES.contains(&&*name) { &mut own } else { &mut job };
        part.insert(key, value);
    }
    Ok((source.parse_table(job, &span)?, source.parse_table(own, &span)?))
}

/// Each part of the file would know its own keys only.
fn unknown(source: &Source, name: &str, at: usize, known: &[String]) -> Error {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let text = format!("{}: unknown key `{name}`", source.place(at));
    Error::new(Exit::InvalidInput, text).todo(match closest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("a service has fields of a job file, and {}", TABLES.join(", ")),
    })
}

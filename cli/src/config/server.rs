//! The server's settings, from flags, environment and `server.toml`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use wrun_net::ServerAddress;
use wrun_server::{DEFAULT_PORT, ServerConfig, ServerError};

use super::{beside, machine, setting_error, text};
use crate::error::Error;
use crate::exit::Exit;
use crate::syntax::daemon::ServerSettings;
use crate::value::{Size, Span, Whole};

/// The configuration file of `wrun server`. A relative path is relative to the file's folder.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerFile {
    /// Where everything is kept that must not be lost.
    data: Option<PathBuf>,
    /// The UDP address to listen on, like "0.0.0.0:7411".
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "Option<String>")]
    listen: Option<SocketAddr>,
    /// HOST:PORT where others reach this server.
    #[serde(default, deserialize_with = "text")]
    #[schemars(with = "Option<String>")]
    advertise: Option<ServerAddress>,
    /// How long a node that is not heard of keeps its tasks.
    lease: Option<Span>,
    /// How much longer the server waits than the node, for clocks that drift.
    lease_margin: Option<Span>,
    /// How often nodes say that they are alive.
    heartbeat: Option<Span>,
    /// Most tasks of one tenant that have not ended.
    max_queued_tasks_per_tenant: Option<Whole<1, { u32::MAX }>>,
    /// Most schedules of one tenant.
    max_schedules_per_tenant: Option<Whole<0, 100_000>>,
    /// The least time from one run of a schedule to the next.
    least_schedule_period: Option<Span>,
    /// Most workflows of one tenant that have not ended.
    max_workflows_per_tenant: Option<Whole<0, 1_000_000>>,
    /// What these may take together, encoded.
    max_workflow_bytes_per_tenant: Option<Size>,
    /// How late a run of a schedule may be before it counts as missed.
    missed_after: Option<Span>,
    /// Most results of tasks that are remembered, of all tenants together.
    max_remembered_results: Option<Whole<0, { u32::MAX }>>,
    /// How long a result is remembered.
    remember_results_for: Option<Span>,
}

/// Puts together what was said, and checks it.
pub(crate) fn config(settings: &ServerSettings) -> Result<ServerConfig, Error> {
    let (file, source) = super::read::<ServerFile>(settings.config.as_deref(), "server")?;
    let source = source.as_ref();
    let data = settings
        .data
        .clone()
        .or_else(|| file.data.map(|path| beside(source, path)))
        .or_else(|| machine::data_dir("server"))
        .ok_or_else(|| {
            Error::new(Exit::Config, "no data folder: neither --data nor HOME is set")
                .todo("name one with --data")
        })?;
    let mut config = ServerConfig::new(data);
    config.listen = settings
        .listen
        .or(file.listen)
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)));
    let advertise = settings.advertise.clone().or(file.advertise);
    config.advertise =
        advertise.map(|address| address.to_string()).or_else(|| reach(config.listen));
    let core = &mut config.core;
    if let Some(lease) = settings.lease.or(file.lease) {
        core.lease = lease.duration();
    }
    if let Some(margin) = file.lease_margin {
        core.lease_margin = margin.duration();
    }
    if let Some(heartbeat) = settings.heartbeat.or(file.heartbeat) {
        core.heartbeat = heartbeat.duration();
    }
    if let Some(most) = file.max_queued_tasks_per_tenant {
        core.max_queued_tasks_per_tenant = most.0.into();
    }
    if let Some(most) = file.max_schedules_per_tenant {
        core.max_schedules_per_tenant = most.0 as usize;
    }
    if let Some(period) = file.least_schedule_period {
        core.least_schedule_period = period.duration();
    }
    if let Some(most) = file.max_workflows_per_tenant {
        core.max_workflows_per_tenant = most.0 as usize;
    }
    if let Some(most) = file.max_workflow_bytes_per_tenant {
        core.max_workflow_bytes_per_tenant = usize::try_from(most.0).unwrap_or(usize::MAX);
    }
    if let Some(late) = file.missed_after {
        core.missed_after = late.duration();
    }
    if let Some(most) = file.max_remembered_results {
        config.retention.results = most.0.into();
    }
    if let Some(time) = file.remember_results_for {
        config.retention.results_age = time.duration();
    }
    let lease_in_file = settings.lease.is_none() && file.lease.is_some();
    config.check().map_err(|error| match &error {
        ServerError::Config { setting, problem } => {
            setting_error(source, *setting == "lease" && lease_in_file, setting, problem)
        }
        other => Error::from_cause(Exit::Config, other),
    })?;
    Ok(config)
}

/// Where others reach a server that listens on every address: this machine's name, where
/// it has an address.
fn reach(listen: SocketAddr) -> Option<String> {
    if !listen.ip().is_unspecified() || listen.port() == 0 {
        return None;
    }
    let name = machine::name();
    let resolves = (name.as_str(), listen.port()).to_socket_addrs().is_ok();
    let host = if resolves { name } else { Ipv4Addr::LOCALHOST.to_string() };
    Some(format!("{host}:{}", listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, settings: ServerSettings) -> Result<ServerConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        config(&ServerSettings { config: Some(path), ..settings }).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "listen = \"127.0.0.1:1\"\nlease = \"30s\"\ndata = \"d\"\n";
        let settings = ServerSettings { listen: "127.0.0.1:2".parse().ok(), ..Default::default() };
        let config = with_file(file, settings).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.core.lease.as_secs(), 30);
        assert_eq!(config.core.heartbeat, wrun_core::Config::default().heartbeat);
        assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("d"));
    }

    #[test]
    fn what_cannot_be_is_told_with_file_line_and_key() {
        for (text, expected) in [
            ("lisen = \"x\"", "server.toml:1:1: unknown key `lisen`; did you mean `listen`?"),
            ("\nlisten = \"x\"", "server.toml:2:10: `listen`: invalid socket address"),
            ("advertise = \"x\"", "server.toml:1:13: `advertise`: `x` is not a server's address"),
            ("heartbeat = \"-1s\"", "server.toml:1:13: `heartbeat`: `-1s` is not a duration"),
            ("lease = \"1s\"", "server.toml:1:9: `lease`: a lease must last"),
        ] {
            let error = with_file(text, ServerSettings::default()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        let settings =
            ServerSettings { config: Some("/no/such.toml".into()), ..Default::default() };
        assert_eq!(config(&settings).unwrap_err().exit(), Exit::NotFound);
    }
}

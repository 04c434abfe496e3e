//! `wrun server` and `wrun server init`.

use std::path::Path;

use wrun_net::Credential;
use wrun_protocol::{Role, TenantName};
use wrun_server::{ServerConfig, ServerError};

use super::process::{self, Signals};
use super::{Context, Ended};
use crate::client::credential_path;
use crate::config::{self, machine};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::daemon::{Server, ServerCommand};
use crate::value::Span;

/// Serves, or sets a cluster up.
pub(crate) fn server(context: &Context, args: &Server) -> Ended {
    match &args.command {
        Some(ServerCommand::Init { settings, tenant, ttl }) => {
            init(context, &config::server::config(settings)?, tenant, *ttl)
        }
        None => {
            process::start_logging(context, Some("info"))?;
            let config = config::server::config(&args.settings)?;
            process::block_on(machine::cores() as usize, serve(context, config))
        }
    }
}

async fn serve(context: &Context, config: ServerConfig) -> Ended {
    let mut signals = Signals::listen()?;
    let data = config.data_dir.display().to_string();
    let server = wrun_server::start(config).await.map_err(|error| explain(&error))?;
    for warning in server.warnings() {
        tracing::warn!("{warning}");
    }
    let listen = server.local_addr().to_string();
    if context.console.wants_json() {
        let listen = Some(listen);
        context.console.json(&json::Ready {
            event: "ready",
            listen,
            node: None,
            credential: None,
            http: Vec::new(),
            https: Vec::new(),
            data,
        })?;
    } else {
        let advertised = server.advertised();
        context
            .console
            .line(format_args!("wrun server listens on {listen}, reached at {advertised}"))?;
    }
    tokio::select! {
        error = server.ended() => Err(explain(&error)),
        () = signals.next() => {
            tracing::info!("stopping; a second signal stops at once");
            signals.unless_again(server.shutdown()).await.map_err(|error| explain(&error))?;
            Ok(Exit::Success)
        }
    }
}

fn init(context: &Context, config: &ServerConfig, tenant: &TenantName, ttl: Span) -> Ended {
    let console = context.console;
    let place = credential_path(context.global.credential.as_ref())?;
    let server = reached_at(config)?;
    wrun_server::init(&config.data_dir).map_err(|error| explain(&error))?;
    let role = Role::Admin;
    let made = wrun_server::credential(&config.data_dir, &server, tenant, role, ttl.duration());
    let credential = made.map_err(|error| explain(&error))?;
    refuse_another(&place, &credential)?;
    credential.save(&place).map_err(|cause| Error::from_cause(Exit::Io, &cause))?;
    if console.wants_json() {
        console.json(&json::Credential {
            tenant: tenant.to_string(),
            role: role.to_string(),
            server,
            file: place.display().to_string(),
        })?;
    } else {
        console.line(format_args!("cluster     {}", config.data_dir.display()))?;
        console.line(format_args!("credential  {} (tenant {tenant}, admin)", place.display()))?;
        console.line(format_args!("server      {server}"))?;
        console.note("start it with `wrun server` and the same settings;");
        console.note("let machines join with `wrun token create`");
    }
    Ok(Exit::Success)
}

/// What is at the place must be of this cluster, or nothing.
fn refuse_another(place: &Path, mine: &Credential) -> Result<(), Error> {
    if place.symlink_metadata().is_err() {
        return Ok(());
    }
    if Credential::load(place).is_ok_and(|there| there.authority_pem == mine.authority_pem) {
        return Ok(());
    }
    let text = format!("`{}` holds another cluster's credential", place.display());
    Err(Error::new(Exit::Conflict, text)
        .todo("name another file with --credential, or move that one away"))
}

fn reached_at(config: &ServerConfig) -> Result<String, Error> {
    match &config.advertise {
        Some(advertise) => Ok(advertise.clone()),
        None if config.listen.port() == 0 => {
            Err(Error::new(Exit::Config, "the port that the system will choose is not known yet")
                .todo("set --listen or --advertise to a fixed port"))
        }
        None => Ok(config.listen.to_string()),
    }
}

/// A server's error as the command's.
pub(crate) fn explain(error: &ServerError) -> Error {
    let exit = match error {
        ServerError::Config { .. } => Exit::Config,
        error if error.is_disk_full() => Exit::StorageFull,
        ServerError::DataDir { .. }
        | ServerError::Identity(_)
        | ServerError::JournalLost { .. }
        | ServerError::JournalDisk { .. } => Exit::Io,
        ServerError::InUse { .. } | ServerError::Listen(_) => Exit::Conflict,
        ServerError::Journal(_) | ServerError::Restore(_) | ServerError::History(_) => {
            Exit::InvalidInput
        }
        ServerError::Refused(refusal) => refusal.code.into(),
        ServerError::Ended(reason) => return explain(reason),
        _ => Exit::Internal,
    };
    Error::from_cause(exit, error)
}

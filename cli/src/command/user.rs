//! `wrun user add`.

use std::path::PathBuf;

use wrun_net::{Credential, Identity, IdentityError, signing_request};
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::json;
use crate::syntax::cluster::{User, UserCommand};

/// Writes a credential.
pub(crate) async fn user(context: &Context, args: &User) -> Ended {
    let console = context.console;
    let UserCommand::Add { tenant, role, ttl, server, output } = &args.command;
    let path = output.clone().unwrap_or_else(|| PathBuf::from(format!("{tenant}.credential.toml")));
    if path.symlink_metadata().is_ok() {
        let text = format!("`{}` exists already", path.display());
        return Err(
            Error::new(Exit::Conflict, text).todo("name another file with -o, or remove it")
        );
    }
    let failed = |cause: IdentityError| Error::from_cause(Exit::Io, &cause);
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let (key, csr) = signing_request().map_err(failed)?;
    let request = Request::CreateUser { tenant: tenant.clone(), role: *role, csr, ttl_ms: ttl.ms };
    let certificate = match client.ask(&request).await? {
        Response::Certificate(certificate) => certificate,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    let mine = client.credential();
    let identity = Identity::new(vec![certificate], key).map_err(failed)?;
    let server = server.as_ref().map_or_else(|| mine.server.clone(), ToString::to_string);
    let credential = Credential {
        server,
        authority_pem: mine.authority_pem.clone(),
        certificate_pem: identity.certificates_pem(),
        key_pem: identity.key_pem(),
    };
    credential.save(&path).map_err(failed)?;
    if console.wants_json() {
        console.json(&json::Credential {
            tenant: tenant.to_string(),
            role: role.to_string(),
            server: credential.server,
            file: path.display().to_string(),
        })?;
    } else {
        console.line(path.display())?;
        console.note(format_args!(
            "a credential of tenant {tenant}, role {role}: a secret, hand it over safely"
        ));
    }
    Ok(Exit::Success)
}

//! `wrun token create`.

use wrun_net::{JoinAddress, JoinToken, ServerAddress};
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{Client, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::{human, json};
use crate::syntax::cluster::{Token, TokenCommand};
use crate::value::Span;

/// Prints a join token.
pub(crate) async fn token(context: &Context, args: &Token) -> Ended {
    let TokenCommand::Create { ttl, server } = &args.command;
    create(context, *ttl, server.as_ref()).await
}

async fn create(context: &Context, ttl: Span, server: Option<&ServerAddress>) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let credential = client.credential();
    let wrong = |cause: &dyn std::error::Error| Error::from_cause(Exit::Denied, cause);
    let server = match server {
        Some(server) => server.clone(),
        None => credential.server.parse().map_err(|cause| wrong(&cause))?,
    };
    let authority = credential.authority_der().map_err(|cause| wrong(&cause))?;
    let (secret, expires) = match client.ask(&Request::CreateToken { ttl_ms: ttl.ms }).await? {
        Response::Token { secret, expires } => (secret, expires),
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    let fingerprint = crate::plan::digest_of(&authority).0;
    let join = JoinAddress { token: JoinToken { secret, fingerprint }, server }.to_string();
    if console.wants_json() {
        console.json(&json::Token { join, expires_ms: expires.0 })?;
    } else {
        console.line(join)?;
        console.note(format_args!("for one `wrun worker --join`, until {}", human::date(expires)));
    }
    Ok(Exit::Success)
}

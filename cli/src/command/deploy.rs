//! `wrun deploy`: a new revision, and what becomes of it.

use wrun_protocol::service::ServiceName;
use wrun_protocol::wire::service::{Deployed, ServiceRef};

use super::{Context, Ended, rollout};
use crate::client::{Client, submit};
use crate::error::Error;
use crate::exit::Exit;
use crate::servicefile;
use crate::syntax::service::Deploy;

/// Deploys, and waits until the revision is in place.
pub(crate) async fn deploy(context: &Context, args: &Deploy) -> Ended {
    let service = servicefile::load(args)?;
    let name: ServiceName =
        service.spec.name.parse().map_err(|error| Error::from_cause(Exit::InvalidInput, &error))?;
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let deployed = submit::deploy(&mut client, context.console, &service).await?;
    let Deployed { revision, job, changed } = deployed;
    let wanted = rollout::Wanted {
        service: ServiceRef { tenant: None, name },
        revision,
        job: Some(job),
        changed,
    };
    let ended = if args.detach {
        rollout::leave(context, &client, &wanted).await
    } else {
        rollout::wait(context, &mut client, &wanted).await
    };
    client.close().await;
    ended
}

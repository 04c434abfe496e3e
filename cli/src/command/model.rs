//! `wrun model` and `wrun models`.

use std::collections::BTreeMap;
use std::path::Path;

use wrun_protocol::Timestamp;
use wrun_protocol::limits::MAX_MODEL;
use wrun_protocol::model::{ModelSpec, ModelVersion};
use wrun_protocol::resources::Bytes as Size;
use wrun_protocol::wire::model::{ModelRow, Pushed};
use wrun_protocol::wire::user::{Request, Response};

use super::{Context, Ended};
use crate::client::{self, Client, blob, unexpected};
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{self, Blob};
use crate::report::table::Listing;
use crate::report::{self, human, json};
use crate::syntax::model::{Model as Args, ModelCommand, Models, Push, Rm, Share, Show, Unshare};

/// Pushes, shows, removes or shares a model.
pub(crate) async fn model(context: &Context, args: &Args) -> Ended {
    match &args.command {
        ModelCommand::Push(args) => push(context, args).await,
        ModelCommand::Show(args) => show(context, args).await,
        ModelCommand::Rm(args) => remove(context, args).await,
        ModelCommand::Share(args) => share(context, args).await,
        ModelCommand::Unshare(args) => unshare(context, args).await,
    }
}

async fn push(context: &Context, args: &Push) -> Ended {
    let version = read(args)?;
    let (path, digest) = (args.file.clone(), version.digest);
    let blobs = BTreeMap::from([(digest, Blob::File { path, size: version.size })]);
    let client = Client::connect(context.global.credential.as_ref()).await?;
    blob::upload(&client, context.console, &blobs).await?;
    let (name, tag) = (args.model.name.clone(), args.model.tag.clone());
    let pushed = match client.ask(&Request::PushModel { name, tag, version }).await? {
        Response::ModelPushed(pushed) => pushed,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    let model = args.model.to_string();
    if context.console.wants_json() {
        let (model_state, replaced) = match pushed {
            Pushed::New => ("new", None),
            Pushed::Unchanged => ("unchanged", None),
            Pushed::Moved { from } => ("moved", Some(from.to_string())),
        };
        let digest = digest.to_string();
        context.console.json(&json::ModelPushed { model, model_state, digest, replaced })?;
        return Ok(Exit::Success);
    }
    let now = digest.short();
    context.console.line(match pushed {
        Pushed::New => format!("{model} is {now}"),
        Pushed::Unchanged => format!("{model} is {now} already"),
        Pushed::Moved { from } if from == digest => {
            format!("{model} is {now}, with other settings than before")
        }
        Pushed::Moved { from } => format!("{model} is {now}, and was {} before", from.short()),
    })?;
    Ok(Exit::Success)
}

/// What is to be pushed: the file is read once to know its digest, and again if it is sent.
fn read(args: &Push) -> Result<ModelVersion, Error> {
    let spec = spec(args)?;
    let size = plan::checked_size("read the model", &args.file)?;
    if size > MAX_MODEL {
        return Err(too_large(&args.file, size));
    }
    let (digest, size) = plan::hash_file("read the model", &args.file)?;
    let version = ModelVersion { digest, size, spec };
    version.check().map_err(|error| {
        let problem = match error.field {
            "file" => format!("`{}`: {}", args.file.display(), error.problem),
            flag => format!("`--{flag}`: {}", error.problem),
        };
        Error::new(Exit::InvalidInput, problem)
    })?;
    Ok(version)
}

fn spec(args: &Push) -> Result<ModelSpec, Error> {
    let mut spec = ModelSpec::new(args.encoding.into());
    spec.target = args.target.into();
    plan::set(&mut spec.max_batch, args.max_batch.map(|number| number.0));
    let delay = args.max_delay.map(|span| u32::try_from(span.ms).unwrap_or(u32::MAX));
    plan::set(&mut spec.max_delay_ms, delay);
    for of in &args.batch_axis {
        if spec.batch_axes.insert(of.tensor.clone(), of.axis).is_some() {
            let text = format!("`--batch-axis`: `{}` is named twice", of.tensor);
            return Err(Error::new(Exit::InvalidInput, text).todo("a tensor has one batch axis"));
        }
    }
    Ok(spec)
}

fn too_large(path: &Path, size: u64) -> Error {
    let text =
        format!("`{}` has {}; a model has at most {}", path.display(), Size(size), Size(MAX_MODEL));
    Error::new(Exit::InvalidInput, text).todo("export it without what is used for training only")
}

async fn show(context: &Context, args: &Show) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let detail = match client.ask(&Request::Model(args.model.clone())).await? {
        Response::Model(detail) => *detail,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    if console.wants_json() {
        console.json(&json::ModelPage::from(&detail))?;
    } else {
        console.line(report::model::page(console, &detail, human::now()))?;
    }
    Ok(Exit::Success)
}

async fn remove(context: &Context, args: &Rm) -> Ended {
    let request = Request::RemoveModel { model: args.model.clone(), force: args.force };
    let uses_lost = withdraw(context, &request).await?;
    let model = args.model.to_string();
    let text = format!("{model} is removed");
    changed(
        context,
        json::ModelChange { model, model_state: "removed", with: None, uses_lost },
        text,
    )
}

async fn share(context: &Context, args: &Share) -> Ended {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let (model, with) = (args.model.clone(), args.with.clone());
    client.done(&Request::ShareModel { model, with }).await?;
    client.close().await;
    let text = format!("{} is shared with {}", untagged(&args.model), args.with);
    let (model, with) = (untagged(&args.model), Some(args.with.to_string()));
    changed(context, json::ModelChange { model, model_state: "shared", with, uses_lost: 0 }, text)
}

async fn unshare(context: &Context, args: &Unshare) -> Ended {
    let (model, with, force) = (args.model.clone(), args.with.clone(), args.force);
    let uses_lost = withdraw(context, &Request::UnshareModel { model, with, force }).await?;
    let text = format!("{} is shared with {} no more", untagged(&args.model), args.with);
    let (model, with) = (untagged(&args.model), Some(args.with.to_string()));
    changed(context, json::ModelChange { model, model_state: "unshared", with, uses_lost }, text)
}

async fn withdraw(context: &Context, request: &Request) -> Result<u64, Error> {
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let uses = match client.ask(request).await? {
        Response::ModelWithdrawn { uses } => uses,
        other => return Err(unexpected(&other)),
    };
    client.close().await;
    Ok(uses)
}

fn changed(context: &Context, change: json::ModelChange, text: String) -> Ended {
    if context.console.wants_json() {
        context.console.json(&change)?;
        return Ok(Exit::Success);
    }
    context.console.line(text)?;
    match change.uses_lost {
        0 => {}
        1 => context.console.note("what used it can load it no more"),
        many => context.console.note(format_args!("{many} that used it can load it no more")),
    }
    Ok(Exit::Success)
}

fn untagged(model: &wrun_protocol::model::ModelRef) -> String {
    match &model.tenant {
        Some(tenant) => format!("{tenant}/{}", model.name),
        None => model.name.to_string(),
    }
}

/// Lists models.
pub(crate) async fn models(context: &Context, args: &Models) -> Ended {
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let rows = client::model::list(&client, args.all).await?;
    client.close().await;
    if console.wants_json() {
        console.json(&json::Models { models: rows.iter().map(Into::into).collect() })?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        console.note("no models");
        return Ok(Exit::Success);
    }
    let columns = ["NAME", "TAG", "TENANT", ">SIZE", "TARGET", ">USES", "PUSHED", "DIGEST"];
    let mut listing = Listing::new(console, &columns);
    let now = human::now();
    rows.iter().for_each(|row| listing.row(cells(row, now)));
    console.line(listing.text())?;
    Ok(Exit::Success)
}

fn cells(row: &ModelRow, now: Timestamp) -> [String; 8] {
    [
        row.model.name.to_string(),
        row.tag.to_string(),
        row.model.tenant.to_string(),
        Size(row.version.size).to_string(),
        row.version.spec.target.as_str().to_owned(),
        row.uses.to_string(),
        human::ago(row.pushed, now),
        row.version.digest.short(),
    ]
}

//! Models: pushed, listed, resolved, removed and shared. That the bytes are there is checked
//! here; what tags, shares and uses allow is the core's. Nothing here reads a model: whether it
//! is one, the nodes find out, in bounds of their own.

use std::time::Duration;

use futures_util::future::join_all;
use wrun_core::{Answer, Core, Input};
use wrun_protocol::limits::MAX_MODELS_PER_JOB;
use wrun_protocol::model::{ModelId, ModelName, ModelRef, ModelTag, ModelVersion};
use wrun_protocol::wire::model::{Kept, LoadedModel, ModelFilter, Pushed};
use wrun_protocol::wire::user::{ErrorCode, RequestError, Response};
use wrun_protocol::wire::worker::{LiveReply, LiveRequest};
use wrun_protocol::{NodeId, TenantName};

use super::{refused, submit};
use crate::authorise::Caller;
use crate::shared::Shared;

/// How long a node may take to tell of a model before the answer goes without.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn on_push(
    shared: &Shared,
    caller: &Caller,
    name: ModelName,
    tag: ModelTag,
    version: ModelVersion,
) -> Result<Response, RequestError> {
    version.check().map_err(|error| refused(ErrorCode::InvalidInput, error.to_string()))?;
    let (digest, size) = (version.digest, version.size);
    submit::has_blob(shared, &caller.tenant, digest, size, "file").await?;
    let model = format!("{name}:{tag}");
    let tenant = caller.tenant.clone();
    let push = move |request| Input::PushModel { request, tenant, name, tag, version };
    match shared.driver.ask(push).await? {
        Answer::ModelPushed(pushed) => {
            if pushed != Pushed::Unchanged {
                audit(caller, &format!("model pushed: {digest}"), &caller.tenant, &model);
            }
            Ok(Response::ModelPushed(pushed))
        }
        _ => Err(of_another_kind()),
    }
}

pub(super) async fn on_models(
    shared: &Shared,
    caller: &Caller,
    filter: ModelFilter,
) -> Result<Response, RequestError> {
    let tenant = (!filter.all_tenants).then(|| caller.tenant.clone());
    let look = move |core: &Core| core.models(tenant.as_ref(), filter.after.as_ref());
    Ok(Response::Models(shared.driver.view_live(look).await?))
}

pub(super) async fn on_model(
    shared: &Shared,
    caller: &Caller,
    model: ModelRef,
) -> Result<Response, RequestError> {
    let id = model.id(&caller.tenant);
    // An admin sees all of what is another tenant's, and of its own what any user sees.
    let viewer = caller.tenant.clone();
    let sees_all = caller.may_see(&id.tenant) && caller.tenant != id.tenant;
    let (owner, sees_counts) = (id.tenant.clone(), caller.may_see(&id.tenant));
    let look = move |core: &Core| {
        let detail = core.model((!sees_all).then_some(&viewer), &id, &model.tag)?;
        let nodes = core.nodes_with_model(detail.row.version.digest);
        Ok::<_, RequestError>((detail, nodes))
    };
    let (mut detail, (nodes, on_nodes)) = shared.driver.view_live(look).await??;
    let version = &detail.row.version;
    let nodes = nodes.into_iter().map(|(node, mut model)| {
        let owner = owner.clone();
        async move {
            if model.kept == Kept::Loaded {
                match ask_node(shared, node, owner, version).await {
                    Some(Some(loaded)) => model.loaded = Some(loaded),
                    // The same bytes, and loaded for another owner or with other settings.
                    Some(None) => model.kept = Kept::Stored,
                    None => {}
                }
            }
            if let Some(loaded) = model.loaded.as_mut().filter(|_| !sees_counts) {
                loaded.counts = None;
            }
            model
        }
    });
    detail.nodes = join_all(nodes).await;
    detail.on_nodes = on_nodes;
    Ok(Response::Model(Box::new(detail)))
}

/// What a node tells of a model, if it has it loaded; `None` where it does not answer in time.
async fn ask_node(
    shared: &Shared,
    node: NodeId,
    owner: TenantName,
    version: &ModelVersion,
) -> Option<Option<Box<LoadedModel>>> {
    let connection = shared.nodes.connection(node)?;
    let ask = async {
        let (mut send, mut recv) = connection.open().await.ok()?;
        send.send(&LiveRequest::Model { owner, version: version.clone() }).await.ok()?;
        recv.recv::<LiveReply>().await.ok()?
    };
    match tokio::time::timeout(ANSWER_WITHIN, ask).await {
        Ok(Some(LiveReply::Model(told))) => Some(told),
        _ => None,
    }
}

pub(super) async fn on_resolve(
    shared: &Shared,
    caller: &Caller,
    models: Vec<ModelRef>,
) -> Result<Response, RequestError> {
    if models.len() > MAX_MODELS_PER_JOB {
        let text = format!("{} models; ask for at most {MAX_MODELS_PER_JOB} at once", models.len());
        return Err(refused(ErrorCode::LimitReached, text));
    }
    // Resolving is using: the role of an admin does not reach into what tenants have not shared.
    let tenant = caller.tenant.clone();
    let look = move |core: &Core| {
        models.iter().map(|model| core.resolve_model(&tenant, model)).collect::<Result<_, _>>()
    };
    Ok(Response::ResolvedModels(shared.driver.view_live(look).await??))
}

pub(super) async fn on_remove(
    shared: &Shared,
    caller: &Caller,
    model: ModelRef,
    force: bool,
) -> Result<Response, RequestError> {
    let id = changeable(shared, caller, &model).await?;
    let (of, tag) = (id.clone(), model.tag.clone());
    let remove = move |request| Input::RemoveModel { request, model: of, tag, force };
    let uses = withdrawn(shared.driver.ask(remove).await?)?;
    let act = if uses > 0 { "model removed, though it is used" } else { "model removed" };
    audit(caller, act, &id.tenant, &format!("{}:{}", id.name, model.tag));
    Ok(Response::ModelWithdrawn { uses })
}

pub(super) async fn on_share(
    shared: &Shared,
    caller: &Caller,
    model: ModelRef,
    with: TenantName,
) -> Result<Response, RequestError> {
    let id = changeable(shared, caller, &model).await?;
    let (of, tenant) = (id.clone(), with.clone());
    let share = move |request| Input::ShareModel { request, model: of, with: tenant };
    shared.driver.ask_done(share).await?;
    audit(caller, &format!("model shared with {with}"), &id.tenant, id.name.as_str());
    Ok(Response::Done)
}

pub(super) async fn on_unshare(
    shared: &Shared,
    caller: &Caller,
    model: ModelRef,
    with: TenantName,
    force: bool,
) -> Result<Response, RequestError> {
    let id = changeable(shared, caller, &model).await?;
    let (of, tenant) = (id.clone(), with.clone());
    let unshare = move |request| Input::UnshareModel { request, model: of, with: tenant, force };
    let uses = withdrawn(shared.driver.ask(unshare).await?)?;
    audit(caller, &format!("model shared with {with} no more"), &id.tenant, id.name.as_str());
    Ok(Response::ModelWithdrawn { uses })
}

/// The model that is meant, if the caller may change it. One that is only shared with the caller
/// is seen and not changed; any other tenant's is not there.
async fn changeable(
    shared: &Shared,
    caller: &Caller,
    model: &ModelRef,
) -> Result<ModelId, RequestError> {
    let id = model.id(&caller.tenant);
    if caller.may_see(&id.tenant) {
        return Ok(id);
    }
    let (tenant, of) = (caller.tenant.clone(), id.clone());
    let tag = model.tag.clone();
    let look = move |core: &Core| core.model(Some(&tenant), &of, &tag).map(|_| ());
    shared.driver.view_live(look).await??;
    let text = format!("model `{id}` is tenant {}'s, who alone can change it", id.tenant);
    Err(refused(ErrorCode::Denied, text))
}

fn withdrawn(answer: Answer) -> Result<u64, RequestError> {
    match answer {
        Answer::ModelWithdrawn { uses } => Ok(uses),
        _ => Err(of_another_kind()),
    }
}

fn of_another_kind() -> RequestError {
    refused(ErrorCode::Internal, "the scheduler gave an answer of another kind")
}

fn audit(caller: &Caller, act: &str, of: &TenantName, model: &str) {
    tracing::info!(
        target: "wrun::audit",
        tenant = %caller.tenant, role = %caller.role, %of, model, "{act}"
    );
}

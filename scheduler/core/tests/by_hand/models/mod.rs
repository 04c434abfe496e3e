//! Models, worked out by hand: tags that move, shares, and what live work keeps.

mod near;
mod random;
mod uses;

use std::collections::BTreeMap;

use wrun_core::{Answer, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::limits::{MAX_MODEL_SHARES, MAX_MODELS_PER_TENANT};
use wrun_protocol::model::{
    Encoding, Inference, ModelGrant, ModelId, ModelRef, ModelSpec, ModelVersion,
};
use wrun_protocol::wire::model::{ModelRow, Pushed};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec, TenantName};

use crate::cluster::{Cluster, answer, job, submit_id};

/// Bytes that are told apart by this number.
pub(crate) fn version(number: u8) -> ModelVersion {
    ModelVersion { digest: Digest([number; 32]), size: 9, spec: ModelSpec::new(Encoding::Onnx) }
}

pub(crate) fn id(tenant: &str, name: &str) -> ModelId {
    ModelId { tenant: tenant.parse().unwrap(), name: name.parse().unwrap() }
}

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

impl Cluster {
    pub(crate) fn push(
        &mut self,
        tenant: &str,
        model: &str,
        number: u8,
    ) -> Result<Answer, RequestError> {
        self.push_as(tenant, model, version(number))
    }

    fn push_as(
        &mut self,
        tenant: &str,
        model: &str,
        version: ModelVersion,
    ) -> Result<Answer, RequestError> {
        let ModelRef { name, tag, .. } = model.parse().unwrap();
        let (request, tenant) = (RequestId(1), tenant.parse().unwrap());
        self.ask(Input::PushModel { request, tenant, name, tag, version })
    }

    /// Many of these, without the harness, which compares whole states each time.
    fn quietly(&mut self, input: Input) -> Result<Answer, RequestError> {
        self.core.handle(self.now, input);
        let effects: Vec<_> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        answer(&effects)
    }

    pub(crate) fn remove(&mut self, model: &str, force: bool) -> Result<Answer, RequestError> {
        let of: ModelRef = model.parse().unwrap();
        let (request, model, tag) = (RequestId(1), of.id(&tenant("nobody")), of.tag);
        self.ask(Input::RemoveModel { request, model, tag, force })
    }

    pub(crate) fn share(&mut self, model: &str, with: &str) -> Result<Answer, RequestError> {
        let model = model.parse::<ModelRef>().unwrap().id(&tenant("nobody"));
        self.ask(Input::ShareModel { request: RequestId(1), model, with: tenant(with) })
    }

    pub(crate) fn unshare(
        &mut self,
        model: &str,
        with: &str,
        force: bool,
    ) -> Result<Answer, RequestError> {
        let model = model.parse::<ModelRef>().unwrap().id(&tenant("nobody"));
        let (request, with) = (RequestId(1), tenant(with));
        self.ask(Input::UnshareModel { request, model, with, force })
    }

    /// The job with the models of these references, as the tenant resolves them now.
    pub(crate) fn naming(
        &self,
        of: &str,
        models: &[&str],
        spec: JobSpec,
    ) -> Result<JobSpec, RequestError> {
        let grant = |text: &&str| {
            let reference: ModelRef = text.parse().unwrap();
            let (model, version) = self.core.resolve_model(&tenant(of), &reference)?;
            let name = text.to_string();
            Ok(ModelGrant { name, model, tag: reference.tag, version })
        };
        let models = models.iter().map(grant).collect::<Result<_, _>>()?;
        Ok(JobSpec { inference: Inference { models, load: false }, ..spec })
    }

    /// The same of a job of one task.
    pub(crate) fn job_with(&self, of: &str, models: &[&str]) -> Result<JobSpec, RequestError> {
        self.naming(of, models, job(1))
    }

    fn tags(&self, of: Option<&str>) -> Vec<(String, u8, u64)> {
        let of = of.map(tenant);
        let row = |row: ModelRow| {
            (format!("{}:{}", row.model, row.tag), row.version.digest.0[0], row.uses)
        };
        self.core.models(of.as_ref(), None).into_iter().map(row).collect()
    }
}

fn code(refused: Result<impl std::fmt::Debug, RequestError>) -> ErrorCode {
    refused.unwrap_err().code
}

const MOVED: fn(u8) -> Answer =
    |from| Answer::ModelPushed(Pushed::Moved { from: Digest([from; 32]) });

#[test]
fn a_tag_is_made_stays_and_moves() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.push("lab", "vad", 1), Ok(Answer::ModelPushed(Pushed::New)));
    let before = cluster.journal.len();
    assert_eq!(cluster.push("lab", "vad:latest", 1), Ok(Answer::ModelPushed(Pushed::Unchanged)));
    assert_eq!(cluster.journal.len(), before, "what changes nothing is no fact");
    assert_eq!(cluster.push("lab", "vad", 2), Ok(MOVED(1)));
    let mut faster = version(2);
    faster.spec.max_batch = 1;
    assert_eq!(cluster.push_as("lab", "vad", faster), Ok(MOVED(2)), "other settings");
    assert_eq!(cluster.push("lab", "vad:v1", 1), Ok(Answer::ModelPushed(Pushed::New)));
    assert_eq!(
        cluster.tags(None),
        [("lab/vad:latest".to_owned(), 2, 0), ("lab/vad:v1".to_owned(), 1, 0)]
    );
    assert_eq!(cluster.remove("lab/vad:v1", false), Ok(Answer::ModelWithdrawn { uses: 0 }));
    assert_eq!(code(cluster.remove("lab/vad:v1", false)), ErrorCode::NotFound);
    assert_eq!(cluster.tags(None).len(), 1);
}

#[test]
fn a_version_beyond_its_bounds_is_refused() {
    let mut cluster = Cluster::new();
    let mut bad = version(1);
    bad.spec.max_batch = 0;
    assert_eq!(code(cluster.push_as("lab", "vad", bad)), ErrorCode::InvalidInput);
    assert_eq!(cluster.tags(None), []);
}

#[test]
fn tenants_see_their_own_models_and_those_shared_with_them() {
    let mut cluster = Cluster::new();
    for (owner, model) in [("lab", "vad"), ("lab", "ocr"), ("shop", "vad")] {
        cluster.push(owner, model, 1).unwrap();
    }
    let names = |cluster: &Cluster, of: &str| -> Vec<String> {
        cluster.tags(Some(of)).into_iter().map(|(name, ..)| name).collect()
    };
    assert_eq!(names(&cluster, "shop"), ["shop/vad:latest"]);
    assert_eq!(cluster.share("lab/vad", "shop"), Ok(Answer::Done));
    assert_eq!(cluster.share("lab/vad", "shop"), Ok(Answer::Done), "again");
    assert_eq!(names(&cluster, "shop"), ["lab/vad:latest", "shop/vad:latest"]);
    assert_eq!(names(&cluster, "other"), [] as [&str; 0]);
    let resolved = |cluster: &Cluster, of: &str| cluster.job_with("shop", &[of]).map(|_| ());
    assert_eq!(resolved(&cluster, "lab/vad"), Ok(()));
    assert_eq!(code(resolved(&cluster, "lab/ocr")), ErrorCode::NotFound);
    assert_eq!(cluster.unshare("lab/vad", "shop", false), Ok(Answer::ModelWithdrawn { uses: 0 }));
    assert_eq!(names(&cluster, "shop"), ["shop/vad:latest"]);
    assert_eq!(code(resolved(&cluster, "lab/vad")), ErrorCode::NotFound);
    assert_eq!(code(cluster.unshare("lab/vad", "shop", false)), ErrorCode::NotFound);
    assert_eq!(code(cluster.share("lab/vad", "lab")), ErrorCode::InvalidInput);
    assert_eq!(code(cluster.share("lab/none", "shop")), ErrorCode::NotFound);
}

#[test]
fn a_model_that_is_removed_and_pushed_anew_is_shared_with_nobody() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    cluster.share("lab/vad", "shop").unwrap();
    cluster.remove("lab/vad", false).unwrap();
    cluster.push("lab", "vad", 1).unwrap();
    assert_eq!(cluster.tags(Some("shop")), []);
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let mut cluster = Cluster::new();
    // Each takes about 2 KiB of a page: several pages.
    let axes = (0..8).map(|at| (format!("{at}{}", "x".repeat(240)), 0));
    let axes: BTreeMap<String, u32> = axes.collect();
    for number in 0..300_u32 {
        let spec = ModelSpec { batch_axes: axes.clone(), ..ModelSpec::new(Encoding::Onnx) };
        let name = format!("m{:03}:t{}", number / 3, number % 3);
        cluster.quietly(pushing(&name, ModelVersion { spec, ..version(1) })).unwrap();
    }
    let (mut seen, mut pages): (Vec<ModelRow>, u32) = (Vec::new(), 0);
    loop {
        let after = seen.last().map(|row| (row.model.clone(), row.tag.clone()));
        let page = cluster.core.models(Some(&tenant("lab")), after.as_ref());
        if page.is_empty() {
            break;
        }
        (pages, seen) = (pages + 1, [seen, page].concat());
    }
    assert!(pages > 1, "{pages}");
    assert_eq!(seen.len(), 300);
    assert!(seen.is_sorted_by_key(|row| (row.model.clone(), row.tag.clone())));
}

#[test]
fn who_asks_for_a_model_that_is_not_there_is_told_of_one_that_is() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "magika", 1).unwrap();
    cluster.push("lab", "magika:v2", 1).unwrap();
    cluster.share("lab/magika", "shop").unwrap();
    for (of, name, said) in [
        ("lab", "magica", "there is no model `magica`; did you mean `magika`?"),
        ("shop", "magika", "there is no model `magika`; did you mean `lab/magika`?"),
        ("shop", "lab/magica", "there is no model `lab/magica`; did you mean `lab/magika`?"),
        ("shop", "lab/magika:v3", "model `lab/magika` has no tag `v3`; it has `latest`, `v2`"),
        (
            "other",
            "lab/magika",
            "there is no model `lab/magika`; `wrun models` lists those there are",
        ),
    ] {
        let error = cluster.job_with(of, &[name]).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, said));
    }
}

#[test]
fn models_and_shares_have_their_limits() {
    let mut cluster = Cluster::new();
    for number in 0..MAX_MODELS_PER_TENANT {
        cluster.quietly(pushing(&format!("vad:t{number}"), version(1))).unwrap();
    }
    let more = cluster.quietly(pushing("vad:more", version(1)));
    assert_eq!(code(more), ErrorCode::LimitReached);
    assert_eq!(cluster.quietly(pushing("vad:t7", version(2))), Ok(MOVED(1)), "a tag may move");
    // One that moves away from what is used leaves that behind, which is one more.
    let spec = cluster.job_with("lab", &["vad:t7"]).unwrap();
    let (request, tenant, id) = (RequestId(1), tenant("lab"), submit_id(1));
    let (kind, spec) = (ComponentKind::Command, EncodedSpec::encode(&spec).unwrap());
    let submit = Input::Submit { request, tenant, id, kind, spec, ended: Vec::new() };
    assert_eq!(cluster.quietly(submit), Ok(Answer::Submitted(JobId(1))));
    let moving = cluster.quietly(pushing("vad:t7", version(3)));
    assert_eq!(code(moving), ErrorCode::LimitReached);
    let share = |number: usize| Input::ShareModel {
        request: RequestId(1),
        model: super::models::id("lab", "vad"),
        with: format!("t{number}").parse().unwrap(),
    };
    for number in 0..MAX_MODEL_SHARES {
        assert_eq!(cluster.quietly(share(number)), Ok(Answer::Done));
    }
    assert_eq!(code(cluster.quietly(share(MAX_MODEL_SHARES))), ErrorCode::LimitReached);
    assert_eq!(cluster.quietly(share(7)), Ok(Answer::Done), "it has that already");
}

fn pushing(model: &str, version: ModelVersion) -> Input {
    let ModelRef { name, tag, .. } = model.parse().unwrap();
    Input::PushModel { request: RequestId(1), tenant: tenant("lab"), name, tag, version }
}

//! What live work uses: it keeps what it names, whatever becomes of the tag, until somebody
//! insists.

use wrun_core::{Answer, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::schedule::{Missed, Overlap, Schedule};
use wrun_protocol::wire::model::{ModelUse, ModelUser};
use wrun_protocol::wire::schedule::WhyLeftOut;
use wrun_protocol::wire::user::ErrorCode;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::workflow::Step;
use wrun_protocol::{Digest, JobId, JobSpec};

use super::{MOVED, code, id, tenant};
use crate::cluster::{Cluster, answer, ranges, submit_id};
use crate::services::stage::web;
use crate::structure::workflows::{submission, workflow};

const ONE: Digest = Digest([1; 32]);
const TWO: Digest = Digest([2; 32]);

fn may_load(cluster: &Cluster, job: u64, digest: Digest) -> bool {
    cluster.core.model_of_job(JobId(job), digest).is_some()
}

fn used_by(cluster: &Cluster, of: &str, model: &str) -> Vec<ModelUser> {
    let of = tenant(of);
    let latest = "latest".parse().unwrap();
    let detail = cluster.core.model(Some(&of), &id("lab", model), &latest).unwrap();
    detail.used_by.into_iter().map(|ModelUse { by, .. }| by).collect()
}

fn deploy(cluster: &mut Cluster, number: u64, spec: &JobSpec) -> Answer {
    let (request, tenant, id) = (RequestId(1), tenant("lab"), submit_id(number));
    let (kind, spec) = (ComponentKind::Http, EncodedSpec::encode(spec).unwrap());
    cluster.ask(Input::Deploy { request, tenant, id, kind, spec }).unwrap()
}

fn cancel(cluster: &mut Cluster, job: u64) {
    cluster.ask(Input::Cancel { request: RequestId(1), job: JobId(job) }).unwrap();
}

#[test]
fn a_job_keeps_what_it_named_when_the_tag_moves() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    cluster.queue_as("lab", &spec);
    assert!(may_load(&cluster, 1, ONE) && !may_load(&cluster, 1, TWO));
    assert_eq!(cluster.push("lab", "vad", 2), Ok(MOVED(1)));
    assert!(may_load(&cluster, 1, ONE));
    let later = cluster.queue_as("lab", &cluster.job_with("lab", &["vad"]).unwrap());
    assert!(may_load(&cluster, later.0, TWO) && !may_load(&cluster, later.0, ONE));
    cancel(&mut cluster, 1);
    assert!(!may_load(&cluster, 1, ONE));
    // With its last use it is gone: nobody can name it by its digest any more.
    let stale = cluster.refused("lab", &spec);
    assert_eq!(stale.code, ErrorCode::NotFound);
    assert!(stale.message.contains("was pushed anew and is not 010101010101"), "{stale}");
}

#[test]
fn removing_what_is_used_wants_force_and_then_takes_it_away() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    cluster.push("lab", "vad:v1", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    cluster.queue_as("lab", &spec);
    assert_eq!(
        cluster.remove("lab/vad:v1", false),
        Ok(Answer::ModelWithdrawn { uses: 0 }),
        "another tag points there"
    );
    let refused = cluster.remove("lab/vad", false).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert_eq!(
        refused.message,
        "model `vad:latest` is used by job 1: wait for their end or cancel them; or remove it \
         with --force, and they can load it no more"
    );
    assert_eq!(cluster.remove("lab/vad", true), Ok(Answer::ModelWithdrawn { uses: 1 }));
    assert!(cluster.is_live(1) && !may_load(&cluster, 1, ONE));
    assert_eq!(cluster.refused("lab", &spec).code, ErrorCode::NotFound);
}

#[test]
fn what_a_service_a_schedule_and_a_workflow_name_is_used() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    let service = cluster.naming("lab", &["vad"], web(0)).unwrap();
    deploy(&mut cluster, 100, &service);
    let nightly = Schedule {
        name: "nightly".to_owned(),
        cron: "@daily".parse().unwrap(),
        overlap: Overlap::Skip,
        missed: Missed::Skip,
        until: None,
        spec: EncodedSpec::encode(&spec).unwrap(),
    };
    let (kind, owner, schedule) = (ComponentKind::Command, tenant("lab"), Box::new(nightly));
    let request = RequestId(1);
    cluster.ask(Input::AddSchedule { request, tenant: owner, kind, schedule }).unwrap();
    let step = Step::new("a", EncodedSpec::encode(&spec).unwrap());
    let flow = submission(&workflow(vec![step]), None, Vec::new());
    let Input::SubmitWorkflow { request, id, workflow, kinds, rerun_of, reused, .. } = flow else {
        panic!()
    };
    let tenant = tenant("lab");
    let flow = Input::SubmitWorkflow { request, tenant, id, workflow, kinds, rerun_of, reused };
    cluster.ask(flow).unwrap();
    assert_eq!(
        used_by(&cluster, "lab", "vad"),
        [
            ModelUser::Service { name: "web".parse().unwrap(), revision: 1 },
            ModelUser::Workflow(JobId(2)),
            ModelUser::Schedule("nightly".to_owned()),
        ]
    );
    let refused = cluster.remove("lab/vad", false).unwrap_err();
    let said = "used by revision 1 of service `web`, workflow 2, schedule `nightly`";
    assert!(refused.message.contains(said), "{refused}");
    // The same again is the same revision.
    let Answer::Deployed(again) = deploy(&mut cluster, 101, &service) else { panic!() };
    assert!(!again.changed && again.revision == 1);
    cancel(&mut cluster, 2);
    let (request, name) = (RequestId(1), "nightly".to_owned());
    cluster.ask(Input::RemoveSchedule { request, tenant: super::tenant("lab"), name }).unwrap();
    let service = crate::services::stage::id_of("lab", "web");
    cluster.ask(Input::Undeploy { request: RequestId(1), service }).unwrap();
    assert_eq!(used_by(&cluster, "lab", "vad"), []);
    assert_eq!(cluster.remove("lab/vad", false), Ok(Answer::ModelWithdrawn { uses: 0 }));
}

#[test]
fn a_schedule_goes_on_with_what_it_named_and_says_when_that_is_gone() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    let schedule = Schedule {
        name: "often".to_owned(),
        cron: "@every 60s".parse().unwrap(),
        overlap: Overlap::Skip,
        missed: Missed::Skip,
        until: None,
        spec: EncodedSpec::encode(&spec).unwrap(),
    };
    let (request, kind) = (RequestId(1), ComponentKind::Command);
    let (owner, schedule) = (tenant("lab"), Box::new(schedule));
    cluster.ask(Input::AddSchedule { request, tenant: owner, kind, schedule }).unwrap();
    cluster.push("lab", "vad", 2).unwrap();
    cluster.at(61);
    let row = cluster.core.schedules(None, None, 9).remove(0);
    let first = row.last.expect("it was due").job;
    assert!(may_load(&cluster, first.0, ONE), "the tag has moved, the schedule has not");
    cluster.cancel(first.0, ranges(&[(0, 1)]));
    // Only by force: the tag points elsewhere, so that nothing is left to remove but that.
    cluster.push("lab", "vad", 1).unwrap();
    assert_eq!(cluster.remove("lab/vad", true), Ok(Answer::ModelWithdrawn { uses: 1 }));
    cluster.at(122);
    let row = cluster.core.schedules(None, None, 9).remove(0);
    let why = row.left_out.expect("it was due").why;
    let WhyLeftOut::Refused(error) = why else { panic!("{why:?}") };
    assert_eq!(error.message, "there is no model `vad`; `wrun models` lists those there are");
}

#[test]
fn a_step_names_what_is_not_there_and_the_workflow_is_refused() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    let step = Step::new("a", EncodedSpec::encode(&spec).unwrap());
    // Of another tenant, with which nothing is shared.
    let refused = cluster.ask(submission(&workflow(vec![step]), None, Vec::new())).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    assert!(refused.message.starts_with("step `a`: there is no model `lab/vad`"), "{refused}");
}

#[test]
fn another_tenants_work_is_counted_and_not_named() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    cluster.share("lab/vad", "shop").unwrap();
    let spec = cluster.job_with("shop", &["lab/vad"]).unwrap();
    cluster.queue_as("shop", &spec);
    cluster.queue_as("shop", &spec);
    assert!(may_load(&cluster, 1, ONE));
    let latest = "latest".parse().unwrap();
    let detail =
        |of: &str| cluster.core.model(Some(&tenant(of)), &id("lab", "vad"), &latest).unwrap();
    let (lab, shop) = (detail("lab"), detail("shop"));
    assert_eq!((lab.row.uses, lab.used_by.len()), (2, 0));
    assert_eq!(lab.used_by_others, [(tenant("shop"), 2)]);
    assert_eq!(lab.shared_with, [tenant("shop")]);
    assert_eq!((shop.row.uses, shop.used_by.len()), (2, 2));
    assert_eq!((shop.used_by_others, shop.shared_with), (vec![], vec![]));
    assert_eq!(
        code(cluster.core.model(Some(&tenant("other")), &id("lab", "vad"), &latest)),
        ErrorCode::NotFound
    );
    let refused = cluster.remove("lab/vad", false).unwrap_err();
    assert!(refused.message.contains("used by 2 jobs, workflows or schedules of tenant shop"));
    let refused = cluster.unshare("lab/vad", "shop", false).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("used by 2 jobs, workflows or schedules of tenant shop"));
    assert_eq!(cluster.unshare("lab/vad", "shop", true), Ok(Answer::ModelWithdrawn { uses: 2 }));
    assert!(!may_load(&cluster, 1, ONE) && !may_load(&cluster, 2, ONE));
    assert_eq!(cluster.refused("shop", &spec).code, ErrorCode::NotFound);
}

#[test]
fn what_a_tag_leaves_behind_is_for_those_who_use_it_alone() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    cluster.share("lab/vad", "shop").unwrap();
    let of_shop = cluster.job_with("shop", &["lab/vad"]).unwrap();
    let of_lab = cluster.job_with("lab", &["vad"]).unwrap();
    cluster.queue_as("shop", &of_shop);
    cluster.push("lab", "vad", 2).unwrap();
    assert_eq!(cluster.refused("lab", &of_lab).code, ErrorCode::NotFound);
    // Who uses it may go on with more of the same: a step of a workflow, a retry.
    cluster.queue_as("shop", &of_shop);
    // Whatever becomes of the last tag.
    cluster.remove("lab/vad", false).unwrap();
    assert!(may_load(&cluster, 1, ONE));
    cluster.queue_as("shop", &of_shop);
    [1, 2, 3].into_iter().for_each(|job| cancel(&mut cluster, job));
    assert_eq!(cluster.refused("shop", &of_shop).code, ErrorCode::NotFound);
}

#[test]
fn a_submission_that_is_repeated_is_the_same_job() {
    let mut cluster = Cluster::new();
    cluster.push("lab", "vad", 1).unwrap();
    let spec = cluster.job_with("lab", &["vad"]).unwrap();
    cluster.queue_as("lab", &spec);
    cluster.push("lab", "vad", 2).unwrap();
    let again = cluster.submit_again("lab", &spec, Vec::new());
    assert_eq!(answer(&again), Ok(Answer::Submitted(JobId(1))));
}

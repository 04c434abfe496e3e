use wrun_core::{Answer, Input, RequestId};
use wrun_protocol::JobId;
use wrun_protocol::codec::append_frame;
use wrun_protocol::policy::{Limits, Policy, TenantPolicy};
use wrun_protocol::wire::policy::{JobChange, TaskSet};
use wrun_protocol::wire::service::{Deployed, ReplicaState, ScaleTo, ServiceState};
use wrun_protocol::wire::user::{ErrorCode, Response};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::wire::workflow::JobKind;

use super::stage::{Stage, changed, http, id, id_of, program, routed, stage, web};
use crate::cluster::{Cluster, job};

#[test]
fn as_many_replicas_are_placed_as_are_wanted_and_the_others_sleep() {
    let mut stage = stage(2, 4);
    let deployed = stage.deploy(&web(3));
    assert_eq!(deployed, Deployed { revision: 1, job: JobId(1), changed: true });
    assert_eq!(stage.cluster.counts(1), [0, 3, 0, 0, 0]);
    assert_eq!(stage.endpoints("web"), [(1, 0, 1, 1), (1, 1, 1, 1), (1, 2, 1, 2)]);
    let row = stage.detail("web").row;
    assert_eq!((row.state, row.wanted, row.ready), (ServiceState::Ready, 3, 3));
    assert_eq!(stage.cluster.core.counts().pending, 0, "what sleeps does not wait");
}

#[test]
fn the_same_specification_changes_nothing_and_another_is_a_revision_more() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(1));
    let facts = stage.cluster.journal.len();
    let same = Deployed { revision: 1, job: JobId(1), changed: false };
    assert_eq!(stage.deploy(&web(1)), same);
    assert_eq!(stage.cluster.journal.len(), facts);
    let next = Deployed { revision: 2, job: JobId(2), changed: true };
    assert_eq!(stage.deploy(&changed(web(1), "2")), next);
    assert_eq!(stage.deploy_again("ann", &changed(web(1), "2")), Ok(next), "an answer was lost");
}

#[test]
fn a_route_belongs_to_one_service_and_its_owner_is_named_to_its_tenant_alone() {
    let mut stage = stage(1, 8);
    stage.deploy(&routed(web(1), "shop.example/api"));
    let mut other = routed(web(1), "shop.example/api");
    other.name = "other".to_owned();
    let own = stage.deploy_as("ann", &other).unwrap_err();
    assert!(own.code == ErrorCode::Conflict && own.message.contains("`web`"), "{own}");
    let others = stage.deploy_as("bob", &other).unwrap_err();
    assert!(others.code == ErrorCode::Conflict && !others.message.contains("`web`"), "{others}");
    stage.undeploy("web").unwrap();
    assert!(stage.deploy_as("bob", &other).is_ok(), "it is free again");
}

#[test]
fn what_can_never_be_is_refused_whole() {
    let mut stage = stage(1, 2);
    let mut large = web(1);
    large.resources.memory = 1 << 45;
    assert_eq!(stage.deploy_as("ann", &large).unwrap_err().code, ErrorCode::Unsatisfiable);
    let mut nowhere = web(1);
    nowhere.labels.insert("zone".to_owned(), "moon".to_owned());
    assert_eq!(stage.deploy_as("ann", &nowhere).unwrap_err().code, ErrorCode::Unsatisfiable);
    let kinds = [(ComponentKind::Command, web(1)), (ComponentKind::Http, program(1))];
    for (kind, spec) in kinds {
        let error = stage.deploy_of_kind("ann", kind, &spec).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput, "{error}");
    }
    let mut held = web(1);
    held.scheduling.hold = true;
    assert!(stage.deploy_as("ann", &held).unwrap_err().message.starts_with("hold"));
    assert_eq!(stage.cluster.refused("ann", &web(1)).code, ErrorCode::InvalidInput, "not a job");
    assert!(stage.cluster.core.services(None, None).is_empty());
}

#[test]
fn a_tenant_may_have_only_so_many_services() {
    let config = wrun_core::Config { max_services_per_tenant: 1, ..Cluster::steady() };
    let mut stage = Stage::on(Cluster::with(config));
    stage.deploy(&web(1));
    stage.deploy(&changed(web(1), "2"));
    let more = stage.deploy_as("ann", &program(1)).unwrap_err();
    assert_eq!(more.code, ErrorCode::LimitReached);
    assert!(stage.deploy_as("bob", &program(1)).is_ok());
}

#[test]
fn the_job_of_a_revision_is_left_to_its_service() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(2));
    let (request, job) = (RequestId(1), JobId(1));
    let tasks = TaskSet::All;
    let inputs = [
        Input::Cancel { request, job },
        Input::CancelTasks { request, job, tasks: tasks.clone() },
        Input::Requeue { request, job, tasks: tasks.clone() },
        Input::Retry { request, job, tasks },
        Input::Change { request, job, change: JobChange::Hold(true) },
    ];
    for input in inputs {
        let error = stage.cluster.ask(input).unwrap_err();
        assert!(error.message.contains("wrun undeploy web"), "{error}");
    }
    assert_eq!(stage.cluster.core.listed(job).unwrap().1, JobKind::Revision(Some(1)));
    assert_eq!(stage.cluster.core.revision_of(job), Some((id("web"), 1)));
}

#[test]
fn a_service_that_is_taken_down_gets_no_requests_at_once_and_goes_when_drained() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(2));
    stage.busy.insert(1);
    assert_eq!(stage.undeploy("web"), Ok(Answer::Done));
    assert_eq!(stage.cluster.core.endpoints(&id("web")), None);
    assert_eq!(stage.detail("web").row.state, ServiceState::Stopping);
    assert_eq!(stage.replicas("web"), [0, 1].map(|index| (1, index, ReplicaState::Draining)));
    assert_eq!(stage.undeploy("web").unwrap_err().code, ErrorCode::NotFound);
    stage.cluster.preempted(1, 1, 0, 1);
    stage.cluster.preempted(1, 1, 1, 1);
    assert_eq!(stage.cluster.core.service(&id("web")), None);
    assert!(!stage.cluster.is_live(1));
}

#[test]
fn a_service_that_is_being_taken_down_can_be_deployed_again() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(2));
    stage.scale("web", ScaleTo::Replicas(3)).unwrap();
    stage.busy.insert(1);
    stage.undeploy("web").unwrap();
    assert_eq!(stage.deploy(&web(2)).revision, 2);
    let row = stage.detail("web").row;
    assert_eq!((row.revision, row.wanted, row.ready), (2, 2, 2));
}

#[test]
fn services_are_listed_in_order_by_tenant_and_page_by_page() {
    let mut stage = stage(1, 8);
    stage.deploy(&web(1));
    stage.deploy(&program(1));
    stage.deploy_as("bob", &web(0)).unwrap();
    let ids = |tenant: Option<&str>, after| {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        let rows = stage.cluster.core.services(tenant.as_ref(), after);
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = [id("consumer"), id("web"), id_of("bob", "web")];
    assert_eq!(ids(None, None), all);
    assert_eq!(ids(None, Some(&all[0])), all[1..]);
    assert_eq!(ids(Some("ann"), None), all[..2]);
    let http: Vec<_> = stage.cluster.core.all_endpoints().into_iter().map(|of| of.id).collect();
    assert_eq!(http, all[1..], "gateways have nothing to do with programs");
}

#[test]
fn revisions_are_remembered_to_go_back_to_and_no_longer() {
    let mut stage = stage(1, 8);
    let revision = |value: &str| {
        let mut spec = changed(web(1), value);
        super::stage::part(&mut spec).rollout.keep = 2;
        spec
    };
    for value in ["1", "2", "3", "4"] {
        stage.deploy(&revision(value));
    }
    let kept: Vec<u32> = stage.detail("web").revisions.iter().map(|row| row.revision).collect();
    assert_eq!(kept, [4, 3, 2]);
    assert!(!stage.cluster.is_live(1), "its job has ended");
}

#[test]
fn a_replica_counts_against_quotas_while_it_is_awake() {
    let running = Limits { running: Some(3), queued: Some(5), ..Limits::default() };
    let name = "ann".parse().unwrap();
    let ann = TenantPolicy { name, parent: None, shares: 1, default_qos: None, limits: running };
    let policy = Policy { tenants: vec![ann], ..Policy::default() };
    let mut cluster = Cluster::under(policy);
    cluster.node(1, 8);
    let mut stage = Stage::on(cluster);
    stage.deploy(&web(2));
    let more = stage.deploy_as("ann", &program(4)).unwrap_err();
    assert_eq!(more.code, ErrorCode::LimitReached, "{more}");
    let batch = stage.cluster.queue(&job(3));
    assert_eq!(stage.cluster.counts(batch.0), [2, 1, 0, 0, 0]);
    stage.scale("web", ScaleTo::Replicas(0)).unwrap();
    assert_eq!(stage.cluster.counts(batch.0), [0, 3, 0, 0, 0]);
}

#[test]
fn a_page_of_services_fits_into_a_frame_however_many_routes_they_have() {
    let mut stage = stage(1, 8);
    for number in 0..30 {
        let long = "x".repeat(250);
        let mut spec = http(web(1), |http| {
            let route = |at| format!("/{number}/{at}/{long}").parse().unwrap();
            http.routes = (0..64).map(route).collect();
        });
        spec.name = format!("web-{number}");
        stage.deploy(&spec);
    }
    let (mut seen, mut pages, mut after) = (0, 0, None);
    loop {
        let rows = stage.cluster.core.services(None, after.as_ref());
        let Some(last) = rows.last() else { break };
        after = Some(last.id.clone());
        (seen, pages) = (seen + rows.len(), pages + 1);
        let mut frame = Vec::new();
        append_frame(&mut frame, &Response::Services(rows)).unwrap();
    }
    assert!(seen == 30 && pages > 1, "{seen} services on {pages} pages");
}

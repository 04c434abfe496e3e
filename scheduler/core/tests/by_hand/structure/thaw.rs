//! Frozen tasks go on, and what is expected of them.

use wrun_core::{Effect, Input, RequestId};
use wrun_protocol::JobSpec;
use wrun_protocol::policy::{Limits, Policy, Qos};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::scheduling::Preemptible;
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, NodeId};

use crate::cluster::{Cluster, assigned, job, run, told_to_stop};

const SECOND: u64 = 1000;

/// One node of two CPUs; class `urgent` may pre-empt class `bulk`.
fn cluster(limits: Limits) -> Cluster {
    let mut cluster = Cluster::new();
    let bulk = Qos { name: "bulk".to_owned(), ..Qos::default() };
    let preempts = ["bulk".to_owned()].into();
    let urgent = Qos { name: "urgent".to_owned(), preempts, limits, ..Qos::default() };
    let pools = [("licence".to_owned(), 1)].into();
    let policy = Policy { qos: vec![bulk, urgent], pools, ..Policy::default() };
    cluster.handle(Input::SetPolicy { request: RequestId(1), policy: Box::new(policy) });
    cluster.node(1, 2);
    cluster
}

/// Tasks of one CPU that may run so many seconds and may be frozen alone.
fn of(class: &str, count: u32, seconds: u64) -> JobSpec {
    let mut spec = job(count);
    spec.limits.wall_ms = Some(seconds * SECOND);
    spec.scheduling.qos = Some(class.to_owned());
    spec.scheduling.preemptible = Preemptible { freeze: true, checkpoint: false, requeue: false };
    spec
}

fn froze(effects: &[Effect], wanted: bool) -> Vec<u64> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: ToWorker::Freeze { attempt, frozen }, .. } => {
            (*frozen == wanted).then_some(attempt.task.job.0)
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn no_more_is_frozen_than_a_quota_lets_the_newcomer_use() {
    let mut cluster = cluster(Limits { running: Some(1), ..Limits::default() });
    cluster.submit(&of("bulk", 2, 1000));
    let effects = cluster.submit(&of("urgent", 2, 1000));
    assert_eq!((froze(&effects, true), assigned(&effects).len()), (vec![1], 1));
}

#[test]
fn nobody_is_frozen_for_what_would_run_into_a_reservation() {
    let mut cluster = cluster(Limits::default());
    cluster.submit(&of("bulk", 2, 50));
    let start = cluster.now.after(std::time::Duration::from_secs(100));
    let reservation = Box::new(Reservation {
        name: "maintenance".to_owned(),
        start,
        end: start.after(std::time::Duration::from_secs(100)),
        every_ms: None,
        what: Reserved::All,
        tenants: Default::default(),
    });
    cluster.handle(Input::Reserve { request: RequestId(1), reservation });
    let effects = cluster.submit(&of("urgent", 1, 101));
    assert_eq!((froze(&effects, true), told_to_stop(&effects)), (vec![], vec![]));
    let effects = cluster.submit(&of("urgent", 1, 100));
    assert_eq!(froze(&effects, true), [1]);
}

#[test]
fn a_frozen_task_does_not_wait_for_one_that_could_not_start_in_its_place() {
    let mut cluster = cluster(Limits::default());
    cluster.submit(&of("bulk", 2, 1000));
    let mut licensed = of("urgent", 1, 1000);
    licensed.scheduling.devices.pools.insert("licence".to_owned(), 1);
    cluster.submit(&licensed);
    assert_eq!(froze(&cluster.submit(&of("urgent", 1, 1000)), true), [1]);
    cluster.submit(&licensed);
    // The CPU is free, and the one that waits has no slot: whoever may use it goes on.
    assert_eq!(froze(&cluster.succeed(1, run(3, 1, 0, 1)), false), [1]);
    assert_eq!(cluster.counts(4), [1, 0, 0, 0, 0]);
}

#[test]
fn a_frozen_task_goes_on_when_the_one_before_it_is_changed_or_cancelled() {
    let mut cluster = cluster(Limits::default());
    cluster.submit(&of("bulk", 2, 1000));
    let mut large = of("urgent", 2, 1000);
    large.scheduling.gang = true;
    cluster.submit(&of("urgent", 1, 1000));
    cluster.submit(&large);
    // One of bulk is frozen for the first; both of them for the gang, which starts.
    assert_eq!(cluster.counts(3), [2, 0, 0, 0, 0], "the first urgent one keeps its CPU");
    cluster.succeed(1, run(2, 1, 0, 1));
    cluster.wait(SECOND);
    assert_eq!(cluster.counts(3), [0, 2, 0, 0, 0]);
    let effects = cluster.cancel(3, wrun_protocol::wire::policy::TaskSet::All);
    let effects = [effects, cluster.handle(Input::Timeout)].concat();
    assert_eq!(froze(&effects, false), [1, 1], "{effects:?}");
    assert_eq!(cluster.core.node(NodeId(1)).unwrap().used.cpu_milli, 2000);
}

#[test]
fn the_time_for_which_a_task_is_frozen_is_added_to_its_expected_end() {
    let mut cluster = cluster(Limits::default());
    cluster.submit(&of("bulk", 1, 100));
    cluster.submit(&of("bulk", 1, 100));
    cluster.wait(10 * SECOND);
    assert_eq!(froze(&cluster.submit(&of("urgent", 1, 50)), true), [1]);
    cluster.wait(50 * SECOND);
    assert_eq!(froze(&cluster.succeed(1, run(3, 1, 0, 1)), false), [1], "it has 90 s left at 60");
    cluster.wait(40 * SECOND);
    let mut both = of("bulk", 2, 10);
    both.scheduling.gang = true;
    cluster.submit(&both);
    cluster.succeed(1, run(2, 1, 0, 1));
    // At 100: the gang is promised 150, when the first ends.
    let effects = cluster.submit(&of("bulk", 1, 51));
    assert_eq!(assigned(&effects), [], "it would not have ended by then");
    let effects = cluster.submit(&of("bulk", 1, 50));
    assert_eq!(assigned(&effects), [(1, run(6, 1, 0, 1))]);
    cluster.wait(50 * SECOND);
    cluster.succeed(1, run(1, 1, 0, 1));
    let effects = cluster.succeed(1, run(6, 1, 0, 1));
    assert_eq!(assigned(&effects), [(1, run(4, 1, 0, 2))]);
    assert!(cluster.core.job_summary(JobId(5)).is_some());
}

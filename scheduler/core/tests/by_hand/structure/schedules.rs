//! Jobs that come again and again, in virtual time. The clock begins at the epoch, a
//! Thursday.

use wrun_core::{Core, Effect, Fact, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::schedule::{MAX_RUNS, Missed, Overlap, Schedule};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::wire::schedule::{LeftOut, ScheduleRow, ScheduledRun, WhyLeftOut};
use wrun_protocol::wire::user::{ErrorCode, JobState, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, JobSpec, NodeId, Timestamp};

use crate::cluster::{Cluster, answer, assigned, facts, job, run};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn schedule(cron: &str, overlap: Overlap, missed: Missed) -> Schedule {
    Schedule {
        name: "report".to_owned(),
        cron: cron.parse().unwrap(),
        overlap,
        missed,
        until: None,
        spec: EncodedSpec::encode(&job(1)).unwrap(),
    }
}

/// A cluster whose clock begins at the epoch.
fn since_the_epoch() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.now = Timestamp(1000);
    cluster
}

fn hourly(overlap: Overlap, missed: Missed) -> Schedule {
    schedule("@hourly", overlap, missed)
}

fn of(spec: &JobSpec) -> EncodedSpec {
    EncodedSpec::encode(spec).unwrap()
}

impl Cluster {
    fn add_as(&mut self, tenant: &str, schedule: Schedule) -> Vec<Effect> {
        let (request, tenant) = (RequestId(1), tenant.parse().unwrap());
        let (kind, schedule) = (ComponentKind::Command, Box::new(schedule));
        self.handle(Input::AddSchedule { request, tenant, kind, schedule })
    }

    fn add(&mut self, schedule: Schedule) -> Result<(), RequestError> {
        answer(&self.add_as("ann", schedule)).map(|_| ())
    }

    fn remove_schedule(&mut self, name: &str) -> Result<(), RequestError> {
        let (tenant, name) = ("ann".parse().unwrap(), name.to_owned());
        let removed = Input::RemoveSchedule { request: RequestId(1), tenant, name };
        answer(&self.handle(removed)).map(|_| ())
    }

    fn pause(&mut self, pause: bool) {
        let (tenant, name) = ("ann".parse().unwrap(), "report".to_owned());
        let paused = Input::PauseSchedule { request: RequestId(1), tenant, name, pause };
        answer(&self.handle(paused)).unwrap();
    }

    /// Time passes, up to then.
    fn jump_to(&mut self, ms: u64) -> Vec<Effect> {
        self.now = Timestamp(ms);
        self.handle(Input::Timeout)
    }

    fn row(&self) -> ScheduleRow {
        row(&self.core)
    }
}

fn row(core: &Core) -> ScheduleRow {
    let mut rows = core.schedules(None, None, 10);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn submitted(effects: &[Effect]) -> Vec<u64> {
    let jobs = facts(effects).into_iter().filter_map(|fact| match fact {
        Fact::JobSubmitted { job, .. } => Some(job.0),
        _ => None,
    });
    jobs.collect()
}

/// When runs were due that submitted a job.
fn due(effects: &[Effect]) -> Vec<u64> {
    let due = facts(effects).into_iter().filter_map(|fact| match fact {
        Fact::ScheduleDue { due, run: Ok(_), .. } => Some(due.0),
        _ => None,
    });
    due.collect()
}

fn left_out(ms: u64, why: WhyLeftOut) -> Option<LeftOut> {
    Some(LeftOut { due: Timestamp(ms), why })
}

#[test]
fn a_job_is_submitted_whenever_it_is_due() {
    let mut cluster = since_the_epoch();
    cluster.node(1, 4);
    cluster.add(schedule("30 3 * * *", Overlap::Skip, Missed::Skip)).unwrap();
    let first = 3 * HOUR + 30 * MINUTE;
    assert_eq!(cluster.row().next, Some(Timestamp(first)));
    assert_eq!(submitted(&cluster.jump_to(first - 1)), []);
    cluster.core.poll_timeout().filter(|at| at.0 <= first).expect("to be woken in time");
    let effects = cluster.jump_to(first);
    assert_eq!(submitted(&effects), [1]);
    assert_eq!(cluster.core.job_tenant(JobId(1)), Some(&"ann".parse().unwrap()));
    let last = |state| Some(ScheduledRun { due: Timestamp(first), job: JobId(1), state });
    assert_eq!((cluster.row().last, cluster.row().live), (last(Some(JobState::Running)), 1));
    cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(1) });
    assert_eq!(
        (cluster.row().last, cluster.row().live),
        (last(None), 0),
        "the history knows how it ended"
    );
    assert_eq!(cluster.row().next, Some(Timestamp(first + DAY)));
    assert_eq!(submitted(&cluster.jump_to(first + DAY)), [2]);
}

#[test]
fn a_schedule_alone_wakes_the_core() {
    let mut cluster = since_the_epoch();
    assert_eq!(cluster.core.poll_timeout(), None);
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(cluster.core.poll_timeout(), Some(Timestamp(HOUR)));
    cluster.pause(true);
    assert_eq!(cluster.core.poll_timeout(), None);
}

#[test]
fn a_run_is_left_out_while_the_one_before_it_has_not_ended() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(submitted(&cluster.jump_to(HOUR)), [1]);
    assert_eq!(submitted(&cluster.jump_to(2 * HOUR)), []);
    assert_eq!(cluster.row().left_out, left_out(2 * HOUR, WhyLeftOut::Overlaps(JobId(1))));
    cluster.node(1, 4);
    cluster.succeed(1, run(1, 1, 0, 1));
    assert_eq!(submitted(&cluster.jump_to(3 * HOUR)), [2]);
}

#[test]
fn a_queued_run_waits_for_all_that_are_before_it() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Queue, Missed::Skip)).unwrap();
    let effects = (1..=3).flat_map(|hour| cluster.jump_to(hour * HOUR)).collect::<Vec<_>>();
    assert_eq!(submitted(&effects), [1, 2, 3]);
    assert_eq!(cluster.row().live, 3);
    assert_eq!(assigned(&cluster.node(1, 4)), [(1, run(1, 1, 0, 1))]);
    // Without the one between them, the third does not pass the first.
    let cancelled = cluster.handle(Input::Cancel { request: RequestId(1), job: JobId(2) });
    assert_eq!(assigned(&cancelled), []);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), [(1, run(3, 1, 0, 1))]);
}

#[test]
fn so_many_runs_may_queue_and_no_more() {
    let mut cluster = since_the_epoch();
    cluster.add(schedule("* * * * *", Overlap::Queue, Missed::Skip)).unwrap();
    for minute in 1..=MAX_RUNS as u64 {
        assert_eq!(submitted(&cluster.jump_to(minute * MINUTE)), [minute]);
    }
    let next = (MAX_RUNS as u64 + 1) * MINUTE;
    assert_eq!(submitted(&cluster.jump_to(next)), []);
    let latest = JobId(MAX_RUNS as u64);
    assert_eq!(cluster.row().left_out, left_out(next, WhyLeftOut::Overlaps(latest)));
}

#[test]
fn a_run_that_replaces_cancels_the_one_before_it() {
    let mut cluster = since_the_epoch();
    cluster.node(1, 4);
    cluster.add(hourly(Overlap::Replace, Missed::Skip)).unwrap();
    cluster.jump_to(HOUR);
    let effects = cluster.jump_to(2 * HOUR);
    assert!(!cluster.is_live(1));
    assert_eq!(submitted(&effects), [2]);
    assert_eq!(cluster.row().live, 1);
}

/// Down from 00:59 to 04:30, after four due times of which none is made up for in time.
fn back_after_hours(overlap: Overlap, missed: Missed) -> (Cluster, Vec<Effect>) {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(overlap, missed)).unwrap();
    let effects = cluster.jump_to(4 * HOUR + 30 * MINUTE);
    (cluster, effects)
}

#[test]
fn missed_runs_are_left_out() {
    let (mut cluster, effects) = back_after_hours(Overlap::Queue, Missed::Skip);
    assert_eq!(due(&effects), []);
    assert_eq!(cluster.row().left_out, left_out(4 * HOUR, WhyLeftOut::Missed));
    assert_eq!(due(&cluster.jump_to(5 * HOUR)), [5 * HOUR]);
}

#[test]
fn the_latest_of_missed_runs_is_made_up_for() {
    let (cluster, effects) = back_after_hours(Overlap::Queue, Missed::Once);
    assert_eq!(due(&effects), [4 * HOUR]);
    assert_eq!(cluster.row().left_out, left_out(3 * HOUR, WhyLeftOut::Missed));
    assert_eq!(cluster.row().next, Some(Timestamp(5 * HOUR)));
}

#[test]
fn every_missed_run_is_made_up_for_oldest_first() {
    let (mut cluster, effects) = back_after_hours(Overlap::Queue, Missed::All);
    assert_eq!(due(&effects), [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]);
    assert_eq!(cluster.row().left_out, None);
    // They run one after the other.
    assert_eq!(assigned(&cluster.node(1, 4)), [(1, run(1, 1, 0, 1))]);
    assert_eq!(assigned(&cluster.succeed(1, run(1, 1, 0, 1))), [(1, run(2, 1, 0, 1))]);
}

#[test]
fn those_made_up_for_overlap_as_any_others_do() {
    let (_, effects) = back_after_hours(Overlap::Skip, Missed::All);
    assert_eq!(due(&effects), [HOUR]);
    let (cluster, effects) = back_after_hours(Overlap::Replace, Missed::All);
    assert_eq!(due(&effects).len(), 4);
    assert_eq!((cluster.row().live, cluster.is_live(4)), (1, true));
}

#[test]
fn no_more_than_the_latest_hundred_are_made_up_for() {
    let mut cluster = since_the_epoch();
    cluster.add(schedule("* * * * *", Overlap::Queue, Missed::All)).unwrap();
    let most = MAX_RUNS as u64;
    let effects = cluster.jump_to(1000 * MINUTE + 45_000);
    let expected: Vec<u64> = (1001 - most..=1000).map(|minute| minute * MINUTE).collect();
    assert_eq!(due(&effects), expected);
    assert_eq!(cluster.row().left_out, left_out((1000 - most) * MINUTE, WhyLeftOut::Missed));
}

#[test]
fn years_of_missed_runs_cost_no_more_than_those_made_up_for() {
    let mut cluster = since_the_epoch();
    cluster.add(schedule("* * * * *", Overlap::Queue, Missed::Once)).unwrap();
    let effects = cluster.jump_to(50 * 366 * DAY + 45_000);
    assert_eq!(due(&effects), [50 * 366 * DAY]);
    assert_eq!(facts(&effects).len(), 3, "left out, submitted, due");
}

#[test]
fn a_run_that_is_a_little_late_is_not_missed() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(due(&cluster.jump_to(HOUR + 30_000)), [HOUR]);
}

#[test]
fn a_restart_makes_no_run_twice_wherever_it_cuts_the_journal() {
    for overlap in [Overlap::Skip, Overlap::Queue, Overlap::Replace] {
        let mut cluster = since_the_epoch();
        cluster.node(1, 4);
        cluster.add(hourly(overlap, Missed::Once)).unwrap();
        cluster.jump_to(HOUR);
        cluster.jump_to(2 * HOUR);
        cluster.jump_to(3 * HOUR);
        for durable in 0..=cluster.journal.len() {
            let mut core = Cluster::recovered(&cluster.journal[..durable]);
            if core.schedules(None, None, 1).is_empty() {
                continue;
            }
            let before = cluster.journal[..durable].to_vec();
            core.start(cluster.now);
            core.handle(cluster.now, Input::Timeout);
            let effects: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
            let all: Vec<Fact> = before.into_iter().chain(facts(&effects)).collect();
            let mut ids: Vec<_> = all
                .iter()
                .filter_map(|fact| match fact {
                    Fact::JobSubmitted { id, .. } => Some(*id),
                    _ => None,
                })
                .collect();
            let made = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), made, "{overlap:?}, after {durable} facts");
            assert_eq!(row(&core).next, Some(Timestamp(4 * HOUR)), "{overlap:?}, {durable}");
            let last = row(&core).last.map(|last| last.due);
            match overlap {
                // The earliest that is made up for stands in the way of the later ones.
                Overlap::Skip => assert!(last.is_some(), "after {durable} facts"),
                _ => assert_eq!(last, Some(Timestamp(3 * HOUR)), "{overlap:?}, {durable}"),
            }
        }
    }
}

#[test]
fn a_job_that_was_made_before_the_schedule_knew_is_found_again() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    cluster.jump_to(HOUR);
    let cut =
        cluster.journal.iter().position(|fact| matches!(fact, Fact::ScheduleDue { .. })).unwrap();
    let mut core = Cluster::recovered(&cluster.journal[..cut]);
    assert_eq!((row(&core).last, row(&core).next), (None, Some(Timestamp(HOUR))));
    core.start(Timestamp(HOUR));
    core.handle(Timestamp(HOUR), Input::Timeout);
    let effects: Vec<Effect> = std::iter::from_fn(|| core.poll_effect()).collect();
    assert_eq!(submitted(&effects), []);
    assert_eq!(row(&core).last.unwrap().job, JobId(1));
    assert_eq!(row(&core).live, 1);
}

#[test]
fn a_paused_schedule_makes_no_runs_and_makes_up_for_none() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Queue, Missed::All)).unwrap();
    cluster.pause(true);
    assert_eq!((cluster.row().paused, cluster.row().next), (true, None));
    cluster.jump_to(3 * HOUR + MINUTE);
    cluster.pause(false);
    assert_eq!((cluster.row().paused, cluster.row().next), (false, Some(Timestamp(4 * HOUR))));
    let again = cluster.journal.len();
    cluster.pause(false);
    assert_eq!(cluster.journal.len(), again, "nothing to record");
    assert_eq!(due(&cluster.jump_to(4 * HOUR)), [4 * HOUR]);
}

#[test]
fn removal_leaves_the_runs_and_frees_the_name() {
    let mut cluster = since_the_epoch();
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    cluster.jump_to(HOUR);
    cluster.remove_schedule("report").unwrap();
    assert!(cluster.is_live(1));
    assert_eq!(cluster.core.schedules(None, None, 10), []);
    assert_eq!(submitted(&cluster.jump_to(2 * HOUR)), []);
    // Another of that name knows nothing of the runs before.
    cluster.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(submitted(&cluster.jump_to(3 * HOUR)), [2]);
    let refused = cluster.remove_schedule("nothing").unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    assert!(refused.message.contains("`wrun schedules` lists"), "{refused}");
}

#[test]
fn nothing_is_due_after_the_end() {
    let mut cluster = since_the_epoch();
    let until = Some(Timestamp(2 * HOUR));
    cluster.add(Schedule { until, ..hourly(Overlap::Queue, Missed::Skip) }).unwrap();
    assert_eq!(due(&cluster.jump_to(HOUR)), [HOUR]);
    assert_eq!(due(&cluster.jump_to(2 * HOUR)), [2 * HOUR], "the end belongs to it");
    assert_eq!(cluster.row().next, None);
    assert_eq!(due(&cluster.jump_to(3 * HOUR)), []);
}

#[test]
fn what_would_have_been_after_the_end_was_not_missed() {
    let mut cluster = since_the_epoch();
    let until = Some(Timestamp(2 * HOUR));
    cluster.add(Schedule { until, ..hourly(Overlap::Queue, Missed::All) }).unwrap();
    assert_eq!(due(&cluster.jump_to(9 * HOUR)), [HOUR, 2 * HOUR]);
}

#[test]
fn a_run_that_is_refused_leaves_its_reason() {
    let mut cluster = since_the_epoch();
    let mut choosy = job(1);
    choosy.labels.insert("zone".to_owned(), "b".to_owned());
    // No node is known yet: nothing speaks against it.
    cluster.add(Schedule { spec: of(&choosy), ..hourly(Overlap::Skip, Missed::Skip) }).unwrap();
    cluster.node(1, 4);
    cluster.jump_to(HOUR);
    let Some(LeftOut { due, why: WhyLeftOut::Refused(reason) }) = cluster.row().left_out else {
        panic!("{:?}", cluster.row());
    };
    assert_eq!((due, reason.code), (Timestamp(HOUR), ErrorCode::Unsatisfiable));
    assert!(reason.message.contains("no node carries the labels zone=b"), "{reason}");
    let node = NodeId(1);
    let mut info = cluster.core.node_info(node).unwrap().clone();
    info.labels = choosy.labels;
    let (offer, attempts) = (Default::default(), Vec::new());
    cluster.handle(Input::NodeConnected { node, info, offer, incarnation: 2, attempts });
    assert_eq!(submitted(&cluster.jump_to(2 * HOUR)), [1], "once there is such a node");
}

#[test]
fn a_reason_is_cut_where_it_is_long() {
    let mut cluster = since_the_epoch();
    let mut choosy = job(1);
    choosy.labels.extend((0..99).map(|number| (format!("label-{number:02}"), "é".repeat(20))));
    cluster.add(Schedule { spec: of(&choosy), ..hourly(Overlap::Skip, Missed::Skip) }).unwrap();
    cluster.node(1, 4);
    cluster.jump_to(HOUR);
    match cluster.row().left_out.unwrap().why {
        WhyLeftOut::Refused(reason) => assert!((500..=512).contains(&reason.message.len())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_is_refused_when_it_is_added() {
    let mut cluster = since_the_epoch();
    cluster.node(1, 4);
    let good = || hourly(Overlap::Skip, Missed::Skip);
    let mut large = job(1);
    large.resources.scratch = 65 << 30;
    let mut waits = job(1);
    waits.scheduling.depends_on = vec![Dependency { job: JobId(1), on: DependsOn::End }];
    let seconds = schedule("@every 5s", Overlap::Skip, Missed::Skip);
    for (schedule, code, says) in [
        (Schedule { name: "a b".into(), ..good() }, ErrorCode::InvalidInput, "not a schedule's"),
        (Schedule { spec: of(&large), ..good() }, ErrorCode::Unsatisfiable, "add a larger node"),
        (Schedule { spec: of(&waits), ..good() }, ErrorCode::InvalidInput, "overlap policy"),
        (seconds, ErrorCode::InvalidInput, "due every 5s, and 60s is the least allowed"),
        (
            Schedule { until: Some(Timestamp(HOUR - 1)), ..good() },
            ErrorCode::InvalidInput,
            "would never be due",
        ),
    ] {
        let refused = cluster.add(schedule).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.contains(says), "{refused}");
    }
    assert_eq!(cluster.core.schedules(None, None, 10), []);
}

#[test]
fn adding_again_is_the_same_and_adding_another_of_that_name_is_refused() {
    let mut cluster = since_the_epoch();
    let schedule = hourly(Overlap::Skip, Missed::Skip);
    cluster.add(schedule.clone()).unwrap();
    let once = cluster.journal.len();
    cluster.add(schedule.clone()).unwrap();
    assert_eq!(cluster.journal.len(), once);
    let refused = cluster.add(Schedule { missed: Missed::All, ..schedule.clone() }).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(answer(&cluster.add_as("bob", schedule)).is_ok(), "names are a tenant's own");
}

#[test]
fn a_tenant_has_so_many_schedules_and_no_more() {
    let mut cluster = since_the_epoch();
    let named = |name: String| Schedule { name, ..hourly(Overlap::Skip, Missed::Skip) };
    let most = cluster.core.config().max_schedules_per_tenant;
    (0..most).for_each(|number| cluster.add(named(format!("s{number}"))).unwrap());
    let refused = cluster.add(named("one-more".to_owned())).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitReached);
    assert!(answer(&cluster.add_as("bob", named("one-more".to_owned()))).is_ok());
    cluster.remove_schedule("s7").unwrap();
    cluster.add(named("one-more".to_owned())).unwrap();
}

#[test]
fn schedules_are_listed_in_order_and_page_by_page() {
    let mut cluster = since_the_epoch();
    for (tenant, name) in [("bob", "a"), ("ann", "z"), ("ann", "b"), ("cat", "a")] {
        let schedule = hourly(Overlap::Skip, Missed::Skip);
        answer(&cluster.add_as(tenant, Schedule { name: name.to_owned(), ..schedule })).unwrap();
    }
    let listed = |tenant: Option<&str>, after: Option<(&str, &str)>, limit| {
        let tenant = tenant.map(|name| name.parse().unwrap());
        let after = after.map(|(tenant, name)| (tenant.parse().unwrap(), name.to_owned()));
        let rows = cluster.core.schedules(tenant.as_ref(), after.as_ref(), limit);
        rows.into_iter().map(|row| format!("{}/{}", row.tenant, row.name)).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 10), ["ann/b", "ann/z", "bob/a", "cat/a"]);
    assert_eq!(listed(None, Some(("ann", "b")), 2), ["ann/z", "bob/a"]);
    assert_eq!(listed(Some("ann"), None, 10), ["ann/b", "ann/z"]);
    assert_eq!(listed(Some("ann"), Some(("ann", "b")), 10), ["ann/z"]);
}

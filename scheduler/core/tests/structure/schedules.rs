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

use crate::env::{Env, answer, assigned, env, facts, job, run};

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

fn hourly(overlap: Overlap, missed: Missed) -> Schedule {
    schedule("@hourly", overlap, missed)
}

fn of(spec: &JobSpec) -> EncodedSpec {
    EncodedSpec::encode(spec).unwrap()
}

impl Env {
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
    fn at(&mut self, ms: u64) -> Vec<Effect> {
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
    let mut env = env();
    env.node(1, 4);
    env.add(schedule("30 3 * * *", Overlap::Skip, Missed::Skip)).unwrap();
    let first = 3 * HOUR + 30 * MINUTE;
    assert_eq!(env.row().next, Some(Timestamp(first)));
    assert_eq!(submitted(&env.at(first - 1)), []);
    env.core.poll_timeout().filter(|at| at.0 <= first).expect("to be woken in time");
    let effects = env.at(first);
    assert_eq!(submitted(&effects), [1]);
    assert_eq!(env.core.job_tenant(JobId(1)), Some(&"ann".parse().unwrap()));
    let last = |state| Some(ScheduledRun { due: Timestamp(first), job: JobId(1), state });
    assert_eq!((env.row().last, env.row().live), (last(Some(JobState::Pending)), 1));
    env.handle(Input::Cancel { request: RequestId(1), job: JobId(1) });
    assert_eq!((env.row().last, env.row().live), (last(None), 0), "the history knows how it ended");
    assert_eq!(env.row().next, Some(Timestamp(first + DAY)));
    assert_eq!(submitted(&env.at(first + DAY)), [2]);
}

#[test]
fn a_schedule_alone_wakes_the_core() {
    let mut env = env();
    assert_eq!(env.core.poll_timeout(), None);
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(env.core.poll_timeout(), Some(Timestamp(HOUR)));
    env.pause(true);
    assert_eq!(env.core.poll_timeout(), None);
}

#[test]
fn a_run_is_left_out_while_the_one_before_it_has_not_ended() {
    let mut env = env();
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(submitted(&env.at(HOUR)), [1]);
    assert_eq!(submitted(&env.at(2 * HOUR)), []);
    assert_eq!(env.row().left_out, left_out(2 * HOUR, WhyLeftOut::Overlaps(JobId(1))));
    env.node(1, 4);
    env.succeed(1, run(1, 1, 0, 1));
    assert_eq!(submitted(&env.at(3 * HOUR)), [2]);
}

#[test]
fn a_queued_run_waits_for_all_that_are_before_it() {
    let mut env = env();
    env.add(hourly(Overlap::Queue, Missed::Skip)).unwrap();
    let effects = (1..=3).flat_map(|hour| env.at(hour * HOUR)).collect::<Vec<_>>();
    assert_eq!(submitted(&effects), [1, 2, 3]);
    assert_eq!(env.row().live, 3);
    assert_eq!(assigned(&env.node(1, 4)), [(1, run(1, 1, 0, 1))]);
    // Without the one between them, the third does not pass the first.
    let cancelled = env.handle(Input::Cancel { request: RequestId(1), job: JobId(2) });
    assert_eq!(assigned(&cancelled), []);
    assert_eq!(assigned(&env.succeed(1, run(1, 1, 0, 1))), [(1, run(3, 1, 0, 1))]);
}

#[test]
fn so_many_runs_may_queue_and_no_more() {
    let mut env = env();
    env.add(schedule("* * * * *", Overlap::Queue, Missed::Skip)).unwrap();
    for minute in 1..=MAX_RUNS as u64 {
        assert_eq!(submitted(&env.at(minute * MINUTE)), [minute]);
    }
    let next = (MAX_RUNS as u64 + 1) * MINUTE;
    assert_eq!(submitted(&env.at(next)), []);
    let latest = JobId(MAX_RUNS as u64);
    assert_eq!(env.row().left_out, left_out(next, WhyLeftOut::Overlaps(latest)));
}

#[test]
fn a_run_that_replaces_cancels_the_one_before_it() {
    let mut env = env();
    env.node(1, 4);
    env.add(hourly(Overlap::Replace, Missed::Skip)).unwrap();
    env.at(HOUR);
    let effects = env.at(2 * HOUR);
    assert!(!env.is_live(1));
    assert_eq!(submitted(&effects), [2]);
    assert_eq!(env.row().live, 1);
}

/// Down from 00:59 to 04:30, after four due times of which none is made up for in time.
fn back_after_hours(overlap: Overlap, missed: Missed) -> (Env, Vec<Effect>) {
    let mut env = env();
    env.add(hourly(overlap, missed)).unwrap();
    let effects = env.at(4 * HOUR + 30 * MINUTE);
    (env, effects)
}

#[test]
fn missed_runs_are_left_out() {
    let (mut env, effects) = back_after_hours(Overlap::Queue, Missed::Skip);
    assert_eq!(due(&effects), []);
    assert_eq!(env.row().left_out, left_out(4 * HOUR, WhyLeftOut::Missed));
    assert_eq!(due(&env.at(5 * HOUR)), [5 * HOUR]);
}

#[test]
fn the_latest_of_missed_runs_is_made_up_for() {
    let (env, effects) = back_after_hours(Overlap::Queue, Missed::Once);
    assert_eq!(due(&effects), [4 * HOUR]);
    assert_eq!(env.row().left_out, left_out(3 * HOUR, WhyLeftOut::Missed));
    assert_eq!(env.row().next, Some(Timestamp(5 * HOUR)));
}

#[test]
fn every_missed_run_is_made_up_for_oldest_first() {
    let (mut env, effects) = back_after_hours(Overlap::Queue, Missed::All);
    assert_eq!(due(&effects), [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]);
    assert_eq!(env.row().left_out, None);
    // They run one after the other.
    assert_eq!(assigned(&env.node(1, 4)), [(1, run(1, 1, 0, 1))]);
    assert_eq!(assigned(&env.succeed(1, run(1, 1, 0, 1))), [(1, run(2, 1, 0, 1))]);
}

#[test]
fn those_made_up_for_overlap_as_any_others_do() {
    let (_, effects) = back_after_hours(Overlap::Skip, Missed::All);
    assert_eq!(due(&effects), [HOUR]);
    let (env, effects) = back_after_hours(Overlap::Replace, Missed::All);
    assert_eq!(due(&effects).len(), 4);
    assert_eq!((env.row().live, env.is_live(4)), (1, true));
}

#[test]
fn no_more_than_the_latest_hundred_are_made_up_for() {
    let mut env = env();
    env.add(schedule("* * * * *", Overlap::Queue, Missed::All)).unwrap();
    let most = MAX_RUNS as u64;
    let effects = env.at(1000 * MINUTE + 45_000);
    let expected: Vec<u64> = (1001 - most..=1000).map(|minute| minute * MINUTE).collect();
    assert_eq!(due(&effects), expected);
    assert_eq!(env.row().left_out, left_out((1000 - most) * MINUTE, WhyLeftOut::Missed));
}

#[test]
fn years_of_missed_runs_cost_no_more_than_those_made_up_for() {
    let mut env = env();
    env.add(schedule("* * * * *", Overlap::Queue, Missed::Once)).unwrap();
    let effects = env.at(50 * 366 * DAY + 45_000);
    assert_eq!(due(&effects), [50 * 366 * DAY]);
    assert_eq!(facts(&effects).len(), 3, "left out, submitted, due");
}

#[test]
fn a_run_that_is_a_little_late_is_not_missed() {
    let mut env = env();
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(due(&env.at(HOUR + 30_000)), [HOUR]);
}

#[test]
fn a_restart_makes_no_run_twice_wherever_it_cuts_the_journal() {
    for overlap in [Overlap::Skip, Overlap::Queue, Overlap::Replace] {
        let mut env = env();
        env.node(1, 4);
        env.add(hourly(overlap, Missed::Once)).unwrap();
        env.at(HOUR);
        env.at(2 * HOUR);
        env.at(3 * HOUR);
        for durable in 0..=env.journal.len() {
            let mut core = Env::recovered(&env.journal[..durable]);
            if core.schedules(None, None, 1).is_empty() {
                continue;
            }
            let before = env.journal[..durable].to_vec();
            core.start(env.now);
            core.handle(env.now, Input::Timeout);
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
    let mut env = env();
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    env.at(HOUR);
    let cut = env.journal.iter().position(|fact| matches!(fact, Fact::ScheduleDue { .. })).unwrap();
    let mut core = Env::recovered(&env.journal[..cut]);
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
    let mut env = env();
    env.add(hourly(Overlap::Queue, Missed::All)).unwrap();
    env.pause(true);
    assert_eq!((env.row().paused, env.row().next), (true, None));
    env.at(3 * HOUR + MINUTE);
    env.pause(false);
    assert_eq!((env.row().paused, env.row().next), (false, Some(Timestamp(4 * HOUR))));
    let again = env.journal.len();
    env.pause(false);
    assert_eq!(env.journal.len(), again, "nothing to record");
    assert_eq!(due(&env.at(4 * HOUR)), [4 * HOUR]);
}

#[test]
fn removal_leaves_the_runs_and_frees_the_name() {
    let mut env = env();
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    env.at(HOUR);
    env.remove_schedule("report").unwrap();
    assert!(env.is_live(1));
    assert_eq!(env.core.schedules(None, None, 10), []);
    assert_eq!(submitted(&env.at(2 * HOUR)), []);
    // Another of that name knows nothing of the runs before.
    env.add(hourly(Overlap::Skip, Missed::Skip)).unwrap();
    assert_eq!(submitted(&env.at(3 * HOUR)), [2]);
    let refused = env.remove_schedule("nothing").unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    assert!(refused.message.contains("`wrun schedules` lists"), "{refused}");
}

#[test]
fn nothing_is_due_after_the_end() {
    let mut env = env();
    let until = Some(Timestamp(2 * HOUR));
    env.add(Schedule { until, ..hourly(Overlap::Queue, Missed::Skip) }).unwrap();
    assert_eq!(due(&env.at(HOUR)), [HOUR]);
    assert_eq!(due(&env.at(2 * HOUR)), [2 * HOUR], "the end belongs to it");
    assert_eq!(env.row().next, None);
    assert_eq!(due(&env.at(3 * HOUR)), []);
}

#[test]
fn what_would_have_been_after_the_end_was_not_missed() {
    let mut env = env();
    let until = Some(Timestamp(2 * HOUR));
    env.add(Schedule { until, ..hourly(Overlap::Queue, Missed::All) }).unwrap();
    assert_eq!(due(&env.at(9 * HOUR)), [HOUR, 2 * HOUR]);
}

#[test]
fn a_run_that_is_refused_leaves_its_reason() {
    let mut env = env();
    let mut choosy = job(1);
    choosy.labels.insert("zone".to_owned(), "b".to_owned());
    // No node is known yet: nothing speaks against it.
    env.add(Schedule { spec: of(&choosy), ..hourly(Overlap::Skip, Missed::Skip) }).unwrap();
    env.node(1, 4);
    env.at(HOUR);
    let Some(LeftOut { due, why: WhyLeftOut::Refused(reason) }) = env.row().left_out else {
        panic!("{:?}", env.row());
    };
    assert_eq!((due, reason.code), (Timestamp(HOUR), ErrorCode::Unsatisfiable));
    assert!(reason.message.contains("no node carries the labels zone=b"), "{reason}");
    let node = NodeId(1);
    let mut info = env.core.node_info(node).unwrap().clone();
    info.labels = choosy.labels;
    let (offer, attempts) = (Default::default(), Vec::new());
    env.handle(Input::NodeConnected { node, info, offer, incarnation: 2, attempts });
    assert_eq!(submitted(&env.at(2 * HOUR)), [1], "once there is such a node");
}

#[test]
fn a_reason_is_cut_where_it_is_long() {
    let mut env = env();
    let mut choosy = job(1);
    choosy.labels.extend((0..99).map(|number| (format!("label-{number:02}"), "é".repeat(20))));
    env.add(Schedule { spec: of(&choosy), ..hourly(Overlap::Skip, Missed::Skip) }).unwrap();
    env.node(1, 4);
    env.at(HOUR);
    match env.row().left_out.unwrap().why {
        WhyLeftOut::Refused(reason) => assert!((500..=512).contains(&reason.message.len())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_is_refused_when_it_is_added() {
    let mut env = env();
    env.node(1, 4);
    let good = || hourly(Overlap::Skip, Missed::Skip);
    let mut large = job(1);
    large.resources.scratch = 64 << 30;
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
        let refused = env.add(schedule).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.contains(says), "{refused}");
    }
    assert_eq!(env.core.schedules(None, None, 10), []);
}

#[test]
fn adding_again_is_the_same_and_adding_another_of_that_name_is_refused() {
    let mut env = env();
    let schedule = hourly(Overlap::Skip, Missed::Skip);
    env.add(schedule.clone()).unwrap();
    let once = env.journal.len();
    env.add(schedule.clone()).unwrap();
    assert_eq!(env.journal.len(), once);
    let refused = env.add(Schedule { missed: Missed::All, ..schedule.clone() }).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(answer(&env.add_as("bob", schedule)).is_ok(), "names are a tenant's own");
}

#[test]
fn a_tenant_has_so_many_schedules_and_no_more() {
    let mut env = env();
    let named = |name: String| Schedule { name, ..hourly(Overlap::Skip, Missed::Skip) };
    let most = env.core.config().max_schedules_per_tenant;
    (0..most).for_each(|number| env.add(named(format!("s{number}"))).unwrap());
    let refused = env.add(named("one-more".to_owned())).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitReached);
    assert!(answer(&env.add_as("bob", named("one-more".to_owned()))).is_ok());
    env.remove_schedule("s7").unwrap();
    env.add(named("one-more".to_owned())).unwrap();
}

#[test]
fn schedules_are_listed_in_order_and_page_by_page() {
    let mut env = env();
    for (tenant, name) in [("bob", "a"), ("ann", "z"), ("ann", "b"), ("cat", "a")] {
        let schedule = hourly(Overlap::Skip, Missed::Skip);
        answer(&env.add_as(tenant, Schedule { name: name.to_owned(), ..schedule })).unwrap();
    }
    let listed = |tenant: Option<&str>, after: Option<(&str, &str)>, limit| {
        let tenant = tenant.map(|name| name.parse().unwrap());
        let after = after.map(|(tenant, name)| (tenant.parse().unwrap(), name.to_owned()));
        let rows = env.core.schedules(tenant.as_ref(), after.as_ref(), limit);
        rows.into_iter().map(|row| format!("{}/{}", row.tenant, row.name)).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 10), ["ann/b", "ann/z", "bob/a", "cat/a"]);
    assert_eq!(listed(None, Some(("ann", "b")), 2), ["ann/z", "bob/a"]);
    assert_eq!(listed(Some("ann"), None, 10), ["ann/b", "ann/z"]);
    assert_eq!(listed(Some("ann"), Some(("ann", "b")), 10), ["ann/z"]);
}

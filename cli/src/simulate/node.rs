//! A node without a sandbox: it does what the server tells it, its tasks end when the
//! trace says, and it is never silent. It holds what a real one holds: tasks that have no
//! room wait their turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::{Assignment, Report, ToWorker};
use wrun_protocol::{IndexRange, JobId, Resources};

/// What the trace knows of a job that was submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Which of the simulated jobs.
    pub(crate) job: usize,
    /// What each task takes.
    pub(crate) each: Resources,
    /// Thousandths of cards that each takes.
    pub(crate) gpu_milli: u32,
    /// How long each runs; `None` is for ever.
    pub(crate) run_ms: Option<u64>,
}

/// Jobs by the number that the scheduler gave them.
pub(crate) type Jobs = HashMap<JobId, Known>;

/// What becomes of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// They began to run.
    Started,
    /// They ran to their end.
    Ended,
    /// They were stopped before their end.
    Stopped,
    /// Their processors were taken from them.
    Frozen,
    /// They go on.
    Thawed,
}

/// Something became of tasks of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) turn: Turn,
    /// Which of the simulated jobs.
    pub(crate) job: usize,
    pub(crate) tasks: u32,
}

/// When something ends, where, and under which number it runs there. The first is due first.
pub(crate) type Ends = BinaryHeap<Reverse<(u64, usize, u64)>>;

/// The server told a node to do what is not simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler sent what a simulated node does not know: {0}")]
pub(crate) struct Unknown(String);

/// Attempts with the cards that each holds.
#[derive(Clone, Debug)]
struct Attempts {
    tasks: Assignment,
    cards: Vec<u16>,
}

/// Attempts that run, all from one instant on.
#[derive(Clone, Debug)]
struct Running {
    attempts: Attempts,
    known: Known,
    /// When they began to run or go on.
    since: u64,
    /// What was left to run then.
    left_ms: Option<u64>,
    frozen: bool,
    /// When a notice is over, after which they are stopped.
    notice: Option<u64>,
}

/// One node.
pub(crate) struct SimulatedNode {
    place: usize,
    capacity: Resources,
    used: Resources,
    /// Thousandths of each card that are taken.
    cards: Vec<u32>,
    waiting: VecDeque<Attempts>,
    running: BTreeMap<u64, Running>,
    next_running: u64,
    next_report: u64,
    reports: Vec<Report>,
}

/// What a node is given to work with.
pub(crate) struct Floor<'a> {
    pub(crate) now: u64,
    pub(crate) jobs: &'a Jobs,
    pub(crate) ends: &'a mut Ends,
    pub(crate) changes: &'a mut Vec<Change>,
}

impl SimulatedNode {
    /// The node at `place`, empty.
    pub(crate) fn new(place: usize, capacity: Resources, cards: u32) -> Self {
        Self {
            place,
            capacity,
            used: Resources::default(),
            cards: vec![0; cards as usize],
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            next_running: 0,
            next_report: 1,
            reports: Vec::new(),
        }
    }

    /// What it has to tell, and the number of the first of it.
    pub(crate) fn take_reports(&mut self) -> (u64, Vec<Report>) {
        let reports = std::mem::take(&mut self.reports);
        let first = self.next_report;
        self.next_report += reports.len() as u64;
        (first, reports)
    }

    /// Does what the server says.
    pub(crate) fn on_message(
        &mut self,
        message: ToWorker,
        floor: &mut Floor<'_>,
    ) -> Result<(), Unknown> {
        match message {
            ToWorker::Assign(runs) => {
                let attempts = |tasks| Attempts { tasks, cards: Vec::new() };
                self.waiting.extend(runs.into_iter().map(attempts));
                self.start_tasks(floor);
            }
            ToWorker::AssignWith { tasks, grant } => {
                self.waiting.push_back(Attempts { tasks, cards: grant.gpus });
                self.start_tasks(floor);
            }
            ToWorker::Stop(runs) => {
                for run in runs {
                    self.take_waiting(run);
                    self.take_running(run, floor);
                }
                self.start_tasks(floor);
            }
            ToWorker::Recall(runs) => {
                for run in runs {
                    let returned = self.take_waiting(run).into_iter().map(Report::Returned);
                    self.reports.extend(returned);
                }
            }
            ToWorker::Freeze { attempt, frozen } => {
                self.freeze(one(attempt), frozen, floor);
                self.start_tasks(floor);
            }
            ToWorker::Preempt { attempt, notice_ms } => {
                let until = floor.now.saturating_add(notice_ms);
                self.change_running(one(attempt), floor, |run, _| run.notice = Some(until));
            }
            ToWorker::Welcome { .. }
            | ToWorker::Job { .. }
            | ToWorker::Forget(_)
            | ToWorker::Gang { .. }
            | ToWorker::Acknowledge { .. }
            | ToWorker::HeartbeatAck { .. } => {}
            other => return Err(Unknown(format!("{other:?}"))),
        }
        Ok(())
    }

    /// What runs under `number` has come to its end, or its notice has.
    pub(crate) fn on_end(&mut self, number: u64, floor: &mut Floor<'_>) {
        let Some(run) = self.running.get(&number) else { return };
        if run.due() != Some(floor.now) {
            // It was frozen meanwhile, and is due later.
            return;
        }
        let Some(run) = self.running.remove(&number) else { return };
        self.release(&run);
        let tasks = run.attempts.tasks;
        let usage = Usage {
            wall_us: (floor.now - run.since)
                .saturating_mul(1000)
                .saturating_mul(tasks.tasks.count.into()),
            ..Usage::default()
        };
        let ran_out = run.end() != Some(floor.now);
        if ran_out {
            let attempts = tasks.tasks.indices().map(|i| tasks.job.task(i).attempt(tasks.attempt));
            self.reports.extend(attempts.map(|attempt| Report::Preempted { attempt, usage }));
        } else {
            self.reports.push(Report::Succeeded { tasks, usage });
        }
        floor.tell_left(if ran_out { Turn::Stopped } else { Turn::Ended }, &run);
        self.start_tasks(floor);
    }

    /// Starts what has room, in order.
    fn start_tasks(&mut self, floor: &mut Floor<'_>) {
        while let Some(mut next) = self.waiting.pop_front() {
            let Some(known) = floor.jobs.get(&next.tasks.job).copied() else { continue };
            let count = self.room_for(&next, &known).min(next.tasks.tasks.count);
            if count < next.tasks.tasks.count {
                let mut rest = next.clone();
                rest.tasks.tasks = from(next.tasks.tasks, count);
                self.waiting.push_front(rest);
            }
            if count == 0 {
                return;
            }
            next.tasks.tasks.count = count;
            self.reports.push(Report::Started(next.tasks));
            let run = Running {
                attempts: next,
                known,
                since: floor.now,
                left_ms: known.run_ms,
                frozen: false,
                notice: None,
            };
            self.hold(&run);
            floor.tell(Turn::Started, &run);
            self.insert(run, floor);
        }
    }

    /// How many of the attempts there is room for.
    fn room_for(&self, attempts: &Attempts, known: &Known) -> u32 {
        let free = self.capacity.checked_sub(&self.used).unwrap_or_default();
        let by_amounts = free.times(&known.each);
        let on_each = share_on_each(known, attempts);
        let by_cards = attempts.cards.iter().map(|card| {
            let taken = self.cards.get(usize::from(*card)).copied().unwrap_or(1000);
            1000_u32.saturating_sub(taken).checked_div(on_each).unwrap_or(u32::MAX)
        });
        by_cards.min().unwrap_or(u32::MAX).min(by_amounts)
    }

    fn hold(&mut self, run: &Running) {
        self.used = self.used.checked_add(&run.amounts()).unwrap_or(self.capacity);
        let share = share_on_each(&run.known, &run.attempts) * run.count();
        for card in &run.attempts.cards {
            if let Some(taken) = self.cards.get_mut(usize::from(*card)) {
                *taken += share;
            }
        }
    }

    fn release(&mut self, run: &Running) {
        self.used = self.used.checked_sub(&run.amounts()).unwrap_or_default();
        let share = share_on_each(&run.known, &run.attempts) * run.count();
        for card in &run.attempts.cards {
            if let Some(taken) = self.cards.get_mut(usize::from(*card)) {
                *taken = taken.saturating_sub(share);
            }
        }
    }

    fn insert(&mut self, run: Running, floor: &mut Floor<'_>) {
        let number = self.next_running;
        self.next_running += 1;
        if let Some(due) = run.due() {
            floor.ends.push(Reverse((due, self.place, number)));
        }
        self.running.insert(number, run);
    }

    /// Takes the attempts of `wanted` that wait, and returns them.
    fn take_waiting(&mut self, wanted: Assignment) -> Vec<Assignment> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for attempts in self.waiting.drain(..) {
            let Some((before, inside, after)) = cut(attempts.tasks, wanted) else {
                kept.push_back(attempts);
                continue;
            };
            for tasks in [before, after].into_iter().flatten() {
                kept.push_back(Attempts { tasks, cards: attempts.cards.clone() });
            }
            taken.push(inside);
        }
        self.waiting = kept;
        taken
    }

    /// Stops the attempts of `wanted` that run.
    fn take_running(&mut self, wanted: Assignment, floor: &mut Floor<'_>) {
        for run in self.cut_running(wanted, floor) {
            self.release(&run);
            floor.tell_left(Turn::Stopped, &run);
        }
    }

    fn freeze(&mut self, wanted: Assignment, frozen: bool, floor: &mut Floor<'_>) {
        let now = floor.now;
        for mut run in self.cut_running(wanted, floor) {
            if run.frozen == frozen {
                self.insert(run, floor);
                continue;
            }
            self.release(&run);
            if frozen {
                run.left_ms = run.left_ms.map(|left| left.saturating_sub(now - run.since));
            }
            run.since = now;
            run.frozen = frozen;
            self.hold(&run);
            floor.tell(if frozen { Turn::Frozen } else { Turn::Thawed }, &run);
            self.insert(run, floor);
        }
    }

    fn change_running(
        &mut self,
        wanted: Assignment,
        floor: &mut Floor<'_>,
        change: impl Fn(&mut Running, u64),
    ) {
        let now = floor.now;
        for mut run in self.cut_running(wanted, floor) {
            change(&mut run, now);
            self.insert(run, floor);
        }
    }

    /// Takes the attempts of `wanted` out of what runs; what ran with them runs on.
    fn cut_running(&mut self, wanted: Assignment, floor: &mut Floor<'_>) -> Vec<Running> {
        let hit = |run: &Running| cut(run.attempts.tasks, wanted).is_some();
        let numbers: Vec<u64> =
            self.running.iter().filter(|(_, run)| hit(run)).map(|(number, _)| *number).collect();
        let mut found = Vec::new();
        for number in numbers {
            let Some(run) = self.running.remove(&number) else { continue };
            let Some((before, inside, after)) = cut(run.attempts.tasks, wanted) else { continue };
            for tasks in [before, after].into_iter().flatten() {
                self.insert(run.with(tasks), floor);
            }
            found.push(run.with(inside));
        }
        found
    }
}

impl Running {
    fn count(&self) -> u32 {
        self.attempts.tasks.tasks.count
    }

    /// What they hold: when frozen, all but processors.
    fn amounts(&self) -> Resources {
        let (each, count) = (self.known.each, self.count());
        Resources {
            cpu_milli: if self.frozen { 0 } else { each.cpu_milli.saturating_mul(count) },
            memory: each.memory.saturating_mul(count.into()),
            scratch: each.scratch.saturating_mul(count.into()),
            slots: each.slots.saturating_mul(count),
        }
    }

    /// When they have run to their end, if nothing disturbs them.
    fn end(&self) -> Option<u64> {
        self.left_ms.filter(|_| !self.frozen).map(|left| self.since.saturating_add(left))
    }

    /// When they leave: at their end or when their notice is over.
    fn due(&self) -> Option<u64> {
        self.end().into_iter().chain(self.notice).min()
    }

    fn with(&self, tasks: Assignment) -> Self {
        let attempts = Attempts { tasks, cards: self.attempts.cards.clone() };
        Self { attempts, ..self.clone() }
    }
}

impl Floor<'_> {
    fn tell(&mut self, turn: Turn, run: &Running) {
        self.changes.push(Change { turn, job: run.known.job, tasks: run.count() });
    }

    /// What was frozen has no processors to give back: it gets them to leave.
    fn tell_left(&mut self, turn: Turn, run: &Running) {
        if run.frozen {
            self.tell(Turn::Thawed, run);
        }
        self.tell(turn, run);
    }
}

/// What a task takes of each card that it was given.
fn share_on_each(known: &Known, attempts: &Attempts) -> u32 {
    let cards = u32::try_from(attempts.cards.len()).unwrap_or(u32::MAX);
    known.gpu_milli.checked_div(cards).unwrap_or_default()
}

fn one(attempt: wrun_protocol::AttemptId) -> Assignment {
    let tasks = IndexRange::one(attempt.task.index);
    Assignment { job: attempt.task.job, attempt: attempt.attempt, tasks }
}

/// What of `range` follows its first `count`.
fn from(range: IndexRange, count: u32) -> IndexRange {
    IndexRange { first: range.first + count, count: range.count - count }
}

/// What of `tasks` is before, inside and after `wanted`; `None` where nothing is inside.
fn cut(
    tasks: Assignment,
    wanted: Assignment,
) -> Option<(Option<Assignment>, Assignment, Option<Assignment>)> {
    let first = tasks.tasks.first.max(wanted.tasks.first);
    let end = tasks.tasks.end().min(wanted.tasks.end());
    if (tasks.job, tasks.attempt) != (wanted.job, wanted.attempt) || first >= end {
        return None;
    }
    let part = |first, end| Assignment { tasks: IndexRange { first, count: end - first }, ..tasks };
    let before = (tasks.tasks.first < first).then(|| part(tasks.tasks.first, first));
    let after = (end < tasks.tasks.end()).then(|| part(end, tasks.tasks.end()));
    Some((before, part(first, end), after))
}

#[cfg(test)]
mod tests;

//! A small cluster in virtual time: one core, and around it nodes that do what they are
//! told and say what they are made to say. After every event the facts so far are applied
//! to a second core, and a snapshot is restored: both must come to the same state.
//!
//! Time is counted in seconds from [`BEGIN`]. Tasks run until a test ends them, unless it
//! said how long they last ([`Cluster::lasting`]).

mod effects;
mod jobs;
mod nodes;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_core::{Answer, Config, Core, Effect, Fact, Input, RequestId};
use wrun_protocol::policy::Policy;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, NodeId, Timestamp};

pub(crate) use self::effects::{
    answer, assigned, ended, facts, started, stopped, submitted_job, told_members, told_to_stop,
};
pub(crate) use self::jobs::{
    GIB, cards, gpu, gpu_job, job, limited, range, ranges, run, submit_id, within,
};
pub(crate) use self::nodes::Machine;
pub(crate) use self::runs::Start;

/// When every test begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_000_000_000);

/// The least time between two heartbeats of a node.
const BEAT: Duration = Duration::from_secs(5);

pub(crate) struct Cluster {
    pub(crate) core: Core,
    /// Applies facts and does nothing else.
    shadow: Core,
    pub(crate) journal: Vec<Fact>,
    pub(crate) now: Timestamp,
    submits: u64,
    /// Number of the next report, by node.
    reports: BTreeMap<u64, u64>,
    /// What nodes were told to start, in order.
    pub(crate) starts: Vec<Start>,
    /// Those that are to end by themselves, by their place in `starts`.
    open: BTreeSet<usize>,
    /// How long the tasks of these jobs last.
    lasts: BTreeMap<JobId, Duration>,
    /// What nodes were told and was not looked at, where a test has them listen.
    pub(crate) inbox: Option<Vec<(NodeId, ToWorker)>>,
}

/// So many seconds after the begin.
pub(crate) fn second(seconds: u64) -> Timestamp {
    BEGIN.after(Duration::from_secs(seconds))
}

impl Cluster {
    /// One on which nothing happens by itself: no node is ever lost, nothing waits on a
    /// node, and ranks and promises are made anew in every round.
    pub(crate) fn new() -> Self {
        Self::with(Self::steady())
    }

    /// The settings of [`Cluster::new`].
    pub(crate) fn steady() -> Config {
        Config {
            lease: Duration::from_secs(1 << 30),
            rank_interval: Duration::ZERO,
            promise_interval: Duration::ZERO,
            max_backlog: 0,
            ..Config::default()
        }
    }

    /// One whose core behaves as these settings say.
    pub(crate) fn with(config: Config) -> Self {
        Self {
            core: Core::new(config.clone()),
            shadow: Core::new(config),
            journal: Vec::new(),
            now: BEGIN,
            submits: 0,
            reports: BTreeMap::new(),
            starts: Vec::new(),
            open: BTreeSet::new(),
            lasts: BTreeMap::new(),
            inbox: None,
        }
    }

    /// A steady one under a policy.
    pub(crate) fn under(policy: Policy) -> Self {
        let mut cluster = Self::new();
        cluster.set_policy(policy).unwrap();
        cluster
    }

    /// Tells the core of something, at this instant.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        for fact in facts(&effects) {
            self.shadow.apply(&fact);
            self.journal.push(fact);
        }
        self.note_starts(&effects);
        if let Some(inbox) = &mut self.inbox {
            inbox.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Send { node, message } => Some((*node, message.clone())),
                _ => None,
            }));
        }
        let snapshot = self.core.snapshot();
        assert!(snapshot == self.shadow.snapshot(), "applying the facts gives another state");
        let restored = Core::restore(self.core.config().clone(), &snapshot).unwrap();
        assert!(restored.snapshot() == snapshot, "a restored snapshot gives another state");
        effects
    }

    /// The same, for what is answered.
    pub(crate) fn ask(&mut self, input: Input) -> Result<Answer, RequestError> {
        answer(&self.handle(input))
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) -> Result<Answer, RequestError> {
        self.ask(Input::SetPolicy { request: RequestId(0), policy: Box::new(policy) })
    }

    /// Time passes until so many seconds after the begin: the core is woken whenever it
    /// asks for it, nodes say that they live, and tasks that come to their end succeed.
    pub(crate) fn at(&mut self, seconds: u64) -> &mut Self {
        self.advance(second(seconds))
    }

    /// So many milliseconds pass.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        self.advance(self.now.after(Duration::from_millis(ms)))
    }

    fn advance(&mut self, until: Timestamp) -> &mut Self {
        loop {
            let end = self.next_end();
            let beat = self.now.after(BEAT);
            let timer = self.core.poll_timeout();
            let next = [end.map(|(at, _)| at), timer, Some(beat)].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            match end {
                Some((of, start)) if of == at => self.end_start(start),
                _ if timer == Some(at) => {
                    self.handle(Input::Timeout);
                }
                _ => self.beat(),
            }
        }
        self.now = self.now.max(until);
        self.handle(Input::Timeout);
        self
    }

    /// What a restart of a steady one makes of these facts, before it begins to decide.
    pub(crate) fn recovered(journal: &[Fact]) -> Core {
        let mut core = Core::new(Self::steady());
        journal.iter().for_each(|fact| core.apply(fact));
        core
    }
}

//! A node that runs nothing: it answers every assignment at once, or after a sleep. What is
//! left is the scheduler, its journal and the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wrun_net::{Identity, JoinAddress, RecvStream, SendStream};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::worker::{Assignment, FromWorker, Report, ToWorker};
use wrun_protocol::{IndexRange, JobId, Resources};

/// How far a node is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Tasks it was given.
    pub(crate) assigned: u64,
    /// Tasks whose success the server has acknowledged.
    pub(crate) acknowledged: u64,
    /// When the first task came.
    pub(crate) first: Option<Instant>,
}

/// A running node. Its connection ends when it is dropped.
pub(crate) struct AnsweringNode {
    /// Follows what it sees.
    pub(crate) seen: watch::Receiver<Seen>,
    session: JoinHandle<Result<()>>,
}

impl Drop for AnsweringNode {
    fn drop(&mut self) {
        self.session.abort();
    }
}

/// How a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// At once, a range as the range in which it came: as a worker does with neighbours
    /// that succeed with nothing to tell.
    Ranges,
    /// At once, each task by itself, no two neighbours after one another.
    Singly,
    /// Each task after half its time limit, as many at once as the CPU allows.
    Asleep {
        /// All that its tasks may take.
        cpu_milli: u32,
    },
}

/// What lets a node connect any number of times.
pub(crate) struct Member {
    identity: Identity,
    authority: Vec<u8>,
    server: String,
    name: String,
}

impl Member {
    /// Joins with a token as `wrun token create` prints it.
    pub(crate) async fn join(token: &str, name: &str) -> Result<Self> {
        let address: JoinAddress = token.trim().parse()?;
        let server = address.server.to_string();
        let connection = wrun_net::connect_to_join(&server, address.token.fingerprint).await?;
        let (key, csr) = wrun_net::signing_request()?;
        let (mut send, mut receive) = connection.open().await?;
        let (secret, name) = (address.token.secret, name.to_owned());
        send.send(&JoinRequest::Node { secret, csr, name: name.clone() }).await?;
        match receive.recv().await?.context("no answer to the join")? {
            JoinReply::Welcome { certificate, authority, .. } => {
                let identity = Identity::new(vec![certificate, authority.clone()], key)?;
                Ok(Self { identity, authority, server, name })
            }
            JoinReply::Refused(error) => bail!("refused: {error}"),
        }
    }

    /// Connects; waits for the server to be there.
    pub(crate) async fn connect(&self, manner: Manner) -> Result<AnsweringNode> {
        let connection = loop {
            match wrun_net::connect(&self.server, &self.identity, &self.authority).await {
                Ok(connection) => break connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let (mut send, receive) = connection.open().await?;
        let cpu_milli = match manner {
            Manner::Asleep { cpu_milli } => cpu_milli,
            Manner::Ranges | Manner::Singly => 64_000_000,
        };
        let capacity = Resources { cpu_milli, memory: 1 << 50, scratch: 1 << 50, slots: 4096 };
        let (labels, version) = (BTreeMap::new(), env!("CARGO_PKG_VERSION").to_owned());
        let info = NodeInfo { name: self.name.clone(), capacity, labels, version };
        let incarnation = u64::from(std::process::id());
        send.send(&FromWorker::Hello { info, incarnation, attempts: Vec::new() }).await?;
        let (tell, seen) = watch::channel(Seen::default());
        let session = tokio::spawn(async move {
            let _connection = connection;
            let asleep = Asleep { free_cpu: cpu_milli, ..Asleep::default() };
            let unacknowledged = Vec::new();
            let next_report = 1;
            let session =
                Session { send, receive, next_report, unacknowledged, tell, manner, asleep };
            session.run().await
        });
        Ok(AnsweringNode { seen, session })
    }
}

struct Session {
    send: SendStream,
    receive: RecvStream,
    next_report: u64,
    /// Number of each report and the tasks that it tells of, oldest first.
    unacknowledged: Vec<(u64, u64)>,
    tell: watch::Sender<Seen>,
    manner: Manner,
    asleep: Asleep,
}

/// Tasks that sleep, and those that wait for room to.
#[derive(Default)]
struct Asleep {
    /// CPU and sleep of each job's tasks.
    jobs: BTreeMap<JobId, (u32, Duration)>,
    queue: VecDeque<Assignment>,
    /// When each wakes.
    waking: BTreeSet<(Instant, JobId, u32, u32)>,
    free_cpu: u32,
}

impl Asleep {
    fn on_job(&mut self, job: JobId, spec: &EncodedSpec) -> Result<()> {
        let spec = spec.decode()?;
        let limit = spec.limits.wall_ms.context("a task that sleeps has a time limit")?;
        let sleep = Duration::from_millis(limit) / 2;
        self.jobs.insert(job, (spec.resources.cpu_milli, sleep));
        Ok(())
    }

    fn on_assigned(&mut self, tasks: Assignment) {
        let one = |index| Assignment { tasks: IndexRange::one(index), ..tasks };
        self.queue.extend(tasks.tasks.indices().map(one));
        self.start();
    }

    fn start(&mut self) {
        while let Some(next) = self.queue.front() {
            let Some((cpu, sleep)) = self.jobs.get(&next.job) else { break };
            if *cpu > self.free_cpu {
                break;
            }
            self.free_cpu -= cpu;
            let wakes = Instant::now() + *sleep;
            self.waking.insert((wakes, next.job, next.attempt, next.tasks.first));
            self.queue.pop_front();
        }
    }

    /// Those whose sleep is over.
    fn wake(&mut self) -> Vec<Assignment> {
        let now = Instant::now();
        let mut awake = Vec::new();
        while let Some((at, job, attempt, index)) = self.waking.first().copied()
            && at <= now
        {
            self.waking.pop_first();
            self.free_cpu += self.jobs.get(&job).map_or(0, |(cpu, _)| *cpu);
            awake.push(Assignment { job, attempt, tasks: IndexRange::one(index) });
        }
        self.start();
        awake
    }
}

impl Session {
    async fn run(mut self) -> Result<()> {
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        let mut beat = 0;
        let mut messages: Vec<ToWorker> = Vec::new();
        loop {
            let wakes = self.asleep.waking.first().map(|(at, ..)| *at);
            let wakes = wakes.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = tokio::time::sleep_until(wakes.into()) => {
                    let mut reports = Vec::new();
                    let first = self.next_report;
                    for tasks in self.asleep.wake() {
                        self.succeeded(tasks, &mut reports);
                    }
                    self.send_reports(first, &reports).await?;
                }
                _ = beats.tick() => {
                    beat += 1;
                    self.send.send(&FromWorker::Heartbeat { beat }).await?;
                }
                received = self.receive.recv_many(&mut messages, 4096) => {
                    if received? == 0 {
                        return Ok(());
                    }
                    self.answer(messages.drain(..)).await?;
                }
            }
        }
    }

    async fn answer(&mut self, messages: impl Iterator<Item = ToWorker>) -> Result<()> {
        let first = self.next_report;
        let mut reports = Vec::new();
        for message in messages {
            match message {
                ToWorker::Job { job, spec, .. } if matches!(self.manner, Manner::Asleep { .. }) => {
                    self.asleep.on_job(job, &spec)?;
                }
                ToWorker::Assign(assignments) => {
                    for tasks in assignments {
                        self.on_assigned(tasks, &mut reports);
                    }
                }
                ToWorker::Recall(tasks) => {
                    for tasks in tasks {
                        reports.push(Report::Returned(tasks));
                        self.unacknowledged.push((self.next_report, 0));
                        self.next_report += 1;
                    }
                }
                ToWorker::Acknowledge { report } => self.on_acknowledged(report),
                _ => {}
            }
        }
        self.send_reports(first, &reports).await
    }

    fn on_assigned(&mut self, tasks: Assignment, reports: &mut Vec<Report>) {
        self.tell.send_modify(|seen| {
            seen.assigned += u64::from(tasks.tasks.count);
            seen.first.get_or_insert_with(Instant::now);
        });
        let one = |index| Assignment { tasks: IndexRange::one(index), ..tasks };
        match self.manner {
            Manner::Ranges => self.succeeded(tasks, reports),
            Manner::Singly => {
                let every_other = |from| tasks.tasks.indices().skip(from).step_by(2);
                for index in every_other(0).chain(every_other(1)) {
                    self.succeeded(one(index), reports);
                }
            }
            Manner::Asleep { .. } => self.asleep.on_assigned(tasks),
        }
    }

    fn succeeded(&mut self, tasks: Assignment, reports: &mut Vec<Report>) {
        reports.push(Report::Succeeded { tasks, usage: Usage::default() });
        self.unacknowledged.push((self.next_report, tasks.tasks.count.into()));
        self.next_report += 1;
    }

    async fn send_reports(&mut self, first: u64, reports: &[Report]) -> Result<()> {
        for (at, chunk) in reports.chunks(8192).enumerate() {
            let first = first + (at * 8192) as u64;
            self.send.send(&FromWorker::Reports { first, reports: chunk.to_vec() }).await?;
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, report: u64) {
        let done = self.unacknowledged.partition_point(|(number, _)| *number <= report);
        let tasks: u64 = self.unacknowledged.drain(..done).map(|(_, tasks)| tasks).sum();
        self.tell.send_modify(|seen| seen.acknowledged += tasks);
    }
}

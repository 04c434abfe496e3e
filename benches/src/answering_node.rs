//! A node that answers every assignment at once, without running anything: what is left is
//! the scheduler, its journal and the wire.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wrun_net::{Identity, JoinAddress, RecvStream, SendStream};
use wrun_protocol::Resources;
use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};

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
    pub(crate) async fn connect(&self) -> Result<AnsweringNode> {
        let connection = loop {
            match wrun_net::connect(&self.server, &self.identity, &self.authority).await {
                Ok(connection) => break connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let (mut send, receive) = connection.open().await?;
        let capacity =
            Resources { cpu_milli: 64_000_000, memory: 1 << 50, scratch: 1 << 50, slots: 4096 };
        let (labels, version) = (BTreeMap::new(), env!("CARGO_PKG_VERSION").to_owned());
        let info = NodeInfo { name: self.name.clone(), capacity, labels, version };
        let incarnation = u64::from(std::process::id());
        send.send(&FromWorker::Hello { info, incarnation, attempts: Vec::new() }).await?;
        let (tell, seen) = watch::channel(Seen::default());
        let session = tokio::spawn(async move {
            let _connection = connection;
            Session { send, receive, next_report: 1, unacknowledged: Vec::new(), tell }.run().await
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
}

impl Session {
    async fn run(mut self) -> Result<()> {
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        let mut beat = 0;
        let mut messages: Vec<ToWorker> = Vec::new();
        loop {
            tokio::select! {
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
                ToWorker::Assign(assignments) => {
                    for tasks in assignments {
                        reports.push(Report::Succeeded { tasks, usage: Usage::default() });
                        let count = u64::from(tasks.tasks.count);
                        self.unacknowledged.push((self.next_report, count));
                        self.next_report += 1;
                        self.tell.send_modify(|seen| {
                            seen.assigned += count;
                            seen.first.get_or_insert_with(Instant::now);
                        });
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

//! The gangs of which this node has tasks, each in its last attempt.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use wrun_protocol::wire::peer::Refusal;
use wrun_protocol::wire::worker::GangMember;
use wrun_protocol::{JobId, NodeId};
use wrun_sandbox::{GangError, GangSeat, TaskMemory};

use super::attempt::Gang;
use super::members::Members;
use super::questions::Questions;
use super::seat::Seat;
use crate::peers::Peers;

/// See the module.
pub(crate) struct Gangs {
    node: NodeId,
    peers: Option<Arc<Peers>>,
    gangs: Mutex<BTreeMap<JobId, Arc<Gang>>>,
    /// How many: tasks end by the ten thousand, and mostly there is no gang to ask.
    count: AtomicUsize,
    /// Guests call from threads that are none of the runtime's.
    runtime: Handle,
    questions: Arc<Questions>,
}

impl Gangs {
    /// Those of `node`, which reaches others through `peers`. Must be called within a tokio
    /// runtime.
    pub(crate) fn new(node: NodeId, peers: Option<Arc<Peers>>) -> Arc<Self> {
        Arc::new(Self {
            node,
            peers,
            gangs: Mutex::default(),
            count: AtomicUsize::new(0),
            runtime: Handle::current(),
            questions: Arc::default(),
        })
    }

    /// What the server is to be asked about them.
    pub(crate) fn questions(&self) -> Arc<Questions> {
        Arc::clone(&self.questions)
    }

    fn gangs(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Gang>>> {
        self.gangs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, job: JobId) -> Option<Arc<Gang>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.gangs().get(&job).cloned()
    }

    /// The gang, where the task is of that attempt of it.
    fn of_task(&self, job: JobId, rank: u32, attempt: u32) -> Option<Arc<Gang>> {
        self.find(job).filter(|gang| gang.attempt_of(rank) == Some(attempt))
    }

    /// The server says who is where. Another attempt takes the place of the one before.
    pub(crate) fn on_members(&self, job: JobId, attempt: u32, members: &[GangMember]) {
        let mut gangs = self.gangs();
        if let Some(known) = gangs.get(&job).filter(|known| known.attempt == attempt) {
            return known.learn(members);
        }
        if gangs.get(&job).is_some_and(|known| known.attempt > attempt) {
            return;
        }
        let members = Members::new(members);
        let (runtime, peers) = (self.runtime.clone(), self.peers.clone());
        let gang = Gang::new((job, attempt), members, self.node, runtime, peers, self.questions());
        let before = gangs.insert(job, Arc::new(gang));
        self.count.store(gangs.len(), Ordering::Release);
        drop(gangs);
        if let Some(before) = before {
            before.close(GangError::Stopping);
        }
    }

    /// The seat of a task; `None` if it is of no gang.
    pub(crate) fn seat(
        &self,
        job: JobId,
        rank: u32,
        attempt: u32,
        memory: TaskMemory,
    ) -> Option<Arc<dyn GangSeat>> {
        let gang = self.of_task(job, rank, attempt)?;
        Some(Arc::new(Seat::take(gang, rank, memory)))
    }

    /// A task has ended here. What it has sent still arrives.
    pub(crate) fn on_ended(&self, job: JobId, rank: u32, attempt: u32) {
        if let Some(gang) = self.of_task(job, rank, attempt) {
            gang.with(|state| state.end(rank));
        }
    }

    /// Tasks of that attempt are being stopped here, and with them the gang.
    pub(crate) fn on_stopping(&self, job: JobId, rank: u32, attempt: u32) {
        if let Some(gang) = self.of_task(job, rank, attempt) {
            gang.close(GangError::Stopping);
        }
    }

    /// The task's gang ended before the task did, for no fault of this node's: so why.
    pub(crate) fn over(&self, job: JobId, rank: u32, attempt: u32) -> Option<GangError> {
        self.of_task(job, rank, attempt)?.over()
    }

    /// No task of the job is here any more, and none will come.
    pub(crate) fn forget(&self, job: JobId) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.sweep(|other| other != job, |_| false);
        }
    }

    /// Drops gangs that have no tasks here and whose other nodes want nothing more.
    pub(crate) fn drop_unused(&self, has_tasks: impl FnMut(JobId) -> bool) {
        self.sweep(has_tasks, |gang| gang.with(|state| state.is_in_use()));
    }

    fn sweep(&self, mut has_tasks: impl FnMut(JobId) -> bool, in_use: impl Fn(&Arc<Gang>) -> bool) {
        let mut gangs = self.gangs();
        let gone: Vec<Arc<Gang>> = gangs
            .extract_if(.., |job, gang| !has_tasks(*job) && !in_use(gang))
            .map(|(_, gang)| gang)
            .collect();
        self.count.store(gangs.len(), Ordering::Release);
        drop(gangs);
        gone.iter().for_each(|gang| gang.close(GangError::Stopping));
    }

    /// What another node wants to send to, if it has a part in it.
    pub(super) fn opened(
        &self,
        node: NodeId,
        job: JobId,
        attempt: u32,
    ) -> Result<Arc<Gang>, Refusal> {
        let gang = self.find(job).ok_or(Refusal::Unknown)?;
        if gang.attempt > attempt {
            return Err(Refusal::Stale { current: gang.attempt });
        }
        if gang.attempt < attempt {
            // This node has not heard of it yet.
            return Err(Refusal::Unknown);
        }
        if !gang.with(|state| state.members.has(node)) {
            return Err(Refusal::NotAMember);
        }
        match gang.over() {
            None => Ok(gang),
            Some(_) => Err(Refusal::Stale { current: attempt }),
        }
    }
}

impl Drop for Gangs {
    fn drop(&mut self) {
        if let Some(peers) = &self.peers {
            peers.close();
        }
    }
}

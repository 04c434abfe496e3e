//! Jobs whose results are known from before, all or some: what is known has succeeded, the rest
//! runs. A job that starts at once is submitted with what is known of it. Of all others it is
//! looked up when nothing else keeps them back any more: what has become known until then counts
//! too.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{IndexRange, JobId, SubmitId, TenantName};

use crate::core::Core;
use crate::effect::Effect;
use crate::fact::{Fact, Remembered};

/// Most bytes of results in one fact, about: several facts must fit a batch of the journal.
const MAX_BYTES: usize = 256 << 10;

/// What a result takes in a fact besides its content, at most, in bytes.
const OVERHEAD: usize = 128;

/// What is to be looked up of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlooked {
    /// Whose job it is.
    pub tenant: TenantName,
    /// Which interface its component exports.
    pub kind: ComponentKind,
    /// As it was accepted: that is what results are kept under.
    pub spec: EncodedSpec,
    /// Which of its tasks, in ascending order; none where it is not due any more.
    pub tasks: Vec<IndexRange>,
}

impl Core {
    pub(crate) fn on_submit_known(
        &mut self,
        tenant: TenantName,
        id: SubmitId,
        kind: ComponentKind,
        spec: EncodedSpec,
        known: Vec<Remembered>,
    ) -> Result<JobId, RequestError> {
        let next = self.state.next_job;
        let job = self.on_submit(tenant, id, kind, spec, &[])?;
        // A repetition finds the job that has its results already.
        if job.0 >= next {
            let tasks = self.state.unlooked_tasks(job);
            self.take_results(job, tasks, known);
        }
        Ok(job)
    }

    /// Has looked up what is to be.
    pub(crate) fn ask_for_results(&mut self) {
        while let Some(job) = self.state.unlooked.pop_first() {
            if !self.looking_up.contains(&job) && !self.state.unlooked_tasks(job).is_empty() {
                self.looking_up.insert(job);
                self.effects.push(Effect::LookUp(job));
            }
        }
    }

    /// What is to be looked up of a job; `None` if it has ended.
    pub fn unlooked(&self, id: JobId) -> Option<Unlooked> {
        let job = self.state.jobs.get(id)?;
        let tenant = self.state.groups.get(job.group)?.key.tenant;
        Some(Unlooked {
            tenant: self.state.tenants.get(tenant)?.name.clone(),
            kind: job.kind,
            spec: job.spec.encoded(),
            tasks: self.state.unlooked_tasks(id),
        })
    }

    pub(crate) fn on_looked_up(
        &mut self,
        job: JobId,
        tasks: Vec<IndexRange>,
        known: Vec<Remembered>,
    ) {
        self.looking_up.remove(&job);
        // Something may keep it back again; then it is looked up anew.
        let due = self.state.unlooked_tasks(job);
        let is_in = |tasks: &[IndexRange], index: u32| {
            tasks.iter().any(|range| (range.first..range.end()).contains(&index))
        };
        if due.is_empty() {
            return;
        }
        let known = known
            .into_iter()
            .filter(|known| is_in(&tasks, known.index) && is_in(&due, known.index))
            .collect();
        self.take_results(job, tasks, known);
        // Others may be due since.
        self.state.unlooked.insert(job);
    }

    /// Tasks whose results are known have succeeded; the others of `tasks` may be placed.
    fn take_results(&mut self, job: JobId, tasks: Vec<IndexRange>, known: Vec<Remembered>) {
        if !known.is_empty() {
            self.remember(job, known);
        }
        if !tasks.is_empty() && self.state.jobs.get(job).is_some() {
            self.append(Fact::LookedUp { at: self.now, job, tasks });
        }
    }

    fn remember(&mut self, job: JobId, known: Vec<Remembered>) {
        let ends_job = self.ending(job, known.len() as u32, false);
        let knowing = if ends_job.is_some() { self.knowing(job) } else { Vec::new() };
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        for task in known {
            let size = size_of(&task);
            if bytes + size > MAX_BYTES && !tasks.is_empty() {
                let tasks = std::mem::take(&mut tasks);
                self.append(Fact::Remembered { at: self.now, job, tasks, ends_job: None });
                bytes = 0;
            }
            bytes += size;
            tasks.push(task);
        }
        self.append(Fact::Remembered { at: self.now, job, tasks, ends_job });
        self.send_forget(job, &knowing);
        self.job_changed(job);
    }
}

fn size_of(task: &Remembered) -> usize {
    let inline = |content: &Option<Content>| match content {
        Some(Content::Inline(bytes)) => bytes.len(),
        _ => 0,
    };
    OVERHEAD + inline(&task.output) + inline(&task.log)
}

//! Jobs whose results are known from before, all or some: what is known has succeeded as
//! the job is accepted, the rest runs.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::Content;
use wrun_protocol::wire::user::{JobState, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, SubmitId, TenantName};

use crate::core::Core;
use crate::fact::{Fact, Remembered};
use crate::state::jobs::Tasks;

/// Most bytes of results in one fact, about: several facts must fit a batch of the journal.
const MAX_BYTES: usize = 256 << 10;

/// What a result takes in a fact besides its content, at most, in bytes.
const OVERHEAD: usize = 128;

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
        if job.0 >= next && !known.is_empty() {
            self.remember(job, known);
        }
        Ok(job)
    }

    fn remember(&mut self, job: JobId, known: Vec<Remembered>) {
        let count = match self.state.jobs.get(job).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => array.count as usize,
            _ => 1,
        };
        let ends_job = (known.len() >= count).then_some(JobState::Succeeded);
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

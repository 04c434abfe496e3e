//! What the server answers, as the types that are printed.

use wrun_protocol::card::CardState;
use wrun_protocol::inference;
use wrun_protocol::job::{Input, JobSpec};
use wrun_protocol::task::{self, Content};
use wrun_protocol::wire::{policy, user};
use wrun_protocol::{Resources, Timestamp};

use super::{
    Amounts, BackEnd, Card, Counts, Inference, Job, Mount, NamedResource, Node, Outcome, Provider,
    Remembered, Spec, Task, Usage,
};
use crate::report::human;

impl From<user::TaskCounts> for Counts {
    fn from(tasks: user::TaskCounts) -> Self {
        let user::TaskCounts { pending, running, succeeded, failed, cancelled } = tasks;
        Self { pending, running, succeeded, failed, cancelled }
    }
}

impl From<&task::Outcome> for Outcome {
    fn from(outcome: &task::Outcome) -> Self {
        use task::Failure as F;
        let (kind, code) = match outcome {
            task::Outcome::Succeeded => ("succeeded", None),
            task::Outcome::Failed(failure) => match failure {
                F::Exit { code } => ("exit", Some(*code)),
                F::Handler { .. } => ("handler-error", None),
                F::Trap { .. } => ("trap", None),
                F::Limit { .. } => ("limit", None),
                F::Setup { .. } => ("setup", None),
                F::Cancelled => ("cancelled", None),
                F::NodeLost => ("node-lost", None),
                F::Dependency { .. } => ("dependency", None),
            },
        };
        Self { kind, message: outcome.to_string(), code }
    }
}

impl From<task::Usage> for Usage {
    fn from(usage: task::Usage) -> Self {
        let task::Usage { wall_us, cpu_us, frozen_us, peak_memory } = usage;
        Self { wall_us, cpu_us, frozen_us, peak_memory }
    }
}

impl From<Resources> for Amounts {
    fn from(resources: Resources) -> Self {
        let Resources { cpu_milli, memory, scratch, slots } = resources;
        Self { cpu_milli, memory, scratch, slots }
    }
}

impl From<&user::JobSummary> for Job {
    fn from(job: &user::JobSummary) -> Self {
        let ms = |time: Option<Timestamp>| time.map(|time| time.0);
        Self {
            id: job.id.0,
            name: job.name.clone(),
            tenant: job.tenant.to_string(),
            state: human::job_state(job.state),
            tasks: job.tasks.into(),
            priority: job.priority,
            submitted_ms: job.submitted.0,
            started_ms: ms(job.started),
            ended_ms: ms(job.ended),
        }
    }
}

impl From<&JobSpec> for Spec {
    fn from(spec: &JobSpec) -> Self {
        let (input, input_size) = match &spec.input {
            Input::Empty => ("none", None),
            Input::Content(content) => ("content", Some(Content::size(content))),
            Input::Attached => ("attached", None),
            Input::Each(items) => ("each", Some(Content::size(items))),
        };
        let mount = |mount: &wrun_protocol::job::Mount| Mount {
            path: mount.path.clone(),
            digest: mount.digest.to_string(),
            size: mount.size,
        };
        Self {
            component: spec.component.to_string(),
            args: spec.args.clone(),
            env: spec.env.iter().cloned().collect(),
            input,
            input_size,
            mounts: spec.mounts.iter().map(mount).collect(),
            models: spec.inference.models.iter().map(Into::into).collect(),
            load_models: spec.inference.load,
            count: spec.count,
            resources: spec.resources.into(),
            time_limit_ms: spec.limits.wall_ms,
            cpu_time_limit_ms: spec.limits.cpu_ms,
            output_limit: spec.limits.output_bytes,
            log_limit: spec.limits.log_bytes,
            retries: spec.retry.retries,
            cache: spec.scheduling.cache,
            labels: spec.labels.clone(),
        }
    }
}

impl From<&user::RememberedTasks> for Remembered {
    fn from(of: &user::RememberedTasks) -> Self {
        Self { first: of.tasks.first, count: of.tasks.count, from: of.from.0 }
    }
}

impl From<&user::TaskDetail> for Task {
    fn from(task: &user::TaskDetail) -> Self {
        Self {
            index: task.index,
            state: human::task_state(task.state),
            attempts: task.attempts,
            node: task.node.map(|node| node.to_string()),
            node_name: task.node_name.clone(),
            started_ms: task.started.map(|time| time.0),
            ended_ms: task.ended.map(|time| time.0),
            outcome: task.outcome.as_ref().map(Outcome::from),
            usage: task.usage.into(),
            progress_permille: task.progress.as_ref().map(|(permille, _)| *permille),
            progress_message: task.progress.as_ref().map(|(_, message)| message.clone()),
        }
    }
}

impl Node {
    pub(crate) fn new(
        detail: &policy::NodeDetail,
        inference: Option<&inference::NodeInference>,
        cards: Option<&[CardState]>,
    ) -> Self {
        let node = &detail.summary;
        let states = cards.unwrap_or_default().iter().copied();
        let states = states.chain(std::iter::repeat(CardState::default()));
        let cards = detail.offer.gpus.iter().zip(&detail.gpu_used).zip(states);
        let named = detail.offer.named.iter().map(|(name, amount)| {
            let taken = detail.named_used.get(name).copied().unwrap_or_default();
            (name.clone(), NamedResource { amount: *amount, taken })
        });
        Self {
            id: node.id.to_string(),
            name: node.info.name.clone(),
            state: human::node_state(node.state),
            capacity: node.info.capacity.into(),
            used: node.used.into(),
            tasks: node.tasks,
            labels: node.info.labels.clone(),
            version: node.info.version.clone(),
            last_seen_ms: node.last_seen.0,
            gpus: cards
                .map(|((gpu, used), state)| Card {
                    model: gpu.model.clone(),
                    memory: gpu.memory,
                    in_use: f64::from(*used) / 1000.0,
                    source: if state.found { "found" } else { "declared" },
                    memory_used: state.memory_used,
                    busy: state.busy_milli.map(|milli| f64::from(milli) / 1000.0),
                })
                .collect(),
            resources: named.collect(),
            partitions: detail.partitions.clone(),
            inference: inference.map(Inference::from),
        }
    }
}

impl From<&inference::NodeInference> for Inference {
    fn from(of_node: &inference::NodeInference) -> Self {
        let provider = |it: &inference::Provider| Provider {
            name: it.name.clone(),
            problem: it.problem.clone(),
        };
        let back_end = |it: &inference::BackEnd| BackEnd {
            name: it.name.clone(),
            version: it.version.clone(),
            problem: it.problem.clone(),
            providers: it.providers.iter().map(provider).collect(),
        };
        Self {
            model_memory: of_node.model_memory,
            back_ends: of_node.back_ends.iter().map(back_end).collect(),
        }
    }
}

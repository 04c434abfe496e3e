//! What the core did, read from its effects.

use wrun_core::{Answer, Effect, EndedJob, Fact};
use wrun_protocol::JobId;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{Assignment, Grant, ToWorker};

use super::run;

/// What nodes were told to run.
pub(crate) fn assigned(effects: &[Effect]) -> Vec<(u64, Assignment)> {
    started(effects).into_iter().map(|(node, tasks, _)| (node, tasks)).collect()
}

/// The same with what each may use there.
pub(crate) fn started(effects: &[Effect]) -> Vec<(u64, Assignment, Grant)> {
    told(effects, |message| match message {
        ToWorker::Assign(tasks) => tasks.iter().map(|tasks| (*tasks, Grant::default())).collect(),
        ToWorker::AssignWith { tasks, grant } => vec![(*tasks, grant.clone())],
        ToWorker::Resume { attempt, .. } => {
            let task = attempt.task;
            vec![(run(task.job.0, attempt.attempt, task.index, 1), Grant::default())]
        }
        ToWorker::ResumeWith { attempt, grant, .. } => {
            let task = attempt.task;
            vec![(run(task.job.0, attempt.attempt, task.index, 1), grant.clone())]
        }
        _ => Vec::new(),
    })
    .into_iter()
    .map(|(node, (tasks, grant))| (node, tasks, grant))
    .collect()
}

/// What nodes were told to stop.
pub(crate) fn stopped(effects: &[Effect]) -> Vec<(u64, Assignment)> {
    told(effects, |message| match message {
        ToWorker::Stop(tasks) => tasks.clone(),
        _ => Vec::new(),
    })
}

/// Nodes and indices of tasks that were told to stop and come back.
pub(crate) fn told_to_stop(effects: &[Effect]) -> Vec<(u64, u32)> {
    told(effects, |message| match message {
        ToWorker::Preempt { attempt, .. } => vec![attempt.task.index],
        _ => Vec::new(),
    })
}

/// Nodes that were told who is of a gang, and which of its tasks have not ended.
pub(crate) fn told_members(effects: &[Effect]) -> Vec<(u64, Vec<u32>)> {
    told(effects, |message| match message {
        ToWorker::Gang { members, .. } => {
            vec![members.iter().flat_map(|member| member.tasks.indices()).collect()]
        }
        _ => Vec::new(),
    })
}

fn told<T>(effects: &[Effect], of: impl Fn(&ToWorker) -> Vec<T>) -> Vec<(u64, T)> {
    let mut told = Vec::new();
    for effect in effects {
        if let Effect::Send { node, message } = effect {
            told.extend(of(message).into_iter().map(|what| (node.0, what)));
        }
    }
    told
}

pub(crate) fn facts(effects: &[Effect]) -> Vec<Fact> {
    let facts = effects.iter().filter_map(|effect| match effect {
        Effect::Append(fact) => Some(fact.clone()),
        _ => None,
    });
    facts.collect()
}

/// What the history is told of jobs that ended.
pub(crate) fn ended(effects: &[Effect]) -> Vec<EndedJob> {
    let ended = effects.iter().filter_map(|effect| match effect {
        Effect::Ended(job) => Some((**job).clone()),
        _ => None,
    });
    ended.collect()
}

pub(crate) fn answer(effects: &[Effect]) -> Result<Answer, RequestError> {
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    reply.expect("a reply")
}

/// The number of the job that was accepted.
pub(crate) fn submitted_job(effects: &[Effect]) -> JobId {
    match answer(effects) {
        Ok(Answer::Submitted(job)) => job,
        other => panic!("{other:?}"),
    }
}

//! When a rollout is over for somebody who waits, and how.

use wrun_protocol::wire::service::{
    ReplicaRow, RolledBackBy, ServiceDetail, ServiceHappened, ServiceState,
};

use crate::error::Error;
use crate::exit::Exit;
use crate::report::{human, service as words};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The revision is in place.
    Ready,
    /// It was before already.
    Unchanged,
    /// A canary has reached a step at which somebody is asked.
    Waiting,
    /// Somebody has paused it.
    Paused,
    /// Nobody waited.
    UnderWay,
    /// The service goes back to another revision.
    RolledBack { to: u32, why: RolledBackBy },
    /// Another revision is wanted by now.
    Superseded,
    /// Replicas fail again and again, and there is no revision to go back to.
    Failing,
    /// The service is taken down.
    Gone,
}

impl End {
    /// Whether the rollout of `revision` is over, and how.
    pub(super) fn of(detail: &ServiceDetail, revision: u32) -> Option<Self> {
        let row = &detail.row;
        if row.state == ServiceState::Stopping {
            return Some(Self::Gone);
        }
        if row.revision != revision {
            let back = detail.events.iter().find_map(|event| match event.what {
                ServiceHappened::RolledBack { from, to, why } if from == revision => {
                    Some(Self::RolledBack { to, why })
                }
                _ => None,
            });
            return Some(back.unwrap_or(Self::Superseded));
        }
        match &detail.rollout {
            Some(rollout) if rollout.paused => Some(Self::Paused),
            Some(rollout) => {
                let (ready, wanted) = rollout.ready;
                let asks = rollout.step.is_some() && rollout.next.is_none() && ready >= wanted;
                asks.then_some(Self::Waiting)
            }
            None => match row.state {
                ServiceState::Ready | ServiceState::Asleep => Some(Self::Ready),
                ServiceState::Failing => Some(Self::Failing),
                _ => None,
            },
        }
    }

    /// In a word, for programs.
    pub(super) fn word(self, detail: &ServiceDetail) -> &'static str {
        match self {
            Self::Ready | Self::Unchanged if detail.row.state == ServiceState::Asleep => "asleep",
            Self::Ready => "ready",
            Self::Unchanged => words::state(detail.row.state),
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::UnderWay => "under-way",
            Self::RolledBack { .. } => "rolled-back",
            Self::Superseded => "superseded",
            Self::Failing => "failing",
            Self::Gone => "stopping",
        }
    }

    /// In a line, after the service's name, where nothing is wrong.
    pub(super) fn text(self, detail: &ServiceDetail, revision: u32) -> String {
        let row = &detail.row;
        match self {
            Self::Ready if row.state == ServiceState::Asleep => {
                format!("revision {revision} is deployed, and asleep until a request comes")
            }
            Self::Unchanged => format!("unchanged (revision {revision})"),
            Self::Waiting => {
                let of = detail.revisions.iter().find(|row| row.revision == revision);
                let percent = of.map_or(0, |row| row.percent);
                format!(
                    "revision {revision} gets {percent}% of the requests, and waits for `wrun rollout resume {}`",
                    row.id.name
                )
            }
            Self::Paused => format!(
                "the rollout of revision {revision} is paused; `wrun rollout resume {}` lets it go on",
                row.id.name
            ),
            Self::UnderWay => format!("revision {revision} is deployed"),
            _ => format!("revision {revision} is ready, {}", words::replicas(row.ready)),
        }
    }

    /// What went wrong, if anything did.
    pub(super) fn error(self, detail: &ServiceDetail, revision: u32) -> Option<Error> {
        let name = &detail.row.id.name;
        let failure = failure(detail, revision);
        Some(match self {
            Self::RolledBack { to, why } => {
                let why = words::why_rolled_back(why);
                let text = format!("{name} goes back from revision {revision} to {to}: {why}");
                Error::new(Exit::RolloutFailed, with(text, failure))
                    .todo(format_args!("see `wrun service {name}`"))
            }
            Self::Failing => {
                let text = format!("the replicas of {name}, revision {revision}, fail");
                Error::new(Exit::RolloutFailed, with(text, failure))
                    .todo(format_args!("see `wrun service {name}` and `wrun logs {name}`"))
            }
            Self::Superseded => {
                let other = detail.row.revision;
                let text =
                    format!("revision {other} of {name} is wanted by now, and not {revision}");
                Error::new(Exit::RolloutFailed, text)
                    .todo(format_args!("see `wrun service {name}`"))
            }
            Self::Gone => Error::new(Exit::RolloutFailed, format!("{name} is being taken down")),
            _ => return None,
        })
    }
}

fn with(text: String, failure: Option<String>) -> String {
    match failure {
        Some(failure) => format!("{text}; its last failure: {failure}"),
        None => text,
    }
}

/// How a replica of the revision failed last.
fn failure(detail: &ServiceDetail, revision: u32) -> Option<String> {
    let of_event = detail.events.iter().find_map(|event| match &event.what {
        ServiceHappened::ReplicaFailed { revision: of, outcome, .. } if *of == revision => {
            Some(outcome)
        }
        _ => None,
    });
    let of_replica = |row: &ReplicaRow| row.revision == revision && row.outcome.is_some();
    let outcome = of_event.or_else(|| {
        let row = detail.replicas.iter().find(|row| of_replica(row));
        row.and_then(|row| row.outcome.as_ref())
    });
    outcome.map(|outcome| crate::report::table::clean(&human::outcome(outcome)))
}

#[cfg(test)]
mod tests;

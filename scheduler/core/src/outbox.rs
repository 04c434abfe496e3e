//! Effects that wait to be polled, in order, each kind in as much memory as it takes. A round
//! of placement makes thousands; most say a few numbers, and a fact may be many times as large.

use std::collections::VecDeque;

use wrun_protocol::wire::worker::{Assignment, ToWorker};
use wrun_protocol::{JobId, NodeId};

use crate::effect::Effect;
use crate::ended::EndedJob;
use crate::fact::Fact;

/// Effects in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Which queue the next is in.
    order: VecDeque<Kind>,
    facts: VecDeque<Fact>,
    messages: VecDeque<(NodeId, ToWorker)>,
    short: VecDeque<Short>,
    others: VecDeque<Effect>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fact,
    Message,
    Short,
    Other,
}

/// Those that are many and say little.
#[derive(Debug)]
enum Short {
    Changed(JobId),
    Ended(Box<EndedJob>),
    Assign(NodeId, Vec<Assignment>),
    Forget(NodeId, JobId),
    Acknowledge(NodeId, u64),
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// What comes next stands where the last were, which the processor has at hand: a queue
    /// that once was long would else be walked through from end to end. To be called when it
    /// is empty.
    pub(crate) fn start_over(&mut self) {
        self.order.clear();
        self.facts.clear();
        self.messages.clear();
        self.short.clear();
        self.others.clear();
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        let short = match effect {
            Effect::Append(fact) => return self.append(fact),
            Effect::Send { node, message } => return self.send(node, message),
            Effect::JobChanged(job) => Short::Changed(job),
            Effect::Ended(job) => Short::Ended(job),
            effect => {
                self.order.push_back(Kind::Other);
                return self.others.push_back(effect);
            }
        };
        self.push_short(short);
    }

    pub(crate) fn append(&mut self, fact: Fact) {
        self.order.push_back(Kind::Fact);
        self.facts.push_back(fact);
    }

    pub(crate) fn send(&mut self, node: NodeId, message: ToWorker) {
        let short = match message {
            ToWorker::Assign(tasks) => Short::Assign(node, tasks),
            ToWorker::Forget(job) => Short::Forget(node, job),
            ToWorker::Acknowledge { report } => Short::Acknowledge(node, report),
            message => {
                self.order.push_back(Kind::Message);
                return self.messages.push_back((node, message));
            }
        };
        self.push_short(short);
    }

    fn push_short(&mut self, short: Short) {
        self.order.push_back(Kind::Short);
        self.short.push_back(short);
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        match self.order.pop_front()? {
            Kind::Fact => self.facts.pop_front().map(Effect::Append),
            Kind::Message => {
                self.messages.pop_front().map(|(node, message)| Effect::Send { node, message })
            }
            Kind::Short => self.short.pop_front().map(Short::whole),
            Kind::Other => self.others.pop_front(),
        }
    }
}

impl Short {
    fn whole(self) -> Effect {
        let (node, message) = match self {
            Self::Changed(job) => return Effect::JobChanged(job),
            Self::Ended(job) => return Effect::Ended(job),
            Self::Assign(node, tasks) => (node, ToWorker::Assign(tasks)),
            Self::Forget(node, job) => (node, ToWorker::Forget(job)),
            Self::Acknowledge(node, report) => (node, ToWorker::Acknowledge { report }),
        };
        Effect::Send { node, message }
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::Timestamp;

    use super::*;
    use crate::effect::Answer;
    use crate::input::RequestId;

    #[test]
    fn effects_of_every_kind_come_out_as_they_went_in_and_in_order() {
        let (at, node, job) = (Timestamp(1), NodeId(2), JobId(3));
        let send = |message| Effect::Send { node, message };
        let effects = [
            Effect::JobChanged(job),
            Effect::Append(Fact::NodeLost { at, node }),
            send(ToWorker::Acknowledge { report: 7 }),
            send(ToWorker::HeartbeatAck { beat: 8 }),
            Effect::Reply { request: RequestId(9), answer: Ok(Answer::Done) },
            send(ToWorker::Forget(job)),
            Effect::Append(Fact::NodeRemoved { at, node }),
            send(ToWorker::Assign(Vec::new())),
            send(ToWorker::HeartbeatAck { beat: 10 }),
            Effect::JobChanged(JobId(4)),
        ];
        let mut outbox = Outbox::default();
        for _ in 0..2 {
            effects.iter().for_each(|effect| outbox.push(effect.clone()));
            let out: Vec<Effect> = std::iter::from_fn(|| outbox.pop()).collect();
            assert_eq!(out, effects);
            assert!(outbox.is_empty());
            outbox.start_over();
        }
    }

    #[test]
    fn what_there_are_most_of_takes_least() {
        assert!(size_of::<Short>() <= 40 && size_of::<Effect>() > 3 * size_of::<Short>());
    }
}

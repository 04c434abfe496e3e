//! The edge: one input in, effects out. Dispatches to the handlers in `decide` and keeps
//! the order of effects; the handlers decide.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::ToWorker;
use wrun_protocol::{JobId, TaskId, Timestamp};

use crate::RestoreError;
use crate::config::Config;
use crate::decide::dispatch::Dispatching;
use crate::decide::near::Near;
use crate::decide::preempt::Preemption;
use crate::decide::promise::Promises;
use crate::decide::rank::Ranking;
use crate::decide::recall::Backlogs;
use crate::decide::service::scale::Scalers;
use crate::decide::service::settle::Looks;
use crate::decide::workflow::{Preparing, Rerun};
use crate::effect::{Answer, Effect};
use crate::ended::EndedJob;
use crate::fact::{Fact, RequeueCause};
use crate::input::{Input, RequestId};
use crate::outbox::Outbox;
use crate::state::State;
use crate::state::groups::GroupIx;
use crate::state::jobs::NodeIx;
use crate::state::nodes::{node_id, node_ix};
use crate::state::room::Rooms;

/// The cluster's state and what decides over it.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) state: State,
    /// The latest instant it was told; never goes back.
    pub(crate) now: Timestamp,
    pub(crate) effects: Outbox,
    /// Jobs whose watchers are to be told at the end of this event.
    changed: Vec<JobId>,
    /// When to look at a node's lease.
    pub(crate) leases: BTreeSet<(Timestamp, NodeIx)>,
    pub(crate) backlogs: Backlogs,
    /// Groups that found a pool empty.
    pub(crate) pool_waiters: BTreeSet<GroupIx>,
    pub(crate) ranking: Ranking,
    pub(crate) preemption: Preemption,
    /// Why attempts with a notice are to be put back.
    pub(crate) asked_back: BTreeMap<TaskId, RequeueCause>,
    pub(crate) promises: Promises,
    /// What the last round decided and has not yet said.
    pub(crate) dispatching: Option<Dispatching>,
    /// What the nodes had free that changed before the last round: its memory serves the next.
    pub(crate) spare_rooms: Rooms,
    /// When to look at the reservations.
    pub(crate) boundary: Option<Timestamp>,
    pub(crate) preparing: Preparing,
    /// Jobs whose results are being looked up.
    pub(crate) looking_up: BTreeSet<JobId>,
    pub(crate) looks: Looks,
    pub(crate) scalers: Scalers,
    pub(crate) near: Near,
    /// Services in [`Self::effects`] of which gateways are to be told.
    told: BTreeSet<ServiceId>,
}

impl Core {
    /// A cluster with nothing in it.
    pub fn new(config: Config) -> Self {
        let state = State::new(&config);
        Self::with(config, state)
    }

    /// The state that [`Self::snapshot`] saved. Apply the facts that followed it, then [`Self::start`].
    pub fn restore(config: Config, snapshot: &[u8]) -> Result<Self, RestoreError> {
        let state = State::restore(&config, snapshot)?;
        Ok(Self::with(config, state))
    }

    fn with(config: Config, state: State) -> Self {
        Self {
            now: state.at,
            config,
            state,
            effects: Outbox::default(),
            changed: Vec::new(),
            leases: BTreeSet::new(),
            backlogs: Backlogs::default(),
            pool_waiters: BTreeSet::new(),
            ranking: Ranking::default(),
            preemption: Preemption::default(),
            asked_back: BTreeMap::new(),
            promises: Promises::default(),
            dispatching: None,
            spare_rooms: Rooms::default(),
            boundary: None,
            preparing: Preparing::default(),
            looking_up: BTreeSet::new(),
            looks: Looks::default(),
            scalers: Scalers::default(),
            near: Near::default(),
            told: BTreeSet::new(),
        }
    }

    /// The recorded state as bytes. It holds every fact that was appended so far, so that
    /// effects must have been polled to the end for it to belong to a place in the journal.
    pub fn snapshot(&self) -> Vec<u8> {
        debug_assert!(self.dispatching.is_none(), "effects were not polled to the end");
        self.state.snapshot()
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes a recorded fact so, at recovery. Facts of [`Effect::Append`] have been applied.
    pub fn apply(&mut self, fact: &Fact) {
        self.state.ended.clear();
        self.state.apply(fact);
        self.now = self.now.max(self.state.at);
    }

    /// The jobs that the fact ends which [`Self::apply`] was given last, as [`Effect::Ended`]
    /// tells them otherwise.
    pub fn take_ended(&mut self) -> impl Iterator<Item = EndedJob> {
        self.state.ended.drain(..).map(|job| *job)
    }

    /// To be called once, after recovery: every node counts as disconnected from now.
    pub fn start(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.state.ended.clear();
        let nodes: Vec<NodeIx> = self.state.nodes.iter().map(|(ix, _)| ix).collect();
        for ix in nodes {
            self.start_node(ix);
        }
        self.doubt_gangs();
        self.ask_for_queued();
        self.on_boundary();
        self.state.dependents.doubt_all();
        self.state.workflows.doubt_all();
        self.begin_scaling();
        self.state.services.doubt_all();
        // Workers are told all when they connect.
        self.state.services.changed.clear();
        self.settle();
    }

    /// Takes one event in. `now` is wall time; where it goes back, it is taken to stand still.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        // Facts are in the order in which they were applied.
        while self.dispatching.is_some() {
            self.dispatch_next();
        }
        self.now = self.now.max(now);
        self.state.groups.accounts.set_now(self.now);
        self.on_time();
        match input {
            Input::Submit { request, tenant, id, kind, spec, ended } => {
                let answer = self.on_submit(tenant, id, kind, spec, &ended).map(Answer::Submitted);
                self.reply(request, answer);
            }
            Input::SubmitKnown { request, tenant, id, kind, spec, known } => {
                let answer = self.on_submit_known(tenant, id, kind, spec, known);
                self.reply(request, answer.map(Answer::Submitted));
            }
            Input::LookedUp { job, tasks, known } => self.on_looked_up(job, tasks, known),
            Input::Cancel { request, job } => {
                let answer = self.on_cancel(job);
                self.reply(request, answer);
            }
            Input::CancelTasks { request, job, tasks } => {
                let answer = self.on_cancel_tasks(job, &tasks);
                self.reply(request, answer);
            }
            Input::Retry { request, job, tasks } => {
                let answer = self.on_retry(job, &tasks);
                self.reply(request, answer);
            }
            Input::Requeue { request, job, tasks } => {
                let answer = self.on_requeue(job, &tasks);
                self.reply(request, answer);
            }
            Input::NodeConnected { node, info, offer, incarnation, attempts } => {
                self.on_node_connected(node_ix(node), info, offer, incarnation, &attempts);
            }
            Input::NodeDisconnected { node } => self.on_node_disconnected(node_ix(node)),
            Input::NodeDraining { node } => self.on_node_draining(node_ix(node)),
            Input::NodeGone { node } => self.on_node_gone(node_ix(node)),
            Input::Heartbeat { node, beat } => self.on_heartbeat(node_ix(node), beat),
            Input::Reports { node, first, reports } => {
                self.on_reports(node_ix(node), first, reports);
            }
            Input::Progress { node, attempt, permille, message } => {
                self.on_progress(node_ix(node), attempt, permille, message);
            }
            Input::Freeze { request, task, frozen } => {
                let answer = self.on_freeze(task, frozen);
                self.reply(request, answer);
            }
            Input::SetDrain { request, node, drain } => {
                let answer = self.on_set_drain(node_ix(node), drain);
                self.reply(request, answer);
            }
            Input::RemoveNode { request, node } => {
                let answer = self.on_remove_node(node_ix(node));
                self.reply(request, answer);
            }
            Input::CreateToken { request, hash, expires } => {
                let answer = self.on_create_token(hash, expires);
                self.reply(request, answer);
            }
            Input::Join { request, token_hash, name } => {
                let answer = self.on_join(token_hash, name);
                self.reply(request, answer);
            }
            Input::Change { request, job, change } => {
                let answer = self.on_change(job, change);
                self.reply(request, answer);
            }
            Input::Reserve { request, reservation } => {
                let answer = self.on_reserve(*reservation);
                self.reply(request, answer);
            }
            Input::Unreserve { request, name } => {
                let answer = self.on_unreserve(name);
                self.reply(request, answer);
            }
            Input::SetPolicy { request, policy } => {
                let answer = self.on_set_policy(policy);
                self.reply(request, answer);
            }
            Input::AddSchedule { request, tenant, kind, schedule } => {
                let answer = self.on_add_schedule(tenant, kind, schedule);
                self.reply(request, answer);
            }
            Input::RemoveSchedule { request, tenant, name } => {
                let answer = self.on_remove_schedule((tenant, name));
                self.reply(request, answer);
            }
            Input::PauseSchedule { request, tenant, name, pause } => {
                let answer = self.on_pause_schedule((tenant, name), pause);
                self.reply(request, answer);
            }
            Input::SubmitWorkflow { request, tenant, id, workflow, kinds, rerun_of, reused } => {
                let run = Rerun { of: rerun_of, reused };
                let answer = self.on_submit_workflow(tenant, id, workflow, kinds, run);
                self.reply(request, answer.map(Answer::Submitted));
            }
            Input::StepPrepared { workflow, step, prepared } => {
                self.on_step_prepared(workflow, step, prepared);
            }
            Input::Deploy { request, tenant, id, kind, spec } => {
                let answer = self.on_deploy(tenant, id, kind, spec).map(Answer::Deployed);
                self.reply(request, answer);
            }
            Input::Undeploy { request, service } => {
                let answer = self.on_undeploy(&service);
                self.reply(request, answer);
            }
            Input::Scale { request, service, to } => {
                let answer = self.on_scale(&service, to);
                self.reply(request, answer);
            }
            Input::Rollout { request, service, action } => {
                let answer = self.on_rollout(&service, action);
                self.reply(request, answer);
            }
            Input::PushModel { request, tenant, name, tag, version } => {
                let answer = self.on_push_model(tenant, name, tag, version);
                self.reply(request, answer);
            }
            Input::RemoveModel { request, model, tag, force } => {
                let answer = self.on_remove_model(model, tag, force);
                self.reply(request, answer);
            }
            Input::ShareModel { request, model, with } => {
                let answer = self.on_share_model(model, with);
                self.reply(request, answer);
            }
            Input::UnshareModel { request, model, with, force } => {
                let answer = self.on_unshare_model(model, with, force);
                self.reply(request, answer);
            }
            Input::Load { node, loads } => self.on_load(node, loads),
            Input::ModelsKept { node, models } => self.on_models_kept(node, models),
            Input::MembersAsked { node, job } => self.on_members_asked(node_ix(node), job),
            Input::ModelLoad { node, loads } => self.on_model_load(node, loads),
            Input::Timeout => {}
        }
        if !self.state.broken_gangs.is_empty() {
            self.mend_gangs();
        }
        self.settle();
    }

    /// Follows up on what became known of jobs, until nothing follows from anything.
    pub(crate) fn settle(&mut self) {
        while self.is_unsettled() {
            self.settle_dependents();
            self.advance_workflows();
            self.settle_services();
        }
        self.forget_settled();
        if !self.state.unlooked.is_empty() {
            self.ask_for_results();
        }
        self.tell_changes();
    }

    /// Whether anything is due to be looked at. Mostly nothing is, and every event asks.
    fn is_unsettled(&self) -> bool {
        let State { dependents, workflows, services, .. } = &self.state;
        !(dependents.due.is_empty() && workflows.due.is_empty() && services.due.is_empty())
    }

    /// The next thing to do, in order. Placement is decided when all else is done, so
    /// that events that come together are placed together.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.decide();
        }
        if !self.told.is_empty() {
            return self.pop_told();
        }
        self.effects.pop()
    }

    /// Apart, so that nothing is made ready for it with every effect that is polled.
    #[inline(never)]
    fn decide(&mut self) {
        self.effects.start_over();
        self.dispatch_more();
        if self.effects.is_empty() && self.wants_placement() {
            self.place_tasks();
            self.dispatch_more();
        }
    }

    /// Says more of what the last round decided, if there is more.
    fn dispatch_more(&mut self) {
        while self.effects.is_empty() && self.dispatching.is_some() {
            self.dispatch_next();
        }
    }

    /// The next effect, where gateways are to be told something.
    #[inline(never)]
    fn pop_told(&mut self) -> Option<Effect> {
        let effect = self.effects.pop();
        if let Some(Effect::Endpoints(id)) = &effect {
            self.told.remove(id);
        }
        effect
    }

    /// When to call [`Self::handle`] with [`Input::Timeout`], if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let lease = self.leases.first().map(|(at, _)| *at);
        let delay = self.state.delays.first().map(|(at, _)| *at);
        let timer = self.state.timers.first().map(|(at, _)| *at);
        let run = self.state.schedules.first_due().map(|(at, _)| *at);
        let step = self.preparing.first_retry();
        let service = self.looks.first();
        let due = [self.preemption_due(), self.promises_due(), self.boundary, step, service];
        [lease, delay, timer, run].into_iter().chain(due).flatten().min()
    }

    fn on_time(&mut self) {
        self.state.end_delays(self.now);
        self.on_job_timers();
        self.end_frozen();
        self.search_again();
        self.on_promises_due();
        if self.boundary.is_some_and(|at| at <= self.now) {
            self.on_boundary();
        }
        while let Some((at, ix)) = self.leases.first().copied()
            && at <= self.now
        {
            self.leases.pop_first();
            self.on_lease_timer(ix);
        }
        self.run_schedules();
        self.retry_steps();
        self.look_at_services();
    }

    /// Makes a decision so, and has it made durable.
    pub(crate) fn append(&mut self, fact: Fact) {
        self.state.apply(&fact);
        self.append_applied(fact);
    }

    /// Has a decision made durable whose parts were applied one by one.
    pub(crate) fn append_applied(&mut self, fact: Fact) {
        self.state.at = self.state.at.max(fact.at());
        self.tell_gateways();
        self.effects.append(fact);
        for job in self.state.ended.drain(..) {
            self.effects.push(Effect::Ended(job));
        }
    }

    /// Gateways are told of services that have changed; once, if they were not yet.
    fn tell_gateways(&mut self) {
        if self.state.services.changed.is_empty() {
            return;
        }
        while let Some(id) = self.state.services.changed.pop_first() {
            if self.told.insert(id.clone()) {
                self.effects.push(Effect::Endpoints(id));
            }
        }
    }

    /// Sends to a node, if it is connected.
    pub(crate) fn send(&mut self, ix: NodeIx, message: ToWorker) {
        if self.state.nodes.get(ix).is_some_and(|node| node.session.connected) {
            self.effects.send(node_id(ix), message);
        }
    }

    fn reply(&mut self, request: RequestId, answer: Result<Answer, RequestError>) {
        self.effects.push(Effect::Reply { request, answer });
    }

    /// Watchers of the job are told when this event is done.
    pub(crate) fn job_changed(&mut self, job: JobId) {
        if self.changed.last() != Some(&job) {
            self.changed.push(job);
        }
    }

    fn tell_changes(&mut self) {
        self.tell_gateways();
        for job in self.changed.drain(..) {
            self.effects.push(Effect::JobChanged(job));
        }
    }
}

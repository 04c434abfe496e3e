//! Jobs with wishes of every kind, drawn at random.

use wrun_core::{Input, Prior};
use wrun_protocol::job::{EncodedSpec, OnDisconnect};
use wrun_protocol::scheduling::{
    Arrangement, Dependency, DependsOn, GpuRequest, Preemptible, Request,
};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{Digest, JobId, JobSpec, SubmitId};

use crate::model::Model;
use crate::world::{NAMED, POOL, POOL_SLOTS, World};

const DEPENDS_ON: [DependsOn; 5] = [
    DependsOn::Start,
    DependsOn::Success,
    DependsOn::Failure,
    DependsOn::End,
    DependsOn::EachSuccess,
];

impl World {
    pub(crate) fn submit(&mut self) {
        let again = !self.submits.is_empty() && self.random.one_in(4);
        let submit = if again { self.random.below(self.submits.len()) } else { self.invent() };
        let (id, spec, tenant) = self.submits[submit].clone();
        let request = self.request();
        self.asked.insert(request, submit);
        let tenant = tenant.parse().unwrap();
        let (kind, ended) = (ComponentKind::Command, self.priors(&spec));
        self.handle(Input::Submit { request, tenant, id, kind, spec, ended });
    }

    fn invent(&mut self) -> usize {
        let random = &mut self.random;
        let mut spec = JobSpec::new(Digest([1; 32]));
        spec.count = random.pick(&[1, 1, 1, 2, 5, 20]);
        spec.priority = random.pick(&[0, 0, 0, 5, -5]);
        spec.resources.cpu_milli = random.pick(&[1000, 1000, 500, 250]);
        spec.retry.retries = random.pick(&[0, 1, 3]);
        spec.retry.backoff_ms = random.pick(&[1, 50]);
        spec.retry.requeues = random.pick(&[0, 1, 100, 100]);
        spec.limits.wall_ms = random.pick(&[None, None, Some(20), Some(60), Some(200)]);
        spec.on_disconnect = random.pick(&[OnDisconnect::Continue, OnDisconnect::Stop]);
        if random.one_in(5) {
            // Small enough that any one node can hold it.
            spec.scheduling.gang = true;
            let (count, cpu_milli) = random.pick(&[(2, 250), (2, 500), (3, 250), (4, 250)]);
            (spec.count, spec.resources.cpu_milli) = (count, cpu_milli);
        } else if random.one_in(4) {
            spec.scheduling.max_running = Some(random.pick(&[1, 3]));
        }
        if random.one_in(4) {
            spec.labels.insert("zone".to_owned(), "1".to_owned());
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.submits.len() as u64).to_le_bytes());
        let tenant = random.pick(&["ann", "bob"]);
        if !self.core.policy().qos.is_empty() && !random.one_in(4) {
            spec.scheduling.qos = Some(random.pick(&["bulk", "bulk", "urgent"]).to_owned());
            spec.scheduling.preemptible = Preemptible {
                freeze: random.one_in(2),
                checkpoint: random.one_in(2),
                requeue: random.one_in(2),
            };
            if !spec.scheduling.gang {
                spec.resources.memory = random.pick(&[64 << 20, 64 << 20, 400 << 20]);
            }
        }
        if self.random.one_in(4) {
            self.want_devices(&mut spec);
        }
        if self.reserves && self.random.one_in(5) {
            // Made already, or not: then it is refused.
            spec.scheduling.reservation = Some(self.random.pick(&["r0", "r1", "r2"]).to_owned());
        }
        if self.random.one_in(3) {
            self.depend(&mut spec, tenant);
        }
        self.submits.push((SubmitId(id), EncodedSpec::encode(&spec).unwrap(), tenant));
        self.submits.len() - 1
    }

    /// Of a gang no more than the first node has for all of it.
    fn want_devices(&mut self, spec: &mut JobSpec) {
        let random = &mut self.random;
        let gang = spec.scheduling.gang;
        let (devices, memory) = (&mut spec.scheduling.devices, random.pick(&[0, 3, 5]));
        match random.below(4) {
            0 if spec.count <= 3 || !gang => {
                let most = if gang { 1 } else { 2 };
                devices.named.insert(NAMED.to_owned(), random.pick(&[1, most]));
            }
            1 if spec.count <= 2 || !gang => {
                let most = if gang { 1 } else { POOL_SLOTS };
                devices.pools.insert(POOL.to_owned(), random.pick(&[1, most]));
            }
            _ => {
                let models = if random.one_in(3) { vec!["a".to_owned()] } else { Vec::new() };
                let milli = random.pick(&[300, 500, 1000, 2000]);
                devices.gpu = Some(match gang {
                    true => GpuRequest { milli: milli.min(500), memory: memory.min(3), models },
                    false => GpuRequest { milli, memory, models },
                });
            }
        }
        if random.one_in(3) {
            let resources = spec.resources;
            spec.scheduling.alternatives.push(Request { resources, ..Request::default() });
        }
        spec.scheduling.arrangement = random.pick(&[
            Arrangement::Spread,
            Arrangement::Pack,
            Arrangement::SameNode,
            if gang { Arrangement::Spread } else { Arrangement::DifferentNodes },
        ]);
    }

    /// What the history, which sees durable facts alone, knows of those it depends on.
    fn priors(&self, spec: &EncodedSpec) -> Vec<Prior> {
        let depends_on = spec.decode().unwrap().scheduling.depends_on;
        if depends_on.is_empty() {
            return Vec::new();
        }
        let history = Model::of(&self.journal[..self.durable]);
        depends_on.iter().filter_map(|on| history.prior(on.job)).collect()
    }

    /// Lets the job depend on some that came before it.
    fn depend(&mut self, spec: &mut JobSpec, tenant: &str) {
        let mine = |job: &JobId| {
            let job = &self.model.jobs[job];
            job.tenant.as_str() == tenant && !job.service
        };
        let jobs: Vec<JobId> = self.model.jobs.keys().copied().filter(mine).collect();
        for _ in 0..self.random.below(3) {
            if jobs.is_empty() {
                return;
            }
            let (job, on) = (self.random.pick(&jobs), self.random.pick(&DEPENDS_ON));
            if on == DependsOn::EachSuccess {
                spec.scheduling.gang = false;
                spec.count = self.model.jobs[&job].tasks.len() as u32;
                spec.scheduling.depends_on.retain(|other| other.on != on);
            }
            spec.scheduling.depends_on.push(Dependency { job, on });
        }
    }
}

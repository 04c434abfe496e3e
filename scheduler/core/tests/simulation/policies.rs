//! Random policies, changes of jobs, and what must hold whatever they are: nobody has more
//! than a quota allows, and usage is what was allocated between facts.

use std::time::Duration;

use wrun_core::{Config, Input};
use wrun_protocol::JobId;
use wrun_protocol::policy::{Limits, Partition, Policy, Qos, QueueOrder, TenantPolicy, Weights};
use wrun_protocol::wire::policy::JobChange;

use crate::ledger::Used;
use crate::random::Random;
use crate::world::World;

/// In half of the worlds nothing waits on nodes, so that what is placed is what is held.
pub(crate) fn draw_backlog(random: &mut Random, config: &mut Config) {
    config.max_backlog = random.pick(&[0, 6]);
    config.rank_interval = Duration::from_millis(random.pick(&[0, 100]));
}

/// Adds order, shares and limits to a policy.
pub(crate) fn draw(random: &mut Random, policy: &mut Policy) {
    policy.order = random.pick(&[
        QueueOrder::Multifactor,
        QueueOrder::Multifactor,
        QueueOrder::Fcfs,
        QueueOrder::ShortestFirst,
        QueueOrder::SmallestAreaFirst,
        QueueOrder::Balanced,
    ]);
    policy.age_bound_ms = random.pick(&[None, None, Some(100)]);
    policy.half_life_ms = random.pick(&[1000, 1_000_000]);
    policy.max_age_ms = random.pick(&[100, 100_000]);
    policy.weights = Weights { size: random.pick(&[0, 500]), ..Weights::default() };
    let mut tenant = |name: &str, parent: Option<&str>| TenantPolicy {
        name: name.parse().unwrap(),
        parent: parent.map(|name| name.parse().unwrap()),
        shares: random.pick(&[1, 5]),
        default_qos: None,
        limits: limits(random),
    };
    policy.tenants =
        vec![tenant("lab", None), tenant("ann", Some("lab")), tenant("bob", Some("lab"))];
    for (name, priority) in [("bulk", 1), ("urgent", 2)].into_iter().take(random.pick(&[0, 2])) {
        policy.qos.push(Qos {
            name: name.to_owned(),
            priority,
            limits: limits(random),
            tenant_limits: limits(random),
            exempt: random.one_in(4),
            ..Qos::default()
        });
    }
    if random.one_in(3) {
        let name = "all".to_owned();
        policy.partitions = vec![Partition { name, limits: limits(random), ..<_>::default() }];
    }
}

/// At least what the largest task asks for, so that every job can end.
fn limits(random: &mut Random) -> Limits {
    Limits {
        running: random.pick(&[None, None, Some(1), Some(4)]),
        cpu_milli: random.pick(&[None, None, Some(1000), Some(2500)]),
        memory: random.pick(&[None, None, Some(400 << 20)]),
        gpu_milli: random.pick(&[None, None, Some(2000)]),
        ..Limits::default()
    }
}

impl World {
    pub(crate) fn change_job(&mut self) {
        let jobs: Vec<JobId> = self.model.live.iter().copied().collect();
        let preempts = self.core.policy().qos.iter().any(|qos| !qos.preempts.is_empty());
        if jobs.is_empty() || preempts {
            return;
        }
        let (request, job) = (self.request(), self.random.pick(&jobs));
        let later = Some(self.now.after(Duration::from_millis(40)));
        let any_qos = !self.core.policy().qos.is_empty();
        let random = &mut self.random;
        let change = match random.below(9) {
            0 => JobChange::Hold(true),
            1 | 2 => JobChange::Hold(false),
            3 => JobChange::Priority(random.pick(&[-5, 0, 5])),
            4 => JobChange::Nice(random.pick(&[-100, 0, 100])),
            5 => JobChange::TimeLimit(random.pick(&[None, Some(20), Some(1000)])),
            6 => JobChange::Begin(random.pick(&[None, later])),
            7 if random.one_in(3) => JobChange::Deadline(later),
            8 if any_qos => JobChange::Qos(Some(random.pick(&["bulk", "urgent"]).to_owned())),
            _ => JobChange::MaxRunning(random.pick(&[None, Some(2)])),
        };
        self.handle(Input::Change { request, job, change });
    }

    /// Nothing is held any more.
    pub(crate) fn release_jobs(&mut self) {
        let jobs: Vec<JobId> = self.model.live.iter().copied().collect();
        for job in jobs {
            let request = self.request();
            self.handle(Input::Change { request, job, change: JobChange::Hold(false) });
        }
    }

    pub(crate) fn check_policy(&self) {
        let policy = self.core.policy().clone();
        let exempt = |qos: Option<&str>| {
            policy.qos.iter().any(|one| one.exempt && Some(one.name.as_str()) == qos)
        };
        for tenant in &policy.tenants {
            let name = tenant.name.as_str();
            let below = |of: &str| name == "lab" || of == name;
            self.within(&tenant.limits, |of, qos| below(of) && !exempt(qos));
        }
        for partition in &policy.partitions {
            self.within(&partition.limits, |_, qos| !exempt(qos));
        }
        for class in &policy.qos {
            let name = Some(class.name.as_str());
            self.within(&class.limits, |_, qos| qos == name);
            for each in ["ann", "bob"] {
                self.within(&class.tenant_limits, |of, qos| of == each && qos == name);
            }
        }
        self.check_usage();
    }

    /// Usage is what was allocated between recorded facts, to the millisecond: of each tenant
    /// where nothing waits on nodes; where something does, of all together, and of each within
    /// what its tasks that ran and its tasks that were placed held.
    fn check_usage(&self) {
        let mut all = Used::default();
        for row in self.core.shares().iter().filter(|row| row.tenant.as_str() != "lab") {
            let (least, most) = self.ledger.used(&row.tenant, self.core_now);
            let used =
                Used { cpu: row.cpu_milli_ms, memory: row.memory_byte_ms, gpu: row.gpu_milli_ms };
            all.add(&used);
            let tenant = &row.tenant;
            // What has cards or more than amounts is granted, and never waits on a node.
            assert_eq!(used.gpu, most.gpu, "cards that {tenant} used");
            if self.config.max_backlog == 0 {
                assert_eq!(used, most, "what {tenant} used");
            }
            let within = |least, used, most| least <= used && used <= most;
            assert!(
                within(least.cpu, used.cpu, most.cpu)
                    && within(least.memory, used.memory, most.memory),
                "{tenant} used {used:?}, which is not from {least:?} to {most:?}"
            );
        }
        let allocated = self.allocated.at(self.core_now, &self.shadow);
        assert_eq!(
            (all.cpu, all.memory),
            (allocated.cpu, allocated.memory),
            "what all used, and what nodes held"
        );
    }

    fn within(&self, limits: &Limits, of: impl Fn(&str, Option<&str>) -> bool) {
        // A change of class takes along what is placed; only what comes then is bound.
        if self.moved {
            return;
        }
        let held = self.ledger.held(of);
        let within =
            |most: Option<u64>, held: Option<u64>| most.is_none_or(|most| held <= Some(most));
        assert!(
            within(limits.running, held.running)
                && within(limits.cpu_milli, held.cpu_milli)
                && within(limits.memory, held.memory)
                && within(limits.gpu_milli, held.gpu_milli),
            "{held:?} of {limits:?}"
        );
    }
}

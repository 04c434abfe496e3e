//! What a trace means to the scheduler: the one place where jobs, nodes and users of a
//! trace become specifications, descriptions and tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use wrun_core::Config;
use wrun_protocol::job::{EncodedSpec, SpecError};
use wrun_protocol::limits::{CPU_PER_INSTANCE, MAX_TIME_MS, MIN_MEMORY};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::scheduling::{Devices, Gpu, GpuRequest, Offer};
use wrun_protocol::{Digest, JobSpec, Resources, TenantName};

use super::trace::{Job, Node, Request};

/// Simulated nodes are never silent, and need not say so: no lease ends within this.
const LEASE: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// What a node has of what nobody counts: the largest amount that a task may ask for.
const PLENTY: u64 = 1 << 50;

/// The resource that stands for processors where tasks ask for more than one thread's
/// worth.
const CPU_BY_NAME: &str = "cpu-milli";

/// The scheduler's settings: the server's own, but that no lease ends, and that the queue
/// is in order before each placement. A server puts that off while it is busy; virtual time
/// waits for it.
pub(crate) fn config() -> Config {
    Config { lease: LEASE, rank_interval: Duration::ZERO, ..Config::default() }
}

/// Instants of the core from here on, in milliseconds, are ends of leases.
pub(crate) fn horizon_ms() -> u128 {
    LEASE.as_millis() / 2
}

/// How processors of the trace are counted.
///
/// A task of wrun takes at most one processor: it has one thread. Tasks of a trace may
/// take many. Where some do, processors are counted as a resource that nodes declare by
/// name, exactly; and the scheduler's own CPU, in which it ranks nodes, is scaled down so
/// that the largest task takes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    divisor: u32,
}

impl Scale {
    /// For these jobs.
    pub(crate) fn of(jobs: &[Job]) -> Self {
        let largest = jobs.iter().map(|job| job.each.cpu_milli).max().unwrap_or_default();
        Self { divisor: largest.div_ceil(CPU_PER_INSTANCE).max(1) }
    }

    fn counts_by_name(self) -> bool {
        self.divisor > 1
    }

    /// What a job of the trace asks for. Its processors are tasks of a gang, its run time
    /// is its time limit unless it has one: every job ends by its limit. Its class of
    /// service and partition are those of the same names, where the policy has them.
    pub(crate) fn spec(self, job: &Job, policy: Option<&Policy>) -> Result<EncodedSpec, SpecError> {
        let mut spec = JobSpec::new(Digest([0; 32]));
        spec.count = job.tasks;
        spec.resources = self.resources(&job.each);
        spec.limits.wall_ms = job.limit_ms.or(job.run_ms).map(|limit| limit.clamp(1, MAX_TIME_MS));
        spec.scheduling.gang = job.tasks > 1;
        spec.scheduling.devices = self.devices(&job.each);
        if let Some(policy) = policy {
            let class = policy.qos.iter().map(|qos| &qos.name);
            spec.scheduling.qos = named(class, job.class.as_deref());
            let partition = policy.partitions.iter().map(|partition| &partition.name);
            spec.scheduling.partition = named(partition, job.partition.as_deref());
        }
        EncodedSpec::encode(&spec)
    }

    /// What one of its tasks takes of what every node has.
    pub(crate) fn resources(self, each: &Request) -> Resources {
        Resources {
            cpu_milli: (each.cpu_milli / self.divisor).max(1),
            memory: each.memory.max(MIN_MEMORY),
            scratch: 0,
            slots: 1,
        }
    }

    fn devices(self, each: &Request) -> Devices {
        let gpu = (each.gpu_milli > 0).then(|| GpuRequest {
            milli: each.gpu_milli,
            memory: 0,
            models: each.gpu_models.iter().map(ToString::to_string).collect(),
        });
        Devices { gpu, named: self.named(each.cpu_milli), pools: BTreeMap::new() }
    }

    fn named(self, cpu_milli: u32) -> BTreeMap<String, u64> {
        let amount = (self.counts_by_name() && cpu_milli > 0)
            .then(|| (CPU_BY_NAME.to_owned(), u64::from(cpu_milli)));
        amount.into_iter().collect()
    }

    /// A node of the trace as it describes itself.
    pub(crate) fn node(self, node: &Node) -> (NodeInfo, Offer) {
        let capacity = Resources {
            cpu_milli: node.cpu_milli.div_ceil(self.divisor),
            memory: node.memory.unwrap_or(PLENTY),
            scratch: PLENTY,
            slots: u32::MAX,
        };
        let info = NodeInfo {
            name: node.name.to_string(),
            capacity,
            labels: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let card = Gpu { model: node.gpu_model.to_string(), memory: 0 };
        let gpus = vec![card; node.gpus as usize];
        (info, Offer { gpus, named: self.named(node.cpu_milli) })
    }
}

/// The one of `names` that is `wanted`.
fn named<'a>(mut names: impl Iterator<Item = &'a String>, wanted: Option<&str>) -> Option<String> {
    names.find(|name| Some(name.as_str()) == wanted).cloned()
}

/// The tenant that a user of the trace is: the user's name where it is one, else `user-`
/// and what of the name can be in one, else `user-` and the user's place among the users.
pub(crate) fn tenant(user: &str, place: usize) -> Option<TenantName> {
    let kept: String = user
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let names = [user.to_owned(), format!("user-{kept}"), format!("user-{place}")];
    let usable = if kept.len() == user.len() { 0..3 } else { 2..3 };
    names.get(usable)?.iter().find_map(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use wrun_protocol::policy::Qos;

    use super::*;

    fn job(tasks: u32, cpu_milli: u32) -> Job {
        Job {
            name: "1".into(),
            submit_ms: 0,
            run_ms: Some(60_000),
            limit_ms: None,
            tasks,
            each: Request { cpu_milli, ..Request::default() },
            class: None,
            partition: None,
            user: 0,
        }
    }

    #[test]
    fn processors_are_tasks_of_a_gang_and_the_run_time_is_the_limit() {
        let job = job(4, 1000);
        let spec =
            Scale::of(std::slice::from_ref(&job)).spec(&job, None).unwrap().decode().unwrap();
        assert_eq!((spec.count, spec.resources.cpu_milli), (4, 1000));
        assert!(spec.scheduling.gang && spec.scheduling.devices.is_empty());
        assert_eq!(spec.limits.wall_ms, Some(60_000));
        let asked = Job { limit_ms: Some(90_000), ..job };
        let spec = Scale::of(&[]).spec(&asked, None).unwrap().decode().unwrap();
        assert_eq!(spec.limits.wall_ms, Some(90_000));
    }

    #[test]
    fn classes_and_partitions_are_those_of_the_policy() {
        let qos = |name: &str| Qos { name: name.to_owned(), ..Qos::default() };
        let policy = Policy { qos: vec![qos("LS"), qos("BE")], ..Policy::default() };
        let job =
            Job { class: Some("LS".into()), partition: Some("partition-1".into()), ..job(1, 1000) };
        let of = |policy| Scale::of(&[]).spec(&job, policy).unwrap().decode().unwrap().scheduling;
        let with = of(Some(&policy));
        assert_eq!((with.qos, with.partition), (Some("LS".to_owned()), None));
        assert_eq!(of(None).qos, None);
    }

    #[test]
    fn tasks_of_many_processors_are_counted_exactly_and_ranked_in_proportion() {
        let job = Job {
            each: Request { gpu_milli: 460, gpu_models: vec!["T4".into()], ..job(1, 12_000).each },
            ..job(1, 12_000)
        };
        let scale = Scale::of(std::slice::from_ref(&job));
        let spec = scale.spec(&job, None).unwrap().decode().unwrap();
        assert_eq!(spec.resources.cpu_milli, 1000);
        assert_eq!(spec.scheduling.devices.named[CPU_BY_NAME], 12_000);
        let gpu = spec.scheduling.devices.gpu.unwrap();
        assert_eq!((gpu.milli, gpu.models), (460, vec!["T4".to_owned()]));
        let node = Node {
            name: "n".into(),
            cpu_milli: 64_000,
            memory: Some(1 << 30),
            gpus: 2,
            gpu_model: "T4".into(),
        };
        let (info, offer) = scale.node(&node);
        assert_eq!((info.capacity.cpu_milli, offer.named[CPU_BY_NAME]), (5334, 64_000));
        assert_eq!(offer.gpus.len(), 2);
    }

    #[test]
    fn users_are_tenants_under_their_own_names_where_they_can_be() {
        let name = |user: &str, place| tenant(user, place).unwrap().to_string();
        assert_eq!(name("alice", 3), "alice");
        assert_eq!(name("42", 3), "user-42");
        assert_eq!(name("Bob", 3), "user-bob");
        assert_eq!(name("ü/../x", 3), "user-3");
        assert_eq!(name(&"x".repeat(64), 3), "user-3");
        assert_eq!(name("unknown", 0), "unknown");
    }
}

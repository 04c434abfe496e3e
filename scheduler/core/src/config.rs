//! The settings of the core. All of them may change between runs over one journal.

use std::time::Duration;

/// How the core behaves. `Default` is what `wrun server` runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long after its last acknowledged heartbeat a worker may count on its tasks.
    pub lease: Duration,
    /// How much longer the server waits than the worker, for clocks that drift.
    pub lease_margin: Duration,
    /// How often a worker sends a heartbeat.
    pub heartbeat: Duration,
    /// Most tasks that wait on a node beyond those its capacity holds.
    pub max_backlog: u32,
    /// How much work waits on a node, by the observed length of tasks: long enough to
    /// cover a round trip, short enough that it hardly delays anybody.
    pub backlog: Duration,
    /// How often the queue is put in order by what time and usage have changed since. Zero
    /// is before every placement; the longer the queue, the less often it is.
    pub rank_interval: Duration,
    /// How often groups that found no room look for tasks to pre-empt.
    pub preempt_interval: Duration,
    /// How long what was promised to blocked jobs is kept while nothing happens on its
    /// nodes. Zero makes promises anew, and of all nodes, in every round.
    pub promise_interval: Duration,
    /// Most tasks of one tenant that have not ended; above it a submit is refused.
    pub max_queued_tasks_per_tenant: u64,
    /// Submissions of ended jobs whose ids are remembered; history knows the older ones.
    pub remembered_submits: usize,
    /// Join tokens that are valid at a time.
    pub max_tokens: usize,
    /// Schedules that a tenant may have.
    pub max_schedules_per_tenant: usize,
    /// Workflows of one tenant that have not ended; above it a submit is refused.
    pub max_workflows_per_tenant: usize,
    /// What these may take together, encoded, in bytes.
    pub max_workflow_bytes_per_tenant: usize,
    /// Services that a tenant may have; above it a deployment of another is refused.
    pub max_services_per_tenant: usize,
    /// How long a step waits whose job was refused for a limit that may be free again.
    pub step_retry: Duration,
    /// The least time from one run of a schedule to the next.
    pub least_schedule_period: Duration,
    /// A run of a schedule that is later than this counts as missed: so much delay may a
    /// restart of the server cause.
    pub missed_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            lease_margin: Duration::from_secs(2),
            heartbeat: Duration::from_secs(2),
            max_backlog: 8192,
            backlog: Duration::from_millis(100),
            rank_interval: Duration::from_millis(100),
            preempt_interval: Duration::from_millis(100),
            promise_interval: Duration::from_millis(100),
            max_queued_tasks_per_tenant: 20_000_000,
            remembered_submits: 1 << 16,
            max_tokens: 1024,
            max_schedules_per_tenant: 256,
            max_workflows_per_tenant: 10_000,
            max_workflow_bytes_per_tenant: 64 << 20,
            max_services_per_tenant: 10_000,
            step_retry: Duration::from_secs(2),
            least_schedule_period: Duration::from_secs(60),
            missed_after: Duration::from_secs(30),
        }
    }
}

//! The job specification: everything a worker needs to run a job's tasks and the
//! scheduler needs to place them.
//!
//! A specification is encoded once, by the client, and stored and forwarded as those
//! bytes ([`EncodedSpec`]): the journal and the workers hold exactly what was accepted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::{self, MAX_INLINE_INPUT, MAX_LIST, MAX_NAME, MAX_TIME_MS};
use crate::model::Inference;
use crate::resources::Bytes;
use crate::scheduling::Scheduling;
use crate::service::{HttpService, Reuse, ServiceSpec};
use crate::task::{Content, Failure};
use crate::{Digest, Resources};

mod encoded;

pub use encoded::{EncodedSpec, SpecError, SpecV1, VersionedSpec};

/// What a user submits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Shown in listings; not unique. May be empty.
    pub name: String,
    /// The component to run; a blob of the tenant's.
    pub component: Digest,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Environment variables, the guest's whole environment apart from `WRUN_*`.
    pub env: Vec<(String, String)>,
    /// Standard input of a program, or the input of a handler.
    pub input: Input,
    /// Files that the guest sees, read-only.
    pub mounts: Vec<Mount>,
    /// How many tasks; more than one makes the job an array.
    pub count: u32,
    /// What each task takes of a node.
    pub resources: Resources,
    /// What ends a task.
    pub limits: TaskLimits,
    /// Which failures run again, how often and after how long.
    pub retry: RetryPolicy,
    /// Higher runs first. 0 unless set.
    pub priority: i32,
    /// Labels that a node must carry, with these values.
    pub labels: BTreeMap<String, String>,
    /// Hosts the guest may reach.
    pub network: Vec<HostGrant>,
    /// What a worker does that has lost the server for longer than its lease.
    pub on_disconnect: OnDisconnect,
    /// When and where its tasks may run, beyond amounts.
    pub scheduling: Scheduling,
    /// What makes the job a service, whose tasks are replicas; `None` for work that ends.
    pub service: Option<Box<ServiceSpec>>,
    /// What its guests may do with models.
    pub inference: Inference,
}

/// What a program reads from standard input, or a handler is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Nothing: end of file at once, or no bytes.
    Empty,
    /// The same bytes for each task.
    Content(Content),
    /// Streamed by the client that stays attached. Only for jobs of one task.
    Attached,
    /// For each task its own: item `index` of an [items file](crate::items), which has as
    /// many as the job has tasks.
    Each(Content),
}

/// One file in the guest's file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the guest, `/`-separated, without `.` or `..`.
    pub path: String,
    /// A blob of the tenant's.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Bounds on one attempt. Times in milliseconds, sizes in bytes; `None` is without limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Wall time; stands still while the task is frozen.
    pub wall_ms: Option<u64>,
    /// Thread CPU time of the guest.
    pub cpu_ms: Option<u64>,
    /// A handler's result, or a program's standard output.
    pub output_bytes: u64,
    /// What goes to the log.
    pub log_bytes: u64,
    /// Log bytes a second, averaged over a second; a guest above it waits.
    pub log_rate: u64,
    /// Handles open at once.
    pub handles: u32,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            wall_ms: None,
            cpu_ms: None,
            output_bytes: 64 << 20,
            log_bytes: 16 << 20,
            log_rate: 4 << 20,
            handles: 1024,
        }
    }
}

/// Which failures run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts after the first that failures may cause.
    pub retries: u32,
    /// Wait before the first retry, in milliseconds; doubled for each further one.
    pub backoff_ms: u64,
    /// Longest wait, in milliseconds.
    pub max_backoff_ms: u64,
    /// The failures that count; empty means every failure except a cancellation and a
    /// handler's error that says that another attempt would meet it again.
    pub on: Vec<RetryOn>,
    /// Attempts that the loss of nodes may cost before the task fails: a task that
    /// takes its nodes down with it must end.
    pub requeues: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 0, backoff_ms: 1000, max_backoff_ms: 60_000, on: Vec::new(), requeues: 100 }
    }
}

/// A kind of failure that a retry policy names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryOn {
    /// This exit code.
    Exit(i32),
    /// Any trap.
    Trap,
    /// The handler's error, where it says that it is retryable.
    Handler,
    /// Any limit.
    Limit,
    /// The attempt could not be set up.
    Setup,
}

impl RetryPolicy {
    /// Whether `failure` is of a kind that runs again; says nothing of how many are left.
    pub fn covers(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Cancelled | Failure::NodeLost | Failure::Dependency { .. } => false,
            Failure::Handler { retryable: false, .. } => false,
            _ if self.on.is_empty() => true,
            Failure::Exit { code } => self.on.contains(&RetryOn::Exit(*code)),
            Failure::Trap { .. } => self.on.contains(&RetryOn::Trap),
            Failure::Handler { .. } => self.on.contains(&RetryOn::Handler),
            Failure::Limit { .. } => self.on.contains(&RetryOn::Limit),
            Failure::Setup { .. } => self.on.contains(&RetryOn::Setup),
        }
    }

    /// The wait before retry number `retry`, counted from 1, in milliseconds.
    pub fn backoff_before(&self, retry: u32) -> u64 {
        let doublings = retry.saturating_sub(1).min(63);
        self.backoff_ms.saturating_mul(1 << doublings).min(self.max_backoff_ms)
    }
}

/// A host that the guest may open connections to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostGrant {
    /// A host name or an IP address, exactly as the guest will name it.
    pub host: String,
    /// The port; `None` grants every port.
    pub port: Option<u16>,
}

/// What a worker does with a job's tasks when its lease on them ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDisconnect {
    /// Go on; the server may start the task elsewhere meanwhile: at least once.
    #[default]
    Continue,
    /// Stop; the server waits for that: never two at a time.
    Stop,
}

impl JobSpec {
    /// A specification with every field but the component at its default.
    pub fn new(component: Digest) -> Self {
        Self {
            name: String::new(),
            component,
            args: Vec::new(),
            env: Vec::new(),
            input: Input::Empty,
            mounts: Vec::new(),
            count: 1,
            resources: Self::DEFAULT_RESOURCES,
            limits: TaskLimits::default(),
            retry: RetryPolicy::default(),
            priority: 0,
            labels: BTreeMap::new(),
            network: Vec::new(),
            on_disconnect: OnDisconnect::Continue,
            scheduling: Scheduling::default(),
            service: None,
            inference: Inference::default(),
        }
    }

    /// One core, 128 MiB of memory, 64 MiB of scratch, one slot.
    pub const DEFAULT_RESOURCES: Resources =
        Resources { cpu_milli: 1000, memory: 128 << 20, scratch: 64 << 20, slots: 1 };

    /// Checks every field against its bounds. Says nothing of whether blobs exist or
    /// whether a node can hold a task.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_names()?;
        let fields = |(field, problem)| SpecError::Field { field, problem };
        if let Some(service) = &self.service {
            // What a replica takes follows from what it is.
            service.check(self).map_err(fields)?;
        }
        self.check_sizes()?;
        self.check_limits()?;
        self.mounts.iter().try_for_each(Mount::check)?;
        self.inference.check()?;
        if self.scheduling.cache {
            crate::remembered::check(self)?;
        }
        self.scheduling.check(self.count).map_err(fields)
    }

    /// Component instances that one task has at once, at most.
    pub fn instances(&self) -> u32 {
        match self.service.as_ref().and_then(|service| service.http()) {
            Some(http) => http.instances(),
            None => 1,
        }
    }

    /// What each of them may take of the memory in [`Self::resources`], in bytes.
    pub fn memory_of_instance(&self) -> u64 {
        self.resources.memory / u64::from(self.instances().max(1))
    }

    fn check_memory_of_instance(&self) -> Result<(), SpecError> {
        let http = self.service.as_ref().and_then(|service| service.http());
        let least = http.map_or(limits::MIN_MEMORY, HttpService::least_memory);
        ensure(self.memory_of_instance() >= least, "memory", || {
            let reuse = http.and_then(|http| http.reuse).filter(|_| least > limits::MIN_MEMORY);
            match reuse {
                None => "at least 1 MiB for each instance".to_owned(),
                Some(Reuse { concurrent, .. }) => format!(
                    "an instance that handles {concurrent} requests at once needs {}: a replica \
                     with {} of them {}; or let it handle fewer with `http.reuse.concurrent`",
                    Bytes(least),
                    self.instances(),
                    Bytes(least * u64::from(self.instances())),
                ),
            }
        })
    }

    fn check_names(&self) -> Result<(), SpecError> {
        ensure(self.name.len() <= MAX_NAME && !has_control(&self.name), "name", || {
            format!("use at most {MAX_NAME} bytes without control characters")
        })?;
        let lists = [
            ("args", self.args.len()),
            ("env", self.env.len()),
            ("labels", self.labels.len()),
            ("network", self.network.len()),
            ("retry.on", self.retry.on.len()),
        ];
        for (field, len) in lists {
            ensure(len <= MAX_LIST, field, || format!("{len} entries; at most {MAX_LIST}"))?;
        }
        ensure(self.args.iter().all(|arg| !arg.contains('\0')), "args", || {
            "a NUL character cannot be passed to a program".to_owned()
        })?;
        for (key, value) in &self.env {
            let well_formed =
                !key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0');
            ensure(well_formed, "env", || format!("`{key}` is not a variable's name or value"))?;
            ensure(!key.starts_with("WRUN_"), "env", || {
                format!("`{key}`: names that begin with WRUN_ are set by wrun")
            })?;
        }
        for (key, value) in &self.labels {
            let fits = !key.is_empty() && key.len() <= MAX_NAME && value.len() <= MAX_NAME;
            ensure(fits, "labels", || format!("`{key}`: use 1 to {MAX_NAME} bytes"))?;
        }
        ensure(self.network.iter().all(|grant| !grant.host.is_empty()), "network", || {
            "a host is empty".to_owned()
        })
    }

    fn check_sizes(&self) -> Result<(), SpecError> {
        let count = self.count;
        ensure((1..=limits::MAX_COUNT).contains(&count), "count", || {
            format!("{count} tasks; use 1 to {}", limits::MAX_COUNT)
        })?;
        let cpu = self.resources.cpu_milli;
        let instances = self.instances();
        ensure((1..=limits::CPU_PER_INSTANCE * instances).contains(&cpu), "cpu", || {
            let given = f64::from(cpu) / 1000.0;
            match &self.service {
                None => format!(
                    "{given}: a component instance has one thread, so a task takes more than 0 and at most 1 CPU; use `count` for more instances"
                ),
                Some(_) => format!(
                    "{given}: a component instance has one thread, so a replica takes more than 0 and at most {instances} CPU, one for each instance that it may have"
                ),
            }
        })?;
        ensure(self.resources.memory >= limits::MIN_MEMORY, "memory", || {
            format!("{} bytes; at least 1 MiB", self.resources.memory)
        })?;
        ensure(
            self.resources.memory <= 1 << 50 && self.resources.scratch <= 1 << 50,
            "memory",
            || "memory and scratch are at most 1 PiB".to_owned(),
        )?;
        ensure(self.resources.slots == instances, "resources", || {
            format!("it takes {instances} slots, one for each instance")
        })?;
        self.check_memory_of_instance()?;
        ensure(self.mounts.len() <= limits::MAX_MOUNTED_FILES, "mounts", || {
            format!("{} files; at most {}", self.mounts.len(), limits::MAX_MOUNTED_FILES)
        })?;
        match &self.input {
            Input::Each(items) => check_items(items),
            Input::Content(Content::Inline(bytes)) => {
                ensure(bytes.len() <= MAX_INLINE_INPUT, "input", || {
                    format!("{} bytes inline; at most {MAX_INLINE_INPUT}", bytes.len())
                })
            }
            Input::Attached => ensure(count == 1, "input", || {
                "only a job of one task can have attached input".to_owned()
            }),
            _ => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), SpecError> {
        let times = [
            ("time_limit", self.limits.wall_ms),
            ("cpu_time_limit", self.limits.cpu_ms),
            ("retry.backoff", Some(self.retry.backoff_ms.max(1))),
            ("retry.max_backoff", Some(self.retry.max_backoff_ms.max(1))),
        ];
        for (field, value) in times {
            let ms = value.unwrap_or(1);
            ensure((1..=MAX_TIME_MS).contains(&ms), field, || {
                "use more than zero and at most 366 days".to_owned()
            })?;
        }
        ensure(self.retry.retries <= limits::MAX_RETRIES, "retries", || {
            format!("{}; at most {}", self.retry.retries, limits::MAX_RETRIES)
        })?;
        ensure(self.limits.log_rate >= 1024, "log_rate", || "at least 1 KiB a second".to_owned())?;
        ensure((1..=1 << 20).contains(&self.limits.handles), "handles", || {
            "use 1 to 1048576".to_owned()
        })
    }
}

impl Mount {
    fn check(&self) -> Result<(), SpecError> {
        check_path(&self.path).map_err(|problem| SpecError::Field { field: "mounts", problem })
    }
}

/// Whether something can be mounted there; says what is wrong.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    let mut parts = path.strip_prefix('/').unwrap_or("").split('/');
    let named = parts.all(|part| !matches!(part, "" | "." | ".."));
    if named && !has_control(path) && path.len() <= 4096 {
        return Ok(());
    }
    Err(format!("`{path}` is not an absolute path in the guest without `.` or `..`"))
}

/// The file itself is the server's to check.
fn check_items(items: &Content) -> Result<(), SpecError> {
    let (size, most) = match items {
        Content::Inline(bytes) => (bytes.len() as u64, MAX_INLINE_INPUT as u64),
        Content::Blob { size, .. } => (*size, limits::MAX_ITEMS_FILE),
    };
    ensure(size <= most, "for_each", || format!("the items take {size} bytes; at most {most}"))
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn ensure(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError::Field { field, problem: problem() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_runs_again_unless_some_are_named_or_it_is_final() {
        let handler = |retryable| Failure::Handler { message: String::new(), retryable };
        let every = RetryPolicy::default();
        assert!(every.covers(&Failure::Exit { code: 1 }) && every.covers(&handler(true)));
        assert!(!every.covers(&handler(false)), "another attempt would meet it again");
        assert!(!every.covers(&Failure::Cancelled) && !every.covers(&Failure::NodeLost));
        let named = RetryPolicy { on: vec![RetryOn::Exit(7), RetryOn::Handler], ..every };
        assert!(named.covers(&Failure::Exit { code: 7 }) && named.covers(&handler(true)));
        assert!(!named.covers(&Failure::Exit { code: 1 }) && !named.covers(&handler(false)));
    }
}

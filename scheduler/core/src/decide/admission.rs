//! What the policy says of a job when it is submitted or changed: the partition and the
//! class of service that it may use, and its times.

use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{JobSpec, TenantName};

use crate::core::Core;

impl Core {
    /// Checks what the job names, and puts the policy's defaults where it says nothing.
    pub(crate) fn check_wishes(
        &self,
        tenant: &TenantName,
        spec: &mut JobSpec,
    ) -> Result<(), RequestError> {
        self.check_partition(tenant, spec)?;
        self.check_qos(tenant, spec)?;
        self.check_within(tenant, spec)?;
        self.state.rules.resolve(tenant, spec);
        self.check_times(spec)
    }

    fn check_partition(&self, tenant: &TenantName, spec: &JobSpec) -> Result<(), RequestError> {
        let rules = &self.state.rules;
        let name = spec.scheduling.partition.as_deref();
        let Some(partition) = rules.partition(name) else {
            let Some(name) = name else { return Ok(()) };
            let known = rules.policy.partitions.iter().map(|partition| partition.name.as_str());
            return Err(unknown("partition", name, known));
        };
        let place = &partition.name;
        if !partition.tenants.is_empty() && !partition.tenants.contains(tenant) {
            let may = rules.policy.partitions.iter().filter(|partition| {
                partition.tenants.is_empty() || partition.tenants.contains(tenant)
            });
            return Err(not_allowed("partition", place, tenant, may.map(|one| one.name.as_str())));
        }
        check_limit("partition", place, partition.max_time_ms, spec)
    }

    fn check_qos(&self, tenant: &TenantName, spec: &JobSpec) -> Result<(), RequestError> {
        let rules = &self.state.rules;
        let name = spec.scheduling.qos.as_deref().or_else(|| rules.default_qos(tenant));
        let Some(name) = name else { return Ok(()) };
        let classes = rules.policy.qos.iter();
        let Some(qos) = rules.qos(name) else {
            return Err(unknown("QoS", name, classes.map(|qos| qos.name.as_str())));
        };
        if !qos.tenants.is_empty() && !qos.tenants.contains(tenant) {
            let may = classes.filter(|qos| qos.tenants.is_empty() || qos.tenants.contains(tenant));
            return Err(not_allowed("QoS", name, tenant, may.map(|one| one.name.as_str())));
        }
        check_limit("QoS", name, qos.max_time_ms, spec)
    }

    fn check_times(&self, spec: &JobSpec) -> Result<(), RequestError> {
        let Some(deadline) = spec.scheduling.deadline else { return Ok(()) };
        let earliest = spec.scheduling.begin.unwrap_or_default().max(self.now);
        let limit = spec.limits.wall_ms.unwrap_or(1);
        if earliest.0.saturating_add(limit) <= deadline.0 {
            return Ok(());
        }
        let seconds = deadline.since(earliest).as_secs();
        Err(RequestError::new(
            ErrorCode::Unsatisfiable,
            format!(
                "the deadline leaves {seconds} s, and a task may take {} s: give it a later deadline or a shorter time limit",
                limit.div_ceil(1000)
            ),
        ))
    }
}

fn check_limit(
    what: &str,
    name: &str,
    most: Option<u64>,
    spec: &JobSpec,
) -> Result<(), RequestError> {
    match (spec.limits.wall_ms, most) {
        (Some(limit), Some(most)) if limit > most => Err(RequestError::new(
            ErrorCode::LimitReached,
            format!(
                "{what} `{name}` allows a time limit of at most {} s, and the job's is {} s: lower it, or use another {what}",
                most / 1000,
                limit.div_ceil(1000)
            ),
        )),
        _ => Ok(()),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> RequestError {
    let message = match list(known) {
        Some(known) => format!("there is no {what} `{name}`; there is {known}"),
        None => format!("there is no {what} `{name}`: the policy names none, leave it out"),
    };
    RequestError::new(ErrorCode::InvalidInput, message)
}

fn not_allowed<'a>(
    what: &str,
    name: &str,
    tenant: &TenantName,
    may: impl Iterator<Item = &'a str>,
) -> RequestError {
    let message = match list(may) {
        Some(may) => format!("tenant {tenant} may not use {what} `{name}`; it may use {may}"),
        None => format!(
            "tenant {tenant} may not use {what} `{name}`, nor any other: ask an administrator"
        ),
    };
    RequestError::new(ErrorCode::Denied, message)
}

/// Names for people, at most some.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.take(20).map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

//! Pods as a table, as Alibaba's cluster-trace-gpu-v2023 has them: CPU, memory, and GPUs
//! whole or in thousandths of one.
//!
//! `cpu_milli` must be there; `name`, `memory_mib`, `num_gpu`, `gpu_milli`, `gpu_spec`
//! (models separated by `|`), `qos`, `user` and the times in seconds `creation_time`,
//! `scheduled_time` and `deletion_time` may be. Other columns are passed over.

use super::csv::{Row, Splitter, require};
use super::{Format, Job, Reason, Request, TraceError, Unusable, Users};

/// Where the columns stand.
struct Columns {
    name: Option<usize>,
    cpu: Option<usize>,
    memory: Option<usize>,
    gpus: Option<usize>,
    gpu_share: Option<usize>,
    gpu_models: Option<usize>,
    class: Option<usize>,
    user: Option<usize>,
    created: Option<usize>,
    scheduled: Option<usize>,
    deleted: Option<usize>,
}

/// A table of pods.
pub(super) struct Pods {
    splitter: Splitter,
    columns: Columns,
    width: usize,
    /// Pods so far, which names those without a name.
    count: u64,
}

impl Pods {
    /// Of a table whose first line is `header`.
    pub(super) fn new(header: &str) -> Result<Self, TraceError> {
        let mut splitter = Splitter::new();
        let Ok(row) = splitter.split(header) else {
            return Err(TraceError::Columns { missing: vec!["cpu_milli"] });
        };
        let columns = Columns {
            name: row.place(&["name", "sn"]),
            cpu: row.place(&["cpu_milli"]),
            memory: row.place(&["memory_mib"]),
            gpus: row.place(&["num_gpu", "gpu"]),
            gpu_share: row.place(&["gpu_milli"]),
            gpu_models: row.place(&["gpu_spec", "model"]),
            class: row.place(&["qos"]),
            user: row.place(&["user"]),
            created: row.place(&["creation_time"]),
            scheduled: row.place(&["scheduled_time"]),
            deleted: row.place(&["deletion_time"]),
        };
        require(&[("cpu_milli", columns.cpu)])?;
        let width = row.len();
        Ok(Self { splitter, columns, width, count: 0 })
    }
}

impl Format for Pods {
    fn job(&mut self, line: &str, users: &mut Users) -> Result<Option<Job>, Unusable> {
        let row = self.splitter.split(line).map_err(Unusable::Malformed)?;
        if row.len() != self.width {
            let problem = format!("it has {} fields of {}", row.len(), self.width);
            return Err(Unusable::Malformed(problem));
        }
        let job = job(&row, &self.columns, self.count, users)?;
        self.count += 1;
        Ok(Some(job))
    }
}

fn job(row: &Row<'_>, columns: &Columns, count: u64, users: &mut Users) -> Result<Job, Unusable> {
    let number = |place, name| row.number(place, name).map_err(Unusable::Malformed);
    let each = request(row, columns)?;
    if each.cpu_milli == 0 && each.gpu_milli == 0 {
        return Err(Unusable::Other(Reason::NoProcessors));
    }
    let created = number(columns.created, "creation_time")?.unwrap_or(0);
    let scheduled = number(columns.scheduled, "scheduled_time")?;
    let deleted = number(columns.deleted, "deletion_time")?;
    let run = deleted.zip(scheduled).and_then(|(end, start)| end.checked_sub(start));
    let name = match row.field(columns.name) {
        "" => count.to_string().into(),
        name => name.into(),
    };
    let user = match row.field(columns.user) {
        "" => "unknown",
        user => user,
    };
    Ok(Job {
        name,
        submit_ms: created.saturating_mul(1000),
        run_ms: run.map(|seconds| seconds.saturating_mul(1000)),
        limit_ms: None,
        tasks: 1,
        each,
        class: Some(row.field(columns.class)).filter(|class| !class.is_empty()).map(Box::from),
        partition: None,
        user: users.number(user),
    })
}

fn request(row: &Row<'_>, columns: &Columns) -> Result<Request, Unusable> {
    let malformed = |problem: &str| Unusable::Malformed(problem.to_owned());
    let number = |place, name| {
        let value = row.number(place, name).map_err(Unusable::Malformed)?.unwrap_or(0);
        u32::try_from(value).map_err(|_| malformed(&format!("{name} is too large")))
    };
    let gpus = number(columns.gpus, "num_gpu")?;
    // Where no share is given, cards are whole.
    let share = match row.field(columns.gpu_share) {
        "" => 1000,
        _ => number(columns.gpu_share, "gpu_milli")?,
    };
    let gpu_milli = match (gpus, share) {
        (0, _) => 0,
        (1, 1..=1000) => share,
        (_, 1000) => gpus.checked_mul(1000).ok_or_else(|| malformed("num_gpu is too large"))?,
        (1, _) => return Err(malformed("gpu_milli is not from 1 to 1000")),
        _ => return Err(malformed("several cards are asked for, and not whole")),
    };
    let models = row.field(columns.gpu_models).split('|').map(str::trim);
    let memory = u64::from(number(columns.memory, "memory_mib")?) << 20;
    let gpu_models =
        models.filter(|model| gpu_milli > 0 && !model.is_empty()).map(Box::from).collect();
    Ok(Request { cpu_milli: number(columns.cpu, "cpu_milli")?, memory, gpu_milli, gpu_models })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                          creation_time,deletion_time,scheduled_time";

    fn read(line: &str) -> Result<Job, String> {
        match Pods::new(HEADER).unwrap().job(line, &mut Users::default()) {
            Ok(job) => Ok(job.unwrap()),
            Err(Unusable::Malformed(problem)) => Err(problem),
            Err(Unusable::Other(reason)) => Err(reason.to_string()),
        }
    }

    #[test]
    fn a_line_is_a_pod() {
        let pod = read("p7,6000,12288,1,460,V100M16|T4,LS,Running,427061,427161,427071").unwrap();
        assert_eq!((&*pod.name, pod.submit_ms, pod.run_ms), ("p7", 427_061_000, Some(90_000)));
        assert_eq!((pod.each.cpu_milli, pod.each.memory), (6000, 12 << 30));
        assert_eq!(pod.class, Some("LS".into()));
        assert_eq!((pod.each.gpu_milli, pod.each.gpu_models.len()), (460, 2));
        let eight = read("p8,6000,1,8,1000,,LS,Running,0,,").unwrap();
        assert_eq!((eight.each.gpu_milli, eight.run_ms), (8000, None));
    }

    #[test]
    fn lines_that_are_no_pod_say_why() {
        for (line, why) in [
            ("p,1,1", "it has 3 fields of 11"),
            ("p,x,1,0,0,,LS,Running,0,1,0", "cpu_milli is not a whole number"),
            ("p,1,1,2,500,,LS,Running,0,1,0", "several cards are asked for, and not whole"),
            ("p,1,1,1,0,,LS,Running,0,1,0", "gpu_milli is not from 1 to 1000"),
            ("p,1,1,9999999999,1000,,LS,Running,0,1,0", "num_gpu is too large"),
            ("p,0,1,0,0,,LS,Running,0,1,0", "no processors"),
            ("p,1,1,0,0,,\"LS,Running,0,1,0", "a quote is not closed"),
        ] {
            assert_eq!(read(line), Err(why.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_table_without_cpu_is_not_of_pods() {
        let error = Pods::new("sn,gpu").err().unwrap();
        assert_eq!(error.to_string(), "the first line names no column cpu_milli");
    }
}

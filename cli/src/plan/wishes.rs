//! The part of a plan that says when and where tasks may run.

use wrun_protocol::Resources;
use wrun_protocol::scheduling::{
    Arrangement, Devices, GpuRequest, MAX_GPUS, Preemptible, Request, Scheduling,
};

use crate::jobfile::{Alternative, ArrangementName, GpuTable, JobFile, PreemptionName};
use crate::report::human;
use crate::syntax::work::Scheduling as Flags;

/// A value that cannot be, with its key.
pub(super) type Misplaced = (&'static str, String);

/// What to write for `gpu.cards`.
pub(super) const WRITE_GPU: &str = "write a share of one card below 1, or a number of whole cards";

/// What the job file says; `resources` are the job's own amounts.
pub(super) fn of_file(file: &mut JobFile, resources: Resources) -> Result<Scheduling, Misplaced> {
    let now = human::now();
    let alternatives = std::mem::take(&mut file.alternatives).into_iter();
    Ok(Scheduling {
        partition: file.partition.take(),
        qos: file.qos.take(),
        nice: file.nice.map_or(0, |nice| nice.0),
        hold: file.hold,
        begin: file.begin.map(|begin| begin.instant(now)),
        deadline: file.deadline.map(|deadline| deadline.instant(now)),
        devices: Devices {
            gpu: file.gpu.take().map(|gpu| of_gpu("gpu.cards", gpu)).transpose()?,
            named: std::mem::take(&mut file.resources),
            pools: std::mem::take(&mut file.pools),
        },
        alternatives: alternatives
            .map(|alternative| of_alternative(alternative, resources))
            .collect::<Result<_, _>>()?,
        refused_labels: std::mem::take(&mut file.refused_labels),
        arrangement: file.arrangement.map(of_arrangement).unwrap_or_default(),
        gang: file.gang,
        max_running: file.max_running.map(|most| most.0),
        depends_on: file.depends_on.iter().map(|source| source.0).collect(),
        preemptible: file.preemptible.as_deref().map(of_preemption).unwrap_or_default(),
        reservation: file.reservation.take(),
        cache: file.cache,
    })
}

fn of_alternative(other: Alternative, like: Resources) -> Result<Request, Misplaced> {
    let resources = Resources {
        cpu_milli: other.cpu.map_or(like.cpu_milli, |cpu| cpu.milli),
        memory: other.memory.map_or(like.memory, |size| size.0),
        scratch: other.scratch.map_or(like.scratch, |size| size.0),
        slots: like.slots,
    };
    let gpu = other.gpu.map(|gpu| of_gpu("alternatives", gpu)).transpose()?;
    Ok(Request { resources, devices: Devices { gpu, named: other.resources, pools: other.pools } })
}

fn of_gpu(key: &'static str, gpu: GpuTable) -> Result<GpuRequest, Misplaced> {
    let milli = gpu.cards.milli;
    if milli > 1000 && !milli.is_multiple_of(1000) || milli > MAX_GPUS * 1000 {
        let cards = f64::from(milli) / 1000.0;
        return Err((key, format!("{cards} cards; at most {MAX_GPUS}, and none broken in two")));
    }
    let memory = gpu.memory.map_or(0, |size| size.0);
    Ok(GpuRequest { milli, memory, models: gpu.models })
}

fn of_arrangement(name: ArrangementName) -> Arrangement {
    match name {
        ArrangementName::Spread => Arrangement::Spread,
        ArrangementName::Pack => Arrangement::Pack,
        ArrangementName::SameNode => Arrangement::SameNode,
        ArrangementName::DifferentNodes => Arrangement::DifferentNodes,
    }
}

fn of_preemption(names: &[PreemptionName]) -> Preemptible {
    Preemptible {
        freeze: names.contains(&PreemptionName::Freeze),
        checkpoint: names.contains(&PreemptionName::Checkpoint),
        requeue: names.contains(&PreemptionName::Requeue),
    }
}

/// Lays the flags over it; lists add up.
pub(super) fn overlay(wishes: &mut Scheduling, flags: &Flags) {
    let now = human::now();
    let set = |field: &mut Option<String>, flag: &Option<String>| {
        if flag.is_some() {
            field.clone_from(flag);
        }
    };
    set(&mut wishes.partition, &flags.partition);
    set(&mut wishes.qos, &flags.qos);
    set(&mut wishes.reservation, &flags.reservation);
    wishes.nice = flags.nice.map_or(wishes.nice, |nice| nice.0);
    wishes.hold |= flags.hold;
    wishes.gang |= flags.gang;
    wishes.cache |= flags.cache;
    wishes.begin = flags.begin.map(|begin| begin.instant(now)).or(wishes.begin);
    wishes.deadline = flags.deadline.map(|deadline| deadline.instant(now)).or(wishes.deadline);
    wishes.max_running = flags.max_running.map(|most| most.0).or(wishes.max_running);
    if let Some(name) = flags.arrangement {
        wishes.arrangement = of_arrangement(name);
    }
    if let Some(names) = &flags.preemptible {
        wishes.preemptible = of_preemption(names);
    }
    if flags.not_preemptible {
        wishes.preemptible = of_preemption(&[]);
    }
    if let Some(gpu) = &flags.gpu {
        wishes.devices.gpu = Some(gpu.0.clone());
    }
    let named = flags.resource.iter().map(|amount| (amount.name.clone(), amount.amount));
    wishes.devices.named.extend(named);
    let pools = flags.pool.iter().map(|pool| (pool.name.clone(), pool.slots()));
    wishes.devices.pools.extend(pools);
    let refused = flags.refuse_label.iter().map(|pair| (pair.key.clone(), pair.value.clone()));
    wishes.refused_labels.extend(refused);
    wishes.depends_on.extend(flags.depends_on.iter().map(|source| source.0));
}

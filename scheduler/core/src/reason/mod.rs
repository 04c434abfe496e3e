//! Why a task waits, or stands still, as a value with a text for people.

mod text;

use wrun_protocol::scheduling::Dependency;
use wrun_protocol::{JobId, Resources, Timestamp};

pub use crate::state::quotas::{Bound, LimitReached, Scope};
pub(crate) use text::{Lasting, thousandths};

/// Why tasks of a job wait, or were stopped short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PendingReason {
    /// No node has joined yet.
    NoNodes,
    /// Nodes are known, but none that could hold a task is connected and takes tasks.
    NoNodeReady {
        /// Nodes that could hold one once they are back.
        suitable: u32,
    },
    /// No node that is known could hold a task, however empty; one could when it was submitted.
    NoNodeFits {
        /// What a task asks for.
        wanted: Resources,
    },
    /// Nodes that could hold a task are full.
    WaitsForCapacity {
        /// What a task asks for.
        wanted: Resources,
        /// Jobs of the same tenant, alike to placement, that are older.
        jobs_ahead: u64,
    },
    /// The task failed and waits before it runs again.
    BackOff {
        /// The earliest instant of the next attempt.
        until: Timestamp,
    },
    /// A quota leaves no room for another task.
    Limit(LimitReached),
    /// A quota would leave no room for what starts at once though nothing else were there.
    BeyondLimit {
        /// Which quota, and the most that it allows.
        limit: LimitReached,
        /// What it takes of that.
        takes: u64,
        /// Tasks that start together; 0 where each starts alone.
        gang: u32,
    },
    /// All nodes that are ready could not hold the gang at once, were they empty.
    GangBeyondNodes {
        /// Tasks that start together.
        gang: u32,
        /// How many they hold.
        places: u64,
    },
    /// A user holds it.
    Held,
    /// It is not to start yet.
    Begin {
        /// The earliest instant.
        at: Timestamp,
    },
    /// It could not end before its deadline, at which it is cancelled.
    Deadline {
        /// The deadline.
        deadline: Timestamp,
    },
    /// Whether its results are remembered is being looked up.
    Results,
    /// A job that it depends on has not come that far.
    Dependency {
        /// For what it waits.
        on: Dependency,
    },
    /// As many tasks of the job are placed as it allows at once.
    MaxRunning {
        /// The job's bound.
        most: u32,
    },
    /// Its tasks start together, and there is room for a part of them.
    Gang {
        /// How many there is room for.
        places: u32,
        /// How many start together.
        of: u32,
    },
    /// A pool of the cluster has too few slots left.
    Pool {
        /// The pool.
        name: String,
        /// Slots that a task takes.
        wanted: u32,
        /// Slots left.
        left: u64,
    },
    /// The window of the reservation in which it runs has not begun, or is over.
    Window {
        /// The reservation.
        name: String,
        /// When the next window begins; `None`: there is none.
        start: Option<Timestamp>,
    },
    /// It may take longer than what it needs is free anywhere, before what was promised or
    /// reserved.
    TooLong {
        /// How long it is expected to take, in milliseconds.
        takes_ms: u64,
        /// What that rests on.
        by: Taking,
        /// How long it is free at most, in milliseconds.
        free_ms: u64,
    },
    /// It is expected to run so long that it must leave CPU free for short tasks.
    Headroom {
        /// What stays free, in thousandths of a CPU.
        cpu_milli: u64,
    },
    /// A pass looked at as many others before it as the policy's depth allows.
    FillDepth {
        /// The depth.
        depth: u32,
    },
    /// Tasks of lower class were told to stop, or frozen, to make room for it.
    MakingRoom {
        /// Those that have not stopped yet.
        tasks: u32,
    },
    /// Another job is considered first.
    Behind {
        /// The first in the queue.
        job: JobId,
    },
    /// Its place in the queue would take more counting than is done.
    BehindMany {
        /// Steps that are taken.
        counted: u64,
    },
    /// Nodes have room, and why it does not start there was not looked into: the question
    /// was about too many jobs and nodes at once.
    NotLookedInto,
    /// Nodes are not in its partition.
    OutsidePartition {
        /// Its partition; `None` is the default one.
        partition: Option<String>,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes have nothing of the reservation in which it runs.
    OutsideReservation {
        /// The reservation.
        name: String,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes do not carry a label that it wants.
    LacksLabel {
        /// The label.
        label: String,
        /// With this value.
        value: String,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes carry a label that it refuses.
    RefusedLabel {
        /// The label.
        label: String,
        /// With this value.
        value: String,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes could not hold a task if they were empty.
    TooSmall {
        /// For want of what.
        amount: Amount,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes have no such devices or named resources, or too few, were they empty.
    NotSuited {
        /// Which.
        nodes: Nodes,
    },
    /// Nodes that suit it are not connected, are drained, or are lost.
    NotReady {
        /// Which.
        nodes: Nodes,
    },
    /// Nodes that suit it have not enough left.
    Full {
        /// Of what.
        amount: Amount,
        /// Which.
        nodes: Nodes,
    },
    /// Devices or named resources of nodes are in use.
    DevicesTaken {
        /// Which.
        nodes: Nodes,
    },
    /// On nodes that suit it other tasks wait first.
    OthersFirst {
        /// Which.
        nodes: Nodes,
    },
    /// How its tasks are to be arranged keeps it from nodes.
    Arranged {
        /// Which.
        nodes: Nodes,
    },
    /// Nodes are being cleared for a job that may pre-empt others.
    Cleared {
        /// For which.
        job: JobId,
        /// Which.
        nodes: Nodes,
    },
    /// Frozen tasks of nodes go on before it starts there.
    FrozenFirst {
        /// Which.
        nodes: Nodes,
    },
    /// Nodes have room, or pools slots, and a job before it is promised them from an instant
    /// at which this one might still run.
    Promised {
        /// To which.
        job: JobId,
        /// From when on.
        start: Timestamp,
        /// Until when it is expected to hold it.
        end: Timestamp,
        /// Which.
        nodes: Nodes,
    },
    /// Nodes have room, and a reservation begins before this job would end, or has begun.
    Reserved {
        /// The reservation.
        name: String,
        /// When the window begins or began.
        start: Timestamp,
        /// When it ends.
        end: Timestamp,
        /// Which.
        nodes: Nodes,
    },
    /// Tasks that had started stand still.
    Frozen {
        /// How many.
        tasks: u32,
        /// Since when the first.
        since: Timestamp,
        /// For the sake of which job, where that is still to be seen.
        by: Option<JobId>,
    },
    /// Placed tasks were told that they will be stopped, and put back.
    Noticed {
        /// How many.
        tasks: u32,
        /// When the last is stopped at the latest.
        until: Timestamp,
        /// Why.
        why: Notice,
    },
    /// It can be placed and will be now.
    Placing,
}

/// Nodes for which a reason holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nodes {
    /// How many.
    pub count: u32,
    /// The first few by name, where there is reason to name them.
    pub names: Vec<String>,
}

/// What the time rests on that a task is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taking {
    /// Its time limit.
    Limit,
    /// Earlier tasks of the same component and tenant.
    Earlier,
    /// The policy's time for tasks of which nothing is known.
    Default,
}

/// Why a task was told that it will be stopped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// For a job that may pre-empt it.
    For(JobId),
    /// For the window of a reservation.
    Reservation(String),
    /// A user wants it put back.
    User,
    /// Another task of its gang failed or was lost.
    Gang,
    /// It was frozen for as long as may be, or for a reason that a restart forgot.
    Other,
}

/// What nodes have an amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Scratch disk.
    Scratch,
    /// Places in the sandbox's pool.
    Slots,
}

impl Amount {
    /// Every amount of which there is less than is wanted.
    pub(crate) fn all_lacking(
        have: &Resources,
        wanted: &Resources,
    ) -> impl Iterator<Item = Self> + use<> {
        let amounts = [
            (Self::Cpu, have.cpu_milli < wanted.cpu_milli),
            (Self::Memory, have.memory < wanted.memory),
            (Self::Scratch, have.scratch < wanted.scratch),
            (Self::Slots, have.slots < wanted.slots),
        ];
        amounts.into_iter().filter(|(_, lacks)| *lacks).map(|(amount, _)| amount)
    }

    /// The first amount of which there is less than is wanted.
    pub(crate) fn lacking(have: &Resources, wanted: &Resources) -> Option<Self> {
        Self::all_lacking(have, wanted).next()
    }
}

impl PendingReason {
    /// For programs: stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNodes => "no-nodes",
            Self::NoNodeReady { .. } => "no-node-ready",
            Self::NoNodeFits { .. } => "no-node-fits",
            Self::WaitsForCapacity { .. } => "no-capacity",
            Self::BackOff { .. } => "back-off",
            Self::Limit(_) => "limit",
            Self::BeyondLimit { .. } => "beyond-limit",
            Self::GangBeyondNodes { .. } => "gang-beyond-nodes",
            Self::Held => "held",
            Self::Begin { .. } => "begin",
            Self::Deadline { .. } => "deadline",
            Self::Results => "results",
            Self::Dependency { .. } => "dependency",
            Self::MaxRunning { .. } => "max-running",
            Self::Gang { .. } => "gang",
            Self::Pool { .. } => "pool",
            Self::Window { .. } => "window",
            Self::TooLong { .. } => "too-long",
            Self::Headroom { .. } => "headroom",
            Self::FillDepth { .. } => "fill-depth",
            Self::MakingRoom { .. } => "making-room",
            Self::Behind { .. } => "behind",
            Self::BehindMany { .. } => "behind-many",
            Self::NotLookedInto => "not-looked-into",
            Self::OutsidePartition { .. } => "outside-partition",
            Self::OutsideReservation { .. } => "outside-reservation",
            Self::LacksLabel { .. } => "lacks-label",
            Self::RefusedLabel { .. } => "refused-label",
            Self::TooSmall { .. } => "too-small",
            Self::NotSuited { .. } => "not-suited",
            Self::NotReady { .. } => "not-ready",
            Self::Full { .. } => "full",
            Self::DevicesTaken { .. } => "devices-taken",
            Self::OthersFirst { .. } => "others-first",
            Self::Arranged { .. } => "arranged",
            Self::Cleared { .. } => "cleared",
            Self::FrozenFirst { .. } => "frozen-first",
            Self::Promised { .. } => "promised",
            Self::Reserved { .. } => "reserved",
            Self::Frozen { .. } => "frozen",
            Self::Noticed { .. } => "notice",
            Self::Placing => "placing",
        }
    }

    /// On how many nodes it holds, where it is a reason of nodes.
    pub fn nodes(&self) -> Option<u32> {
        self.clone().nodes_mut().map(|nodes| nodes.count).filter(|count| *count > 0)
    }

    /// The same on those nodes.
    pub(crate) fn on(mut self, on: Nodes) -> Self {
        if let Some(nodes) = self.nodes_mut() {
            *nodes = on;
        }
        self
    }

    fn nodes_mut(&mut self) -> Option<&mut Nodes> {
        match self {
            Self::OutsidePartition { nodes, .. }
            | Self::OutsideReservation { nodes, .. }
            | Self::LacksLabel { nodes, .. }
            | Self::RefusedLabel { nodes, .. }
            | Self::TooSmall { nodes, .. }
            | Self::NotSuited { nodes }
            | Self::NotReady { nodes }
            | Self::Full { nodes, .. }
            | Self::DevicesTaken { nodes }
            | Self::OthersFirst { nodes }
            | Self::Arranged { nodes }
            | Self::Cleared { nodes, .. }
            | Self::FrozenFirst { nodes }
            | Self::Promised { nodes, .. }
            | Self::Reserved { nodes, .. } => Some(nodes),
            _ => None,
        }
    }
}

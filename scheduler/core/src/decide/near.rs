//! Which nodes have the models already that a job names: loaded, or on disk at least. Work goes
//! there first, where nothing else speaks against it, as a load takes seconds and a download
//! minutes. Nodes tell; nothing of it is recorded, and to be wrong costs a load.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::wire::model::Kept;
use wrun_protocol::{Digest, JobId, NodeId};

use crate::core::Core;
use crate::state::groups::{Group, GroupIx};
use crate::state::jobs::NodeIx;
use crate::state::nodes::node_ix;

/// Models that are remembered of a node; it tells of those that it used last.
const MAX_OF_NODE: usize = 256;

/// Nodes with a job's models that one decision looks at, of each kind.
const MAX_LOOK: usize = 128;

/// Where models are.
#[derive(Debug, Default)]
pub(crate) struct Near {
    by_model: BTreeMap<Digest, Keepers>,
    by_node: BTreeMap<NodeIx, BTreeMap<Digest, Kept>>,
}

/// Who has a model.
#[derive(Debug, Default)]
struct Keepers {
    loaded: BTreeSet<NodeIx>,
    /// Those that have it loaded included.
    stored: BTreeSet<NodeIx>,
}

impl Keepers {
    fn of(&self, kept: Kept) -> &BTreeSet<NodeIx> {
        match kept {
            Kept::Loaded => &self.loaded,
            Kept::Stored => &self.stored,
        }
    }
}

impl Near {
    /// A node tells how it keeps a model, or that it does not any more.
    fn set(&mut self, ix: NodeIx, digest: Digest, kept: Option<Kept>) {
        let of_node = self.by_node.entry(ix).or_default();
        let is_full = of_node.len() >= MAX_OF_NODE && !of_node.contains_key(&digest);
        match kept {
            Some(_) if is_full => return,
            Some(kept) => _ = of_node.insert(digest, kept),
            None => _ = of_node.remove(&digest),
        }
        let keepers = self.by_model.entry(digest).or_default();
        let set = |nodes: &mut BTreeSet<NodeIx>, has| {
            if has { nodes.insert(ix) } else { nodes.remove(&ix) }
        };
        set(&mut keepers.loaded, kept == Some(Kept::Loaded));
        set(&mut keepers.stored, kept.is_some());
        if keepers.stored.is_empty() {
            self.by_model.remove(&digest);
        }
    }

    /// A node is not heard any more, or a new session begins.
    pub(crate) fn forget(&mut self, ix: NodeIx) {
        for digest in self.by_node.remove(&ix).unwrap_or_default().into_keys() {
            if let Some(keepers) = self.by_model.get_mut(&digest) {
                keepers.loaded.remove(&ix);
                keepers.stored.remove(&ix);
                if keepers.stored.is_empty() {
                    self.by_model.remove(&digest);
                }
            }
        }
    }

    /// Nodes that have all of these so, at most [`MAX_LOOK`]. Different jobs look at different
    /// ones first, so that those that are full do not hide the others.
    fn with_all(&self, models: &[Digest], kept: Kept, job: JobId) -> Vec<NodeIx> {
        let keepers = models.iter().map(|digest| Some(self.by_model.get(digest)?.of(kept)));
        let Some(keepers) = keepers.collect::<Option<Vec<_>>>() else { return Vec::new() };
        let Some(fewest) = keepers.iter().min_by_key(|nodes| nodes.len()) else {
            return Vec::new();
        };
        let last = fewest.last().copied().unwrap_or_default();
        let from = (job.0 % (u64::from(last) + 1)) as NodeIx;
        let all = fewest.range(from..).chain(fewest.range(..from)).take(MAX_LOOK);
        all.filter(|ix| keepers.iter().all(|nodes| nodes.contains(ix))).copied().collect()
    }

    /// Every node that keeps a model, and how, in order.
    pub(crate) fn keepers(&self, digest: Digest) -> impl Iterator<Item = (NodeIx, Kept)> {
        let keepers = self.by_model.get(&digest);
        keepers.into_iter().flat_map(|keepers| {
            keepers.stored.iter().map(|ix| {
                let is_loaded = keepers.loaded.contains(ix);
                (*ix, if is_loaded { Kept::Loaded } else { Kept::Stored })
            })
        })
    }
}

impl Core {
    pub(crate) fn on_models_kept(&mut self, node: NodeId, models: Vec<(Digest, Option<Kept>)>) {
        let ix = node_ix(node);
        let connected = self.state.nodes.get(ix).is_some_and(|node| node.session.connected);
        if !connected {
            return;
        }
        for (digest, kept) in models {
            self.near.set(ix, digest, kept);
        }
    }

    /// The models of the group's next job, where it names any.
    fn models_of_next(&self, group: &Group) -> Option<(JobId, Vec<Digest>)> {
        let job = group.ready.first()?;
        let models: Vec<_> = self.state.models.digests_of_job(job).collect();
        (!models.is_empty()).then_some((job, models))
    }

    /// The job of the group before which the search is not for the same models any more.
    pub(crate) fn same_models_until(&self, group: GroupIx, until: Option<JobId>) -> Option<JobId> {
        let Some(group) = self.state.groups.get(group) else { return until };
        let names_any = |job: &JobId| self.state.models.digests_of_job(*job).next().is_some();
        let Some(job) = group.ready.first().filter(names_any) else { return until };
        group.ready.after(job).next().into_iter().chain(until).min()
    }

    /// Nodes that have the models of the group's next job: loaded, then on disk. None where it
    /// names none.
    pub(crate) fn nodes_with_models(&self, group: &Group) -> Vec<BTreeSet<NodeIx>> {
        let Some((job, models)) = self.models_of_next(group) else { return Vec::new() };
        let each = [Kept::Loaded, Kept::Stored].into_iter();
        each.map(|kept| self.near.with_all(&models, kept, job).into_iter().collect()).collect()
    }

    /// Nodes with room that have the models of the group's next job, the nearest first: those
    /// that have them loaded, then those on whose disk they are, of each the emptiest first (the
    /// fullest where the job wants to be packed). `room` says for how many tasks there is room.
    ///
    /// A job that is spread has no preference for a node that has a task of it: two replicas
    /// of a service on one node are worse than another load.
    pub(crate) fn nodes_near(
        &self,
        group: &Group,
        most: usize,
        mut room: impl FnMut(NodeIx) -> u32,
    ) -> Vec<(NodeIx, u32)> {
        let Some((job, models)) = self.models_of_next(group) else { return Vec::new() };
        let arrangement = group.key.arrangement();
        let mut found: Vec<(NodeIx, u32)> = Vec::new();
        for kept in [Kept::Loaded, Kept::Stored] {
            let mut nodes: Vec<_> = self.near.with_all(&models, kept, job);
            nodes.retain(|ix| found.iter().all(|(other, _)| other != ix));
            nodes.retain(|ix| {
                let node = self.state.nodes.get(*ix);
                node.is_some_and(|node| {
                    let is_spread = arrangement == Arrangement::Spread;
                    !(node.has_cards() || is_spread && node.has_task_of(job))
                })
            });
            let free =
                |ix: &NodeIx| self.state.nodes.get(*ix).map_or(0, |node| node.free().cpu_milli);
            nodes.sort_by_key(|ix| (std::cmp::Reverse(free(ix)), *ix));
            if arrangement == Arrangement::Pack {
                nodes.reverse();
            }
            let left = most - found.len();
            let with_room = nodes.into_iter().map(|ix| (ix, room(ix)));
            found.extend(with_room.filter(|(_, room)| *room > 0).take(left));
        }
        found
    }
}

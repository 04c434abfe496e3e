//! Where a job stands in the queue: counted over all groups at once by their heads, and
//! group by group only where one has several jobs that can be placed.

use wrun_protocol::JobId;

use crate::core::Core;
use crate::decide::rank::first_where;
use crate::state::groups::Group;

/// Jobs that are counted one by one; a group of several costs [`CROWD`] more.
pub(super) const MAX_COUNTED: usize = 100_000;
const CROWD: usize = 32;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This one, from 1.
    Number(u64),
    /// More than [`MAX_COUNTED`] stand before it.
    BehindMany,
}

impl Place {
    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::BehindMany => None,
        }
    }
}

impl Core {
    /// The job's place; `None` where it is not in the queue.
    pub(super) fn place_in_queue(&self, id: JobId) -> Option<Place> {
        let group = self.state.groups.get(self.state.jobs.get(id)?.group)?;
        let standing = group.standing().filter(|_| group.ready.contains(id))?;
        let own = match standing.head == id {
            true => standing.rank.0,
            false => self.rank_of(group, id),
        };
        let is_before = |group: &Group, other: JobId| {
            let rank = self.rank_of(group, other);
            rank > own || (rank == own && other < id)
        };
        let mut before = self.state.groups.before(own, id);
        let mut steps = 0;
        for crowd in self.state.groups.crowded() {
            let head = crowd.standing().map(|at| at.head).filter(|head| is_before(crowd, *head));
            let Some(head) = head else { continue };
            let jobs = match first_where(crowd, head, |other| !is_before(crowd, other)) {
                Some(after) => {
                    let jobs = crowd.ready.before(after).take(MAX_COUNTED).count();
                    steps += jobs;
                    jobs
                }
                None => crowd.ready.len(),
            };
            // The head is counted with the others'.
            before += jobs - 1;
            steps += CROWD;
            if steps >= MAX_COUNTED {
                return Some(Place::BehindMany);
            }
        }
        Some(Place::Number(before as u64 + 1))
    }
}

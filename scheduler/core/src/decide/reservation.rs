//! Resources set aside for a time: made, given up, and cleared when their time comes.

use wrun_protocol::policy::Partition;
use wrun_protocol::reservation::{MAX_RESERVATIONS, Reservation, Reserved};
use wrun_protocol::scheduling::Request;
use wrun_protocol::time::millis;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobSpec, NodeId, Resources, TenantName, Timestamp};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::{Fact, RequeueCause};
use crate::state::groups::GroupIx;
use crate::state::jobs::NodeIx;
use crate::state::nodes::{Node, node_id};

/// Names in one message.
const MAX_NAMED: usize = 20;

impl Core {
    pub(crate) fn on_reserve(&mut self, reservation: Reservation) -> Result<Answer, RequestError> {
        self.check_reservation(&reservation)?;
        let nodes = match &reservation.what {
            Reserved::All | Reserved::Nodes(_) => {
                self.check_whole(&reservation)?;
                Vec::new()
            }
            Reserved::Amount { each, count, partition } => {
                self.choose_nodes(&reservation, each, *count, partition.as_deref())?
            }
        };
        self.append(Fact::Reserved { at: self.now, reservation: Box::new(reservation), nodes });
        self.on_boundary();
        Ok(Answer::Done)
    }

    pub(crate) fn on_unreserve(&mut self, name: String) -> Result<Answer, RequestError> {
        if self.state.reservations.get(&name).is_none() {
            let message = format!("there is no reservation `{name}`: see `wrun reservations`");
            return Err(RequestError::new(ErrorCode::NotFound, message));
        }
        self.free_nodes(&name);
        self.append(Fact::Unreserved { at: self.now, name });
        self.on_boundary();
        Ok(Answer::Done)
    }

    fn check_reservation(&self, reservation: &Reservation) -> Result<(), RequestError> {
        reservation.check().map_err(|(field, problem)| {
            RequestError::new(ErrorCode::InvalidInput, format!("`{field}`: {problem}"))
        })?;
        let name = &reservation.name;
        let refuse = |code, message| Err(RequestError::new(code, message));
        if self.state.reservations.get(name).is_some() {
            let message = format!(
                "there is a reservation `{name}` already: choose another name, or give that one up"
            );
            return refuse(ErrorCode::Conflict, message);
        }
        if self.state.reservations.len() >= MAX_RESERVATIONS {
            let message = format!("there are {MAX_RESERVATIONS} reservations: give some up");
            return refuse(ErrorCode::LimitReached, message);
        }
        if reservation.every_ms.is_none() && reservation.end <= self.now {
            let message = "`end`: the window is over already: choose a later one".to_owned();
            return refuse(ErrorCode::InvalidInput, message);
        }
        Ok(())
    }

    /// Whole nodes: they are known, and nothing of them is set aside for the same time.
    fn check_whole(&self, reservation: &Reservation) -> Result<(), RequestError> {
        if let Reserved::Nodes(names) = &reservation.what {
            let unknown = names.iter().filter(|name| self.state.nodes.named(name).is_none());
            let unknown: Vec<&str> = unknown.take(MAX_NAMED).map(String::as_str).collect();
            if !unknown.is_empty() {
                let message =
                    format!("`nodes`: there is no node {}: see `wrun nodes`", unknown.join(", "));
                return Err(RequestError::new(ErrorCode::NotFound, message));
            }
        }
        let concerned = |node: &Node| match &reservation.what {
            Reserved::Nodes(names) => names.contains(&node.name),
            _ => true,
        };
        for (ix, node) in self.state.nodes.iter().filter(|(_, node)| concerned(node)) {
            let mut others = self.state.reservations.of_node(ix, &node.name);
            if let Some((other, _)) = others.find(|(other, _)| other.overlaps(reservation)) {
                return Err(RequestError::new(
                    ErrorCode::Conflict,
                    format!(
                        "node {} is set aside in part or whole for reservation `{}` at that time: choose another window, or give that one up",
                        node.name, other.reservation.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Nodes that have so much for the whole of each window, the roomiest first.
    fn choose_nodes(
        &self,
        reservation: &Reservation,
        each: &Request,
        count: u32,
        partition: Option<&str>,
    ) -> Result<Vec<(NodeId, u32)>, RequestError> {
        if !each.devices.is_empty() {
            let message =
                "`each`: devices cannot be set aside by amount: reserve nodes that have them";
            return Err(RequestError::new(ErrorCode::InvalidInput, message));
        }
        let place = self.state.rules.partition(partition);
        if let (Some(name), None) = (partition, place) {
            let message = format!("`partition`: there is no partition `{name}`");
            return Err(RequestError::new(ErrorCode::NotFound, message));
        }
        let belongs = |node: &Node| place.is_none_or(|place| is_in(place, node));
        let usable = |node: &Node| !node.lost && !node.drain && belongs(node);
        let rooms = self.state.nodes.iter().filter(|(_, node)| usable(node));
        let rooms = rooms.map(|(ix, node)| (ix, self.room_to_reserve(ix, node, reservation, each)));
        let mut rooms: Vec<(NodeIx, u32)> = rooms.filter(|(_, room)| *room > 0).collect();
        rooms.sort_by_key(|(ix, room)| (std::cmp::Reverse(*room), *ix));
        let mut left = count;
        let mut chosen = Vec::new();
        for (ix, room) in rooms {
            let part = room.min(left);
            if part > 0 {
                chosen.push((node_id(ix), part));
                left -= part;
            }
        }
        if left == 0 {
            return Ok(chosen);
        }
        Err(RequestError::new(
            ErrorCode::Conflict,
            format!(
                "of {count} times {} only {} would be free in that window beside what runs and what is reserved: reserve less, or choose a later window",
                each.resources,
                count - left
            ),
        ))
    }

    /// How many requests the node can set aside in every window.
    fn room_to_reserve(
        &self,
        ix: NodeIx,
        node: &Node,
        reservation: &Reservation,
        each: &Request,
    ) -> u32 {
        let capacity = node.capacity();
        // Against every window of the others, however far ahead.
        let others = self.state.reservations.of_node(ix, &node.name);
        let taken = others.filter(|(other, _)| other.overlaps(reservation));
        let free = taken.fold(capacity, |free, (_, aside)| left_of(&free, &aside.of(&capacity)));
        let booking = self.state.reservations.book(reservation);
        let mut outlook = super::outlook::Outlook::default();
        let Some(profile) = self.view(ix, node, None, &mut outlook) else { return 0 };
        let windows = booking.windows(self.now);
        let room =
            windows.map(|(start, end)| profile.room(start.max(self.now), end, &each.resources));
        room.min().unwrap_or(0).min(free.times(&each.resources))
    }

    /// Windows may have begun or ended, or will soon.
    pub(crate) fn on_boundary(&mut self) {
        let over = self.state.reservations.iter();
        let over = over.filter(|booking| booking.windows(self.now).next().is_none());
        let over: Vec<String> = over.map(|booking| booking.reservation.name.clone()).collect();
        for name in over {
            self.free_nodes(&name);
            self.append(Fact::Unreserved { at: self.now, name });
        }
        let notice = self.state.rules.policy.preemption.notice_ms;
        let names: Vec<String> = self
            .state
            .reservations
            .iter()
            .map(|booking| booking.reservation.name.clone())
            .collect();
        for name in names {
            self.free_nodes(&name);
            let booking = self.state.reservations.get(&name);
            let next = booking.and_then(|booking| booking.windows(self.now).next());
            if let Some((start, _)) =
                next.filter(|(start, _)| start.0 <= self.now.0.saturating_add(notice))
            {
                self.clear_for(&name, start.max(self.now));
            }
        }
        self.forget_promises();
        self.boundary = self.state.reservations.next_boundary(self.now, notice);
    }

    /// What a reservation sets aside has changed: its nodes are looked at again.
    fn free_nodes(&mut self, name: &str) {
        let Some(booking) = self.state.reservations.get(name) else { return };
        let nodes = self.state.nodes.iter();
        let nodes = nodes.filter(|(ix, node)| booking.aside(*ix, &node.name).is_some());
        let nodes: Vec<NodeIx> = nodes.map(|(ix, _)| ix).collect();
        nodes.into_iter().for_each(|ix| self.state.nodes.dirty.insert(ix));
    }

    /// What would still run on the reservation's nodes at the begin of its window, and has
    /// no right to, is told to stop by then; no more of it than is in the way.
    fn clear_for(&mut self, name: &str, start: Timestamp) {
        let Some(booking) = self.state.reservations.get(name) else { return };
        let nodes = self.state.nodes.iter();
        let nodes = nodes.filter(|(ix, node)| booking.aside(*ix, &node.name).is_some());
        let intruders = nodes.flat_map(|(ix, node)| {
            self.intruders(ix, node, start).into_iter().map(move |run| (ix, run))
        });
        let intruders: Vec<(NodeIx, Assignment)> = intruders.collect();
        if !intruders.is_empty() {
            self.give_notice(&intruders, start.since(self.now), RequeueCause::Preempted);
        }
    }

    /// Runs that do not fit beside what is set aside of the node at `start`: the longest
    /// placed stay.
    fn intruders(&self, ix: NodeIx, node: &Node, start: Timestamp) -> Vec<Assignment> {
        let capacity = node.capacity();
        let (mut free, mut open) = (capacity, Vec::new());
        for (booking, aside) in self.state.reservations.of_node(ix, &node.name) {
            if booking.open(start).is_some() {
                free = left_of(&free, &aside.of(&capacity));
                open.push(booking.reservation.name.as_str());
            }
        }
        let mut others: Vec<(Timestamp, Assignment, Resources)> = Vec::new();
        for (run, at) in node.tasks.iter() {
            let group = self.state.jobs.get(run.job).map(|job| job.group);
            let Some(group) = group.and_then(|group| self.state.groups.get(group)) else {
                continue;
            };
            let within = group.key.reservation().is_some_and(|name| open.contains(&name));
            if !within && !self.surely_ends_by(group, run, at, start) {
                others.push((at, run, group.key.wanted));
            }
        }
        others.sort_by_key(|(at, ..)| *at);
        let mut intruders = Vec::new();
        for (_, run, each) in others {
            let stay = free.times(&each).min(run.tasks.count);
            (0..stay).for_each(|_| free = left_of(&free, &each));
            if stay < run.tasks.count {
                let mut out = run;
                out.tasks.first += stay;
                out.tasks.count -= stay;
                intruders.push(out);
            }
        }
        intruders
    }

    /// What a job says of a reservation.
    pub(crate) fn check_within(
        &self,
        tenant: &TenantName,
        spec: &JobSpec,
    ) -> Result<(), RequestError> {
        let Some(name) = &spec.scheduling.reservation else { return Ok(()) };
        let Some(booking) = self.state.reservations.get(name) else {
            let message =
                format!("there is no reservation `{name}`, or it is over: see `wrun reservations`");
            return Err(RequestError::new(ErrorCode::InvalidInput, message));
        };
        let Reservation { tenants, start, end, .. } = &booking.reservation;
        if !tenants.contains(tenant) {
            let message = format!("tenant {tenant} may not use reservation `{name}`");
            return Err(RequestError::new(ErrorCode::Denied, message));
        }
        let window = millis(end.since(*start));
        if spec.limits.wall_ms.is_some_and(|limit| limit > window) {
            let message = format!(
                "the time limit is longer than the {} s of a window of reservation `{name}`: lower it",
                window / 1000
            );
            return Err(RequestError::new(ErrorCode::Unsatisfiable, message));
        }
        Ok(())
    }

    /// Whether the group's jobs run in a reservation alone that is over or was given up.
    pub(crate) fn is_without_reservation(&self, group: GroupIx) -> bool {
        let within = self.state.groups.get(group).and_then(|group| group.key.reservation());
        within.is_some_and(|name| self.state.reservations.get(name).is_none())
    }

    /// Every reservation, by name.
    pub fn reservations(&self) -> Vec<Reservation> {
        self.state.reservations.iter().map(|booking| booking.reservation.clone()).collect()
    }
}

/// Whether the node belongs to the partition.
fn is_in(partition: &Partition, node: &Node) -> bool {
    let named = partition.nodes.contains(&node.name);
    let open = partition.nodes.is_empty() && partition.labels.is_empty();
    let labelled = !partition.labels.is_empty()
        && node.info.as_ref().is_some_and(|info| {
            partition.labels.iter().all(|(label, value)| info.labels.get(label) == Some(value))
        });
    named || open || labelled
}

/// What is left of some amounts after others are taken.
fn left_of(free: &Resources, taken: &Resources) -> Resources {
    let mut left = *free;
    crate::profile::Amounts::take(&mut left, taken, 1);
    left
}

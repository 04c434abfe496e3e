//! The nodes: what is recorded of each, what it was last told, and an index of those
//! that take tasks by free CPU. Nothing here decides.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use wrun_protocol::node::{NodeInfo, NodeState};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobId, NodeId, Resources, TaskId, Timestamp};

use super::groups::{Group, GroupIx, GroupKey};
use super::jobs::NodeIx;
use super::labels::Labels;
use super::load::Loads;
use super::need::Need;
use super::packing::{Packing, Shelf};
use super::room::{Room, Rooms};
use super::span::Spans;
use super::stock::Stocked;
use super::waste::Card;

/// A node of the cluster. What every placement and every end looks at comes first, side by
/// side: mostly the node is far away in memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Node {
    /// As it describes itself.
    capacity: Resources,
    pub(crate) loads: Loads,
    /// Its attempts, with when they were placed.
    pub(crate) tasks: Spans<Timestamp>,
    /// `None` until it first connected. Set by [`Self::set_info`].
    pub(crate) info: Option<Box<NodeInfo>>,
    /// Number of the incarnation's first report that was not dealt with.
    pub(crate) next_report: u64,
    /// In the index of room. Derived.
    classes: u64,
    pub(crate) task_count: u32,
    /// An administrator wants it to take nothing.
    pub(crate) drain: bool,
    /// Its lease is over and it has not connected since.
    pub(crate) lost: bool,
    /// Jobs that are in no partition by name may run here. Derived.
    pub(crate) by_default: bool,
    /// What it has beyond amounts.
    pub(crate) stock: Stocked,
    pub(crate) session: Session,
    pub(crate) incarnation: u64,
    /// As it joined; its description may say otherwise later.
    pub(crate) name: String,
    /// The partitions that it is in, by name. Derived.
    pub(crate) partitions: BTreeSet<String>,
}

/// What is known of a node only while the server runs. Not recorded. What every report looks at
/// comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Session {
    pub(crate) connected: bool,
    /// The worker itself wants no more.
    pub(crate) draining: bool,
    /// A lease timer is set for it.
    pub(crate) armed: bool,
    pub(crate) last_seen: Timestamp,
    /// Attempts it was asked to give back and that have not left it.
    pub(crate) recalled: BTreeSet<TaskId>,
    /// Groups with a backlog here and their class, as the recall knows them.
    pub(crate) backlogged: BTreeSet<(i64, GroupIx)>,
    /// When it connected.
    pub(crate) since: Timestamp,
    /// Arrays whose specification it has.
    pub(crate) known: BTreeSet<JobId>,
    /// Attempts that its hello did not list: lost, unless a report speaks of them.
    pub(crate) unlisted: Vec<Assignment>,
}

impl Node {
    pub(crate) fn new(name: String) -> Self {
        Self {
            capacity: Resources::default(),
            loads: Loads::default(),
            tasks: Spans::default(),
            info: None,
            next_report: 0,
            classes: 0,
            task_count: 0,
            drain: false,
            lost: false,
            by_default: true,
            stock: Stocked::default(),
            session: Session::default(),
            incarnation: 0,
            name,
            partitions: BTreeSet::new(),
        }
    }

    /// Looks at each part of it that is used when a task comes or goes.
    pub(super) fn touch(&self) {
        black_box((self.capacity.cpu_milli, self.loads.waiting, self.task_count, self.classes));
        black_box((self.session.last_seen, self.session.backlogged.len(), self.incarnation));
        black_box((self.tasks.runs(), self.loads.used.slots));
        self.loads.touch();
        self.tasks.touch();
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.capacity
    }

    /// It describes itself.
    pub(crate) fn set_info(&mut self, info: Option<NodeInfo>) {
        self.capacity = info.as_ref().map(|info| info.capacity).unwrap_or_default();
        self.info = info.map(Box::new);
    }

    pub(crate) fn free(&self) -> Resources {
        self.loads.free(&self.capacity())
    }

    /// Whether it is in the group's partition, carries what it must, and nothing that it
    /// must not.
    pub(crate) fn admits(&self, group: &GroupKey) -> bool {
        self.is_within(group) && self.info.as_ref().is_some_and(|info| group.allows(&info.labels))
    }

    fn is_within(&self, group: &GroupKey) -> bool {
        let partition = group.wishes.as_deref().and_then(|wishes| wishes.partition.as_ref());
        partition.map_or(self.by_default, |name| self.partitions.contains(name))
    }

    /// Whether it has a task of the job.
    pub(crate) fn has_task_of(&self, job: JobId) -> bool {
        self.tasks.from(job, 0).next().is_some()
    }

    /// Whether it has cards, which tasks that need none should leave to others.
    pub(crate) fn has_cards(&self) -> bool {
        !self.stock.offer.gpus.is_empty()
    }

    /// Whether it could hold a task of the group if it were empty.
    pub(crate) fn suits(&self, group: &GroupKey) -> bool {
        self.admits(group) && group.fits(&self.capacity, &self.stock.offer)
    }

    /// How many tasks of the group it can hold now. None while others wait there first.
    pub(crate) fn room_for(&self, group: &Group) -> u32 {
        // What it carries is far away in memory, and its classes mostly tell.
        let admits = || match group.carriers {
            Some(classes) => self.classes & classes != 0 && self.is_within(&group.key),
            None => self.admits(&group.key),
        };
        let key = &group.key;
        let suits = || admits() && key.fits(&self.capacity, &self.stock.offer);
        if self.loads.waiting > 0 || !self.takes_tasks() || !suits() {
            return 0;
        }
        key.needs().map(|need| self.room_for_need(&need)).max().unwrap_or_default()
    }

    /// How many tasks that are served by that request fit beside what is held.
    pub(crate) fn room_for_need(&self, need: &Need<'_>) -> u32 {
        let room = self.free().times(need.resources);
        need.devices.map_or(room, |devices| self.stock.room(devices, room))
    }

    /// What it has free, as the index knows it. None while others wait there first.
    fn room(&self) -> Room {
        let free = self.free();
        if self.loads.waiting == 0 && free.slots > 0 && self.takes_tasks() {
            Room::new(&free, self.classes)
        } else {
            Room::default()
        }
    }

    /// What it has free, devices and all.
    fn shelf(&self, packing: &mut Packing) -> Shelf {
        let offer = &self.stock.offer;
        let cards = self.stock.cards.iter().zip(&offer.gpus).map(|(left, gpu)| Card {
            milli: u32::try_from(left.milli).unwrap_or_default(),
            memory: u64::try_from(left.memory).unwrap_or_default(),
            model: packing.model(&gpu.model),
        });
        let mut cards: Vec<Card> = cards.collect();
        cards.sort_unstable();
        let named = offer.named.keys().map(|name| (name.clone(), self.stock.left_of(name)));
        let labels = self.info.as_ref().map(|info| packing.labels(&info.labels));
        Shelf {
            labels: labels.unwrap_or_default(),
            free: self.free(),
            named: named.collect(),
            cards,
        }
    }

    /// Whether it is there and takes tasks.
    pub(crate) fn takes_tasks(&self) -> bool {
        self.session.connected && !self.session.draining && !self.drain && !self.lost
    }

    pub(crate) fn state(&self) -> NodeState {
        match (self.lost, self.session.connected) {
            (true, _) => NodeState::Lost,
            (false, false) => NodeState::Disconnected,
            (false, true) if self.drain || self.session.draining => NodeState::Draining,
            (false, true) => NodeState::Ready,
        }
    }
}

/// Every node by number, and which of them take tasks.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    table: Vec<Option<Box<Node>>>,
    /// What those have free that take tasks, by number. Up to date but for dirty ones and
    /// [`Self::unsettled`] ones.
    rooms: Rooms,
    /// Nodes whose room has changed since it was last asked for: mostly only those that
    /// changed are searched, and what one of them gets free is soon taken again.
    unsettled: Dirty,
    /// The same of nodes with devices, by what they are good for.
    pub(crate) packing: Packing,
    by_name: BTreeMap<String, BTreeSet<NodeIx>>,
    /// None that is there has more CPU or slots; maybe none has as much any more.
    largest: Resources,
    count: usize,
    /// Nodes whose load or state has changed since the last placement.
    pub(crate) dirty: Dirty,
}

/// Numbers of nodes, each once.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    list: Vec<NodeIx>,
    /// By number: whether it is in the list.
    listed: Vec<bool>,
}

impl Dirty {
    pub(crate) fn insert(&mut self, ix: NodeIx) {
        let slot = ix as usize;
        if self.listed.len() <= slot {
            self.listed.resize(slot + 1, false);
        }
        if let Some(listed) = self.listed.get_mut(slot)
            && !std::mem::replace(listed, true)
        {
            self.list.push(ix);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn contains(&self, ix: NodeIx) -> bool {
        self.listed.get(ix as usize).copied().unwrap_or(false)
    }

    /// Each of them in the order in which they came; none is left.
    fn drain(&mut self, mut each: impl FnMut(NodeIx)) {
        for ix in self.list.drain(..) {
            if let Some(listed) = self.listed.get_mut(ix as usize) {
                *listed = false;
            }
            each(ix);
        }
    }

    /// All of them, lowest first; none is left.
    pub(crate) fn take(&mut self) -> Vec<NodeIx> {
        let mut list = std::mem::take(&mut self.list);
        for ix in &list {
            if let Some(listed) = self.listed.get_mut(*ix as usize) {
                *listed = false;
            }
        }
        list.sort_unstable();
        list
    }
}

/// The number as the table counts, where it can be one of a node.
pub(crate) fn node_ix(node: NodeId) -> NodeIx {
    NodeIx::try_from(node.0).unwrap_or(0)
}

/// The number as everyone else sees it.
pub(crate) fn node_id(node: NodeIx) -> NodeId {
    NodeId(node.into())
}

fn gcd(one: usize, other: usize) -> usize {
    if other == 0 { one } else { gcd(other, one % other) }
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, node: NodeIx) -> Option<&Node> {
        self.table.get(node as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, node: NodeIx) -> Option<&mut Node> {
        self.table.get_mut(node as usize)?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        let table = self.table.iter().enumerate();
        table.filter_map(|(ix, node)| Some((ix as NodeIx, node.as_deref()?)))
    }

    /// Every node, in an order of which any beginning is spread evenly over all numbers.
    pub(crate) fn scattered(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        let all = self.table.len().max(1);
        let golden = (all as u64 * 618 / 1000) as usize;
        let step = (golden..).find(|step| gcd(*step, all) == 1).unwrap_or(1);
        (0..all)
            .map(move |nth| (nth * step) % all)
            .filter_map(|slot| Some((slot as NodeIx, self.table.get(slot)?.as_deref()?)))
    }

    pub(crate) fn insert(&mut self, ix: NodeIx, node: Node) {
        let slot = ix as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        self.by_name.entry(node.name.clone()).or_default().insert(ix);
        self.note_size(node.capacity);
        if let Some(entry) = self.table.get_mut(slot)
            && entry.replace(Box::new(node)).is_none()
        {
            self.count += 1;
        }
    }

    pub(crate) fn remove(&mut self, ix: NodeIx) {
        let Some(node) = self.table.get_mut(ix as usize).and_then(Option::take) else { return };
        self.count -= 1;
        self.unname(&node.name, ix);
        self.rooms.set(ix as usize, Room::default());
        self.packing.set(ix, None);
    }

    fn unname(&mut self, name: &str, ix: NodeIx) {
        if let Some(named) = self.by_name.get_mut(name) {
            named.remove(&ix);
            if named.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    /// The node describes itself.
    pub(crate) fn describe(&mut self, ix: NodeIx, info: &NodeInfo) {
        let Some(node) = self.get_mut(ix) else { return };
        node.set_info(Some(info.clone()));
        self.note_size(info.capacity);
        let Some(node) = self.get_mut(ix) else { return };
        if node.name != info.name {
            let before = std::mem::replace(&mut node.name, info.name.clone());
            self.unname(&before, ix);
            self.by_name.entry(info.name.clone()).or_default().insert(ix);
        }
    }

    /// Works out anew in which classes a node is.
    pub(super) fn class(&mut self, ix: NodeIx, labels: &Labels) {
        let Some(node) = self.get_mut(ix) else { return };
        let none = BTreeMap::new();
        let carried = node.info.as_ref().map_or(&none, |info| &info.labels);
        node.classes = labels.classes(carried, node.has_cards());
        self.unsettled.insert(ix);
    }

    /// The first node of that name.
    pub(crate) fn named(&self, name: &str) -> Option<NodeIx> {
        self.by_name.get(name)?.first().copied()
    }

    fn note_size(&mut self, capacity: Resources) {
        self.largest.cpu_milli = self.largest.cpu_milli.max(capacity.cpu_milli);
        self.largest.slots = self.largest.slots.max(capacity.slots);
    }

    /// No node has more CPU or slots.
    pub(crate) fn largest(&self) -> &Resources {
        &self.largest
    }

    /// What nodes have free, by number. To be settled before.
    pub(crate) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// The same as of now, worked out anew for who only looks.
    pub(crate) fn rooms_now(&self) -> Rooms {
        let room = |node: &Option<Box<Node>>| node.as_deref().map(Node::room).unwrap_or_default();
        Rooms::of(self.table.iter().map(room))
    }

    /// Brings the index of room up to date.
    pub(crate) fn settle(&mut self) {
        let (table, rooms) = (&self.table, &mut self.rooms);
        self.unsettled.drain(|ix| {
            let node = table.get(ix as usize).and_then(Option::as_deref);
            rooms.set(ix as usize, node.map(Node::room).unwrap_or_default());
        });
    }

    /// The node has changed: returns what it has free.
    pub(crate) fn reindex(&mut self, ix: NodeIx) -> Room {
        let Some(node) = self.table.get(ix as usize).and_then(Option::as_deref) else {
            return Room::default();
        };
        let room = node.room();
        self.unsettled.insert(ix);
        let offer = &node.stock.offer;
        if !offer.gpus.is_empty() || !offer.named.is_empty() {
            let shelf = (room != Room::default()).then(|| node.shelf(&mut self.packing));
            self.packing.set(ix, shelf);
        } else if !self.packing.is_empty() {
            self.packing.set(ix, None);
        }
        room
    }
}

//! Who is owed how much: Slurm's Fair Tree over the policy's tenants.
//!
//! Siblings are ordered by their shares against what they and those below them were
//! charged; whoever was charged nothing comes first. The tree is walked from the root in
//! that order, and a tenant's factor follows from its place among all: the children of the
//! better parent come before those of the worse, whatever they used. Siblings that are
//! equal share a place, and the children of equal parents are ordered together.
//!
//! A tenant that has children and jobs of its own is, with these jobs, its own child with
//! one share. Tenants that the policy does not name are children of the root with one share.

use std::collections::BTreeMap;

use wrun_protocol::TenantName;
use wrun_protocol::policy::TenantPolicy;

use super::groups::TenantIx;
use super::usage::Used;

/// A place in the tree.
type NodeIx = usize;

/// The whole of what is shared.
const ROOT: NodeIx = 0;

/// A tenant, or the jobs of one that has children as well.
#[derive(Debug)]
pub(crate) struct Branch {
    /// `None` for the root and for the own jobs of one that has children.
    pub(crate) name: Option<TenantName>,
    /// Whose jobs count here.
    tenant: Option<TenantIx>,
    children: Vec<NodeIx>,
    pub(crate) depth: u32,
    pub(crate) shares: u32,
    /// Its part of the whole.
    pub(crate) share: f64,
    /// Of itself and those below it.
    pub(crate) used: Used,
    /// Its shares against its part of what its siblings used; higher is owed more.
    owed: f64,
    /// Its place among all leaves, in millionths; of a branch, that of its first leaf.
    pub(crate) factor: u32,
}

/// The tree with shares, usage and factors worked out.
#[derive(Debug)]
pub(crate) struct ShareTree {
    branches: Vec<Branch>,
}

impl ShareTree {
    /// Over the tenants of the policy and those `known`, with what these have used.
    pub(crate) fn new<'a>(
        listed: &[TenantPolicy],
        known: impl Iterator<Item = (&'a TenantName, TenantIx, Used)>,
    ) -> Self {
        let mut tree = Self { branches: vec![Branch::new(None, 1)] };
        let places: BTreeMap<&TenantName, NodeIx> =
            listed.iter().map(|tenant| &tenant.name).zip(ROOT + 1..).collect();
        for tenant in listed {
            tree.branches.push(Branch::new(Some(tenant.name.clone()), tenant.shares));
        }
        for (tenant, place) in listed.iter().zip(ROOT + 1..) {
            let parent = tenant.parent.as_ref().and_then(|parent| places.get(parent));
            tree.attach(place, parent.copied().unwrap_or(ROOT));
        }
        for (name, tenant, used) in known {
            tree.count(places.get(name).copied(), name, tenant, used);
        }
        tree.work_out(ROOT);
        tree.rank();
        tree
    }

    /// The factors of tenants' jobs by their number, in millionths.
    pub(crate) fn factors(&self) -> Vec<u32> {
        let mut factors = Vec::new();
        for branch in &self.branches {
            let Some(slot) = branch.tenant.map(|tenant| tenant as usize) else { continue };
            if factors.len() <= slot {
                factors.resize(slot + 1, 0);
            }
            if let Some(factor) = factors.get_mut(slot) {
                *factor = branch.factor;
            }
        }
        factors
    }

    /// Tenants, parents before children.
    pub(crate) fn tenants(&self) -> Vec<&Branch> {
        let mut found = Vec::new();
        let mut left = vec![ROOT];
        while let Some(branch) = left.pop().and_then(|place| self.branches.get(place)) {
            left.extend(branch.children.iter().rev());
            found.extend(branch.name.is_some().then_some(branch));
        }
        found
    }

    /// What everyone was charged together.
    pub(crate) fn charge(&self) -> u128 {
        self.branches.get(ROOT).map_or(0, |root| root.used.charge())
    }

    fn attach(&mut self, place: NodeIx, parent: NodeIx) {
        if let Some(parent) = self.branches.get_mut(parent) {
            parent.children.push(place);
        }
    }

    fn count(&mut self, place: Option<NodeIx>, name: &TenantName, tenant: TenantIx, used: Used) {
        let leaf = place.and_then(|place| self.branches.get_mut(place));
        if let Some(leaf) = leaf.filter(|branch| branch.children.is_empty()) {
            (leaf.tenant, leaf.used) = (Some(tenant), used);
            return;
        }
        let name = place.is_none().then(|| name.clone());
        let own = Branch { tenant: Some(tenant), used, ..Branch::new(name, 1) };
        self.branches.push(own);
        self.attach(self.branches.len() - 1, place.unwrap_or(ROOT));
    }

    /// Sums usage up and hands shares down. The tree is not deep: the policy is checked.
    fn work_out(&mut self, place: NodeIx) {
        let Some(branch) = self.branches.get(place) else { return };
        let (children, share, depth) = (branch.children.clone(), branch.share, branch.depth);
        let shares = |tree: &Self| -> f64 {
            let shares = children.iter().filter_map(|child| tree.branches.get(*child));
            shares.map(|child| f64::from(child.shares)).sum()
        };
        let all = shares(self);
        for child in &children {
            if let Some(child) = self.branches.get_mut(*child) {
                child.share = share * f64::from(child.shares) / all;
                child.depth = if place == ROOT { 0 } else { depth + 1 };
            }
            self.work_out(*child);
        }
        let mut used = Used::default();
        let below = children.iter().filter_map(|child| self.branches.get(*child));
        below.for_each(|child| used.add(&child.used));
        for child in &children {
            if let Some(child) = self.branches.get_mut(*child) {
                let part = child.used.charge() as f64 / used.charge() as f64;
                let share = f64::from(child.shares) / all;
                child.owed = if child.used.charge() == 0 { f64::INFINITY } else { share / part };
            }
        }
        if let Some(branch) = self.branches.get_mut(place).filter(|_| !children.is_empty()) {
            branch.used = used;
        }
    }

    /// Walks the tree in order of what is owed and gives places to leaves.
    fn rank(&mut self) {
        let leaves = self.branches.iter().filter(|branch| branch.children.is_empty()).count();
        let all = leaves as u64;
        let mut place = all;
        let mut stack = vec![vec![ROOT]];
        while let Some(equal) = stack.pop() {
            let below: Vec<NodeIx> = equal
                .iter()
                .filter_map(|branch| self.branches.get(*branch))
                .flat_map(|branch| branch.children.iter().copied())
                .collect();
            let is_leaf = |branch: &&NodeIx| {
                self.branches.get(**branch).is_some_and(|branch| branch.children.is_empty())
            };
            let below_leaves = place - equal.iter().filter(is_leaf).count() as u64;
            for branch in equal {
                let Some(branch) = self.branches.get_mut(branch) else { continue };
                let place = if branch.children.is_empty() { place } else { below_leaves };
                branch.factor = u32::try_from(place * 1_000_000 / all.max(1)).unwrap_or(0);
            }
            place = below_leaves;
            stack.extend(self.in_order(below).into_iter().rev());
        }
    }

    /// Branches by what they are owed, most first; equal ones together.
    fn in_order(&self, mut branches: Vec<NodeIx>) -> Vec<Vec<NodeIx>> {
        let owed = |branch: &NodeIx| self.branches.get(*branch).map_or(0.0, |branch| branch.owed);
        branches.sort_by(|one, other| owed(other).total_cmp(&owed(one)));
        let groups = branches.chunk_by(|one, other| owed(one).total_cmp(&owed(other)).is_eq());
        groups.map(<[NodeIx]>::to_vec).collect()
    }
}

impl Branch {
    fn new(name: Option<TenantName>, shares: u32) -> Self {
        Self {
            name,
            tenant: None,
            children: Vec::new(),
            depth: 0,
            shares,
            share: 1.0,
            used: Used::default(),
            owed: 0.0,
            factor: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::Timestamp;
    use wrun_protocol::policy::Limits;

    use super::*;
    use crate::state::usage::{Accounts, Held};

    fn tenant(name: &str, parent: Option<&str>, shares: u32) -> TenantPolicy {
        let (name, parent) = (name.parse().unwrap(), parent.map(|name| name.parse().unwrap()));
        TenantPolicy { name, parent, shares, default_qos: None, limits: Limits::default() }
    }

    /// The tree where each of these used so many CPU seconds.
    fn tree(listed: &[TenantPolicy], used: &[(&str, u64)]) -> ShareTree {
        let mut accounts = Accounts::default();
        for ((_, seconds), ix) in used.iter().zip(0..) {
            accounts.hold(ix, &Held { cpu_milli: 1000 * seconds, memory: 0, gpu_milli: 0 });
        }
        let names: Vec<TenantName> = used.iter().map(|(name, _)| name.parse().unwrap()).collect();
        let at = Timestamp(1000);
        let known = names.iter().zip(0..).map(|(name, ix)| (name, ix, accounts.used(ix, at)));
        ShareTree::new(listed, known)
    }

    fn factors(tree: &ShareTree) -> Vec<(String, u32)> {
        let rows = tree.tenants().into_iter();
        rows.map(|row| (row.name.as_ref().unwrap().to_string(), row.factor)).collect()
    }

    fn expect(tree: &ShareTree, wanted: &[(&str, u32)]) {
        let wanted: Vec<_> = wanted.iter().map(|(name, f)| ((*name).to_owned(), *f)).collect();
        assert_eq!(factors(tree), wanted);
    }

    #[test]
    fn the_children_of_the_better_parent_come_before_those_of_the_worse() {
        let listed = [
            tenant("physics", None, 1),
            tenant("ann", Some("physics"), 1),
            tenant("bob", Some("physics"), 1),
            tenant("biology", None, 3),
            tenant("eve", Some("biology"), 1),
        ];
        // Physics: 1/4 of the shares, 40 % of usage: 0.625. Biology: 3/4 and 60 %: 1.25.
        // Within physics ann is owed 0.5/0.25 = 2, and bob 0.5/0.75.
        let tree = tree(&listed, &[("ann", 10), ("bob", 30), ("eve", 60)]);
        expect(
            &tree,
            &[
                ("physics", 666_666),
                ("ann", 666_666),
                ("bob", 333_333),
                ("biology", 1_000_000),
                ("eve", 1_000_000),
            ],
        );
        let shares: Vec<f64> = tree.tenants().iter().map(|row| row.share).collect();
        assert_eq!(shares, [0.25, 0.125, 0.125, 0.75, 0.75]);
        assert_eq!(tree.factors(), [666_666, 333_333, 1_000_000]);
    }

    #[test]
    fn equals_share_a_place_and_the_children_of_equals_are_ordered_together() {
        let listed = [
            tenant("physics", None, 2),
            tenant("ann", Some("physics"), 1),
            tenant("bob", Some("physics"), 1),
            tenant("biology", None, 2),
            tenant("eve", Some("biology"), 1),
            tenant("joe", Some("biology"), 1),
        ];
        // Each parent used 40; ann and joe are owed 0.5/0.25 each, bob and eve 0.5/0.75.
        let tree = tree(&listed, &[("ann", 10), ("bob", 30), ("eve", 30), ("joe", 10)]);
        expect(
            &tree,
            &[
                ("physics", 1_000_000),
                ("ann", 1_000_000),
                ("bob", 500_000),
                ("biology", 1_000_000),
                ("eve", 500_000),
                ("joe", 1_000_000),
            ],
        );
    }

    #[test]
    fn who_used_nothing_comes_first_and_who_is_not_listed_has_one_share_of_the_whole() {
        let listed = [tenant("physics", None, 3), tenant("ann", Some("physics"), 1)];
        // Physics has jobs of its own: they are its own child. Zoe is not listed.
        let tree = tree(&listed, &[("ann", 30), ("zoe", 10), ("physics", 0)]);
        // Physics is owed 0.75/0.75 = 1 and zoe 0.25/0.25 = 1: they are equal. Zoe has the
        // first place; the children of physics follow, its own jobs first.
        expect(&tree, &[("physics", 666_666), ("ann", 333_333), ("zoe", 1_000_000)]);
        assert_eq!(tree.factors(), [333_333, 1_000_000, 666_666]);
    }
}

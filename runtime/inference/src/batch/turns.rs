//! Whose turn it is: deficit round-robin between tenants, the nearest deadline first within
//! one. Pure, and knows nothing of runs and time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use wrun_protocol::TenantName;

use super::queue::{Request, RequestId};

struct Entry<T> {
    rows: u32,
    cost: u64,
    payload: T,
}

/// The requests of a tenant that may run together, the nearest deadline first.
type Lane<T> = BTreeMap<(Instant, RequestId), Entry<T>>;

struct Tenant<K, T> {
    weight: u64,
    /// What it may spend.
    deficit: u64,
    lanes: BTreeMap<Option<K>, Lane<T>>,
    waiting: usize,
}

/// The requests of all tenants. Each round gives a tenant its weight to spend; rounds in which
/// nobody could afford anything are counted and not gone through.
pub(super) struct Turns<K, T> {
    tenants: BTreeMap<TenantName, Tenant<K, T>>,
    /// Those who have requests, in the order in which they are looked at.
    round: VecDeque<TenantName>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { tenants: BTreeMap::new(), round: VecDeque::new() }
    }
}

impl<K: Ord + Clone, T> Turns<K, T> {
    /// How many requests of the tenant there are.
    pub(super) fn waiting(&self, tenant: &TenantName) -> usize {
        self.tenants.get(tenant).map_or(0, |tenant| tenant.waiting)
    }

    /// The tenant who comes first in the round.
    pub(super) fn first(&self) -> Option<&TenantName> {
        self.round.front()
    }

    pub(super) fn push(&mut self, id: RequestId, request: Request<K, T>) {
        let Request { tenant, weight, key, rows, cost, deadline, payload } = request;
        let round = &mut self.round;
        let entry = self.tenants.entry(tenant).or_insert_with_key(|name| {
            round.push_back(name.clone());
            Tenant { weight: 1, deficit: 0, lanes: BTreeMap::new(), waiting: 0 }
        });
        entry.weight = u64::from(weight.max(1));
        entry.waiting += 1;
        let lane = entry.lanes.entry(key).or_default();
        lane.insert((deadline, id), Entry { rows, cost: cost.max(1), payload });
    }

    /// Takes a request out that will not have its turn.
    pub(super) fn remove(
        &mut self,
        tenant: &TenantName,
        key: &Option<K>,
        deadline: Instant,
        id: RequestId,
    ) {
        self.take(tenant, key, (deadline, id));
    }

    /// The request whose turn it is.
    pub(super) fn next(&mut self) -> Option<(RequestId, T)> {
        self.choose(|tenant| {
            let heads = tenant.lanes.iter().filter_map(|(key, lane)| {
                let (at, entry) = lane.first_key_value()?;
                Some((*at, key.clone(), entry.cost))
            });
            heads.min_by_key(|(at, _, _)| *at)
        })
    }

    /// The request whose turn it is among those with this key that fill no more than `room`.
    pub(super) fn next_with(&mut self, key: &K, room: u32) -> Option<(RequestId, T)> {
        let key = Some(key.clone());
        self.choose(|tenant| {
            let (at, entry) = tenant.lanes.get(&key)?.first_key_value()?;
            (entry.rows <= room).then(|| (*at, key.clone(), entry.cost))
        })
    }

    /// Lets `head` say what each tenant would run, and takes what is first affordable.
    fn choose(
        &mut self,
        head: impl Fn(&Tenant<K, T>) -> Option<((Instant, RequestId), Option<K>, u64)>,
    ) -> Option<(RequestId, T)> {
        let rounds = |tenant: &Tenant<K, T>| {
            let (_, _, cost) = head(tenant)?;
            Some(cost.saturating_sub(tenant.deficit).div_ceil(tenant.weight))
        };
        // Those who come first in the round win between equals.
        let candidates = self.round.iter().enumerate().filter_map(|(index, name)| {
            Some((rounds(self.tenants.get(name)?)?, index, name.clone()))
        });
        let (rounds, index, name) =
            candidates.min_by_key(|(rounds, index, _)| (*rounds, *index))?;
        for tenant in self.tenants.values_mut() {
            tenant.deficit = tenant.deficit.saturating_add(rounds.saturating_mul(tenant.weight));
        }
        let tenant = self.tenants.get_mut(&name)?;
        let (at, key, cost) = head(tenant)?;
        tenant.deficit = tenant.deficit.saturating_sub(cost);
        self.round.remove(index);
        self.round.push_back(name.clone());
        let entry = self.take(&name, &key, at)?;
        Some((at.1, entry.payload))
    }

    /// Takes a request out. A tenant without any is forgotten, with what it had to spend: who
    /// asks for nothing saves nothing up.
    fn take(
        &mut self,
        name: &TenantName,
        key: &Option<K>,
        at: (Instant, RequestId),
    ) -> Option<Entry<T>> {
        let tenant = self.tenants.get_mut(name)?;
        let lane = tenant.lanes.get_mut(key)?;
        let entry = lane.remove(&at)?;
        if lane.is_empty() {
            tenant.lanes.remove(key);
        }
        tenant.waiting = tenant.waiting.saturating_sub(1);
        if tenant.waiting == 0 {
            self.tenants.remove(name);
            self.round.retain(|other| other != name);
        }
        Some(entry)
    }
}

//! Which models are loaded, or being loaded, and which go when there is no room. A model that
//! is used never goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::{Shared, WeakShared};
use tokio::sync::Notify;
use wrun_protocol::Digest;

use crate::device::{Card, Device};
use crate::engine::ModelKey;
use crate::error::{BusyReason, ComputeError, LoadError, UnloadError};
use crate::load::Loaded;
use crate::memory::{Held, Memory};
use crate::served::{Handle, Served};

/// A load that several may wait for: whoever is polled drives it.
pub(crate) type Flight = Shared<Pin<Box<dyn Future<Output = Loaded> + Send>>>;

/// For how long it is remembered that a model cannot be had on a device, where it can be on
/// another: trying again takes a loader's time from others, and a driver may be mended meanwhile.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The models of a node.
pub(crate) struct Registry {
    /// What models may take of each device.
    memory: BTreeMap<Device, Arc<Memory>>,
    models: Mutex<Models>,
    changed: Notify,
}

/// A model on a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) key: ModelKey,
    pub(crate) device: Device,
}

#[derive(Default)]
struct Models {
    shared: HashMap<Spot, Slot>,
    /// Where models cannot be that are loaded elsewhere, and since when that is known.
    elsewhere: HashMap<Spot, (LoadError, Instant)>,
    /// What guests brought themselves. They hold it; here it is only known.
    own: Vec<Weak<Served>>,
    loads: u64,
    evictions: u64,
}

enum Slot {
    Loading(WeakShared<Pin<Box<dyn Future<Output = Loaded> + Send>>>),
    Loaded(Arc<Served>),
}

/// How a model can be had.
pub(crate) enum Found {
    Loaded(Handle),
    Loading(Flight),
    /// Not there, as was seen before.
    Not(LoadError),
}

/// Counts for statistics.
pub(crate) struct Totals {
    pub(crate) loads: u64,
    pub(crate) evictions: u64,
}

impl Registry {
    /// `bytes` for models on the processor, and the memory of each card for those on it.
    pub(crate) fn new(bytes: u64, cards: &[Card]) -> Self {
        let of_cards = (0..).zip(cards).map(|(place, card)| (Device::Card(place), card.memory));
        let all = of_cards.chain([(Device::Processor, bytes)]);
        let memory = all.map(|(device, bytes)| (device, Memory::new(bytes))).collect();
        Self { memory, models: Mutex::default(), changed: Notify::new() }
    }

    /// Of which memory a model takes there.
    pub(crate) fn memory(&self, device: Device) -> Result<&Arc<Memory>, LoadError> {
        let device = if device == Device::Unlisted { Device::Processor } else { device };
        self.memory.get(&device).ok_or(LoadError::NoCard)
    }

    /// The model, or the load that is under way, or the one that `flight` begins.
    pub(crate) fn find(&self, spot: &Spot, now: Instant, flight: impl FnOnce() -> Flight) -> Found {
        let mut models = self.models();
        if let Some((error, since)) = models.elsewhere.get(spot)
            && now.saturating_duration_since(*since) < REMEMBERED
        {
            return Found::Not(error.clone());
        }
        match models.shared.get(spot) {
            Some(Slot::Loaded(served)) => {
                served.touch(now);
                return Found::Loaded(Handle::new(served));
            }
            Some(Slot::Loading(flight)) => {
                if let Some(flight) = flight.upgrade() {
                    return Found::Loading(flight);
                }
            }
            None => {}
        }
        let flight = flight();
        // Loads that everybody went away from leave nothing behind.
        models.shared.retain(|_, slot| match slot {
            Slot::Loading(flight) => flight.upgrade().is_some(),
            Slot::Loaded(_) => true,
        });
        if let Some(weak) = flight.downgrade() {
            models.shared.insert(spot.clone(), Slot::Loading(weak));
        }
        Found::Loading(flight)
    }

    /// Ends a load: what was loaded is known from now on.
    pub(crate) fn landed(&self, spot: Spot, loaded: &Loaded) {
        let mut models = self.models();
        match loaded {
            Ok(handle) => {
                models.loads += 1;
                handle.touch(Instant::now());
                models.shared.insert(spot, Slot::Loaded(Arc::clone(handle.served())));
                self.changed.notify_one();
            }
            Err(_) => {
                if let Some(Slot::Loading(_)) = models.shared.get(&spot) {
                    models.shared.remove(&spot);
                }
            }
        }
    }

    /// A model that is loaded now was refused before on other devices: so it will be again.
    pub(crate) fn refused(&self, refusals: Vec<(Spot, LoadError)>, now: Instant) {
        if refusals.is_empty() {
            return;
        }
        let mut models = self.models();
        let Models { shared, elsewhere, .. } = &mut *models;
        // No more than models that are loaded have devices.
        elsewhere.retain(|spot, (_, since)| {
            let is_loaded = shared.keys().any(|loaded| loaded.key == spot.key);
            is_loaded && now.saturating_duration_since(*since) < REMEMBERED
        });
        elsewhere.extend(refusals.into_iter().map(|(spot, error)| (spot, (error, now))));
    }

    /// Knows of a guest's own model.
    pub(crate) fn brought(&self, served: &Arc<Served>) {
        let mut models = self.models();
        models.loads += 1;
        models.own.retain(|own| own.strong_count() > 0);
        models.own.push(Arc::downgrade(served));
    }

    /// Memory for a model. Those there that were not used for longest make room.
    pub(crate) fn reserve(&self, device: Device, bytes: u64) -> Result<Held, LoadError> {
        self.check_budget(self.memory(device)?, bytes)?;
        self.make_room(device, bytes)
    }

    /// More or less memory for a model, when it is known how much it needs.
    pub(crate) fn resize(
        &self,
        device: Device,
        held: &mut Held,
        bytes: u64,
    ) -> Result<(), LoadError> {
        self.check_budget(self.memory(device)?, bytes)?;
        match bytes.checked_sub(held.bytes()) {
            Some(more) => held.join(self.make_room(device, more)?),
            None => held.shrink(bytes),
        }
        Ok(())
    }

    fn check_budget(&self, memory: &Memory, size: u64) -> Result<(), LoadError> {
        let limit = memory.limit();
        if size > limit {
            let what = "the memory that the model needs, in bytes,".to_owned();
            return Err(LoadError::TooLarge { what, size, limit });
        }
        Ok(())
    }

    fn make_room(&self, device: Device, bytes: u64) -> Result<Held, LoadError> {
        let memory = self.memory(device)?;
        loop {
            if let Some(held) = memory.hold(bytes) {
                return Ok(held);
            }
            let is_there = |other| self.memory(other).is_ok_and(|of| Arc::ptr_eq(of, memory));
            // Dropped without the lock: it may be large.
            let evicted = self.models().evict(is_there);
            let Some(Slot::Loaded(served)) = evicted else {
                let budget = memory.limit();
                let free = budget.saturating_sub(memory.used());
                let needed = bytes;
                let reason = BusyReason::Memory { device, needed, free, budget };
                return Err(LoadError::Busy(reason));
            };
            served.close(&ComputeError::Unloaded);
            self.changed.notify_one();
        }
    }

    /// From all devices.
    pub(crate) fn unload(&self, key: &ModelKey, force: bool) -> Result<(), UnloadError> {
        let mut models = self.models();
        let of_it = models.of(key);
        if of_it.is_empty() {
            return Err(UnloadError::NotLoaded);
        }
        let users = of_it.iter().map(|served| served.users()).sum();
        if users > 0 && !force {
            return Err(UnloadError::InUse { users });
        }
        models.shared.retain(|spot, slot| spot.key != *key || matches!(slot, Slot::Loading(_)));
        drop(models);
        self.changed.notify_one();
        of_it.iter().for_each(|served| served.close(&ComputeError::Unloaded));
        Ok(())
    }

    /// Forgets all models, those in use too.
    pub(crate) fn clear(&self, reason: &ComputeError) {
        let all = self.all();
        let shared = std::mem::take(&mut self.models().shared);
        all.iter().for_each(|served| served.close(reason));
        drop(shared);
    }

    /// Told when a model was loaded or has gone.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// A model on each device on which it is loaded, in their order.
    pub(crate) fn of(&self, key: &ModelKey) -> Vec<Arc<Served>> {
        self.models().of(key)
    }

    /// Of the models that are loaded and are no guest's own.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        let models = self.models();
        let loaded = models.shared.iter().filter(|(_, slot)| matches!(slot, Slot::Loaded(_)));
        loaded.map(|(spot, _)| spot.key.digest).collect()
    }

    /// All models.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        let models = self.models();
        let shared = models.shared.values().filter_map(|slot| match slot {
            Slot::Loaded(served) => Some(Arc::clone(served)),
            Slot::Loading(_) => None,
        });
        let own = models.own.iter().filter_map(Weak::upgrade);
        shared.chain(own.filter(|served| served.users() > 0)).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let Models { loads, evictions, .. } = *self.models();
        Totals { loads, evictions }
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Models {
    fn of(&self, key: &ModelKey) -> Vec<Arc<Served>> {
        let loaded = self.shared.iter().filter_map(|(spot, slot)| match slot {
            Slot::Loaded(served) if spot.key == *key => Some(Arc::clone(served)),
            Slot::Loaded(_) | Slot::Loading(_) => None,
        });
        let mut loaded: Vec<_> = loaded.collect();
        loaded.sort_by_key(|served| served.about.device);
        loaded
    }

    /// The model there that nobody uses, and that was used least recently.
    fn evict(&mut self, is_there: impl Fn(Device) -> bool) -> Option<Slot> {
        let idle = self.shared.iter().filter_map(|(spot, slot)| match slot {
            Slot::Loaded(served) if served.users() == 0 && is_there(spot.device) => {
                Some((served.used(), spot))
            }
            Slot::Loaded(_) | Slot::Loading(_) => None,
        });
        let spot = idle.min_by_key(|(used, _)| *used).map(|(_, spot)| spot.clone())?;
        self.evictions += 1;
        self.shared.remove(&spot)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use wrun_protocol::TenantName;

    use super::*;
    use crate::config::ModelOptions;

    #[test]
    fn a_refusal_is_remembered_for_its_time_however_often_it_is_asked_for() {
        let registry = Registry::new(1000, &[]);
        let owner: TenantName = "lab".parse().unwrap();
        let key = ModelKey { owner, digest: Digest([1; 32]), options: ModelOptions::default() };
        let spot = Spot { key, device: Device::Unlisted };
        let begun = Instant::now();
        registry.refused(vec![(spot.clone(), LoadError::NoCard)], begun);
        let finds = |seconds| {
            let flight = || async { Err(LoadError::Stopped) }.boxed().shared();
            registry.find(&spot, begun + Duration::from_secs(seconds), flight)
        };
        for seconds in [0, 300, 599] {
            assert!(matches!(finds(seconds), Found::Not(LoadError::NoCard)), "{seconds}");
        }
        assert!(matches!(finds(600), Found::Loading(_)));
    }
}

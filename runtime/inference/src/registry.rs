//! Which models are loaded, or being loaded, and which go when there is no room. A model that
//! is used never goes.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::future::{Shared, WeakShared};
use tokio::sync::Notify;
use wrun_protocol::Digest;

use crate::engine::ModelKey;
use crate::error::{BusyReason, ComputeError, LoadError, UnloadError};
use crate::load::Loaded;
use crate::memory::{Held, Memory};
use crate::served::{Handle, Served};

/// A load that several may wait for: whoever is polled drives it.
pub(crate) type Flight = Shared<Pin<Box<dyn Future<Output = Loaded> + Send>>>;

/// The models of a node.
pub(crate) struct Registry {
    memory: Arc<Memory>,
    models: Mutex<Models>,
    changed: Notify,
}

#[derive(Default)]
struct Models {
    shared: HashMap<ModelKey, Slot>,
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
}

/// Counts for statistics.
pub(crate) struct Totals {
    pub(crate) loads: u64,
    pub(crate) evictions: u64,
}

impl Registry {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, models: Mutex::default(), changed: Notify::new() }
    }

    /// The model, or the load that is under way, or the one that `flight` begins.
    pub(crate) fn find(&self, key: &ModelKey, flight: impl FnOnce() -> Flight) -> Found {
        let mut models = self.models();
        match models.shared.get(key) {
            Some(Slot::Loaded(served)) => {
                served.touch(Instant::now());
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
            models.shared.insert(key.clone(), Slot::Loading(weak));
        }
        Found::Loading(flight)
    }

    /// Ends a load: what was loaded is known from now on.
    pub(crate) fn landed(&self, key: ModelKey, loaded: &Loaded) {
        let mut models = self.models();
        match loaded {
            Ok(handle) => {
                models.loads += 1;
                handle.touch(Instant::now());
                models.shared.insert(key, Slot::Loaded(Arc::clone(handle.served())));
                self.changed.notify_one();
            }
            Err(_) => {
                if let Some(Slot::Loading(_)) = models.shared.get(&key) {
                    models.shared.remove(&key);
                }
            }
        }
    }

    /// Knows of a guest's own model.
    pub(crate) fn brought(&self, served: &Arc<Served>) {
        let mut models = self.models();
        models.loads += 1;
        models.own.retain(|own| own.strong_count() > 0);
        models.own.push(Arc::downgrade(served));
    }

    /// Memory for a model. Those that were not used for longest make room.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Held, LoadError> {
        self.check_budget(bytes)?;
        self.make_room(bytes)
    }

    /// More or less memory for a model, when it is known how much it needs.
    pub(crate) fn resize(&self, held: &mut Held, bytes: u64) -> Result<(), LoadError> {
        self.check_budget(bytes)?;
        match bytes.checked_sub(held.bytes()) {
            Some(more) => held.join(self.make_room(more)?),
            None => held.shrink(bytes),
        }
        Ok(())
    }

    fn check_budget(&self, size: u64) -> Result<(), LoadError> {
        let limit = self.memory.limit();
        if size > limit {
            let what = "the memory that the model needs, in bytes,".to_owned();
            return Err(LoadError::TooLarge { what, size, limit });
        }
        Ok(())
    }

    fn make_room(&self, bytes: u64) -> Result<Held, LoadError> {
        loop {
            if let Some(held) = self.memory.hold(bytes) {
                return Ok(held);
            }
            // Dropped without the lock: it may be large.
            let evicted = self.models().evict();
            let Some(Slot::Loaded(served)) = evicted else {
                let budget = self.memory.limit();
                let free = budget.saturating_sub(self.memory.used());
                return Err(LoadError::Busy(BusyReason::Memory { needed: bytes, free, budget }));
            };
            served.close(&ComputeError::Unloaded);
            self.changed.notify_one();
        }
    }

    pub(crate) fn unload(&self, key: &ModelKey, force: bool) -> Result<(), UnloadError> {
        let mut models = self.models();
        let Some(Slot::Loaded(served)) = models.shared.get(key) else {
            return Err(UnloadError::NotLoaded);
        };
        let users = served.users();
        if users > 0 && !force {
            return Err(UnloadError::InUse { users });
        }
        let removed = models.shared.remove(key);
        drop(models);
        self.changed.notify_one();
        if let Some(Slot::Loaded(served)) = removed {
            served.close(&ComputeError::Unloaded);
        }
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

    /// A model that is loaded.
    pub(crate) fn get(&self, key: &ModelKey) -> Option<Arc<Served>> {
        match self.models().shared.get(key)? {
            Slot::Loaded(served) => Some(Arc::clone(served)),
            Slot::Loading(_) => None,
        }
    }

    /// Of the models that are loaded and are no guest's own.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        let models = self.models();
        let loaded = models.shared.iter().filter(|(_, slot)| matches!(slot, Slot::Loaded(_)));
        loaded.map(|(key, _)| key.digest).collect()
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
    /// The model that nobody uses, and that was used least recently.
    fn evict(&mut self) -> Option<Slot> {
        let idle = self.shared.iter().filter_map(|(key, slot)| match slot {
            Slot::Loaded(served) if served.users() == 0 => Some((served.used(), key)),
            Slot::Loaded(_) | Slot::Loading(_) => None,
        });
        let key = idle.min_by_key(|(used, _)| *used).map(|(_, key)| key.clone())?;
        self.evictions += 1;
        self.shared.remove(&key)
    }
}

//! Which models are loaded, or being loaded, and which go when there is no room. A model that
//! is used never goes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::future::{Shared, WeakShared};
use wrun_protocol::Digest;

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
}

#[derive(Default)]
struct Models {
    shared: HashMap<Digest, Slot>,
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
        Self { memory, models: Mutex::default() }
    }

    /// The model, or the load that is under way, or the one that `flight` begins.
    pub(crate) fn find(&self, digest: Digest, flight: impl FnOnce() -> Flight) -> Found {
        let mut models = self.models();
        match models.shared.get(&digest) {
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
            models.shared.insert(digest, Slot::Loading(weak));
        }
        Found::Loading(flight)
    }

    /// Ends a load: what was loaded is known from now on.
    pub(crate) fn landed(&self, digest: Digest, loaded: &Loaded) {
        let mut models = self.models();
        match loaded {
            Ok(handle) => {
                models.loads += 1;
                handle.touch(Instant::now());
                models.shared.insert(digest, Slot::Loaded(Arc::clone(handle.served())));
            }
            Err(_) => {
                if let Some(Slot::Loading(_)) = models.shared.get(&digest) {
                    models.shared.remove(&digest);
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
        }
    }

    pub(crate) fn unload(&self, digest: Digest, force: bool) -> Result<(), UnloadError> {
        let mut models = self.models();
        let Some(Slot::Loaded(served)) = models.shared.get(&digest) else {
            return Err(UnloadError::NotLoaded);
        };
        let users = served.users();
        if users > 0 && !force {
            return Err(UnloadError::InUse { users });
        }
        let removed = models.shared.remove(&digest);
        drop(models);
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
        let idle = self.shared.iter().filter_map(|(digest, slot)| match slot {
            Slot::Loaded(served) if served.users() == 0 => Some((served.used(), *digest)),
            Slot::Loaded(_) | Slot::Loading(_) => None,
        });
        let (_, digest) = idle.min()?;
        self.evictions += 1;
        self.shared.remove(&digest)
    }
}

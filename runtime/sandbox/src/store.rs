//! A guest's store, and what bounds it: memory, time, stack, fibers.

use std::sync::Arc;

use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wrun_protocol::task::Outcome;

use crate::control::{Batch, Control};
use crate::engines::Flavor;
use crate::outcome::{self, Bounds, Stage};
use crate::state::TaskState;

/// A store and what is known of its bounds.
pub(crate) struct Bounded {
    pub(crate) store: Store<TaskState>,
    control: Arc<Control>,
    stack: u64,
    fibers: u64,
}

impl Bounded {
    pub(crate) fn new(control: &Arc<Control>, state: TaskState) -> Self {
        let Batch { prepared, guests, job, .. } = &*control.batch;
        let (facts, memory) = (prepared.facts, job.resources.memory);
        let fibers = crate::link::stacks(facts, memory, guests.stack());
        let mut store = Store::new(&prepared.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(on_tick);
        // What one call may make the host copy out of the guest.
        store.set_hostcall_fuel(usize::try_from(memory).unwrap_or(usize::MAX));
        if facts.flavor != Flavor::Plain
            && let Some(table) = store.concurrent_resource_table()
        {
            table.set_max_capacity(fiber_entries(fibers));
        }
        let stack = guests.stack() as u64;
        Self { store, control: Arc::clone(control), stack, fibers: fibers.into() }
    }

    /// The value, or what its failure means.
    pub(crate) fn step<T>(
        &mut self,
        result: wasmtime::Result<T>,
        stage: Stage,
    ) -> Result<T, Outcome> {
        result.map_err(|error| {
            let bounds = Bounds {
                stack: self.stack,
                fibers: self.fibers,
                fibers_full: self.is_full_of_fibers(),
            };
            outcome::of_error(&error, &self.control, bounds, stage)
        })
    }

    fn is_full_of_fibers(&mut self) -> bool {
        self.store
            .concurrent_resource_table()
            .is_some_and(|table| table.iter_mut().count() >= table.max_capacity())
    }
}

/// A guest task takes at least three entries of the engine's table: itself, its thread and
/// what that waits on. Streams, futures and calls to the host take the others.
fn fiber_entries(fibers: u32) -> usize {
    fibers as usize * 3
}

/// Called in the guest when the epoch is over. It goes on only if nothing asks it not to.
fn on_tick(store: StoreContextMut<'_, TaskState>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data();
    let control = &state.control;
    let clock = crate::clock::thread_time();
    control.on_clock(clock);
    let others_wait = control.batch.guests.others_wait();
    if !others_wait {
        control.on_unwanted(clock);
    }
    if let Some(instance) = &state.instance {
        instance.on_tick();
    }
    let logs_on = control.world().is_none() || control.log_pause().is_zero();
    let goes_on = !control.must_end() && !control.is_frozen() && !others_wait && logs_on;
    Ok(if goes_on { UpdateDeadline::Continue(1) } else { UpdateDeadline::Yield(1) })
}

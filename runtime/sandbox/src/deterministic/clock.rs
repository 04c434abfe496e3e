//! Virtual time. It begins at the same instant for every task, goes on by a fixed step at
//! each reading, and jumps over sleeps.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::state::TaskState;

/// When every deterministic task begins, in seconds since 1970: 1 January 2000, UTC.
pub(super) const START: u64 = 946_684_800;

/// How far each reading moves the clocks, in nanoseconds: a guest that reads them until
/// some time has passed comes to an end.
const STEP: u64 = 1000;

/// A task's time, in nanoseconds since its begin, and who sleeps.
#[derive(Default)]
pub(crate) struct Clock(Mutex<Time>);

#[derive(Default)]
struct Time {
    now: u64,
    /// By when they wake, then by when they went to sleep.
    sleepers: BTreeMap<(u64, u64), Waker>,
    slept: u64,
}

impl Clock {
    fn read(&self) -> u64 {
        let mut time = self.time();
        let now = time.now;
        time.now = now.saturating_add(STEP);
        now
    }

    /// Asking whether it is time counts as a reading: a guest may do nothing else.
    fn until(self: &Arc<Self>, instant: u64) -> Sleep {
        let mut time = self.time();
        time.now = time.now.saturating_add(STEP);
        time.slept += 1;
        Sleep { place: (instant, time.slept), clock: Arc::clone(self) }
    }

    /// Jumps to when the first sleeper wakes, and wakes who sleeps until then.
    pub(super) fn advance(&self) {
        let mut time = self.time();
        let Some(((instant, _), _)) = time.sleepers.first_key_value() else { return };
        let now = time.now.max(*instant);
        time.now = now;
        let later = time.sleepers.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut time.sleepers, later);
        drop(time);
        due.into_values().for_each(Waker::wake);
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Over when the clock has come to an instant.
struct Sleep {
    place: (u64, u64),
    clock: Arc<Clock>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.time();
        if time.now >= self.place.0 {
            return Poll::Ready(());
        }
        time.sleepers.insert(self.place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.time().sleepers.remove(&self.place);
    }
}

/// The clock as WASI's wall clock.
pub(super) struct Wall(pub(super) Arc<Clock>);

/// The clock as WASI's monotonic clock.
pub(super) struct Monotonic(pub(super) Arc<Clock>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(START) + Duration::from_nanos(self.0.read())
    }
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        STEP
    }

    fn now(&self) -> u64 {
        self.0.read()
    }
}

/// What a guest of WASI 0.2 waits on.
struct Alarm {
    instant: u64,
    clock: Arc<Clock>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        self.clock.until(self.instant).await;
    }
}

type Store<'a> = StoreContextMut<'a, TaskState>;
type Told = wasmtime::Result<(Resource<DynPollable>,)>;

/// Shadows sleeping. Reading goes through the context.
pub(super) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap("subscribe-instant", |mut store: Store<'_>, (instant,): (u64,)| {
        alarm(store.data_mut(), |_| instant)
    })?;
    clock.func_wrap("subscribe-duration", |mut store: Store<'_>, (duration,): (u64,)| {
        alarm(store.data_mut(), |now| now.saturating_add(duration))
    })?;
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.3.0")?;
    clock.func_wrap_concurrent("wait-until", |accessor, (instant,): (u64,)| {
        Box::pin(async move {
            sleep(accessor, |_| instant).await;
            Ok(())
        })
    })?;
    clock.func_wrap_concurrent("wait-for", |accessor, (duration,): (u64,)| {
        Box::pin(async move {
            sleep(accessor, |now| now.saturating_add(duration)).await;
            Ok(())
        })
    })
}

fn alarm(state: &mut TaskState, when: impl FnOnce(u64) -> u64) -> Told {
    let clock = state.virtual_clock()?;
    let instant = when(clock.time().now);
    let alarm = state.table().push(Alarm { instant, clock })?;
    Ok((subscribe(state.table(), alarm)?,))
}

async fn sleep(accessor: &Accessor<TaskState>, when: impl FnOnce(u64) -> u64) {
    // Every store of this linker has a clock.
    let Ok(clock) = accessor.with(|mut access| access.get().virtual_clock()) else { return };
    let instant = when(clock.time().now);
    clock.until(instant).await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn polled(future: Pin<&mut Sleep>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn each_reading_moves_time_by_a_step() {
        let clock = Clock::default();
        assert_eq!((clock.read(), clock.read()), (0, STEP));
    }

    #[test]
    fn time_jumps_to_the_first_sleeper_and_no_further() {
        let clock = Arc::new(Clock::default());
        let mut long = pin!(clock.until(5_000_000));
        let mut short = pin!(clock.until(2_000_000));
        assert!(!polled(long.as_mut()) && !polled(short.as_mut()));
        clock.advance();
        assert_eq!(clock.time().now, 2_000_000);
        assert!(polled(short.as_mut()) && !polled(long.as_mut()));
        clock.advance();
        assert!(polled(long));
    }

    #[test]
    fn who_no_longer_sleeps_holds_time_up_no_more() {
        let clock = Arc::new(Clock::default());
        {
            let mut given_up = pin!(clock.until(1_000_000));
            assert!(!polled(given_up.as_mut()));
        }
        clock.advance();
        assert!(clock.time().now < 1_000_000);
    }
}

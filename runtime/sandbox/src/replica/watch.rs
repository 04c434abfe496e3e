//! Time, for all requests and instances of a replica: one task that sleeps until the next
//! deadline, and is there only while there is one. A request costs it a comparison.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::dispatch::{Dispatch, State};
use crate::CallError;

/// Lets it look at `at` or before.
pub(super) fn look_by(dispatch: &Arc<Dispatch>, state: &mut State, at: Instant) {
    match state.looks_at {
        Some(before) if before <= at => {}
        Some(_) => {
            state.looks_at = Some(at);
            dispatch.looks.notify_one();
        }
        None => {
            state.looks_at = Some(at);
            let watch = watch(Arc::downgrade(dispatch), at);
            drop(dispatch.batch.guests.io().spawn(watch));
        }
    }
}

async fn watch(dispatch: Weak<Dispatch>, first: Instant) {
    let mut at = first;
    while let Some(dispatch) = dispatch.upgrade() {
        let sooner = dispatch.looks.notified();
        let sleep = tokio::time::sleep_until(at.into());
        let due = tokio::select! {
            () = sleep => true,
            () = sooner => false,
        };
        let next = if due { look(&dispatch, Instant::now()) } else { dispatch.state().looks_at };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// Ends what is over. Returns when to look again.
fn look(dispatch: &Arc<Dispatch>, now: Instant) -> Option<Instant> {
    let mut state = dispatch.state();
    let over = |deadline: Instant| deadline <= now;
    let expired: Vec<_> =
        state.waiting.iter().filter(|call| over(call.deadline)).cloned().collect();
    state.waiting.retain(|call| !over(call.deadline));
    let idle = dispatch.uses.idle;
    for held in &mut state.held {
        if held.idle_since.is_some_and(|since| over(since + idle)) {
            held.retire();
        }
    }
    let instances: Vec<_> = state.held.iter().map(|held| Arc::clone(&held.instance)).collect();
    drop(state);
    for call in expired {
        dispatch.fail(&call, |begun| CallError::TimedOut { begun });
    }
    let next = instances.iter().filter_map(|instance| instance.expire(now)).min();

    let mut state = dispatch.state();
    let waiting = state.waiting.iter().map(|call| call.deadline).min();
    let resting = state.held.iter().filter_map(|held| Some(held.idle_since? + idle));
    let resting = resting.filter(|at| *at > now).min();
    let next = [next, waiting, resting].into_iter().flatten().min();
    // A request that came meanwhile has asked for a look before its deadline.
    let asked = state.looks_at.filter(|at| *at > now);
    state.looks_at = [next, asked].into_iter().flatten().min();
    state.looks_at
}

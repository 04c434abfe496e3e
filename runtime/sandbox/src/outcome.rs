//! How an execution that ended is told: exit codes, traps, and which limit it was.

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;
use wrun_protocol::task::{Failure, Limit, Outcome};

use crate::control::Control;

/// Longest text of a trap, in bytes; a deep stack has many frames.
const MAX_TEXT: usize = 4096;

/// Where an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// While the instance was made.
    Setup,
    /// In the guest.
    Guest,
}

/// What the engine is told a guest may have, for the texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) stack: u64,
    pub(crate) fibers: u64,
    /// Whether the table of guest tasks is full, in contrast to the table of handles.
    pub(crate) fibers_full: bool,
}

/// What an error of the engine means.
pub(crate) fn of_error(
    error: &wasmtime::Error,
    control: &Control,
    bounds: Bounds,
    stage: Stage,
) -> Outcome {
    if let Some((limit, allowed)) = control.reached() {
        return failed(Failure::Limit { limit, allowed });
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return of_exit(exit.0);
    }
    if let Some((limit, allowed)) = limit_of(error, control, bounds) {
        return failed(Failure::Limit { limit, allowed });
    }
    let is_trap = error.downcast_ref::<Trap>().is_some();
    failed(match stage {
        Stage::Setup if !is_trap => Failure::Setup { message: text(error) },
        _ => Failure::Trap { message: text(error) },
    })
}

/// What a program's exit code means.
pub(crate) fn of_exit(code: i32) -> Outcome {
    if code == 0 { Outcome::Succeeded } else { failed(Failure::Exit { code }) }
}

fn limit_of(error: &wasmtime::Error, control: &Control, bounds: Bounds) -> Option<(Limit, u64)> {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::StackOverflow) {
        return Some((Limit::Stack, bounds.stack));
    }
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        let handles = u64::from(control.job().limits.handles);
        return Some(if bounds.fibers_full {
            (Limit::Fibers, bounds.fibers)
        } else {
            (Limit::Handles, handles)
        });
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Some((Limit::Fibers, bounds.fibers));
    }
    // A program that is denied memory mostly gives up by `unreachable`; one that goes on
    // and then, say, divides by zero was not ended by the limit.
    let gave_up = match trap {
        None => true,
        Some(trap) => matches!(
            trap,
            Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds | Trap::AllocationTooLarge
        ),
    };
    (gave_up && control.account.was_denied()).then(|| (Limit::Memory, control.account.limit()))
}

pub(crate) fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(failure)
}

/// The error with the guest's frames, cut to a bounded length.
fn text(error: &wasmtime::Error) -> String {
    let mut text = format!("{error:?}");
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

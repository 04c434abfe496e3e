//! Calls into code that may panic, or allocate what it should not, on a model that it does
//! not like: a panic is an error of that call, and is not printed.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::fence;

/// Why a guarded call gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caught {
    /// It panicked, and this is what it said, and where.
    Panic(String),
    /// It asked for more memory than it may have: at least so much.
    Memory(u64),
}

thread_local! {
    /// What the guarded call on this thread panicked with; `None` outside of such a call.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `work`, which may have so many bytes of large allocations at once, see [`fence`].
pub(super) fn guarded<R>(bytes: u64, work: impl FnOnce() -> R) -> Result<R, Caught> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                others(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let (result, refused) = fence::within(bytes, || catch_unwind(AssertUnwindSafe(work)));
    let message = PANIC.take().unwrap_or_default();
    result.map_err(|_| refused.map_or(Caught::Panic(message), Caught::Memory))
}

/// Keeps the message of a panic in a guarded call. Says whether it was in one.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
    PANIC.with(|panic| match panic.try_borrow_mut().as_deref_mut() {
        Ok(Some(message)) => {
            *message = format!("{text}{}", place.unwrap_or_default());
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_call_and_says_where() {
        let Err(Caught::Panic(message)) = guarded(1 << 30, || panic!("no such {}", "axis")) else {
            panic!("it must be caught");
        };
        assert!(
            message.starts_with("no such axis (") && message.contains("guard.rs:"),
            "{message}"
        );
        assert_eq!(guarded(1 << 30, || 7), Ok(7));
    }
}

//! A bound on what a model may allocate in this process, as far as an allocator can give one.
//!
//! [`Fenced`] wraps the program's allocator. While a thread loads or runs a model it has an
//! allowance for large allocations, and one beyond it is answered as if memory were exhausted.
//! tract asserts that it got the memory of a tensor, so that ends in a panic, which is caught.
//! What is not bounded so: allocations below [`LARGE`], of which there are about as many as a
//! model has nodes; and the few large buffers of tract that are not tensors, where a refusal
//! ends the program, as real exhaustion would. A program without it has the other bounds
//! alone: sizes declared in the model, and sizes computed from shapes before each run.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// Allocations of so many bytes and more are counted.
const LARGE: usize = 64 << 10;

/// An allocator that models cannot exhaust: `#[global_allocator] static ALLOCATOR:
/// Fenced<A> = Fenced(A);`
#[derive(Debug)]
pub struct Fenced<A>(pub A);

thread_local! {
    /// What the thread may still allocate in large pieces; `None`: anything.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    /// The first allocation that was refused.
    static REFUSED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Gives `work` an allowance, and with its result the size of what it was refused.
pub(crate) fn within<R>(bytes: u64, work: impl FnOnce() -> R) -> (R, Option<u64>) {
    let outer = LEFT.replace(Some(bytes));
    REFUSED.set(None);
    let result = work();
    LEFT.set(outer);
    (result, REFUSED.take())
}

/// Whether a piece may be allocated; it is counted then. Threads that end have no allowance.
fn take(size: usize) -> bool {
    let size = size as u64;
    let taken = LEFT.try_with(|left| match left.get() {
        None => true,
        Some(allowed) => {
            let rest = allowed.checked_sub(size);
            if let Some(rest) = rest {
                left.set(Some(rest));
            } else if REFUSED.get().is_none() {
                REFUSED.set(Some(size));
            }
            rest.is_some()
        }
    });
    taken.unwrap_or(true)
}

/// What was freed may be allocated again. A piece that another thread had allocated adds to
/// the allowance too: models share what is constant, and free little of it.
fn give(size: usize) {
    let _ = LEFT.try_with(|left| left.set(left.get().map(|rest| rest.saturating_add(size as u64))));
}

#[expect(unsafe_code, reason = "an allocator is unsafe; each call is passed on as it came")]
// SAFETY: every method passes its arguments on to an allocator that keeps the contract, or
// returns null, which the contract allows. `take` and `give` neither allocate nor unwind: they
// use constant thread-locals without destructors.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Fenced<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            give(layout.size());
        }
        // SAFETY: as above.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size >= LARGE && !take(size) {
            return std::ptr::null_mut();
        }
        if layout.size() >= LARGE {
            give(layout.size());
        }
        // SAFETY: as above.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Fenced<std::alloc::System> = Fenced(std::alloc::System);

    fn try_allocate(bytes: usize) -> bool {
        Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
    }

    #[test]
    fn an_allowance_holds_on_its_thread_and_for_its_time() {
        let (allowed, refused) = within(1 << 20, || {
            let mut kept = Vec::<u8>::new();
            kept.try_reserve_exact(600 << 10).unwrap();
            let beside = try_allocate(600 << 10);
            drop(kept);
            let elsewhere = std::thread::spawn(|| try_allocate(64 << 20)).join().unwrap();
            (beside, try_allocate(600 << 10), elsewhere, try_allocate(1 << 10))
        });
        assert_eq!(allowed, (false, true, true, true));
        assert_eq!(refused, Some(600 << 10));
        assert!(try_allocate(64 << 20));
    }
}

//! A bound on what a model may allocate in this process, as far as an allocator can give one.
//!
//! [`Fenced`] wraps the program's allocator. While a thread loads or runs a model it has an
//! allowance for large allocations, and one beyond it is answered as if memory were exhausted.
//! tract asserts that it got the memory of a tensor, so that ends in a panic, which is caught.
//! What is not bounded so: allocations below [`LARGE`], of which there are about as many as a
//! model has nodes; and the few large buffers of tract that are not tensors, where a refusal
//! ends the program, as real exhaustion would. They may go beyond the allowance, [`BEYOND`] times
//! what it is, and then that happens: so what is not known to stay within is done in a process
//! that may end. A program without it has the other bounds alone: sizes declared in the model, and
//! sizes computed from shapes before each run.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// Allocations of so many bytes and more are counted.
const LARGE: usize = 64 << 10;

/// Tensors of tract begin where vectors of the processor may; what is asserted on is known by
/// that.
const OF_TENSORS: usize = if cfg!(target_arch = "x86_64") { 32 } else { 16 };

/// How far what is not asserted on may go beyond an allowance.
const BEYOND: i64 = 3;

/// An allocator that models cannot exhaust: `#[global_allocator] static ALLOCATOR:
/// Fenced<A> = Fenced(A);`
#[derive(Debug)]
pub struct Fenced<A>(pub A);

thread_local! {
    /// What the thread may still allocate in large pieces, and how far below nothing it may come
    /// with what is no tensor; `None`: anything.
    static LEFT: Cell<Option<(i64, i64)>> = const { Cell::new(None) };
    /// The first allocation that was refused.
    static REFUSED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Gives `work` an allowance, and with its result the size of what it was refused.
pub(crate) fn within<R>(bytes: u64, work: impl FnOnce() -> R) -> (R, Option<u64>) {
    let bytes =
        i64::try_from(bytes).unwrap_or(i64::MAX / (BEYOND + 1)).min(i64::MAX / (BEYOND + 1));
    let outer = LEFT.replace(Some((bytes, -bytes * BEYOND)));
    REFUSED.set(None);
    let result = work();
    LEFT.set(outer);
    (result, REFUSED.take())
}

/// Whether a piece may be allocated; it is counted then. Threads that end have no allowance.
fn take(size: usize, align: usize) -> bool {
    let taken = LEFT.try_with(|left| match left.get() {
        None => true,
        Some((allowed, beyond)) => {
            let least = if align >= OF_TENSORS { 0 } else { beyond };
            let rest = allowed.saturating_sub_unsigned(size as u64);
            let is_allowed = rest >= least;
            if is_allowed {
                left.set(Some((rest, beyond)));
            } else if REFUSED.get().is_none() {
                REFUSED.set(Some(size as u64));
            }
            is_allowed
        }
    });
    taken.unwrap_or(true)
}

/// What was freed may be allocated again. A piece that another thread had allocated adds to
/// the allowance too: models share what is constant, and free little of it.
fn give(size: usize) {
    let more = |(rest, beyond): (i64, i64)| (rest.saturating_add_unsigned(size as u64), beyond);
    let _ = LEFT.try_with(|left| left.set(left.get().map(more)));
}

#[expect(unsafe_code, reason = "an allocator is unsafe; each call is passed on as it came")]
// SAFETY: every method passes its arguments on to an allocator that keeps the contract, or
// returns null, which the contract allows. `take` and `give` neither allocate nor unwind: they
// use constant thread-locals without destructors.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Fenced<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && !take(layout.size(), layout.align()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && !take(layout.size(), layout.align()) {
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
        if size >= LARGE && !take(size, layout.align()) {
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

    /// A piece as tract's tensors have it.
    #[expect(unsafe_code, reason = "no safe container has such an alignment")]
    fn try_allocate(bytes: usize) -> bool {
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: the layout has a size, and what is allocated is freed by the same.
        unsafe {
            let piece = std::alloc::alloc(layout);
            if !piece.is_null() {
                std::alloc::dealloc(piece, layout);
            }
            !piece.is_null()
        }
    }

    fn try_reserve(bytes: usize) -> bool {
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

    #[test]
    fn what_nobody_asserts_on_may_go_beyond_it_and_then_nothing_else_may() {
        let (allowed, refused) = within(1 << 20, || {
            let mut kept = Vec::<u8>::new();
            kept.try_reserve_exact(2 << 20).unwrap();
            (try_reserve(1 << 20), try_allocate(1 << 16), try_reserve(3 << 20))
        });
        assert_eq!(allowed, (true, false, false));
        assert_eq!(refused, Some(1 << 16));
    }
}

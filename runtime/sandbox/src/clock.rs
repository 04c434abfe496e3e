//! The clocks of a guest thread: what it charges its guests by.
//!
//! The kernel's clock of a thread's CPU time costs a system call, which is a tenth of what
//! a small task takes in all. So it is read only so often, and between two readings CPU
//! time is taken to have passed as wall time has, which costs next to nothing to read.
//! What other threads took meanwhile is put right at the next reading: a guest is charged
//! wrongly by less than [`EXACT_EVERY`], and a turn that takes longer is charged exactly.

use std::time::{Duration, Instant};

/// Longest time without a look at the thread's CPU clock.
const EXACT_EVERY: Duration = Duration::from_micros(200);

/// What the clocks of the calling thread were when it last looked.
pub(crate) struct Clock {
    wall: Instant,
    cpu: u64,
    exact: Instant,
}

impl Clock {
    /// The clocks of the calling thread, now.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { wall: now, cpu: thread_time(), exact: now }
    }

    /// Looks again.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.exact) < EXACT_EVERY {
            let passed = now.saturating_duration_since(self.wall);
            self.cpu = self.cpu.saturating_add(passed.as_nanos() as u64);
        } else {
            self.cpu = thread_time();
            self.exact = now;
        }
        self.wall = now;
    }

    /// The time of the last look.
    pub(crate) fn wall(&self) -> Instant {
        self.wall
    }

    /// Nanoseconds of CPU time that the thread had used at the last look.
    pub(crate) fn cpu(&self) -> u64 {
        self.cpu
    }
}

/// Nanoseconds of CPU time that the calling thread has used.
#[expect(unsafe_code, reason = "the standard library does not read this clock")]
pub(crate) fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return 0;
    }
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_others_took_is_charged_to_nobody() {
        let mut clock = Clock::new();
        let before = clock.cpu();
        std::thread::sleep(Duration::from_millis(50));
        clock.look();
        assert!(clock.cpu() - before < 25_000_000, "{}", clock.cpu() - before);
    }

    #[test]
    fn short_turns_together_take_what_the_thread_took() {
        let mut clock = Clock::new();
        let (exact, before) = (thread_time(), clock.cpu());
        while thread_time() - exact < 20_000_000 {
            clock.look();
        }
        let off = (clock.cpu() - before).abs_diff(thread_time() - exact);
        assert!(off < 2_000_000, "{off} ns off after 20 ms");
    }
}

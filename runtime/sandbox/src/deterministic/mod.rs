//! The world of a deterministic task: what it sees in place of the outside, so that its
//! result depends on nothing but what it was given. Its result may then be remembered.
//!
//! Whatever a guest can observe is either given (component, arguments, environment, input,
//! mounts, limits), or made up here from the task's seed: clocks, randomness, numbers and
//! times of files, the order of a directory, its job and attempt. What would observe the
//! outside is not there: no network, no checkpoints, no notice of a stop.
//!
//! Order is closed as well. Every operation of the host is over when the call returns,
//! files included, so that no two can finish in one order here and in another there. What
//! waits is only virtual time, which jumps to the next sleeper once the guest can do
//! nothing else ([`drive`]). What ends a task early (limits, a failing disk) may come at
//! another instant elsewhere; such a task fails, and failures are not remembered.

mod clock;
mod files;
mod files3;
mod streams;
mod waits;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ring::digest::{SHA256, digest};
use wasmtime::component::Linker;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::filesystem::types::DirectoryEntry;

pub(crate) use clock::Clock;
pub(crate) use streams::StdinFile;
pub(crate) use waits::drive;

use crate::state::TaskState;

/// A deterministic task's own world.
pub(crate) struct World {
    seed: [u8; 32],
    clock: Arc<Clock>,
    files: Mutex<Files>,
}

/// What stands for the numbers that a file system gives.
#[derive(Default)]
struct Files {
    /// Files that the guest asked the number of, in the order in which it did. As many as
    /// it has files at most: those that it removes are forgotten.
    numbers: HashMap<(u64, u64), u64>,
    next: u64,
    /// What is left of the directories that it reads, by the handle of the reading.
    listings: HashMap<u32, VecDeque<DirectoryEntry>>,
}

impl World {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, clock: Arc::default(), files: Mutex::default() }
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Puts clocks and randomness into the context.
    pub(crate) fn furnish(&self, wasi: &mut WasiCtxBuilder) {
        let mut seed = [0; 16];
        let derived = self.derived("seed of insecure randomness");
        seed.iter_mut().zip(derived).for_each(|(to, from)| *to = from);
        wasi.wall_clock(clock::Wall(Arc::clone(&self.clock)))
            .monotonic_clock(clock::Monotonic(Arc::clone(&self.clock)))
            .secure_random(ChaCha20Rng::from_seed(self.derived("randomness")))
            .insecure_random(ChaCha20Rng::from_seed(self.derived("insecure randomness")))
            .insecure_random_seed(u128::from_le_bytes(seed))
            .allow_blocking_current_thread(true);
    }

    /// A seed of its own for each purpose.
    fn derived(&self, purpose: &str) -> [u8; 32] {
        let mut derived = [0; 32];
        let all = digest(&SHA256, &[purpose.as_bytes(), &self.seed].concat());
        derived.copy_from_slice(all.as_ref());
        derived
    }

    /// The number that stands for the file which the system calls `identity`.
    fn number_of(&self, identity: (u64, u64), linked: bool) -> u64 {
        let mut files = self.files();
        if let Some(number) = files.numbers.get(&identity) {
            return *number;
        }
        files.next += 1;
        let number = files.next;
        // The system gives the identity of an unlinked file to another once it is closed.
        if linked {
            files.numbers.insert(identity, number);
        }
        number
    }

    /// The last name of a file went.
    fn forget(&self, identity: (u64, u64)) {
        self.files().numbers.remove(&identity);
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shadows whatever would show the outside.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    clock::add_to_linker(linker)?;
    files::add_to_linker(linker)?;
    files3::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_streams_again_and_another_gives_others() {
        use chacha20::rand_core::Rng;
        let first =
            |seed| ChaCha20Rng::from_seed(World::new(seed).derived("randomness")).next_u64();
        assert_eq!(first([1; 32]), first([1; 32]));
        assert_ne!(first([1; 32]), first([2; 32]));
        let world = World::new([1; 32]);
        assert_ne!(world.derived("randomness"), world.derived("insecure randomness"));
    }

    #[test]
    fn files_are_numbered_as_they_are_asked_for_and_a_removed_one_is_forgotten() {
        let world = World::new([0; 32]);
        assert_eq!(world.number_of((9, 9), true), 1);
        assert_eq!(world.number_of((4, 4), true), 2);
        assert_eq!(world.number_of((9, 9), true), 1);
        world.forget((9, 9));
        assert_eq!(world.number_of((9, 9), true), 3, "another file that has its identity");
        assert_eq!(world.number_of((5, 5), false), 4);
        assert_eq!(world.number_of((5, 5), true), 5, "what has no name keeps no number");
    }
}

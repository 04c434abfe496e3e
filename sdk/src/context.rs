//! What a running task knows of itself, and how it says how far it is.

use std::time::Duration;

use crate::platform;

/// Which execution this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The job's number.
    pub job: u64,
    /// Place in the array, from 0.
    pub index: u32,
    /// How many tasks the job has.
    pub count: u32,
    /// Which execution of this task, from 1.
    pub attempt: u32,
    /// Whose work it is.
    pub tenant: String,
    /// Until the time limit ends it, when asked; `None` is without limit.
    pub remaining: Option<Duration>,
}

/// Which execution this is.
///
/// ```
/// let task = wrun_sdk::task();
/// let (first, last) = (task.index * 100 / task.count, (task.index + 1) * 100 / task.count);
/// assert_eq!((first, last), (0, 100)); // outside a cluster: the only task of its job
/// ```
pub fn task() -> Task {
    platform::current()
}

/// Says how far the task is: `done` of `total`, and what it is doing. The last word
/// counts; saying it often costs little.
pub fn progress(done: u64, total: u64, message: impl AsRef<str>) {
    platform::progress(permille(done, total), message.as_ref());
}

/// How long the task has before it is stopped for the sake of a more urgent one; `None`
/// while nobody wants it stopped. It runs again later, from what [`crate::checkpoint`] saves
/// until then; once that is saved, the task is stopped at once.
///
/// ```
/// use wrun_sdk::{Error, checkpoint, stopping};
///
/// fn count(upto: u64) -> Result<u64, Error> {
///     let mut count: u64 = checkpoint::load()?.unwrap_or(0);
///     while count < upto {
///         count += 1;
///         if stopping().is_some() {
///             checkpoint::save(&count)?;
///         }
///     }
///     Ok(count)
/// }
/// # assert_eq!(count(1000).unwrap(), 1000);
/// ```
pub fn stopping() -> Option<Duration> {
    platform::stopping()
}

fn permille(done: u64, total: u64) -> u16 {
    if total == 0 {
        return 0;
    }
    let permille = u128::from(done) * 1000 / u128::from(total);
    u16::try_from(permille.min(1000)).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_between_nothing_and_everything() {
        let cases =
            [(0, 0), (0, 7), (7, 7), (9, 7), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX)];
        let found = cases.map(|(done, total)| permille(done, total));
        assert_eq!(found, [0, 0, 1000, 1000, 1000, 999]);
    }
}

//! The context that tests on the build machine see; not there in a component.
//!
//! Every thread has a context of its own, so tests do not see each other's.
//!
//! ```
//! use wrun_sdk::{checkpoint, info, progress, task, testing};
//!
//! testing::start(testing::Run::of_array(3, 10));
//! info!("part {} of {}", task().index, task().count);
//! progress(1, 2, "half way");
//! checkpoint::save(&"state").unwrap();
//!
//! let run = testing::end();
//! assert_eq!(run.log[0].1, "part 3 of 10");
//! assert_eq!(run.progress, Some((500, "half way".to_owned())));
//! assert_eq!(run.checkpoint.as_deref(), Some(&b"\"state\""[..]));
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use crate::checkpoint::CheckpointError;
use crate::{Level, Task};

/// What the context answers, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which execution the code under test is.
    pub task: Task,
    /// What an earlier attempt saved, or this one since.
    pub checkpoint: Option<Vec<u8>>,
    /// How long the code under test has before it is stopped for another.
    pub stopping: Option<Duration>,
    /// With this the next save fails, once.
    pub refusal: Option<CheckpointError>,
    /// The lines logged.
    pub log: Vec<(Level, String)>,
    /// The last progress, in thousandths, with its message.
    pub progress: Option<(u16, String)>,
    /// Messages that the code under test has sent to itself, the only one of its gang, and
    /// not received.
    pub messages: VecDeque<Vec<u8>>,
}

impl Default for Run {
    /// The first attempt of the only task of job 1.
    fn default() -> Self {
        let task = Task {
            job: 1,
            index: 0,
            count: 1,
            attempt: 1,
            tenant: "default".to_owned(),
            remaining: None,
        };
        Self {
            task,
            checkpoint: None,
            stopping: None,
            refusal: None,
            log: Vec::new(),
            progress: None,
            messages: VecDeque::new(),
        }
    }
}

impl Run {
    /// The first attempt of one task of an array.
    pub fn of_array(index: u32, count: u32) -> Self {
        let mut run = Self::default();
        run.task.index = index;
        run.task.count = count;
        run
    }
}

thread_local! {
    static RUN: RefCell<Run> = RefCell::new(Run::default());
}

/// Sets this thread's context up.
pub fn start(run: Run) {
    with(|current| *current = run);
}

/// Takes this thread's context, as the code under test left it; another begins.
pub fn end() -> Run {
    with(std::mem::take)
}

pub(crate) fn with<T>(use_run: impl FnOnce(&mut Run) -> T) -> T {
    RUN.with_borrow_mut(use_run)
}

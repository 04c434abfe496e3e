//! What a sandbox is given by the node: threads, memory, places, directories. Sizes of
//! pools and caches follow from these few numbers; nothing here reads the machine.

use std::path::PathBuf;
use std::time::Duration;

/// How a [`crate::Sandbox`] is built.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Threads that run guests; at least 1. Usually one for each core.
    pub threads: usize,
    /// Tasks that may hold an instance at once; more wait, first come, first served.
    pub slots: u32,
    /// Memory of the node for tasks, in bytes: no task may have a memory limit above it.
    pub memory: u64,
    /// Directory of compiled components and of the key that seals them. Belongs to this
    /// node alone.
    pub cache_dir: PathBuf,
    /// Bytes that compiled components may take on disk; the least recently used go first.
    pub cache_bytes: u64,
    /// Components that are compiled at the same time, and threads that each may take.
    pub compile_threads: usize,
    /// Threads for the guests' own I/O (files, sockets, timers).
    pub io_threads: usize,
    /// Tasks that may wait for a place in the pool; starting more is refused.
    pub max_waiting: usize,
    /// Stack of a guest in bytes.
    pub stack: usize,
    /// Longest time between two points at which a guest can be stopped or frozen.
    pub tick: Duration,
    /// What runs models for guests; `None`: nothing does, and to load one is refused.
    pub inference: Option<wrun_inference::Engine>,
}

impl SandboxConfig {
    /// Two guest threads, 256 places, 4 GiB of memory, 2 GiB of cache.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            threads: 2,
            slots: 256,
            memory: 4 << 30,
            cache_dir: cache_dir.into(),
            cache_bytes: 2 << 30,
            compile_threads: 1,
            io_threads: 1,
            max_waiting: 65_536,
            stack: 1 << 20,
            tick: Duration::from_millis(5),
            inference: None,
        }
    }
}

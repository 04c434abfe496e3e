//! Bounds that hold everywhere, each with its reason. Reaching one is a typed refusal.

/// Largest frame on a stream, in bytes, header excluded: the most a peer can make the
/// other side buffer per stream. Larger content travels as a blob.
pub const MAX_FRAME: usize = 1 << 20;

/// Largest encoded job specification: several must fit one frame and one journal batch.
pub const MAX_SPEC: usize = 256 << 10;

/// Largest encoded workflow: it must fit one frame and one journal batch.
pub const MAX_WORKFLOW: usize = 512 << 10;

/// Most steps of a workflow, the last included.
pub const MAX_STEPS: usize = 256;

/// Longest name of a workflow or a step, in bytes: both and a `/` are a job's name.
pub const MAX_STEP_NAME: usize = 63;

/// Longest text that a step's condition compares with, in bytes.
pub const MAX_CONDITION: usize = 4 << 10;

/// Content up to this size travels inside messages and journal records; above it, as a blob.
pub const MAX_INLINE: usize = 4 << 10;

/// Largest input carried inside a job specification.
pub const MAX_INLINE_INPUT: usize = 64 << 10;

/// Largest item that is carried inside an items file; a larger one is a blob of its own.
pub const MAX_ITEM_INLINE: usize = MAX_INLINE_INPUT;

/// Largest items file: whoever makes one holds it in memory.
pub const MAX_ITEMS_FILE: u64 = 256 << 20;

/// Largest component, after adaptation. CPython as a component is 18 MB; Rust programs
/// with debug information reach 20 MB.
pub const MAX_COMPONENT: u64 = 256 << 20;

/// Largest blob of any kind.
pub const MAX_BLOB: u64 = 16 << 30;

/// Largest checkpoint that a task may save.
pub const MAX_CHECKPOINT: u64 = 256 << 20;

/// Largest model: an ONNX file is one protobuf message, and those end at 2 GiB.
pub const MAX_MODEL: u64 = 2 << 30;

/// Longest name of a model, and longest tag, in bytes.
pub const MAX_MODEL_NAME: usize = 64;

/// Tags of models that a tenant may have, and with them versions that no tag points at any more
/// and that live work still uses.
pub const MAX_MODELS_PER_TENANT: usize = 1000;

/// Tenants with which one model is shared, at most.
pub const MAX_MODEL_SHARES: usize = 1000;

/// Models that one job may use by name.
pub const MAX_MODELS_PER_JOB: usize = 32;

/// Items that one run of a model computes together, at most: each has its tensors in memory.
pub const MAX_MODEL_BATCH: u32 = 1024;

/// How long an item may wait for others at most, in milliseconds.
pub const MAX_MODEL_DELAY_MS: u32 = 10_000;

/// Tensors of a model whose batch axis is declared, at most.
pub const MAX_BATCH_TENSORS: usize = 64;

/// Longest name of a tensor, in bytes.
pub const MAX_TENSOR_NAME: usize = 256;

/// Highest axis that may be one of batches: tensors with more are not found.
pub const MAX_BATCH_AXIS: u32 = 15;

/// Most tasks in one job.
pub const MAX_COUNT: u32 = 10_000_000;

/// Replicas that a service may have. Every revision's job has as many tasks, of which those
/// that are not wanted sleep.
pub const MAX_REPLICAS: u32 = 1000;

/// Requests that one replica may handle at once.
pub const MAX_CONCURRENCY: u32 = 1000;

/// Requests that one instance of it may handle at once: it has one thread for them.
pub const MAX_CONCURRENT: u32 = 64;

/// Memory that an instance must have for each of the requests that it may handle at once,
/// where that is more than one: so it has 36 entries of the engine's table of tasks and streams,
/// which has three for each MiB of memory, since a guest task takes three and has a stack of
/// 1 MiB. Measured with Rust guests of WASI 0.3: a request takes 18 whose body is passed on, 13
/// that calls another service and waits.
pub const MEMORY_OF_REQUEST: u64 = 12 << 20;

/// Most arguments, environment variables, labels or grants in one job, each.
pub const MAX_LIST: usize = 1024;

/// Most files that one job mounts.
pub const MAX_MOUNTED_FILES: usize = 4096;

/// Longest name of a job, a node or a label, in bytes.
pub const MAX_NAME: usize = 128;

/// Most retries a job may ask for.
pub const MAX_RETRIES: u32 = 1000;

/// Longest time limit or back-off, in milliseconds: one year.
pub const MAX_TIME_MS: u64 = 366 * 24 * 3600 * 1000;

/// Most rows in one answer; a longer listing is paged.
pub const MAX_PAGE: u32 = 1000;

/// Most submissions in one request.
pub const MAX_SUBMISSIONS: usize = 4096;

/// A thousand thousandths: one component instance runs on one thread.
pub const CPU_PER_INSTANCE: u32 = 1000;

/// Least memory a task may ask for: below one mebibyte a Rust guest does not start.
pub const MIN_MEMORY: u64 = 1 << 20;

/// Largest message between tasks of a gang.
pub const MAX_GANG_MESSAGE: u64 = 16 << 20;

/// What may wait of one task of a gang for another, in bytes, before the sender waits;
/// [`GANG_MESSAGE_COST`] is counted for each message besides. Half of it is the largest
/// message that is sent before the receiver asks for it.
pub const GANG_WINDOW: u32 = 64 << 10;

/// What is counted for a message besides its bytes, so that empty ones are bounded too.
pub const GANG_MESSAGE_COST: u32 = 64;

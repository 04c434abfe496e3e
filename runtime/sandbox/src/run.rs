//! One execution from store to outcome, as a future that a guest thread polls.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wrun_protocol::limits::MAX_BLOB;
use wrun_protocol::task::{Failure, Limit, Outcome};

use crate::TaskInput;
use crate::control::{Batch, Control};
use crate::deterministic::{StdinFile, drive};
use crate::engines::Flavor;
use crate::link::Entry;
use crate::outcome::{self, Bounds, Stage, failed};
use crate::state::{Input, Own, TaskState};
use crate::stdio::Stdin;

/// One execution.
pub(crate) struct Execution {
    pub(crate) control: Arc<Control>,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) input: TaskInput,
    pub(crate) checkpoint: Option<Bytes>,
}

/// The outcome, and a handler's output.
pub(crate) type Finished = (Outcome, Option<Bytes>);

/// What a step that fails says instead.
type Step<T> = Result<T, Outcome>;

/// Runs to the end. Dropping the future ends the guest and frees what it holds.
pub(crate) async fn run(execution: Execution) -> Finished {
    let ran = if execution.control.world().is_some() {
        let control = Arc::clone(&execution.control);
        // Boxed, so that it takes nothing of the room that all other tasks need.
        Box::pin(drive(control, try_run(execution))).await
    } else {
        try_run(execution).await
    };
    ran.unwrap_or_else(|outcome| (outcome, None))
}

async fn try_run(mut execution: Execution) -> Step<Finished> {
    let held = held_by_host(&execution);
    let control = Arc::clone(&execution.control);
    if !control.account.charge(held) {
        return Err(limit(Limit::Memory, control.account.limit()));
    }
    let input = std::mem::take(&mut execution.input);
    match &control.batch.prepared.entry {
        Entry::Command(pre) => {
            let input = program_input(input, &control).await?;
            let mut guest = Guest::new(execution, input);
            let made = pre.instantiate_async(&mut guest.store).await;
            let command = guest.step(made, Stage::Setup)?;
            let ran = command.wasi_cli_run().call_run(&mut guest.store).await;
            let ran = guest.step(ran, Stage::Guest)?;
            Ok((of_run(ran), None))
        }
        Entry::ConcurrentCommand(pre, indices) => {
            let input = program_input(input, &control).await?;
            let mut guest = Guest::new(execution, input);
            let made = pre.instantiate_async(&mut guest.store).await;
            let instance = guest.step(made, Stage::Setup)?;
            let command = indices.load(&mut guest.store, &instance);
            let command = guest.step(command, Stage::Setup)?;
            let run = guest
                .store
                .run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await);
            let ran = run.await.and_then(|ran| ran);
            let ran = guest.step(ran, Stage::Guest)?;
            Ok((of_run(ran), None))
        }
        Entry::Handler(pre) => {
            let input = handler_input(input, &control).await?;
            let mut guest = Guest::new(execution, Input::Empty);
            let made = pre.instantiate_async(&mut guest.store).await;
            let task = guest.step(made, Stage::Setup)?;
            let handler = task.wrun_task_handler();
            let handled = handler.call_handle(&mut guest.store, &input).await;
            match guest.step(handled, Stage::Guest)? {
                Ok(output) => handler_output(output, &control),
                Err(error) => Err(failed(Failure::Handler {
                    message: error.message,
                    retryable: error.retryable,
                })),
            }
        }
    }
}

/// Bytes of input and checkpoint, which stay in the host while the guest runs.
fn held_by_host(execution: &Execution) -> u64 {
    let input = match &execution.input {
        TaskInput::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    (input + execution.checkpoint.as_ref().map_or(0, Bytes::len)) as u64
}

fn of_run(ran: Result<(), ()>) -> Outcome {
    outcome::of_exit(if ran.is_ok() { 0 } else { 1 })
}

fn limit(limit: Limit, allowed: u64) -> Outcome {
    failed(Failure::Limit { limit, allowed })
}

fn no_input(error: &dyn std::fmt::Display) -> Outcome {
    failed(Failure::Setup { message: format!("its input cannot be read: {error}") })
}

async fn program_input(input: TaskInput, control: &Control) -> Step<Input> {
    Ok(match input {
        TaskInput::Empty => Input::Empty,
        TaskInput::Bytes(bytes) => Input::Stdin(Stdin::new(bytes, None)),
        TaskInput::Stream(more) => Input::Stdin(Stdin::new(Bytes::new(), Some(more))),
        TaskInput::File(path) => {
            let open = tokio::fs::File::open(path).await.map_err(|error| no_input(&error))?;
            let open = open.into_std().await;
            match control.world() {
                Some(_) => Input::FileAtOnce(StdinFile::new(open)),
                None => Input::File(wasmtime_wasi::cli::InputFile::new(open)),
            }
        }
        TaskInput::Later(file) => {
            Input::File(wasmtime_wasi::cli::InputFile::new(fetched(file).await?))
        }
    })
}

/// All of it: a handler's input is one value. Charged as it comes.
async fn handler_input(input: TaskInput, control: &Control) -> Step<Bytes> {
    let charge = |bytes: u64| {
        let fits = control.account.charge(bytes);
        if fits { Ok(()) } else { Err(limit(Limit::Memory, control.account.limit())) }
    };
    match input {
        TaskInput::Empty => Ok(Bytes::new()),
        TaskInput::Bytes(bytes) => Ok(bytes),
        TaskInput::File(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|error| no_input(&error))?;
            read_whole(file, charge).await
        }
        TaskInput::Later(file) => {
            read_whole(tokio::fs::File::from_std(fetched(file).await?), charge).await
        }
        TaskInput::Stream(mut more) => {
            let mut all = Vec::new();
            while let Some(bytes) = more.recv().await {
                charge(bytes.len() as u64)?;
                all.extend_from_slice(&bytes);
            }
            Ok(all.into())
        }
    }
}

async fn read_whole(mut file: tokio::fs::File, charge: impl Fn(u64) -> Step<()>) -> Step<Bytes> {
    let size = file.metadata().await.map_err(|error| no_input(&error))?.len();
    charge(size.min(MAX_BLOB))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(MAX_BLOB)).unwrap_or_default());
    file.read_to_end(&mut bytes).await.map_err(|error| no_input(&error))?;
    Ok(bytes.into())
}

/// The file, once it is there.
async fn fetched(file: oneshot::Receiver<Result<std::fs::File, String>>) -> Step<std::fs::File> {
    match file.await {
        Ok(fetched) => fetched.map_err(|problem| no_input(&problem)),
        Err(_) => Err(no_input(&"this node is stopping")),
    }
}

fn handler_output(output: Vec<u8>, control: &Control) -> Step<Finished> {
    let allowed = control.job().limits.output_bytes;
    if output.len() as u64 > allowed {
        return Err(limit(Limit::Output, allowed));
    }
    Ok((Outcome::Succeeded, Some(output.into())))
}

/// A store and what is known of its bounds.
struct Guest {
    store: Store<TaskState>,
    control: Arc<Control>,
    stack: u64,
    fibers: u64,
}

impl Guest {
    fn new(execution: Execution, input: Input) -> Self {
        let Execution { control, index, attempt, checkpoint, .. } = execution;
        let state = TaskState::new(&control, Own { index, attempt, input, checkpoint });
        let Batch { prepared, guests, job, .. } = &*control.batch;
        let (facts, memory) = (prepared.facts, job.resources.memory);
        let fibers = crate::link::stacks(facts, memory, guests.stack());
        let mut store = Store::new(&prepared.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(on_tick);
        // What one call may make the host copy out of the guest.
        store.set_hostcall_fuel(usize::try_from(memory).unwrap_or(usize::MAX));
        if facts.flavor != Flavor::Plain
            && let Some(table) = store.concurrent_resource_table()
        {
            table.set_max_capacity(fiber_entries(fibers));
        }
        let stack = guests.stack() as u64;
        Self { store, control, stack, fibers: fibers.into() }
    }

    /// The value, or what its failure means.
    fn step<T>(&mut self, result: wasmtime::Result<T>, stage: Stage) -> Step<T> {
        result.map_err(|error| {
            let bounds = Bounds {
                stack: self.stack,
                fibers: self.fibers,
                fibers_full: self.is_full_of_fibers(),
            };
            outcome::of_error(&error, &self.control, bounds, stage)
        })
    }

    fn is_full_of_fibers(&mut self) -> bool {
        self.store
            .concurrent_resource_table()
            .is_some_and(|table| table.iter_mut().count() >= table.max_capacity())
    }
}

/// A guest task takes at least two entries of the engine's table: itself and its thread.
/// So many more entries are for streams, futures and calls to the host.
fn fiber_entries(fibers: u32) -> usize {
    fibers as usize * 2
}

/// Called in the guest when the epoch is over. It goes on only if nothing asks it not to.
fn on_tick(store: StoreContextMut<'_, TaskState>) -> wasmtime::Result<UpdateDeadline> {
    let control = &store.data().control;
    let clock = crate::clock::thread_time();
    control.on_clock(clock);
    let others_wait = control.batch.guests.others_wait();
    if !others_wait {
        control.on_unwanted(clock);
    }
    let logs_on = control.world().is_none() || control.log_pause().is_zero();
    let goes_on = !control.must_end() && !control.is_frozen() && !others_wait && logs_on;
    Ok(if goes_on { UpdateDeadline::Continue(1) } else { UpdateDeadline::Yield(1) })
}

//! One execution from store to outcome, as a future that a guest thread polls.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use wrun_protocol::limits::MAX_BLOB;
use wrun_protocol::task::{Failure, Limit, Outcome};

use crate::TaskInput;
use crate::control::Control;
use crate::deterministic::{StdinFile, drive};
use crate::link::Entry;
use crate::outcome::{self, Stage, failed};
use crate::state::{Input, Own, TaskState};
use crate::stdio::Stdin;
use crate::store::Bounded;

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
            let mut guest = bounded(execution, input);
            let made = pre.instantiate_async(&mut guest.store).await;
            let command = guest.step(made, Stage::Setup)?;
            let ran = command.wasi_cli_run().call_run(&mut guest.store).await;
            let ran = guest.step(ran, Stage::Guest)?;
            Ok((of_run(ran), None))
        }
        Entry::ConcurrentCommand(pre, indices) => {
            let input = program_input(input, &control).await?;
            let mut guest = bounded(execution, input);
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
        Entry::Http(_) | Entry::ConcurrentHttp(_) => Err(failed(Failure::Setup {
            message: "it answers HTTP requests: deploy it".to_owned(),
        })),
        Entry::Handler(pre) => {
            let input = handler_input(input, &control).await?;
            let mut guest = bounded(execution, Input::Empty);
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

fn bounded(execution: Execution, input: Input) -> Bounded {
    let Execution { control, index, attempt, checkpoint, .. } = execution;
    let state = TaskState::new(&control, Own { index, attempt, input, checkpoint });
    Bounded::new(&control, state)
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

//! What a program asks of its environment: variables, arguments, working directory.
//! Answered from the job when asked, in place of the standard functions, which would want
//! copies of all of it in every store: most tasks never ask.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::scratch::GUEST_PATH;
use crate::state::TaskState;

type Store<'a> = StoreContextMut<'a, TaskState>;

/// Shadows the functions of WASI 0.2.
pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    shadow(linker, "wasi:cli/environment@0.2.12", "initial-cwd")
}

/// Shadows the functions of WASI 0.3.
pub(crate) fn add_concurrent_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    shadow(linker, "wasi:cli/environment@0.3.0", "get-initial-cwd")
}

fn shadow(linker: &mut Linker<TaskState>, interface: &str, cwd: &str) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut functions = linker.instance(interface)?;
    functions
        .func_wrap("get-environment", |store: Store<'_>, (): ()| Ok((variables(store.data()),)))?;
    functions.func_wrap("get-arguments", |store: Store<'_>, (): ()| {
        Ok((store.data().control.job().args.clone(),))
    })?;
    functions.func_wrap(cwd, |_: Store<'_>, (): ()| Ok((Some(GUEST_PATH.to_owned()),)))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The job's own variables, and what tells the program which task it is. A deterministic
/// one is not told what differs from run to run.
fn variables(state: &TaskState) -> Vec<(String, String)> {
    let job = state.control.job();
    let own = [
        ("WRUN_JOB", job.job.to_string()),
        ("WRUN_TASK_INDEX", state.index.to_string()),
        ("WRUN_TASK_COUNT", job.count.to_string()),
        ("WRUN_ATTEMPT", state.attempt.to_string()),
        ("WRUN_TENANT", job.tenant.as_str().to_owned()),
    ];
    let of_run = |name: &str| matches!(name, "WRUN_JOB" | "WRUN_ATTEMPT");
    let own = own.into_iter().filter(|(name, _)| state.control.world().is_none() || !of_run(name));
    let own = own.map(|(name, value)| (name.to_owned(), value));
    job.env.iter().cloned().chain(own).collect()
}

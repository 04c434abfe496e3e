//! What each command does, a file each.

mod build;
mod cancel;
mod change;
mod completions;
mod deploy;
mod dev;
mod drain;
mod exit_codes;
mod explain;
mod job;
mod jobs;
mod logs;
mod man;
mod model;
mod new;
mod nodes;
mod output;
mod place;
mod policy;
pub(crate) mod process;
mod queue;
mod reserve;
mod rollout;
mod run;
mod schedule;
mod schema;
mod server;
mod service;
mod services;
mod share;
mod simulate;
mod slices;
mod submit;
mod token;
mod user;
mod wait;
mod worker;
mod workflow;

use std::future::Future;

use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::syntax::{Cli, Command, Global};

/// What a command ends with.
pub(crate) type Ended = Result<Exit, Error>;

/// What every command of a client is given.
pub(crate) struct Context {
    pub(crate) console: Console,
    pub(crate) global: Global,
}

/// Does what the command line says.
pub(crate) fn execute(cli: Cli, console: Console) -> Ended {
    let context = Context { console, global: cli.global };
    match cli.command {
        Command::Run(args) => block_on(&context, run::run(&context, &args)),
        Command::Submit(args) => block_on(&context, submit::submit(&context, &args)),
        Command::Jobs(args) => block_on(&context, jobs::jobs(&context, &args)),
        Command::Job(args) => block_on(&context, job::job(&context, &args)),
        Command::Logs(args) => block_on(&context, logs::logs(&context, &args)),
        Command::Output(args) => block_on(&context, output::output(&context, &args)),
        Command::Wait(args) => block_on(&context, wait::wait(&context, &args)),
        Command::Rerun(args) => block_on(&context, workflow::rerun(&context, &args)),
        Command::Cancel(args) => block_on(&context, cancel::cancel(&context, &args)),
        Command::Hold(args) => block_on(&context, change::hold(&context, &args)),
        Command::Release(args) => block_on(&context, change::release(&context, &args)),
        Command::Update(args) => block_on(&context, change::update(&context, &args)),
        Command::Requeue(args) => block_on(&context, change::requeue(&context, &args)),
        Command::Retry(args) => block_on(&context, change::retry(&context, &args)),
        Command::Queue(args) => block_on(&context, queue::queue(&context, &args)),
        Command::Explain(args) => block_on(&context, explain::explain(&context, &args)),
        Command::Share(_) => block_on(&context, share::share(&context)),
        Command::Policy(args) => block_on(&context, policy::policy(&context, &args)),
        Command::Reserve(args) => block_on(&context, reserve::reserve(&context, &args)),
        Command::Unreserve(args) => block_on(&context, reserve::unreserve(&context, &args)),
        Command::Reservations(_) => block_on(&context, reserve::reservations(&context)),
        Command::Schedule(args) => block_on(&context, schedule::schedule(&context, &args)),
        Command::Schedules(args) => block_on(&context, schedule::schedules(&context, &args)),
        Command::Deploy(args) => block_on(&context, deploy::deploy(&context, &args)),
        Command::Services(args) => block_on(&context, services::services(&context, &args)),
        Command::Service(args) => block_on(&context, service::service(&context, &args)),
        Command::Scale(args) => block_on(&context, service::scale(&context, &args)),
        Command::Rollout(args) => block_on(&context, rollout::rollout(&context, &args)),
        Command::Undeploy(args) => block_on(&context, service::undeploy(&context, &args)),
        Command::Model(args) => block_on(&context, model::model(&context, &args)),
        Command::Models(args) => block_on(&context, model::models(&context, &args)),
        Command::Nodes(_) => block_on(&context, nodes::nodes(&context)),
        Command::Drain(args) => block_on(&context, drain::drain(&context, &args)),
        Command::Forget(args) => block_on(&context, drain::forget(&context, &args)),
        Command::Token(args) => block_on(&context, token::token(&context, &args)),
        Command::User(args) => block_on(&context, user::user(&context, &args)),
        Command::Dev(args) => dev::dev(&context, &args),
        Command::Server(args) => server::server(&context, &args),
        Command::Worker(args) => worker::worker(&context, &args),
        Command::Simulate(args) => simulate::simulate(&context, &args),
        Command::New(args) => new::new(&context, &args),
        Command::Build(args) => build::build(&context, &args),
        Command::Schema(args) => schema::schema(&context, &args),
        Command::Completions(args) => completions::completions(&context, &args),
        Command::Man(args) => man::man(&context, &args),
        Command::ExitCodes(_) => exit_codes::exit_codes(&context),
    }
}

/// Runs a client's command: one thread, and logging only where it is asked for.
fn block_on(context: &Context, command: impl Future<Output = Ended>) -> Ended {
    process::start_logging(context, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new(Exit::Internal, format!("cannot start: {cause}")))?;
    let ended = runtime.block_on(command);
    // A thread may be reading standard input, which need not end.
    runtime.shutdown_background();
    ended
}

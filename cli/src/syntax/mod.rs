//! What may be written on the command line: clap types and help texts. What it means is
//! in `command`; nothing here reads files, connects or prints.

pub(crate) mod cluster;
pub(crate) mod daemon;
pub(crate) mod model;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod query;
pub(crate) mod schedule;
pub(crate) mod service;
pub(crate) mod simulate;
pub(crate) mod work;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

use crate::error::Error;
use crate::exit::Exit;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Runs WebAssembly components on a cluster.
///
/// A component is submitted as a job of one or many tasks; each task runs sandboxed on
/// some node. `wrun dev` starts a cluster on this machine; `wrun run FILE.wasm` runs a
/// program on it.
#[derive(Debug, Parser)]
#[command(name = "wrun", version, styles = STYLES, max_term_width = 100, after_long_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  wrun dev                             a cluster on this machine, in a terminal of its own
  wrun run hello.wasm                  runs a program on it, attached
  wrun submit --count 100 tile.wasm    submits an array of 100 tasks and prints the job's id
  wrun job 1                           shows how it stands
  wrun deploy api.wasm --route /api    keeps a component that answers HTTP requests

Exit codes: see `wrun exit-codes`. JSON: every command that prints takes --json; `wrun schema
output` describes it.";

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print JSON instead of text: one object, or one a line where a command streams
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Which credential proves who asks, and where the server is [env: WRUN_CREDENTIAL]
    /// [default: ~/.config/wrun/credential.toml]
    // The library that reads credentials looks at the environment: wherever it is used.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) credential: Option<PathBuf>,

    /// What to log on standard error: a level, or a filter like `warn,wrun_server=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "WRUN_LOG", hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) log: Option<String>,
}

/// The commands, in the order in which help lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(work::Run),
    Submit(work::Submit),
    Jobs(query::Jobs),
    Job(query::Job),
    Logs(query::Logs),
    Output(query::Output),
    Wait(query::Wait),
    Cancel(query::Cancel),
    Rerun(query::Rerun),
    Hold(policy::Hold),
    Release(policy::Release),
    Update(policy::Update),
    Requeue(policy::Requeue),
    Retry(policy::Retry),
    Queue(policy::Queue),
    Explain(policy::Explain),
    Share(policy::Share),
    Policy(policy::Policy),
    Reserve(policy::Reserve),
    Unreserve(policy::Unreserve),
    Reservations(policy::Reservations),
    Schedule(schedule::Schedule),
    Schedules(schedule::Schedules),
    Deploy(Box<service::Deploy>),
    Services(service::Services),
    Service(service::Service),
    Scale(service::Scale),
    Rollout(service::Rollout),
    Undeploy(service::Undeploy),
    Model(model::Model),
    Models(model::Models),
    Nodes(cluster::Nodes),
    Drain(cluster::Drain),
    Forget(cluster::Forget),
    Token(cluster::Token),
    User(cluster::User),
    Dev(daemon::Dev),
    Server(daemon::Server),
    Worker(daemon::Worker),
    Simulate(simulate::Simulate),
    New(project::New),
    Build(project::Build),
    Schema(project::Schema),
    Completions(project::Completions),
    Man(project::Man),
    ExitCodes(project::ExitCodes),
}

/// A command line that cannot be understood, in a line: clap's words without its usage.
pub(crate) fn explain(problem: &clap::Error) -> Error {
    let text = problem.to_string();
    let said = text.lines().take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let said: Vec<&str> = said.map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = said.join(" ").replace(" tip: ", "; ");
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let words = usage.unwrap_or("wrun").split_whitespace().skip(1);
    let command: Vec<&str> =
        words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let help = format!("wrun {}", command.join(" "));
    Error::new(Exit::Usage, said.strip_prefix("error: ").unwrap_or(&said))
        .todo(format_args!("see `{} --help`", help.trim_end()))
}

#[cfg(test)]
mod tests;

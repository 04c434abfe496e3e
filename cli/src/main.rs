//! `wrun`: runs WebAssembly components on a cluster. The only crate that assembles the
//! others: it reads the command line (`syntax`), does what it says (`command`) and turns
//! every end into one line and an exit code (`error`, `exit`).
//!
//! A client command starts in milliseconds: one thread, nothing set up that it does not
//! use. Only `dev`, `server` and `worker` run a runtime of several threads.

mod client;
mod command;
mod config;
mod console;
mod error;
mod exit;
mod jobfile;
mod plan;
mod policyfile;
mod report;
mod servicefile;
mod simulate;
mod syntax;
mod toml_source;
mod value;
mod workflowfile;

use std::process::ExitCode;

use clap::Parser;
use wrun_worker::child;

use crate::console::Console;
use crate::exit::Exit;
use crate::syntax::Cli;

/// Requests, frames and records are made on one thread and dropped on another, which costs the C
/// library's allocator more: with this one a gateway answers 6 % more requests a second. The fence
/// around it bounds what models allocate.
#[global_allocator]
static ALLOCATOR: wrun_worker::Fenced<mimalloc::MiMalloc> = wrun_worker::Fenced(mimalloc::MiMalloc);

fn main() -> ExitCode {
    // What a node starts for its native back ends, which is no command.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == child::ARGUMENT) {
        command::process::start_child_logging();
        return child::main();
    }
    let exit = match Cli::try_parse() {
        Ok(cli) => {
            let console = Console::detect(cli.global.json);
            command::execute(cli, console).unwrap_or_else(|error| {
                console.error(&error);
                error.exit()
            })
        }
        Err(problem) if problem.use_stderr() => {
            let wants_json = std::env::args_os().any(|argument| argument == "--json");
            Console::detect(wants_json).error(&syntax::explain(&problem));
            Exit::Usage
        }
        Err(help) => {
            // Help and version; who does not read them to the end misses nothing else.
            let _ = help.print();
            Exit::Success
        }
    };
    // Threads that still read standard input must not keep the process.
    std::process::exit(exit.code().into());
}

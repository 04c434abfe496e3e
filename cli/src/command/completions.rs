//! `wrun completions`.

use clap::CommandFactory;

use super::{Context, Ended};
use crate::exit::Exit;
use crate::syntax::Cli;
use crate::syntax::project::Completions;

/// Prints the script for a shell.
pub(crate) fn completions(context: &Context, args: &Completions) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wrun", &mut script);
    context.console.bytes(&script)?;
    Ok(Exit::Success)
}

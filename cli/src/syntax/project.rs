//! Commands that need no cluster: making guests, and wrun's own papers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Makes a small Rust project whose function runs as a task
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The project's name and folder
    #[arg(value_name = "NAME")]
    pub(crate) name: PathBuf,

    /// Where the wrun-sdk crate is [default: that of the checkout that wrun was built from]
    #[arg(long, value_name = "DIR", env = "WRUN_SDK", hide_env_values = true)]
    pub(crate) sdk: Option<PathBuf>,
}

/// Builds a Rust project for wasm32-wasip2 and shows the component
///
/// Runs cargo; arguments after `--` go to it.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Build without optimisation: faster to build, slower to run
    #[arg(long)]
    pub(crate) debug: bool,

    /// Arguments of cargo
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The job file
    Job,
    /// The workflow file
    Workflow,
    /// The service file
    Service,
    /// The policy file
    Policy,
    /// What commands print with --json
    Output,
    /// The server's configuration file
    Server,
    /// The worker's configuration file
    Worker,
}

/// Prints a JSON schema
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Of what
    #[arg(value_name = "OF", value_enum, default_value = "job")]
    pub(crate) of: SchemaOf,
}

/// Prints a script that completes wrun's commands in a shell
///
/// For bash: wrun completions bash > ~/.local/share/bash-completion/completions/wrun
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Prints wrun's man page, or writes that of each command into a folder
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write wrun.1, wrun-run.1, … into this folder
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// Lists the exit codes and what each means
#[derive(Debug, Args)]
#[command(after_help = crate::exit::table())]
pub(crate) struct ExitCodes {}

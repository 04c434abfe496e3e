//! Commands about the cluster itself; most need the role admin.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use wrun_net::ServerAddress;
use wrun_protocol::{Role, TenantName};

use crate::value::Span;

/// Lists the nodes: state, what they have and what is taken
#[derive(Debug, Args)]
pub(crate) struct Nodes {}

/// Lets a node finish what it has and take nothing new (admins only)
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The node's name or id, as `wrun nodes` lists it
    #[arg(value_name = "NODE")]
    pub(crate) node: String,

    /// Take it back into service
    #[arg(long)]
    pub(crate) undo: bool,
}

/// Removes a lost node from the listing for good (admins only)
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The node's name or id
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

/// Makes tokens with which machines join (admins only)
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Prints a token that lets one machine join: for `wrun worker --join`
    ///
    /// It works once, until it expires, and only with this cluster. It is a secret.
    Create {
        /// How long it is valid
        #[arg(long, value_name = "TIME", default_value = "1h")]
        ttl: Span,

        /// Where workers reach the server [default: as the credential does]
        #[arg(long, value_name = "HOST:PORT")]
        server: Option<ServerAddress>,
    },
}

/// Makes credentials of users (admins only)
#[derive(Debug, Args)]
pub(crate) struct User {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Writes a credential for a user of a tenant
    ///
    /// Its key is made here and never leaves the file. Hand the file to the user, who puts it
    /// at ~/.config/wrun/credential.toml (mode 0600) or names it in WRUN_CREDENTIAL.
    Add {
        /// Whose work it submits; a name nobody has used makes a new tenant
        #[arg(value_name = "TENANT")]
        tenant: TenantName,

        /// What it may do: user or admin
        #[arg(long, value_name = "ROLE", default_value = "user")]
        role: Role,

        /// How long it is valid
        #[arg(long, value_name = "TIME", default_value = "365d")]
        ttl: Span,

        /// Where the user reaches the server [default: as this credential does]
        #[arg(long, value_name = "HOST:PORT")]
        server: Option<ServerAddress>,

        /// The file to write [default: TENANT.credential.toml]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

//! A user's credential: one private TOML file that holds where the server is and what
//! proves who asks.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use wrun_protocol::{Role, TenantName};

use crate::error::IdentityError;
use crate::identity::Identity;

/// What the CLI needs to reach its cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// `HOST:PORT`.
    pub server: String,
    /// The cluster authority's certificate.
    pub authority_pem: String,
    /// The user's certificate.
    pub certificate_pem: String,
    /// The user's key. A secret.
    pub key_pem: String,
}

impl Credential {
    /// Where the CLI looks: `$WRUN_CREDENTIAL`, else `wrun/credential.toml` in
    /// `$XDG_CONFIG_HOME` or `~/.config`. `None` where none of these is set.
    pub fn default_path() -> Option<PathBuf> {
        todo!()
    }
    /// Reads a credential file.
    pub fn load(_path: &Path) -> Result<Self, IdentityError> {
        todo!()
    }
    /// Writes a credential file atomically and private (0600), making its folder.
    pub fn save(&self, _path: &Path) -> Result<(), IdentityError> {
        todo!()
    }
    /// The key and certificate.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        todo!()
    }
    /// The authority's certificate, DER.
    pub fn authority_der(&self) -> Result<Vec<u8>, IdentityError> {
        todo!()
    }
    /// Whose work it submits, as the certificate says.
    pub fn tenant(&self) -> Result<TenantName, IdentityError> {
        todo!()
    }
    /// What it may do, as the certificate says.
    pub fn role(&self) -> Result<Role, IdentityError> {
        todo!()
    }
    /// When its time is over.
    pub fn expires(&self) -> Result<SystemTime, IdentityError> {
        todo!()
    }
}

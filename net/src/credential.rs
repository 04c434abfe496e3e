//! A user's credential: one private TOML file that holds where the server is and what
//! proves who asks.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use wrun_protocol::{Role, TenantName};

use crate::address::ServerAddress;
use crate::certificate::Peer;
use crate::error::IdentityError;
use crate::identity::{Identity, certificates_from_pem};
use crate::private_file;

/// What the CLI needs to reach its cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Credential {
    /// Of a server's address, the authority's certificate (DER) and an identity.
    pub fn new(server: &ServerAddress, authority_der: &[u8], identity: &Identity) -> Self {
        Self {
            server: server.to_string(),
            authority_pem: crate::identity::pem_text("CERTIFICATE", authority_der),
            certificate_pem: identity.certificates_pem(),
            key_pem: identity.key_pem(),
        }
    }

    /// Where the CLI looks: `$WRUN_CREDENTIAL`, else `wrun/credential.toml` in
    /// `$XDG_CONFIG_HOME` or `~/.config`. `None` where none of these is set.
    pub fn default_path() -> Option<PathBuf> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set("WRUN_CREDENTIAL") {
            return Some(path.into());
        }
        let config = match set("XDG_CONFIG_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(set("HOME")?).join(".config"),
        };
        Some(config.join("wrun").join("credential.toml"))
    }

    /// Reads a credential file and checks that its parts fit. Says nothing of its time: see
    /// [`Identity::check`].
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = private_file::read_secret(path)?;
        Self::parse(&text).map_err(|error| match error {
            IdentityError::Malformed { what, problem } => {
                IdentityError::malformed(format!("{}, {what}", path.display()), problem)
            }
            other => other,
        })
    }

    fn parse(text: &str) -> Result<Self, IdentityError> {
        let credential: Self = toml::from_str(text).map_err(|error| {
            // The error's own text quotes the file, and with it the key.
            let line = error.span().map_or(1, |span| {
                text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1
            });
            IdentityError::malformed(format!("line {line}"), error.message())
        })?;
        let problem = |error: crate::AddressError| IdentityError::malformed("server", error);
        credential.server.parse::<ServerAddress>().map_err(problem)?;
        credential.authority_der()?;
        credential.identity()?;
        Ok(credential)
    }

    /// Writes a credential file atomically and private (0600), making its folder.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let text = toml::to_string(self).map_err(IdentityError::make)?;
        let header = "# What proves to a wrun cluster who you are. Keep it secret.\n";
        private_file::write(path, &format!("{header}{text}"))
    }

    /// The key and certificate.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_pem(&self.certificate_pem, &self.key_pem)
    }

    /// The authority's certificate, DER.
    pub fn authority_der(&self) -> Result<Vec<u8>, IdentityError> {
        certificates_from_pem(&self.authority_pem)?
            .into_iter()
            .next()
            .ok_or_else(|| IdentityError::malformed("authority_pem", "no certificate in it"))
    }

    /// Whose work it submits, as the certificate says.
    pub fn tenant(&self) -> Result<TenantName, IdentityError> {
        Ok(self.user()?.0)
    }

    /// What it may do, as the certificate says.
    pub fn role(&self) -> Result<Role, IdentityError> {
        Ok(self.user()?.1)
    }

    fn user(&self) -> Result<(TenantName, Role), IdentityError> {
        match self.identity()?.peer()? {
            Peer::User { tenant, role } => Ok((tenant, role)),
            other => {
                let problem = format!("it is of a {other}, not of a user");
                Err(IdentityError::malformed("certificate_pem", problem))
            }
        }
    }

    /// When its time is over.
    pub fn expires(&self) -> Result<SystemTime, IdentityError> {
        self.identity()?.expires()
    }
}

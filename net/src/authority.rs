//! The cluster's certificate authority. It alone says who is a server, a node or a user.

use std::path::Path;
use std::time::Duration;

use wrun_protocol::{NodeId, Role, TenantName};

use crate::error::IdentityError;
use crate::identity::Identity;

/// The authority with its private key. Held by the server.
pub struct Authority {
    certificate: Vec<u8>,
}

impl Authority {
    /// Makes a new one.
    pub fn create() -> Result<Self, IdentityError> {
        todo!()
    }
    /// Reads `authority.pem` and `authority-key.pem` in `dir`.
    pub fn load(_dir: &Path) -> Result<Self, IdentityError> {
        todo!()
    }
    /// Writes `authority.pem` and `authority-key.pem` in `dir`, atomically and private (0600).
    pub fn save(&self, _dir: &Path) -> Result<(), IdentityError> {
        todo!()
    }
    /// SHA-256 of the certificate's DER: what join tokens pin.
    pub fn fingerprint(&self) -> [u8; 32] {
        todo!()
    }
    /// The authority's certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }
    /// The authority's certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        todo!()
    }
    /// A key and certificate for the server, with further DNS names or IP addresses besides
    /// `wrun-server`. Made anew at each start of the server.
    pub fn issue_server(&self, _names: &[String]) -> Result<Identity, IdentityError> {
        todo!()
    }
    /// A node's certificate (DER) for the key in `csr` (PKCS #10 DER), valid for `ttl` from now.
    pub fn issue_node(&self, _node: NodeId, _csr: &[u8], _ttl: Duration) -> Result<Vec<u8>, IdentityError> {
        todo!()
    }
    /// A user's certificate (DER) for the key in `csr` (PKCS #10 DER), valid for `ttl` from now.
    pub fn issue_user(&self, _tenant: &TenantName, _role: Role, _csr: &[u8], _ttl: Duration) -> Result<Vec<u8>, IdentityError> {
        todo!()
    }
}

//! A key with its certificates: what one side shows the other.

use std::path::Path;
use std::time::SystemTime;

use crate::certificate::Peer;
use crate::error::IdentityError;

/// A private key, PKCS #8 DER. Never printed.
#[derive(Clone)]
pub struct PrivateKey(Vec<u8>);

/// A private key and the chain of certificates, the holder's first, as DER.
#[derive(Clone, Debug)]
pub struct Identity {
    certificates: Vec<Vec<u8>>,
    key: PrivateKey,
}

/// Makes a key and a request (PKCS #10 DER) to certify it. The authority uses only the key
/// in it; names come from what the request is for.
pub fn signing_request() -> Result<(PrivateKey, Vec<u8>), IdentityError> {
    todo!()
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// The key as PEM. A secret: write it to private files only.
    pub fn to_pem(&self) -> String {
        todo!()
    }
    /// Reads a PKCS #8 PEM.
    pub fn from_pem(_pem: &str) -> Result<Self, IdentityError> {
        todo!()
    }
}

impl Identity {
    /// Of a key and its certificates, the holder's first. Fails where they do not fit.
    pub fn new(_certificates: Vec<Vec<u8>>, _key: PrivateKey) -> Result<Self, IdentityError> {
        todo!()
    }
    /// From PEM texts: certificates, the holder's first, and a PKCS #8 key.
    pub fn from_pem(_certificates: &str, _key: &str) -> Result<Self, IdentityError> {
        todo!()
    }
    /// Reads `certificate.pem` and `key.pem` in `dir`.
    pub fn load(_dir: &Path) -> Result<Self, IdentityError> {
        todo!()
    }
    /// Writes `certificate.pem` and `key.pem` in `dir`, each atomically and private (0600).
    pub fn save(&self, _dir: &Path) -> Result<(), IdentityError> {
        todo!()
    }
    /// The certificates as one PEM text.
    pub fn certificates_pem(&self) -> String {
        todo!()
    }
    /// The key as PEM. A secret.
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }
    /// Who it says the holder is.
    pub fn peer(&self) -> Result<Peer, IdentityError> {
        todo!()
    }
    /// When its time is over.
    pub fn expires(&self) -> Result<SystemTime, IdentityError> {
        todo!()
    }
    /// Whether `now` lies in its time, by a typed error if not.
    pub fn check(&self, _now: SystemTime) -> Result<(), IdentityError> {
        todo!()
    }
    /// The holder's certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        self.certificates.first().map_or(&[], Vec::as_slice)
    }
}

//! A key with its certificates: what one side shows the other.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::certificate::{Certificate, Peer};
use crate::error::IdentityError;
use crate::private_file;

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// A chain is the holder's certificate and the authority's; a longer one is a mistake.
const MAX_CHAIN: usize = 4;

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
    let pair = PrivateKey::create_pair()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair).map_err(IdentityError::make)?;
    Ok((PrivateKey(pair.serialize_der()), request.der().to_vec()))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// Ed25519: the smallest and fastest that both rustls and ring offer.
    pub(crate) fn create_pair() -> Result<KeyPair, IdentityError> {
        KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(IdentityError::make)
    }

    pub(crate) fn of_pair(pair: &KeyPair) -> Self {
        Self(pair.serialize_der())
    }

    pub(crate) fn pair(&self) -> Result<KeyPair, IdentityError> {
        KeyPair::try_from(self.0.as_slice())
            .map_err(|error| IdentityError::malformed("private key", error))
    }

    pub(crate) fn der(&self) -> PrivatePkcs8KeyDer<'static> {
        self.0.clone().into()
    }

    /// The key as PEM. A secret: write it to private files only.
    pub fn to_pem(&self) -> String {
        pem_text("PRIVATE KEY", &self.0)
    }

    /// Reads a PKCS #8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| IdentityError::malformed("private key", error))?;
        let key = Self(der.secret_pkcs8_der().to_vec());
        key.pair()?;
        Ok(key)
    }
}

impl Identity {
    /// Of a key and its certificates, the holder's first. Fails where they do not fit.
    pub fn new(certificates: Vec<Vec<u8>>, key: PrivateKey) -> Result<Self, IdentityError> {
        let problem = |text: &str| Err(IdentityError::malformed("certificate", text));
        let Some(first) = certificates.first() else {
            return problem("there is none");
        };
        if certificates.len() > MAX_CHAIN {
            return problem("the chain is too long");
        }
        if Certificate::parse(first)?.public_key != key.pair()?.der_bytes() {
            return problem("it is not of this private key");
        }
        Ok(Self { certificates, key })
    }

    /// From PEM texts: certificates, the holder's first, and a PKCS #8 key.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, IdentityError> {
        Self::new(certificates_from_pem(certificates)?, PrivateKey::from_pem(key)?)
    }

    /// Reads `certificate.pem` and `key.pem` in `dir`.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let certificates = private_file::read(&dir.join(CERTIFICATE_FILE))?;
        let key = private_file::read_secret(&dir.join(KEY_FILE))?;
        Self::from_pem(&certificates, &key)
    }

    /// Writes `certificate.pem` and `key.pem` in `dir`, each atomically and private (0600).
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        private_file::write(&dir.join(KEY_FILE), &self.key_pem())?;
        private_file::write(&dir.join(CERTIFICATE_FILE), &self.certificates_pem())
    }

    /// The certificates as one PEM text.
    pub fn certificates_pem(&self) -> String {
        self.certificates.iter().map(|der| pem_text("CERTIFICATE", der)).collect()
    }

    /// The key as PEM. A secret.
    pub fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// Who it says the holder is.
    pub fn peer(&self) -> Result<Peer, IdentityError> {
        self.certificate()?.peer.ok_or_else(|| {
            IdentityError::malformed("certificate", "it names no server, node or user of wrun")
        })
    }

    /// When its time is over.
    pub fn expires(&self) -> Result<SystemTime, IdentityError> {
        Ok(self.certificate()?.not_after)
    }

    /// Whether `now` lies in its time, by a typed error if not.
    pub fn check(&self, now: SystemTime) -> Result<(), IdentityError> {
        self.certificate()?.check(now)
    }

    /// The holder's certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        self.certificates.first().map_or(&[], Vec::as_slice)
    }

    fn certificate(&self) -> Result<Certificate, IdentityError> {
        Certificate::parse(self.certificate_der())
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.certificates.iter().cloned().map(CertificateDer::from).collect()
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// The certificates in a PEM text, in order.
pub(crate) fn certificates_from_pem(pem: &str) -> Result<Vec<Vec<u8>>, IdentityError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| IdentityError::malformed("certificate", error))
}

/// `der` in PEM's armour.
pub(crate) fn pem_text(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(*ALPHABET.get(bits as usize & 63).unwrap_or(&b'='));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                let filled = place <= group.len();
                text.push(if filled { digit(bits >> (18 - 6 * place)) } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

//! The cluster's certificate authority. It alone says who is a server, a node or a user.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use wrun_protocol::{NodeId, Role, TenantName};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::certificate::{Certificate, Peer, SERVER_NAME};
use crate::error::IdentityError;
use crate::identity::{Identity, PrivateKey, certificates_from_pem, pem_text};
use crate::private_file;

const CERTIFICATE_FILE: &str = "authority.pem";
const KEY_FILE: &str = "authority-key.pem";

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// The authority outlives the machines; a cluster has only one.
const AUTHORITY_TTL: Duration = YEAR.saturating_mul(30);

/// A server's certificate is made anew at each start and lies beside the authority's key,
/// so a short life would protect nothing.
const SERVER_TTL: Duration = YEAR.saturating_mul(10);

/// How far the clocks of two machines may differ before a new certificate is refused.
const CLOCK_SKEW: Duration = DAY;

/// A request with an Ed25519 or P-256 key takes 200 to 400 bytes.
const MAX_REQUEST: usize = 8 << 10;

/// The authority with its private key. Held by the server.
pub struct Authority {
    certificate: Vec<u8>,
    key: PrivateKey,
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Makes a new one.
    pub fn create() -> Result<Self, IdentityError> {
        let now = SystemTime::now();
        let pair = PrivateKey::create_pair()?;
        let mut params = params_between(now - CLOCK_SKEW, now + AUTHORITY_TTL)?;
        // A name of its own tells a certificate of another cluster's authority from a
        // forged one.
        params.distinguished_name = named(&format!("wrun authority {}", random_hex()?));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&pair).map_err(IdentityError::make)?;
        Self::of(certificate.der().to_vec(), PrivateKey::of_pair(&pair))
    }

    fn of(certificate: Vec<u8>, key: PrivateKey) -> Result<Self, IdentityError> {
        let parsed = Certificate::parse(&certificate)?;
        let pair = key.pair()?;
        if !parsed.is_authority || parsed.public_key != pair.der_bytes() {
            let problem = "it is not an authority's, or not of this private key";
            return Err(IdentityError::malformed("authority's certificate", problem));
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(certificate.as_slice()), pair)
            .map_err(|error| IdentityError::malformed("authority's certificate", error))?;
        Ok(Self { not_after: parsed.not_after, certificate, key, issuer })
    }

    /// Reads `authority.pem` and `authority-key.pem` in `dir`.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(CERTIFICATE_FILE);
        let certificate = certificates_from_pem(&private_file::read(&path)?)?
            .into_iter()
            .next()
            .ok_or_else(|| IdentityError::malformed(path.display(), "no certificate in it"))?;
        let key = private_file::read_secret(&dir.join(KEY_FILE))?;
        Self::of(certificate, PrivateKey::from_pem(&key)?)
    }

    /// Writes `authority.pem` and `authority-key.pem` in `dir`, atomically and private (0600).
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        private_file::write(&dir.join(KEY_FILE), &self.key.to_pem())?;
        private_file::write(&dir.join(CERTIFICATE_FILE), &self.certificate_pem())
    }

    /// SHA-256 of the certificate's DER: what join tokens pin.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// A secret that is the same at each start of the server and tells nothing of the key:
    /// for [`crate::Listener::bind_recognised`].
    pub fn listener_secret(&self) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.der().secret_pkcs8_der());
        let tag = hmac::sign(&key, b"wrun listener");
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The authority's certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The authority's certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        pem_text("CERTIFICATE", &self.certificate)
    }

    /// A key and certificate for the server, with further DNS names or IP addresses besides
    /// `wrun-server`. Made anew at each start of the server.
    pub fn issue_server(&self, names: &[String]) -> Result<Identity, IdentityError> {
        let now = SystemTime::now();
        self.issue_server_between(names, now - CLOCK_SKEW, now + SERVER_TTL)
    }

    pub(crate) fn issue_server_between(
        &self,
        names: &[String],
        from: SystemTime,
        to: SystemTime,
    ) -> Result<Identity, IdentityError> {
        let pair = PrivateKey::create_pair()?;
        let all: Vec<String> = std::iter::once(SERVER_NAME.to_owned())
            .chain(names.iter().filter(|name| *name != SERVER_NAME).cloned())
            .collect();
        let mut params = params_between(from, to.min(self.not_after))?;
        params.subject_alt_names =
            CertificateParams::new(all).map_err(IdentityError::make)?.subject_alt_names;
        params.distinguished_name = named(SERVER_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&pair, &self.issuer).map_err(IdentityError::make)?;
        // The authority's certificate goes along: who joins knows only its fingerprint.
        let chain = vec![certificate.der().to_vec(), self.certificate.clone()];
        Identity::new(chain, PrivateKey::of_pair(&pair))
    }

    /// A node's certificate (DER) for the key in `csr` (PKCS #10 DER), valid for `ttl` from now.
    pub fn issue_node(
        &self,
        node: NodeId,
        csr: &[u8],
        ttl: Duration,
    ) -> Result<Vec<u8>, IdentityError> {
        self.issue(&Peer::Node(node), csr, ttl)
    }

    /// A user's certificate (DER) for the key in `csr` (PKCS #10 DER), valid for `ttl` from now.
    pub fn issue_user(
        &self,
        tenant: &TenantName,
        role: Role,
        csr: &[u8],
        ttl: Duration,
    ) -> Result<Vec<u8>, IdentityError> {
        self.issue(&Peer::User { tenant: tenant.clone(), role }, csr, ttl)
    }

    fn issue(&self, peer: &Peer, csr: &[u8], ttl: Duration) -> Result<Vec<u8>, IdentityError> {
        let now = SystemTime::now();
        let end = now.checked_add(ttl).unwrap_or(self.not_after);
        self.issue_between(peer, csr, now - CLOCK_SKEW, end)
    }

    pub(crate) fn issue_between(
        &self,
        peer: &Peer,
        csr: &[u8],
        from: SystemTime,
        to: SystemTime,
    ) -> Result<Vec<u8>, IdentityError> {
        let key = requested_key(csr)?;
        let mut params = params_between(from, to.min(self.not_after))?;
        let uri = peer.uri().unwrap_or_default();
        let san = uri.clone().try_into().map_err(IdentityError::make)?;
        params.subject_alt_names = vec![SanType::URI(san)];
        params.distinguished_name = named(&uri);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(IdentityError::make)?;
        Ok(certificate.der().to_vec())
    }
}

/// SHA-256 of a certificate's DER.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// The key in a signing request whose holder has proven to have it. Nothing else in the
/// request is looked at.
fn requested_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, IdentityError> {
    let refused = |problem: String| IdentityError::Request(problem);
    if csr.len() > MAX_REQUEST {
        return Err(refused(format!("{} bytes; at most {MAX_REQUEST}", csr.len())));
    }
    let (rest, request) =
        X509CertificationRequest::from_der(csr).map_err(|error| refused(error.to_string()))?;
    if !rest.is_empty() {
        return Err(refused("bytes are left over after its end".to_owned()));
    }
    request.verify_signature().map_err(|_| refused("its signature is wrong".to_owned()))?;
    SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| refused("its key is of a kind that wrun does not use".to_owned()))
}

fn params_between(from: SystemTime, to: SystemTime) -> Result<CertificateParams, IdentityError> {
    let at = |instant: SystemTime| {
        let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since.as_secs())
    };
    let mut params = CertificateParams::default();
    params.not_before = at(from);
    params.not_after = at(to);
    params.serial_number = Some(SerialNumber::from_slice(&random::<16>()?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn random_hex() -> Result<String, IdentityError> {
    Ok(random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| IdentityError::make("the system gives no random bytes"))?;
    Ok(bytes)
}

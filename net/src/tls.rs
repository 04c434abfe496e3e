//! What TLS is told: version 1.3 only, ring, who is trusted, and which protocol is spoken.
//! No session is resumed, so that every connection's certificate is checked anew.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use wrun_protocol::NodeId;
use wrun_protocol::wire::{ALPN, ALPN_JOIN, ALPN_PEER};

use crate::authority::fingerprint;
use crate::certificate::{Certificate, Peer};
use crate::error::IdentityError;
use crate::identity::Identity;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority_der: &[u8]) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority_der))
        .map_err(|error| IdentityError::malformed("authority's certificate", error))?;
    Ok(Arc::new(roots))
}

/// For a listener: shows `identity`, takes clients of the authority and anonymous ones.
/// What an anonymous one may do is decided after the handshake, by its ALPN.
pub(crate) fn server(
    identity: &Identity,
    authority_der: &[u8],
) -> Result<QuicServerConfig, IdentityError> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority_der)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(IdentityError::make)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(IdentityError::make)?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain(), PrivateKeyDer::from(identity.key().der()))
        .map_err(|error| IdentityError::malformed("server's certificate", error))?;
    config.alpn_protocols = vec![ALPN.to_vec(), ALPN_JOIN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(IdentityError::make)
}

/// For a node that other nodes reach: shows its own certificate, and takes none but those
/// that the authority has issued.
pub(crate) fn peer(
    identity: &Identity,
    authority_der: &[u8],
) -> Result<QuicServerConfig, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(IdentityError::make)?
        .with_client_cert_verifier(holders(roots(authority_der)?)?)
        .with_single_cert(identity.chain(), PrivateKeyDer::from(identity.key().der()))
        .map_err(|error| IdentityError::malformed("node's certificate", error))?;
    config.alpn_protocols = vec![ALPN_PEER.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(IdentityError::make)
}

/// Whom a connecting side trusts.
pub(crate) enum Trust<'a> {
    /// Servers of the authority with this certificate (DER).
    Authority(&'a [u8]),
    /// Servers that show an authority's certificate of this fingerprint, and are of it.
    Fingerprint([u8; 32]),
    /// That node, whose certificate is of the authority with this certificate (DER).
    Node(NodeId, &'a [u8]),
}

/// For a connecting side. Without an identity it is anonymous.
pub(crate) fn client(
    trust: &Trust<'_>,
    identity: Option<&Identity>,
    alpn: &[u8],
) -> Result<QuicClientConfig, IdentityError> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authority(der) => webpki(roots(der)?)?,
        Trust::Fingerprint(fingerprint) => {
            Arc::new(PinnedAuthority { fingerprint: *fingerprint, provider: provider() })
        }
        Trust::Node(node, der) => Arc::new(OneNode { node: *node, holders: holders(roots(der)?)? }),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(IdentityError::make)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain(), PrivateKeyDer::from(identity.key().der()))
            .map_err(|error| IdentityError::malformed("certificate", error))?,
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(IdentityError::make)
}

/// Holders of certificates of the authority, as servers and nodes check those who connect.
fn holders(roots: Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(IdentityError::make)
}

/// Trusts one node, by the certificate with which it connects to the server: a node has no
/// other, and it says who it is in place of what it is called.
#[derive(Debug)]
struct OneNode {
    node: NodeId,
    holders: Arc<dyn ClientCertVerifier>,
}

impl ServerCertVerifier for OneNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.holders.verify_client_cert(end_entity, intermediates, now)?;
        let holder = Certificate::parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if holder.peer == Some(Peer::Node(self.node)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.holders.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.holders.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.holders.supported_verify_schemes()
    }
}

fn webpki(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, IdentityError> {
    WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(IdentityError::make)
}

/// Trusts the authority whose certificate has a known fingerprint. That certificate comes
/// with the server's; from there on it is checked like any other.
#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        roots(authority)
            .and_then(webpki)
            .map_err(|_| CertificateError::BadEncoding)?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

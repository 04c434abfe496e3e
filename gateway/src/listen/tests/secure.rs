//! TLS: what is spoken over it, and certificates that change.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tests::env::{Env, endpoints};
use crate::{ListenConfig, Listening, TlsFiles};

struct Secure {
    env: Env,
    listening: Listening,
    folder: tempfile::TempDir,
}

fn write(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

async fn secure() -> (Secure, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write(folder.path());
    let env = Env::new(endpoints(1, |_| {}));
    let tls = TlsFiles {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let listening = env.gateway.listen(ListenConfig { addresses, tls: Some(tls) }).await.unwrap();
    (Secure { env, listening, folder }, certificate)
}

impl Secure {
    async fn connect(
        &self,
        trusted: &CertificateDer<'static>,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(self.listening.addresses()[0]).await?;
        let name = ServerName::try_from("shop.example").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

#[tokio::test]
async fn http1_is_spoken_over_tls_and_the_replica_is_told() {
    let (site, certificate) = secure().await;
    for alpn in [&[][..], &["http/1.1"]] {
        let mut stream = site.connect(&certificate, alpn).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    }
    let seen = site.env.replicas.seen();
    assert_eq!(seen[0].uri, "https://shop.example/");
    assert_eq!(seen[1].fields["x-forwarded-proto"], "https");
}

#[tokio::test]
async fn http2_is_chosen_where_the_client_knows_it() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (site, certificate) = secure().await;
    let stream = site.connect(&certificate, &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder().uri("https://shop.example/y");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    assert_eq!(site.env.replicas.seen()[0].uri, "https://shop.example/y");
}

#[tokio::test]
async fn a_new_certificate_takes_the_place_of_the_old_one_and_a_broken_one_does_not() {
    let (site, first) = secure().await;
    let open = site.connect(&first, &[]).await.unwrap();
    let second = write(site.folder.path());
    site.listening.reload();
    assert!(site.connect(&first, &[]).await.is_err());
    site.connect(&second, &[]).await.unwrap();
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(site.folder.path().join("cert.pem"), broken).unwrap();
        site.listening.reload();
        site.connect(&second, &[]).await.unwrap();
    }
    std::fs::remove_file(site.folder.path().join("key.pem")).unwrap();
    site.listening.reload();
    site.connect(&second, &[]).await.unwrap();
    // What was open before goes on.
    let mut open = open;
    open.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn files_that_are_no_certificate_and_its_key_are_refused_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(endpoints(1, |_| {}));
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let error = || async {
        let tls = Some(TlsFiles { certificate: certificate.clone(), key: key.clone() });
        let addresses = vec!["127.0.0.1:0".parse().unwrap()];
        env.gateway.listen(ListenConfig { addresses, tls }).await.unwrap_err().to_string()
    };
    let missing = error().await;
    assert!(missing.contains("cannot read") && missing.contains("cert.pem"), "{missing}");
    write(folder.path());
    let kept = std::fs::read(&key).unwrap();
    write(folder.path());
    std::fs::write(&key, kept).unwrap();
    let mismatch = error().await;
    assert!(mismatch.starts_with("cannot use the certificate in"), "{mismatch}");
}

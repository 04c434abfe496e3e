//! HTTPS as an operator sets it up: a certificate and its key in files, spoken over both
//! versions of HTTP, exchanged while requests come.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use harness::process::PATIENCE;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::desk::{guest, stderr};
use crate::{Desk, until};

/// Puts a new certificate and its key into the folder.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A connection that trusts this certificate alone.
async fn connect(
    gateway: SocketAddr,
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
    let socket = TcpStream::connect(gateway).await?;
    let name = ServerName::try_from("shop.example").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A request by HTTP/1.1, and the end of the connection.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request = "GET /hello HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const FLAGS: [&str; 6] =
    ["--https", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];

#[test]
fn https_is_spoken_and_certificates_are_exchanged_while_it_runs() {
    let mut desk = Desk::alone();
    let first = certify(desk.folder());
    desk.start_dev(&[&["--cpu", "2", "--memory", "1GiB"], &FLAGS[..]].concat());
    let ready: Value = serde_json::from_str(desk.dev().printed().lines().next().unwrap()).unwrap();
    let gateway: SocketAddr = ready["https"][0].as_str().unwrap().parse().unwrap();
    let said = desk.says(&["deploy", &guest("http_hello"), "--name", "hello", "--route", "/"]);
    assert!(said.contains(&format!("https://{gateway}/")), "{said}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = |trusted: &CertificateDer<'static>, alpn: &[&str]| {
        runtime.block_on(connect(gateway, trusted, alpn))
    };

    let mut stream = open(&first, &["http/1.1"]).unwrap();
    let answer = runtime.block_on(ask(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("Hello, world!\n"), "{answer}");
    let stream = open(&first, &["h2", "http/1.1"]).unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let status = runtime.block_on(async {
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get("https://shop.example/hello");
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        sender.send_request(request).await.unwrap().status()
    });
    assert_eq!(status, 200);

    let mut before = open(&first, &[]).unwrap();
    let second = certify(desk.folder());
    until("the new certificate is used", || open(&second, &[]).ok());
    assert!(open(&first, &[]).is_err(), "new connections get the new one alone");
    let answer = runtime.block_on(ask(&mut before));
    assert!(answer.ends_with("Hello, world!\n"), "what was open goes on: {answer}");

    std::fs::write(desk.folder().join("cert.pem"), "nonsense").unwrap();
    let kept = "the certificate in use is kept";
    until("it is told of", || desk.dev().logged().contains(kept).then_some(()));
    let logged = desk.dev().logged();
    assert!(logged.contains("cert.pem") && logged.contains("there is no certificate in it"));
    let mut stream = open(&second, &[]).unwrap();
    assert!(runtime.block_on(ask(&mut stream)).starts_with("HTTP/1.1 200 OK\r\n"));
    let third = certify(desk.folder());
    until("it goes on from there", || open(&third, &[]).ok());
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start() {
    let desk = Desk::alone();
    let refused = || {
        let line = ["dev", "--listen", "127.0.0.1:0", "--data", "data"];
        let begun = std::time::Instant::now();
        let output = desk.wrun(&[&line[..], &FLAGS].concat());
        assert!(begun.elapsed() < PATIENCE);
        assert!(!output.status.success());
        stderr(&output)
    };
    let said = refused();
    assert!(said.contains("cannot read") && said.contains("cert.pem"), "{said}");
    certify(desk.folder());
    let key = std::fs::read(desk.folder().join("key.pem")).unwrap();
    certify(desk.folder());
    std::fs::write(desk.folder().join("key.pem"), key).unwrap();
    let said = refused();
    assert!(said.contains("cannot use the certificate in"), "{said}");
    assert!(said.contains("cert.pem with the key in"), "{said}");
    std::fs::write(desk.folder().join("cert.pem"), "nonsense").unwrap();
    let said = refused();
    assert!(said.contains("there is no certificate in it"), "{said}");
}

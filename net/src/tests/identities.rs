//! Keys, certificates and credentials on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use wrun_protocol::{NodeId, Role};

use super::{HOUR, user, user_of};
use crate::{Authority, Credential, Identity, IdentityError, Peer, signing_request};

#[test]
fn an_authority_read_back_issues_for_the_same_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create().unwrap();
    authority.save(dir.path()).unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = Authority::load(dir.path()).unwrap();
    assert_eq!(again.fingerprint(), authority.fingerprint());
    assert_eq!(user_of(&again).peer().unwrap(), user());
}

#[test]
fn an_authority_whose_key_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Authority::create().unwrap().save(dir.path()).unwrap();
    let key = dir.path().join("authority-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::load(dir.path()).unwrap_err();
    assert!(matches!(error, IdentityError::Exposed { .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn files_of_another_authority_or_holder_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Authority::create().unwrap(), Authority::create().unwrap());
    one.save(dir.path()).unwrap();
    let path = dir.path().join("authority.pem");
    fs::write(&path, two.certificate_pem()).unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(IdentityError::Malformed { .. })));
    // A user's certificate is no authority's.
    fs::write(&path, user_of(&one).certificates_pem()).unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(IdentityError::Malformed { .. })));
    let (a, b) = (user_of(&one), user_of(&one));
    let mixed = Identity::from_pem(&a.certificates_pem(), &b.key_pem());
    assert!(mixed.unwrap_err().to_string().contains("not of this private key"));
}

#[test]
fn an_identity_survives_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create().unwrap();
    let server = authority.issue_server(&["db.example.org".into(), "10.0.0.1".into()]).unwrap();
    server.save(dir.path()).unwrap();
    let again = Identity::load(dir.path()).unwrap();
    assert_eq!(again.peer().unwrap(), Peer::Server);
    assert_eq!(again.certificates_pem(), server.certificates_pem());
    assert_eq!(again.key_pem(), server.key_pem());
}

#[test]
fn a_certificate_says_whose_it_is_and_until_when() {
    let authority = Authority::create().unwrap();
    let (key, csr) = signing_request().unwrap();
    let der = authority.issue_node(NodeId(42), &csr, HOUR).unwrap();
    let node = Identity::new(vec![der], key).unwrap();
    assert_eq!(node.peer().unwrap(), Peer::Node(NodeId(42)));
    let left = node.expires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left <= HOUR && left > HOUR - Duration::from_secs(60), "{left:?}");
    node.check(SystemTime::now()).unwrap();
    let late = node.check(SystemTime::now() + 3 * HOUR).unwrap_err();
    assert!(
        late.to_string().contains("expired 119 minutes ago")
            || late.to_string().contains("expired 2 hours ago"),
        "{late}"
    );
    let early = node.check(SystemTime::now() - 100 * HOUR).unwrap_err();
    assert!(matches!(early, IdentityError::NotYetValid { .. }), "{early}");
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = Authority::create().unwrap();
    let (key, csr) = signing_request().unwrap();
    let der = authority.issue_node(NodeId(1), &csr, Duration::MAX).unwrap();
    let node = Identity::new(vec![der], key).unwrap();
    let ends =
        crate::certificate::Certificate::parse(authority.certificate_der()).unwrap().not_after;
    assert_eq!(node.expires().unwrap(), ends);
}

#[test]
fn a_request_that_was_tampered_with_is_refused() {
    let authority = Authority::create().unwrap();
    let (key, csr) = signing_request().unwrap();
    let issue = |csr: &[u8]| authority.issue_node(NodeId(1), csr, HOUR);
    assert!(issue(&csr).is_ok());
    for at in 0..csr.len() {
        let mut changed = csr.clone();
        changed[at] ^= 1;
        match issue(&changed) {
            Err(IdentityError::Request(_)) => {}
            // The wrapping around the signed part may be read leniently; the key may not.
            Ok(der) => drop(Identity::new(vec![der], key.clone()).unwrap()),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(issue(&[csr.as_slice(), &[0]].concat()).is_err());
    assert!(issue(&csr[..csr.len() - 1]).is_err());
    assert!(issue(&vec![0x30; 1 << 20]).is_err());
}

#[test]
fn a_credential_is_one_private_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrun/credential.toml");
    let authority = Authority::create().unwrap();
    let server = "localhost:7450".parse().unwrap();
    let credential = Credential::new(&server, authority.certificate_der(), &user_of(&authority));
    credential.save(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Credential::load(&path).unwrap();
    assert_eq!(again, credential);
    assert_eq!(again.tenant().unwrap().as_str(), "lab");
    assert_eq!(again.role().unwrap(), Role::User);
    assert_eq!(again.authority_der().unwrap(), authority.certificate_der());
    assert!(again.expires().unwrap() > SystemTime::now());
    assert!(!format!("{again:?}").contains("PRIVATE"));
}

#[test]
fn a_credential_that_is_none_is_refused_by_file_and_line_without_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credential.toml");
    let authority = Authority::create().unwrap();
    let server = "localhost:7450".parse().unwrap();
    let good = Credential::new(&server, authority.certificate_der(), &user_of(&authority));
    good.save(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (bad, said) in [
        (text.replace("server =", "sever ="), "line 2"),
        (text.replace("localhost:7450", "localhost"), "port is missing"),
        (text.replace("BEGIN CERTIFICATE", "BEGIN"), "certificate"),
        (format!("{text}extra = 1\n"), "extra"),
        (text.replace("key_pem", "key"), "key"),
        (String::new(), "server"),
        ("\0\u{1}garbage".to_owned(), "line 1"),
    ] {
        fs::write(&path, &bad).unwrap();
        let error = Credential::load(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("credential.toml"), "{error}");
        let secret = good.key_pem.lines().nth(1).unwrap();
        assert!(!error.contains(secret), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_certificate_request_key_or_credential(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let authority = Authority::create().unwrap();
        prop_assert!(authority.issue_node(NodeId(1), &bytes, HOUR).is_err());
        prop_assert!(crate::certificate::Certificate::parse(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(Identity::from_pem(&text, &text).is_err());
        prop_assert!(text.parse::<crate::JoinAddress>().is_err());
        let _ = text.parse::<crate::ServerAddress>();
    }

    #[test]
    fn a_changed_certificate_never_panics(at in 0_usize..400, to in any::<u8>()) {
        let authority = Authority::create().unwrap();
        let mut der = authority.certificate_der().to_vec();
        if let Some(byte) = der.get_mut(at) {
            *byte = to;
        }
        let _ = crate::certificate::Certificate::parse(&der);
        let _ = crate::tls::client(&crate::tls::Trust::Authority(&der), None, b"wrun/1");
    }

    #[test]
    fn pem_is_read_back_by_rustls(der in prop::collection::vec(any::<u8>(), 1..200)) {
        let pem = crate::identity::pem_text("CERTIFICATE", &der);
        prop_assert_eq!(crate::identity::certificates_from_pem(&pem).unwrap(), vec![der]);
    }
}

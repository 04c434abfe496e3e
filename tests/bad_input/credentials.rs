//! Servers that are not there, credentials that are not good, and join tokens used twice.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Cluster, Settings, artefacts};
use wrun_net::Credential;

use crate::{exit, goes_on, refused};

/// A copy of the cluster's credential that names another server.
fn pointing(cluster: &Cluster, from: PathBuf, server: &str) -> String {
    let mut credential = Credential::load(&from).unwrap();
    credential.server = server.to_owned();
    let path = cluster.folder().join("changed.toml");
    credential.save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn no_server_there_is_told_with_the_address() {
    let cluster = Cluster::start();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let credential = pointing(&cluster, cluster.credential(), &address);
    let words = ["no wrun server answers at", &address, "is `wrun server` running there"];
    let output = cluster.wrun(&["jobs", "--credential", &credential]);
    refused(&output, exit::UNAVAILABLE, &words);
    let credential = pointing(&cluster, cluster.credential(), "nosuchhost.invalid:7411");
    let output = cluster.wrun(&["jobs", "--credential", &credential]);
    refused(&output, exit::UNAVAILABLE, &["`nosuchhost.invalid:7411`", "check the name"]);
    goes_on(&cluster, 0);
}

#[test]
fn a_credential_that_is_wrong_or_over_is_refused() {
    let cluster = Cluster::start();
    let other = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let denied = exit::DENIED;
    let noop = artefacts::guest("noop");
    let submit = |credential: &str| {
        cluster.wrun(&["submit", noop.to_str().unwrap(), "--credential", credential])
    };
    let foreign = pointing(&cluster, other.credential(), cluster.address());
    refused(
        &submit(&foreign),
        denied,
        &[cluster.address(), "another cluster", "use the credential"],
    );
    // It trusts this cluster, but who it is was certified by the other.
    let mut mixed = Credential::load(&cluster.credential()).unwrap();
    let stranger = Credential::load(&other.credential()).unwrap();
    (mixed.certificate_pem, mixed.key_pem) = (stranger.certificate_pem, stranger.key_pem);
    let path = cluster.folder().join("mixed.toml");
    mixed.save(&path).unwrap();
    refused(
        &submit(path.to_str().unwrap()),
        denied,
        &["authority", "use a credential of this cluster"],
    );

    cluster.stdout(&["user", "add", "lab", "--ttl", "1s", "-o", "lab.toml"]);
    std::thread::sleep(Duration::from_millis(2200));
    refused(&submit("lab.toml"), denied, &["`lab.toml`", "expired", "ask an admin"]);
    refused(&submit("gone.toml"), denied, &["no credential at `gone.toml`", "--credential"]);
    std::fs::copy(cluster.folder().join("lab.toml"), cluster.folder().join("open.toml")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(cluster.folder().join("open.toml"), mode).unwrap();
    refused(&submit("open.toml"), denied, &["open.toml", "others may read it", "chmod 600"]);
    std::fs::write(cluster.folder().join("lab.toml"), "garbage").unwrap();
    refused(&submit("lab.toml"), denied, &["lab.toml, line 1", "ask an admin"]);
    goes_on(&cluster, 0);
}

#[test]
fn a_join_token_lets_one_machine_in() {
    let cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let token = cluster.stdout(&["token", "create"]);
    let token = token.trim();
    let join = |token: &str, name: &str| {
        let data = cluster.folder().join(name);
        let data = data.to_str().unwrap();
        cluster.wrun(&["worker", "--join", token, "--name", name, "--data", data])
    };
    // Not used up by a server that is not there, nor by one of another cluster.
    let (secret, _) = token.split_once('@').unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = join(&format!("{secret}@{closed}"), "w1");
    refused(
        &output,
        exit::UNAVAILABLE,
        &["cannot join", "no wrun server answers", "is `wrun server`"],
    );
    let other = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let output = join(&format!("{secret}@{}", other.address()), "w1");
    refused(&output, exit::DENIED, &["cannot join", other.address(), "another cluster"]);
    refused(&join("wrun1-12", "w1"), exit::USAGE, &["TOKEN@HOST:PORT"]);

    let mut worker = cluster.command();
    worker.args(["worker", "--json", "--join", token, "--name", "w1", "--data", "w1"]);
    let mut worker = harness::Process::start(worker, cluster.folder(), "w1");
    worker.wait_for("the worker is ready", |printed| printed.contains('\n').then_some(()));
    let words = ["cannot join", cluster.address(), "used already", "ask an administrator"];
    refused(&join(token, "w2"), exit::DENIED, &words);

    let brief = cluster.stdout(&["token", "create", "--ttl", "1s"]);
    std::thread::sleep(Duration::from_millis(1500));
    refused(&join(brief.trim(), "w2"), exit::DENIED, &["has expired", "ask an administrator"]);
    let nodes = cluster.stdout(&["nodes"]);
    assert_eq!(nodes.lines().count(), 2, "one node joined: {nodes}");
    goes_on(&cluster, 0);
}

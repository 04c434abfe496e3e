//! Services that call one another by name.

use harness::{Cluster, Settings, artefacts, http};

/// Deploys a guest under that name, which may call the others.
fn deploy(cluster: &Cluster, guest: &str, name: &str, flags: &[&str]) {
    let guest = artefacts::guest(guest);
    let line = ["deploy", guest.to_str().unwrap(), "--name", name];
    cluster.stdout(&[&line[..], flags].concat());
}

/// Neither passes anything on by which the other could know: both are proxies that say what
/// they were asked, and the node counts.
#[test]
fn a_circle_of_services_ends_with_a_status() {
    let cluster = Cluster::with(Settings { workers: 2, ..Settings::default() });
    for (name, other) in [("ping", "pong"), ("pong", "ping")] {
        let host = format!("{other}.wrun.internal");
        let upstream = format!("UPSTREAM=http://{host}");
        let flags = ["--route", &format!("/{name}"), "--env", &upstream, "--allow-host", &host];
        deploy(&cluster, "relay", name, &flags);
    }
    for gateway in [cluster.gateway(0), cluster.gateway(1)] {
        let answer = http::get_of(gateway, "localhost", "/ping", "wrun-hops: 0\r\n").unwrap();
        assert_eq!(answer.status, 508, "{}", answer.text());
    }
}

/// Both worlds in one circle, with an instance for each request and with one for many.
#[test]
fn a_circle_is_ended_at_the_seventeenth_call() {
    let cluster = Cluster::start();
    let all = ["--allow-host", "plain.wrun.internal", "--allow-host", "shared.wrun.internal"];
    deploy(&cluster, "http_obedient", "plain", &[&all[..], &["--route", "/"]].concat());
    let file = format!(
        "component = {:?}\nname = \"shared\"\n\
         network = [\"plain.wrun.internal\", \"shared.wrun.internal\"]\n\
         [http]\nreuse = {{ concurrent = 16 }}\n",
        artefacts::guest("http_obedient_async")
    );
    std::fs::write(cluster.folder().join("shared.toml"), file).unwrap();
    cluster.stdout(&["deploy", "shared.toml"]);
    let path = |calls: usize| {
        let call =
            |at: usize| ["/fetch?shared.wrun.internal", "/fetch?plain.wrun.internal"][at % 2];
        (0..calls).map(call).collect::<String>() + "/hello"
    };
    let answer = http::get(cluster.gateway(0), &path(16)).unwrap().text();
    assert_eq!(answer, "200 ".repeat(16) + "hello");
    let answer = http::get(cluster.gateway(0), &path(20)).unwrap().text();
    assert!(answer.starts_with(&"200 ".repeat(16)), "{answer}");
    assert!(answer.ends_with("LoopDetected"), "{answer}");
}

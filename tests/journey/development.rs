//! `wrun dev` from one start to the next, and how processes end when they are told to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Desk;
use crate::desk::{guest, signal};

#[test]
fn a_second_start_on_the_same_data_keeps_jobs_logs_and_outputs() {
    let mut desk = Desk::with(&["--nodes", "2", "--cpu", "1"]);
    let first = desk.submit(&[&guest("hello"), "--count", "5"]);
    desk.ended(&first);
    // Longer than the grace of `wrun dev`: it is handed back and runs again.
    let second = desk.submit(&[&guest("sleeper"), "--", "3500"]);
    desk.running(&second);
    desk.dev().terminate();
    assert!(desk.dev().wait().success());

    desk.start_dev(&["--nodes", "2", "--cpu", "1"]);
    let page = desk.json(&["job", &first]);
    assert_eq!((&page["state"], &page["tasks"]["succeeded"]), (&"succeeded".into(), &5.into()));
    assert!(desk.says(&["output", &first, "--task", "4"]).contains("task 4 of 5"));
    assert!(desk.says(&["logs", &first, "--task", "3"]).contains("task 3 of 5"));
    assert_eq!(desk.ended(&second)["state"], "succeeded", "what ran goes on");
    assert_eq!(desk.submit(&[&guest("noop")]), "3", "ids go on");
    let nodes = desk.json(&["nodes"]);
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2, "the nodes are the same");
}

/// In one of ten tries: the machine may be busy with other things.
#[test]
fn it_is_ready_in_under_a_second() {
    let ready_in = || {
        let begun = Instant::now();
        let desk = Desk::with(&["--nodes", "2"]);
        let time = begun.elapsed();
        assert_eq!(desk.json(&["nodes"])["nodes"].as_array().unwrap().len(), 2);
        time
    };
    let quick = (0..10).any(|_| ready_in() < Duration::from_secs(1));
    assert!(quick, "never ready in under a second");
}

/// As a person reads it: how to reach it, and how to stop it.
#[test]
fn it_says_how_to_reach_it() {
    let mut desk = Desk::start();
    desk.dev().terminate();
    assert!(desk.dev().wait().success());
    let mut command = desk.command();
    command.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(desk.data());
    let mut dev = harness::Process::start(command, desk.folder(), "told");
    let said = dev.wait_for("it is ready", |said| said.contains("Ctrl-C").then(|| said.to_owned()));
    assert!(said.starts_with("wrun dev is ready: 1 node, server at 127.0.0.1:"), "{said}");
    assert!(said.contains("wrun run FILE.wasm"), "{said}");
    assert!(said.contains(desk.data().join("credential.toml").to_str().unwrap()), "{said}");
    assert_eq!(desk.says(&["run", &guest("hello")]).lines().count(), 2);
}

#[test]
fn two_at_a_time_on_the_same_data_are_refused() {
    let desk = Desk::start();
    let data = desk.data();
    let dev = ["dev", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    assert_eq!(desk.wrun(&dev).status.code(), Some(72));
    assert_eq!(desk.says(&["run", &guest("hello")]).lines().count(), 2, "the first goes on");
}

#[test]
fn a_second_signal_stops_it_at_once() {
    let mut desk = Desk::start();
    let job = desk.submit(&[&guest("sleep_forever")]);
    desk.running(&job);
    let dev = desk.dev();
    let begun = Instant::now();
    dev.terminate();
    std::thread::sleep(Duration::from_millis(200));
    assert!(Path::new(&format!("/proc/{}", dev.id())).exists(), "the task has its grace");
    signal(dev.id(), "INT");
    assert_eq!(dev.wait().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// Keys and credentials are for their owner alone, and so is what the server keeps of
/// everybody's jobs.
#[test]
fn secrets_are_readable_by_their_owner_alone() {
    let desk = Desk::start();
    desk.says(&["user", "add", "guests", "-o", "guests.toml"]);
    let mut secrets = Vec::new();
    collect(desk.folder(), &mut secrets);
    let names: Vec<&str> = secrets.iter().map(|(path, _)| path.as_str()).collect();
    for expected in [
        "ca/authority-key.pem",
        "identity/key.pem",
        "compiled/key",
        "data/credential.toml",
        "guests.toml",
    ] {
        assert!(names.iter().any(|name| name.ends_with(expected)), "{expected}: {names:?}");
    }
    for (path, mode) in &secrets {
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    let data = std::fs::metadata(desk.data()).unwrap().permissions().mode();
    assert_eq!(data & 0o777, 0o700, "the folder of everybody's jobs");
    // Where the CLI looks: through a link, the same file.
    let link = desk.folder().join("credential.toml");
    assert_eq!(
        std::fs::canonicalize(link).unwrap(),
        desk.data().canonicalize().unwrap().join("credential.toml")
    );
}

/// Every file that holds a secret, by its name or its content.
fn collect(folder: &Path, secrets: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            collect(&path, secrets);
        } else if meta.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let holds = bytes.windows(11).any(|window| window == b"PRIVATE KEY");
            if holds || path.ends_with("compiled/key") {
                secrets.push((path.display().to_string(), meta.permissions().mode()));
            }
        }
    }
}

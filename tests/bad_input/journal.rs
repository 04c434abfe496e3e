//! A server's journal that is not as it was written.

use std::path::{Path, PathBuf};

use harness::{Cluster, Process, Settings, artefacts};

use crate::{exit, refused};

/// The one segment of a small journal.
fn segment(data: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// A cluster without workers, killed after three jobs were acknowledged.
fn killed() -> Cluster {
    let mut cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let node = cluster.add_worker("w1");
    cluster.workers[node].kill();
    let noop = artefacts::guest("noop");
    for _ in 0..3 {
        cluster.stdout(&["submit", noop.to_str().unwrap()]);
    }
    cluster.server.kill();
    cluster
}

#[test]
fn a_truncated_tail_is_cut_and_reported_and_the_server_goes_on() {
    let mut cluster = killed();
    let path = segment(&cluster.server_data());
    let mut bytes = std::fs::read(&path).unwrap();
    let whole = bytes.len();
    // What a crash in the middle of a write leaves.
    bytes.extend_from_within(whole - 64..whole - 7);
    std::fs::write(&path, &bytes).unwrap();
    cluster.restart_server();
    let logged = cluster.server.logged();
    let told: Vec<_> = logged.lines().filter(|line| line.contains("was cut off")).collect();
    assert_eq!(told.len(), 1, "{logged}");
    let offset = format!("at byte {whole}");
    for word in ["WARN", path.to_str().unwrap(), "incomplete tail of 57 bytes", &offset] {
        assert!(told[0].contains(word), "{word}: {}", told[0]);
    }
    assert_eq!(cluster.stdout(&["jobs"]).lines().count(), 4, "what was acknowledged is there");

    cluster.restart_server();
    let again = cluster.server.logged();
    assert_eq!(again.matches("was cut off").count(), 1, "told once: {again}");
    cluster.restart_worker(0, "w1");
    for job in ["1", "2", "3"] {
        cluster.stdout(&["wait", job]);
    }
}

#[test]
fn a_damaged_journal_is_refused_with_what_to_do_and_left_as_it_is() {
    let mut cluster = killed();
    let path = segment(&cluster.server_data());
    let whole = std::fs::read(&path).unwrap();
    for at in [40, 100, whole.len() / 3, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let data = cluster.server_data();
        let data = data.to_str().unwrap();
        let output = cluster.wrun(&["server", "--data", data, "--listen", "127.0.0.1:0"]);
        let words = [path.to_str().unwrap(), "is damaged at byte", "from a backup", "move it away"];
        refused(&output, exit::INVALID_INPUT, &words);
        assert!(std::fs::read(&path).unwrap() == bytes, "nothing was changed");
    }
    std::fs::write(&path, &whole).unwrap();
    cluster.restart_server();
    assert_eq!(cluster.stdout(&["jobs"]).lines().count(), 4, "restored, it is as it was");
}

#[test]
fn a_data_directory_in_use_is_left_to_its_server() {
    let cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let data = cluster.server_data();
    let data = data.to_str().unwrap();
    let words = [data, "in use by another wrun server", "stop that one"];
    for line in [
        &["server", "--listen", "127.0.0.1:0", "--data", data][..],
        &["server", "init", "--data", data],
    ] {
        refused(&cluster.wrun(line), exit::CONFLICT, &words);
    }
    let mut server = cluster.command();
    server.args(["server", "--listen", cluster.address(), "--data", "elsewhere"]);
    let mut server = Process::start(server, cluster.folder(), "second");
    assert_eq!(server.wait().code(), Some(exit::CONFLICT));
    crate::last_words(
        &server.logged(),
        &["cannot listen on UDP", cluster.address(), "choose another"],
    );
    assert_eq!(cluster.stdout(&["jobs"]), "");
}

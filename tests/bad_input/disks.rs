//! Full disks: a small file system of the test's own, filled to the last byte.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, Settings, artefacts};

use crate::{exit, goes_on, last_words, refused};

/// A file system in memory, mounted on a folder; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said aloud, where this machine does not let the test mount one; under `CI`
    /// that fails the test.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "wrun-test"]).arg(folder);
        let output = mount.output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none(), "no file system could be mounted: {output:?}");
        eprintln!("NOT TESTED: a full disk; mounting a tmpfs needs root: {output:?}");
        None
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        // To the last page, then to the last byte.
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn guest(name: &str) -> String {
    artefacts::guest(name).to_str().unwrap().to_owned()
}

#[test]
fn a_server_does_not_start_on_a_full_disk() {
    let cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let Some(disk) = SmallDisk::mount(&cluster.folder().join("small"), "1m") else { return };
    disk.fill();
    let full = ["small/data", "disk is full", "make room"];
    let serve = ["server", "--data", "small/data", "--listen", "127.0.0.1:0"];
    refused(&cluster.wrun(&serve), exit::STORAGE_FULL, &full);
    let init = ["server", "init", "--data", "small/data", "--listen", "127.0.0.1:7000"];
    let init = [&init[..], &["--credential", "new.toml"]].concat();
    refused(&cluster.wrun(&init), exit::STORAGE_FULL, &full);
    assert!(!cluster.folder().join("new.toml").exists());
    disk.make_room();
    cluster.stdout(&init);
    assert!(cluster.folder().join("new.toml").exists());
}

#[test]
fn a_server_whose_disk_fills_takes_nothing_it_cannot_keep_and_loses_nothing_it_took() {
    let mut cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    cluster.server.kill();
    let (data, aside) = (cluster.server_data(), cluster.folder().join("aside"));
    fs::rename(&data, &aside).unwrap();
    let Some(disk) = SmallDisk::mount(&data, "3m") else { return };
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(aside.join(".")).arg(&data);
    assert!(copy.status().unwrap().success());
    cluster.restart_server();
    cluster.add_worker("w1");
    cluster.stdout(&["run", &guest("noop")]);
    let kept = cluster.stdout(&["submit", &guest("sleeper"), "--", "100"]);
    cluster.stdout(&["wait", kept.trim()]);

    disk.fill();
    let words = ["the server's disk is full", "make room"];
    refused(&cluster.wrun(&["submit", &guest("probe")]), exit::STORAGE_FULL, &words);
    // What is small goes into what is left of the journal's last page; then there is none.
    let mut acknowledged = 2;
    loop {
        let args = "x".repeat(3000);
        let output = cluster.wrun(&["submit", &guest("sleeper"), "--", "0", &args]);
        if !output.status.success() {
            refused(&output, exit::UNAVAILABLE, &[]);
            break;
        }
        acknowledged += 1;
        assert!(acknowledged < 1000, "the disk is never full");
    }
    assert_eq!(cluster.server.wait().code(), Some(exit::STORAGE_FULL));
    last_words(
        &cluster.server.logged(),
        &["journal", "disk is full", "make room there", "is kept"],
    );

    disk.make_room();
    cluster.restart_server();
    let listing = cluster.stdout(&["jobs", "-n", "1000"]);
    let jobs = listing.lines().count() - 1;
    assert!(jobs >= acknowledged, "{acknowledged} were acknowledged: {listing}");
    cluster.stdout(&["run", &guest("probe")]);
}

#[test]
fn a_worker_whose_disk_fills_says_so_and_goes_on_with_what_it_has() {
    let mut cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let Some(disk) = SmallDisk::mount(&cluster.worker_data("w1"), "2m") else { return };
    cluster.add_worker("w1");
    goes_on(&cluster, 0);
    disk.fill();
    let full = ["could not start", "the disk of this node is full", "free some space there"];
    let run = |what: &[&str]| cluster.wrun(&[&["run"], what].concat());
    refused(&run(&[&guest("hello")]), exit::SETUP, &full);
    fs::write(cluster.folder().join("m.txt"), "mounted").unwrap();
    let mounted = [&*guest("noop"), "--mount", "m.txt"];
    refused(&run(&mounted), exit::SETUP, &[&full[..], &["`/m.txt`"]].concat());
    assert_eq!(run(&[&guest("noop")]).status.code(), Some(0), "what is there still runs");
    disk.make_room();
    assert_eq!(run(&[&guest("hello")]).status.code(), Some(0));
    assert_eq!(run(&mounted).status.code(), Some(0));
}

#[test]
fn a_machine_with_a_full_disk_does_not_use_its_token_up() {
    let mut cluster = Cluster::with(Settings { workers: 0, ..Settings::default() });
    let Some(disk) = SmallDisk::mount(&cluster.folder().join("small"), "1m") else { return };
    disk.fill();
    let token = cluster.stdout(&["token", "create"]);
    let join = ["worker", "--name", "w1", "--data", "small/w1", "--join", token.trim()];
    let words = ["small/w1", "the disk is full", "make room there and start the worker"];
    refused(&cluster.wrun(&join), exit::STORAGE_FULL, &words);
    assert!(!cluster.stdout(&["nodes"]).contains("w1"), "no node came of it");
    disk.make_room();
    let mut worker = cluster.command();
    worker.args(join);
    let mut worker = harness::Process::start(worker, cluster.folder(), "w1");
    worker.wait_for("the worker is ready", |printed| printed.contains('\n').then_some(()));
    cluster.workers.push(worker);
    goes_on(&cluster, 0);
}

//! The newcomer's first command: from a checkout to a result on a cluster.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{Failed, cargo, root, run, target};
use crate::tools;

/// How long the embedded cluster may take to say that it is ready. It needs well under
/// a second; a loaded machine gets more.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Builds wrun and the word count, starts a cluster of two nodes in a folder of its
/// own, counts the words of the licence, and stops the cluster.
pub(crate) fn show() -> Result<(), Failed> {
    tools::ensure_wasm_target()?;
    build()?;
    let data = target().join("demo");
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data)
        .map_err(|error| Failed::new(format!("{}: {error}", data.display())))?;
    let cluster = Cluster::start(&data)?;
    let component = target().join("guests/wasm32-wasip2/release/word_count.wasm");
    let component = component.display().to_string();
    cluster.wrun(&["nodes"])?;
    cluster.wrun(&["run", "--name", "word-count", "--input", "LICENSE", &component])?;
    cluster.wrun(&["job", "1"])?;
    println!(
        "\nThe same by hand:\n  target/debug/wrun dev\n  target/debug/wrun run --input LICENSE target/guests/wasm32-wasip2/release/word_count.wasm"
    );
    Ok(())
}

fn build() -> Result<(), Failed> {
    // All of the workspace, as `test` builds it: of wrun alone cargo would give dependencies
    // other features, and each of the two chores would build what the other has built.
    run_step(
        "build of wrun (the first takes about ten minutes: wasmtime is large)",
        ".",
        &["build", "--locked", "--workspace"],
    )?;
    let mut guests =
        cargo("examples", ["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    run("build of the examples", guests.env("CARGO_TARGET_DIR", target().join("guests")))
}

fn run_step(what: &str, folder: &str, arguments: &[&str]) -> Result<(), Failed> {
    run(what, &mut cargo(folder, arguments))
}

/// `wrun dev` in a child process; stopped when dropped.
struct Cluster {
    process: Child,
    credential: std::path::PathBuf,
}

impl Cluster {
    fn start(data: &Path) -> Result<Self, Failed> {
        let credential = data.join("credential.toml");
        let process = wrun()
            .args(["dev", "--nodes", "2", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("WRUN_CREDENTIAL", &credential)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Failed::new(format!("wrun dev did not start: {error}")))?;
        let cluster = Self { process, credential };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    fn wait_until_ready(&self) -> Result<(), Failed> {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            let mut probe = wrun();
            probe.arg("nodes").env("WRUN_CREDENTIAL", &self.credential);
            if self.credential.exists() && crate::step::succeeds(&mut probe) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Failed::new(
            "the embedded cluster did not become ready; run `target/debug/wrun dev` to see why",
        ))
    }

    fn wrun(&self, arguments: &[&str]) -> Result<(), Failed> {
        let mut command = wrun();
        command.args(arguments).env("WRUN_CREDENTIAL", &self.credential);
        run(&format!("wrun {}", arguments.join(" ")), &mut command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn wrun() -> Command {
    let mut command = Command::new(target().join("debug/wrun"));
    command.current_dir(root());
    command
}

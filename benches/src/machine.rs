//! What the figures were measured on.

use std::process::Command;

/// A list of lines for the page.
pub(crate) fn describe() -> String {
    let processor = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_line("uname", &["-sr"]);
    let rustc = first_line("rustc", &["--version"]);
    let commit = first_line("git", &["rev-parse", "--short", "HEAD"]);
    format!(
        "- {cores} cores of {processor}, {memory} of memory, {kernel}\n- {rustc}, wrun {} at {commit}\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(process: u32) -> u64 {
    let text = field(&format!("/proc/{process}/status"), "VmRSS");
    text.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Memory of a process and of its children in bytes: what several share counts once.
pub(crate) fn resident_with_children(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let children = threads.flatten().flat_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
    });
    let each = std::iter::once(process).chain(children).map(|process| {
        let text = field(&format!("/proc/{process}/smaps_rollup"), "Pss");
        text.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    });
    each.sum()
}

/// CPU time that a process has used, user and system, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted behind the name in parentheses (proc(5)); ticks of 10 ms.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(12) + ticks(13)) / 100.0
}

//! Where the time goes: what CPU time each group of threads took during a measurement, as
//! the kernel counts it. wrun names its threads after what they do.

use std::collections::BTreeMap;

use crate::report::Section;

/// What the threads of a name do; names as the kernel keeps them, without numbers.
const WORK: [(&str, &str); 12] = [
    ("wrun-core", "deciding: the core, and handing on what it says"),
    ("wrun-io", "QUIC and TLS, encoding, checks of requests"),
    ("wrun-journal", "journal: encoding, writing, syncing"),
    ("wrun-snapshots", "journal: snapshots"),
    ("wrun-history", "history: rows of what ended"),
    ("wrun-commits", "history: commits"),
    ("wrun-guest", "guests: making, running and dropping sandboxes"),
    ("wrun-guest-io", "guests: their I/O"),
    ("wrun-ticker", "guests: ending their turns"),
    ("wrun-logs", "logs"),
    ("wrun-compile", "compiling"),
    ("wrun", "main thread"),
];

/// CPU seconds by name of thread.
type Seconds = BTreeMap<String, f64>;

/// A measurement under way.
pub(crate) struct Meter {
    processes: Vec<(&'static str, u32, Seconds)>,
}

/// CPU seconds of one group of threads.
struct Share {
    process: &'static str,
    work: String,
    seconds: f64,
}

/// A measurement's shares, the largest first.
pub(crate) struct Profile {
    shares: Vec<Share>,
}

impl Meter {
    /// Begins, over processes by what they are and their number.
    pub(crate) fn start(processes: &[(&'static str, u32)]) -> Self {
        let now = |(name, id): &(&'static str, u32)| (*name, *id, seconds(*id));
        Self { processes: processes.iter().map(now).collect() }
    }

    /// Ends. Threads that have ended meanwhile are not in it.
    pub(crate) fn end(self) -> Profile {
        let mut shares = Vec::new();
        for (process, id, before) in self.processes {
            for (name, seconds) in seconds(id) {
                let seconds = seconds - before.get(&name).unwrap_or(&0.0);
                let work = WORK.iter().find(|(thread, _)| *thread == name);
                let work = work.map_or(name.clone(), |(_, work)| (*work).to_owned());
                shares.push(Share { process, work, seconds });
            }
        }
        shares.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        Profile { shares }
    }
}

impl Profile {
    /// As rows of a section; `what` was measured. Shares below half a percent are summed up.
    pub(crate) fn rows(&self, what: &str, section: &mut Section) {
        let total: f64 = self.shares.iter().map(|share| share.seconds).sum();
        let percent = |seconds: f64| 100.0 * seconds / total.max(f64::MIN_POSITIVE);
        let (mut rest, mut row) = (0.0, |work: String, seconds: f64| {
            section.row(work, format!("{seconds:.2} s, {:.0} %", percent(seconds)));
        });
        row(format!("**{what}**"), total);
        for Share { process, work, seconds } in &self.shares {
            if percent(*seconds) < 0.5 {
                rest += seconds;
            } else {
                row(format!("{process}: {work}"), *seconds);
            }
        }
        row("all other threads".to_owned(), rest);
    }
}

/// What the threads of a process have used, user and system, in seconds.
fn seconds(process: u32) -> Seconds {
    let mut found = Seconds::new();
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    for thread in threads.flatten() {
        let text = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        if let Some((name, seconds)) = parse(&text) {
            *found.entry(name).or_default() += seconds;
        }
    }
    found
}

/// Name without its number, and CPU seconds, of a line of `stat` (proc(5)).
fn parse(text: &str) -> Option<(String, f64)> {
    let (head, rest) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    // Ticks of 10 ms.
    Some((name.to_owned(), (ticks()? + ticks()?) / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_kind_are_counted_together() {
        let line = "7 (wrun-guest-12) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 9 0 1 2";
        assert_eq!(parse(line), Some(("wrun-guest".to_owned(), 2.0)));
        assert_eq!(parse("no such line"), None);
    }

    #[test]
    fn this_process_has_used_some_time() {
        assert!(!seconds(std::process::id()).is_empty());
    }
}

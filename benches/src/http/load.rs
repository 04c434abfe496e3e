//! Load on a server of HTTP, by wrk: as many requests as it answers over connections that
//! stay, from one thread.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Connections, each with one request at a time: what a replica takes at once by default.
const CONNECTIONS: &str = "16";
const SECONDS: &str = "1";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// GET, and a line comes back.
    Hello,
    /// GET, and 64 kB come back.
    Answer,
    /// POST of 64 kB, and the same comes back.
    Echo,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) per_second: f64,
    /// 99th percentile of a request's time, in milliseconds.
    pub(super) p99: f64,
}

/// A folder with what wrk is told.
pub(super) struct Load {
    folder: tempfile::TempDir,
}

impl Ask {
    pub(super) const ALL: [Self; 3] = [Self::Hello, Self::Answer, Self::Echo];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Answer => "an answer of 64 kB",
            Self::Echo => "64 kB there and back",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Hello => "/hello",
            Self::Answer => "/big?65536",
            Self::Echo => "/echo",
        }
    }
}

impl Load {
    pub(super) fn new() -> Result<Self> {
        if Command::new("wrk").arg("--version").output().is_err() {
            bail!("wrk is missing: install Debian's package `wrk`");
        }
        let folder = tempfile::tempdir()?;
        let script = "wrk.method = 'POST'\nwrk.body = string.rep('x', 65536)\n";
        std::fs::write(folder.path().join("echo.lua"), script)?;
        Ok(Self { folder })
    }

    /// Asks as often as `server` answers. An answer that is not whole or not a 200 is an
    /// error.
    pub(super) fn on(&self, server: SocketAddr, ask: Ask) -> Result<Answered> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--latency", "--threads", "1", "--connections", CONNECTIONS]);
        wrk.args(["--duration", SECONDS]);
        if ask == Ask::Echo {
            wrk.arg("--script").arg(self.script());
        }
        let output = wrk.arg(format!("http://{server}{}", ask.path())).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
        let lost = ["Socket errors", "Non-2xx"].iter().any(|lost| text.contains(lost));
        ensure!(!lost, "{server}: requests were lost:\n{text}");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim).with_context(|| format!("wrk says nothing of {name}:\n{text}"))
        };
        let per_second = field("Requests/sec:")?.parse()?;
        Ok(Answered { per_second, p99: milliseconds(field("99%")?)? })
    }

    fn script(&self) -> PathBuf {
        Path::join(self.folder.path(), "echo.lua")
    }
}

/// A time as wrk prints it.
fn milliseconds(text: &str) -> Result<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let unit = units.iter().find_map(|(unit, each)| Some((text.strip_suffix(unit)?, each)));
    let (number, each) = unit.with_context(|| format!("`{text}` is no time"))?;
    Ok(number.parse::<f64>()? * each)
}

//! Load on a server of HTTP, by wrk: as many requests as it answers over connections that
//! stay, from one thread.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Connections, each with one request at a time: what a replica takes at once by default.
const CONNECTIONS: &str = "16";
const SECONDS: u32 = 1;

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
pub(crate) struct Answered {
    pub(crate) per_second: f64,
    /// The middle one of the requests' times, in milliseconds.
    pub(crate) p50: f64,
    /// 99th percentile of a request's time, in milliseconds.
    pub(crate) p99: f64,
}

/// A folder with what wrk is told.
pub(crate) struct Load {
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
    pub(crate) fn new() -> Result<Self> {
        if Command::new("wrk").arg("--version").output().is_err() {
            bail!("wrk is missing: install Debian's package `wrk`");
        }
        Ok(Self { folder: tempfile::tempdir()? })
    }

    /// Asks as often as `server` answers. An answer that is not whole or not a 200 is an
    /// error.
    pub(super) fn on(&self, server: SocketAddr, ask: Ask) -> Result<Answered> {
        if ask == Ask::Echo {
            return self.post(server, ask.path(), &[b'x'; 65536], SECONDS);
        }
        wrk(server, ask.path(), SECONDS, None)
    }

    /// The same by POST of `body`, for so many seconds.
    pub(crate) fn post(
        &self,
        server: SocketAddr,
        path: &str,
        body: &[u8],
        seconds: u32,
    ) -> Result<Answered> {
        let (content, script) =
            (self.folder.path().join("body"), self.folder.path().join("post.lua"));
        std::fs::write(&content, body)?;
        let content = content.display();
        let text = format!(
            "wrk.method = 'POST'\nlocal file = io.open('{content}', 'rb')\n\
             wrk.body = file:read('*a')\nfile:close()\n\
             wrk.headers['content-type'] = 'application/json'\n"
        );
        std::fs::write(&script, text)?;
        wrk(server, path, seconds, Some(&script))
    }
}

fn wrk(server: SocketAddr, path: &str, seconds: u32, script: Option<&Path>) -> Result<Answered> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--latency", "--threads", "1", "--connections", CONNECTIONS]);
    wrk.args(["--duration", &seconds.to_string()]);
    if let Some(script) = script {
        wrk.arg("--script").arg(script);
    }
    let output = wrk.arg(format!("http://{server}{path}")).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    let lost = ["Socket errors", "Non-2xx"].iter().any(|lost| text.contains(lost));
    ensure!(!lost, "{server}: requests were lost:\n{text}");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).with_context(|| format!("wrk says nothing of {name}:\n{text}"))
    };
    let per_second = field("Requests/sec:")?.parse()?;
    let (p50, p99) = (milliseconds(field("50%")?)?, milliseconds(field("99%")?)?);
    Ok(Answered { per_second, p50, p99 })
}

/// A time as wrk prints it.
fn milliseconds(text: &str) -> Result<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let unit = units.iter().find_map(|(unit, each)| Some((text.strip_suffix(unit)?, each)));
    let (number, each) = unit.with_context(|| format!("`{text}` is no time"))?;
    Ok(number.parse::<f64>()? * each)
}

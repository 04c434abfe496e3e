//! Standard output and standard error: what is written, whether in colour, as JSON, for
//! a terminal or a pipe. Every command prints through this, so that no write can panic.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::Error;
use crate::exit::Exit;

/// What the command's output is like, decided once at start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    may_colour: bool,
}

impl Console {
    /// Looks at the streams and at `NO_COLOR` and `TERM`.
    pub(crate) fn detect(json: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            may_colour: !set("NO_COLOR") && !dumb,
        }
    }

    /// Whether `--json` was given.
    pub(crate) fn wants_json(self) -> bool {
        self.json
    }

    /// Whether tables may be coloured and fitted to the terminal.
    pub(crate) fn stdout_is_terminal(self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether a progress bar can be drawn: bars go to standard error.
    pub(crate) fn can_draw(self) -> bool {
        self.stderr_is_terminal && !self.json
    }

    /// Whether standard output gets colour.
    pub(crate) fn colours_stdout(self) -> bool {
        self.stdout_is_terminal && self.may_colour
    }

    /// Writes `text` and a line's end to standard output.
    pub(crate) fn line(self, text: impl std::fmt::Display) -> Result<(), Error> {
        writeln!(io::stdout().lock(), "{text}").map_err(|cause| Error::stdout(&cause))
    }

    /// Writes bytes as they are, and flushes.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|cause| Error::stdout(&cause))
    }

    /// Writes bytes to standard error. Failing there has nowhere to be told.
    pub(crate) fn error_bytes(self, bytes: &[u8]) {
        let _ = io::stderr().lock().write_all(bytes);
    }

    /// Writes `value` as one line of JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value)
            .map_err(|cause| Error::new(Exit::Internal, format!("cannot write JSON: {cause}")))?;
        self.line(text)
    }

    /// A remark for people, on standard error.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// The last line of a command that failed.
    pub(crate) fn error(self, error: &Error) {
        if error.is_silent() {
            return;
        }
        if self.json {
            let text = serde_json::to_string(&error.to_json()).unwrap_or_default();
            self.note(text);
        } else if self.stderr_is_terminal && self.may_colour {
            self.note(format_args!("\x1b[1;31merror:\x1b[0m {error}"));
        } else {
            self.note(format_args!("error: {error}"));
        }
    }
}

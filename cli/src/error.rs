//! The one shape of an error that reaches a person: what, where, and what to do, in a
//! line, with the exit code that its kind asks for.

use std::fmt;
use std::io;
use std::path::Path;

use wrun_protocol::wire::user::RequestError;

use crate::exit::Exit;

/// What ends a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    exit: Exit,
    what: String,
    todo: Option<String>,
}

impl Error {
    /// An error that says `what` went wrong and where.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: one_line(&what.to_string()), todo: None }
    }

    /// An error with the text of `cause` and of everything that caused it.
    pub(crate) fn from_cause(exit: Exit, cause: &dyn std::error::Error) -> Self {
        Self::new(exit, folded(cause))
    }

    /// Adds what to do about it.
    pub(crate) fn todo(mut self, todo: impl fmt::Display) -> Self {
        self.todo = Some(one_line(&todo.to_string()));
        self
    }

    /// Reading or writing `path` failed; `doing` is like "read the job file".
    pub(crate) fn file(doing: &str, path: &Path, cause: &io::Error) -> Self {
        let path = path.display();
        match cause.kind() {
            io::ErrorKind::NotFound => {
                Self::new(Exit::NotFound, format!("cannot {doing} `{path}`: there is no such file"))
                    .todo("check the path")
            }
            io::ErrorKind::StorageFull => {
                Self::new(Exit::StorageFull, format!("cannot {doing} `{path}`: the disk is full"))
                    .todo("make room there")
            }
            io::ErrorKind::PermissionDenied => {
                Self::new(Exit::Io, format!("cannot {doing} `{path}`: permission denied"))
                    .todo("check its owner and mode")
            }
            _ => Self::new(Exit::Io, format!("cannot {doing} `{path}`: {cause}")),
        }
    }

    /// Writing to standard output failed. Who went away is not told anything.
    pub(crate) fn stdout(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::BrokenPipe, ""),
            _ => Self::new(Exit::Io, format!("cannot write to standard output: {cause}")),
        }
    }

    /// Puts before it where what it complains of was written.
    pub(crate) fn placed(mut self, place: &str) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is nobody to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit == Exit::BrokenPipe
    }

    /// As one JSON line.
    pub(crate) fn to_json(&self) -> crate::report::json::Failure {
        crate::report::json::Failure {
            error: crate::report::json::FailureBody {
                kind: self.exit.name().to_owned(),
                exit_code: self.exit.code(),
                message: self.what.clone(),
                todo: self.todo.clone(),
            },
        }
    }
}

impl From<RequestError> for Error {
    fn from(refusal: RequestError) -> Self {
        Self::new(refusal.code.into(), refusal.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.todo {
            Some(todo) => write!(f, "; {todo}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Whether a disk, or a quota on it, is full.
pub(crate) fn is_disk_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// `cause` and its sources as one text. Many errors already print their source; what
/// is there is not said twice.
pub(crate) fn folded(cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrun_protocol::wire::user::ErrorCode;

    #[test]
    fn an_error_is_one_line_with_what_to_do_at_its_end() {
        let error = Error::new(Exit::Io, "cannot write\n  here").todo("make room");
        assert_eq!(error.to_string(), "cannot write here; make room");
    }

    #[test]
    fn a_refusal_of_the_server_keeps_its_kind() {
        let refusal = RequestError::new(ErrorCode::Unsatisfiable, "no node has 64 GiB");
        assert_eq!(Error::from(refusal).exit(), Exit::Unsatisfiable);
    }

    #[test]
    fn a_missing_file_and_a_full_disk_have_their_own_codes() {
        let of = |kind: io::ErrorKind| Error::file("read", Path::new("x"), &kind.into()).exit();
        assert_eq!(of(io::ErrorKind::NotFound), Exit::NotFound);
        assert_eq!(of(io::ErrorKind::StorageFull), Exit::StorageFull);
        assert_eq!(of(io::ErrorKind::IsADirectory), Exit::Io);
    }

    #[test]
    fn causes_are_folded_in_and_not_said_twice() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot connect")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(folded(&Outer(io::Error::other("refused"))), "cannot connect: refused");
    }
}

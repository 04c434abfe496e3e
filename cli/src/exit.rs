//! Exit codes: an interface of the product, so all of them stand here and nowhere else.
//!
//! Codes up to 63 belong to guests of `wrun run` as far as wrun can arrange it; its own
//! failures follow `sysexits.h` from 65, and the ways a task can end without an exit
//! code of its own lie from 120 on, with 124 for time as `timeout(1)` has it; 119 is how a
//! service can fail to change.

use wrun_protocol::task::{Failure, Limit, Outcome};
use wrun_protocol::wire::user::ErrorCode;

/// How the process ends. A guest's own code is [`Exit::Guest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    JobFailed,
    Usage,
    InvalidInput,
    NotFound,
    Unavailable,
    Internal,
    Unsatisfiable,
    Conflict,
    StorageFull,
    Io,
    LimitReached,
    Denied,
    Config,
    RolloutFailed,
    HandlerError,
    Trap,
    TaskLimit,
    Setup,
    TimeLimit,
    NodeLost,
    Cancelled,
    BrokenPipe,
    /// The guest's own code, already brought into 0 to 255.
    Guest(u8),
}

/// One line of the documentation.
pub(crate) struct Row {
    pub(crate) exit: Exit,
    /// The stable name that `--json` errors carry.
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
}

const fn row(exit: Exit, name: &'static str, meaning: &'static str) -> Row {
    Row { exit, name, meaning }
}

/// Every code but the guest's own, in ascending order.
pub(crate) const ALL: [Row; 23] = [
    row(Exit::Success, "success", "it was done; `run` and `wait`: every task succeeded"),
    row(Exit::JobFailed, "job-failed", "`wait`, and `run` of several tasks: a task failed"),
    row(Exit::Usage, "usage", "the command line cannot be understood"),
    row(
        Exit::InvalidInput,
        "invalid-input",
        "a component, job or service file, value or journal that cannot be",
    ),
    row(Exit::NotFound, "not-found", "no such file, job, task, service or node"),
    row(Exit::Unavailable, "unavailable", "no server answers there; trying again can help"),
    row(Exit::Internal, "internal", "a fault of wrun's own"),
    row(Exit::Unsatisfiable, "unsatisfiable", "no node of the cluster can ever run the job"),
    row(Exit::Conflict, "conflict", "it does not fit the state of what it names"),
    row(Exit::StorageFull, "storage-full", "a disk is full, here or at the server"),
    row(Exit::Io, "io", "a local file, pipe or directory cannot be read or written"),
    row(Exit::LimitReached, "limit-reached", "a quota or bound of the cluster is reached"),
    row(Exit::Denied, "denied", "the credential is missing, expired, wrong, or may not do this"),
    row(Exit::Config, "config", "a configuration file or setting cannot be"),
    row(
        Exit::RolloutFailed,
        "rollout-failed",
        "`deploy`, `rollout`: the revision is not in place and will not be",
    ),
    row(Exit::HandlerError, "handler-error", "`run`: the handler returned its error"),
    row(Exit::Trap, "trap", "`run`: the guest trapped"),
    row(Exit::TaskLimit, "task-limit", "`run`: a limit other than time ended the task"),
    row(Exit::Setup, "setup", "`run`: the task could not be started"),
    row(Exit::TimeLimit, "time-limit", "`run`: the time limit ended the task"),
    row(Exit::NodeLost, "node-lost", "`run`: its nodes were lost, and no requeue was left"),
    row(Exit::Cancelled, "cancelled", "the job was cancelled, or Ctrl-C ended the command"),
    row(Exit::BrokenPipe, "broken-pipe", "who read the output went away"),
];

impl Exit {
    /// The number that the process ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::InvalidInput => 65,
            Self::NotFound => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Unsatisfiable => 71,
            Self::Conflict => 72,
            Self::StorageFull => 73,
            Self::Io => 74,
            Self::LimitReached => 75,
            Self::Denied => 77,
            Self::Config => 78,
            Self::RolloutFailed => 119,
            Self::HandlerError => 120,
            Self::Trap => 121,
            Self::TaskLimit => 122,
            Self::Setup => 123,
            Self::TimeLimit => 124,
            Self::NodeLost => 125,
            Self::Cancelled => 130,
            Self::BrokenPipe => 141,
            Self::Guest(code) => code,
        }
    }

    /// Its stable name.
    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|row| row.exit == self).map_or("guest", |row| row.name)
    }

    /// How `wrun run` of one task ends.
    pub(crate) fn of_outcome(outcome: &Outcome) -> Self {
        let Outcome::Failed(failure) = outcome else { return Self::Success };
        match failure {
            Failure::Exit { code } => Self::of_guest(*code),
            Failure::Handler { .. } => Self::HandlerError,
            Failure::Trap { .. } => Self::Trap,
            Failure::Limit { limit: Limit::WallTime, .. } => Self::TimeLimit,
            Failure::Limit { .. } => Self::TaskLimit,
            Failure::Setup { .. } => Self::Setup,
            Failure::Cancelled | Failure::Dependency { .. } => Self::Cancelled,
            Failure::NodeLost => Self::NodeLost,
        }
    }

    /// A failure must not look like success: a code that one byte cannot hold becomes 1.
    fn of_guest(code: i32) -> Self {
        Self::Guest(u8::try_from(code).ok().filter(|code| *code > 0).unwrap_or(1))
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidInput => Self::InvalidInput,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Unsatisfiable => Self::Unsatisfiable,
            ErrorCode::Conflict => Self::Conflict,
            ErrorCode::LimitReached => Self::LimitReached,
            ErrorCode::Unavailable => Self::Unavailable,
            ErrorCode::StorageFull => Self::StorageFull,
            ErrorCode::Internal => Self::Internal,
        }
    }
}

/// The table for people, as help, man page and `wrun exit-codes` show it.
pub(crate) fn table() -> String {
    let mut text = String::new();
    for Row { exit, name, meaning } in &ALL {
        text.push_str(&format!("{:>5}  {name:<14} {meaning}\n", exit.code()));
    }
    text.push_str(
        "\n`wrun run` of one program ends with the program's own exit code. Where that\n",
    );
    text.push_str("could be mistaken for one of these, `wrun job ID` tells how the task ended.\n");
    text
}

/// The same as a page of the documentation.
#[cfg(test)]
fn markdown() -> String {
    let mut text = String::from(
        "# Exit codes\n\nThe exit codes of `wrun` are an interface: scripts may rely on them. `wrun exit-codes` prints\nthem, and with `--json` an error on standard error carries the name as `kind`.\n\n| code | name | meaning |\n|---|---|---|\n",
    );
    for Row { exit, name, meaning } in &ALL {
        text.push_str(&format!("| {} | `{name}` | {meaning} |\n", exit.code()));
    }
    text.push_str("\n`wrun run` of one program ends with the program's own exit code. Where that could be mistaken\nfor one of these, `wrun job ID` tells how the task ended. WASI 0.2 knows only success and failure\nunless the program uses its `exit-with-code`; a failure without a code is 1.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_them() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exit-codes.md");
        if std::env::var_os("WRUN_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, markdown()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text,
            markdown(),
            "run the tests with WRUN_BLESS=1 and commit docs/exit-codes.md"
        );
    }

    #[test]
    fn the_documented_codes_are_all_different_and_in_order() {
        let codes: Vec<u8> = ALL.iter().map(|row| row.exit.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }

    #[test]
    fn every_code_keeps_its_number() {
        let text: Vec<String> =
            ALL.iter().map(|row| format!("{}={}", row.name, row.exit.code())).collect();
        assert_eq!(
            text.join(" "),
            "success=0 job-failed=1 usage=2 invalid-input=65 not-found=66 unavailable=69 \
             internal=70 unsatisfiable=71 conflict=72 storage-full=73 io=74 limit-reached=75 \
             denied=77 config=78 rollout-failed=119 handler-error=120 trap=121 \
             task-limit=122 setup=123 time-limit=124 node-lost=125 cancelled=130 broken-pipe=141"
        );
    }

    #[test]
    fn a_guests_code_is_mine_and_a_failure_never_looks_like_success() {
        let exit = |code| Exit::of_outcome(&Outcome::Failed(Failure::Exit { code })).code();
        assert_eq!((exit(7), exit(255)), (7, 255));
        assert_eq!((exit(256), exit(-1), exit(0)), (1, 1, 1));
        assert_eq!(Exit::of_outcome(&Outcome::Succeeded).code(), 0);
    }

    #[test]
    fn time_has_its_own_code_among_the_limits() {
        let limit = |limit| Outcome::Failed(Failure::Limit { limit, allowed: 1 });
        assert_eq!(Exit::of_outcome(&limit(Limit::WallTime)), Exit::TimeLimit);
        assert_eq!(Exit::of_outcome(&limit(Limit::Memory)), Exit::TaskLimit);
    }
}

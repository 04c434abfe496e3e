//! A handler that does what its input says, one order after the other, so that a test
//! can ask for every behaviour of the context: `[{"log": "x"}, {"fail": {"message": "y"}}]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wrun_sdk::{Error, checkpoint, info, progress, stopping, task};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Order {
    /// Writes a line to the log.
    Log(String),
    /// Writes lines to the log without end.
    LogForever,
    /// Writes to standard output, which a handler has for its log.
    Print(String),
    /// Says how far it is, of 1000.
    Progress(u64),
    /// Says so a number of times.
    ProgressTimes(u64),
    /// Saves that many bytes.
    Save(usize),
    /// Saves this text.
    SaveText(String),
    /// Fails unless the checkpoint has that many bytes.
    Expect(usize),
    Fail {
        message: String,
        #[serde(default)]
        retryable: bool,
    },
    /// Fails, retryably, in every attempt before this one.
    FailBefore(u32),
    Panic(String),
    Sleep {
        ms: u64,
    },
    Spin,
    /// Counts to this, one every millisecond, from what was saved; when told that it will be
    /// stopped, saves how far it is.
    Count(u64),
    /// Returns that many bytes in place of the report.
    Output(usize),
}

/// What the task knows of itself.
#[derive(Serialize)]
struct Report {
    job: u64,
    index: u32,
    count: u32,
    attempt: u32,
    tenant: String,
    remaining_ms: Option<u64>,
    checkpoint: Option<String>,
}

#[wrun_sdk::task]
fn obey(orders: Option<Vec<Order>>) -> Result<String, Error> {
    for order in orders.unwrap_or_default() {
        if let Some(output) = follow(order)? {
            return Ok(output);
        }
    }
    report()
}

fn follow(order: Order) -> Result<Option<String>, Error> {
    match order {
        Order::Log(line) => info!("{line}"),
        Order::LogForever => loop {
            info!("{}", "all work and no play makes a dull log ".repeat(20));
        },
        Order::Print(line) => println!("{line}"),
        Order::Progress(done) => progress(done, 1000, format!("at {done}")),
        Order::ProgressTimes(times) => (0..times).for_each(|done| progress(done, times, "again")),
        Order::Save(size) => checkpoint::save_bytes(&vec![b'x'; size])?,
        Order::SaveText(text) => checkpoint::save_bytes(text.as_bytes())?,
        Order::Expect(size) => {
            let found = checkpoint::load_bytes().map(|state| state.len());
            if found != Some(size) {
                return Err(Error::new(format!("the checkpoint has {found:?} bytes, not {size}")));
            }
        }
        Order::Fail { message, retryable: true } => return Err(Error::new(message).retryable()),
        Order::Fail { message, .. } => return Err(Error::new(message)),
        Order::FailBefore(attempt) if task().attempt < attempt => {
            return Err(Error::new(format!("attempt {}", task().attempt)).retryable());
        }
        Order::FailBefore(_) => {}
        Order::Panic(message) => panic!("{message}"),
        Order::Sleep { ms } => std::thread::sleep(Duration::from_millis(ms)),
        Order::Spin => loop {
            std::hint::spin_loop();
        },
        Order::Count(upto) => return count(upto).map(Some),
        Order::Output(size) => return Ok(Some("x".repeat(size))),
    }
    Ok(None)
}

/// Says where it began and where it ended.
fn count(upto: u64) -> Result<String, Error> {
    let begun: u64 = checkpoint::load()?.unwrap_or(0);
    for done in begun..upto {
        std::thread::sleep(Duration::from_millis(1));
        progress(done, upto, done.to_string());
        if stopping().is_some() {
            checkpoint::save(&done)?;
        }
    }
    Ok(format!("{begun}..{upto}"))
}

fn report() -> Result<String, Error> {
    let task = task();
    let state = checkpoint::load_bytes();
    let report = Report {
        job: task.job,
        index: task.index,
        count: task.count,
        attempt: task.attempt,
        tenant: task.tenant,
        remaining_ms: task.remaining.map(|time| time.as_millis() as u64),
        checkpoint: state.map(|state| String::from_utf8_lossy(&state).into_owned()),
    };
    Ok(String::from_utf8(wrun_sdk::export::encode(report)?)?)
}

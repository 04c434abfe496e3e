//! `wrun logs`: what tasks wrote, and the replicas of services.

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobDetail, LogChunk, LogStream, Request, Response};

use super::workflow::{self, Found};
use super::{Context, Ended, run};
use crate::client::{Client, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::human;
use crate::syntax::query::{Logs, LogsOf};

/// Longest line that is held back to be prefixed whole.
const LONGEST_LINE: usize = 64 << 10;

/// Prints one task's log, or that of all tasks.
pub(crate) async fn logs(context: &Context, args: &Logs) -> Ended {
    match &args.of {
        LogsOf::Job(job) => of_job(context, args, *job).await,
        LogsOf::Service(name) => service::logs(context, args, name).await,
    }
}

async fn of_job(context: &Context, args: &Logs, job: JobId) -> Ended {
    if args.revision.is_some() || args.tenant.is_some() {
        let text = "`--revision` and `--tenant` are for the logs of a service";
        return Err(Error::new(Exit::Usage, text).todo("name a service in place of a job"));
    }
    let console = context.console;
    let client = Client::connect(context.global.credential.as_ref()).await?;
    let job = workflow::job_of(&client, job, args.step.as_deref()).await?;
    let count = match args.task {
        Some(_) => 1,
        None => count_of(&detail(&client, job).await?),
    };
    if let Some(task) = args.task.or((count == 1).then_some(0)) {
        print_task(&client, console, job, task, args.follow, None).await?;
    } else if args.follow {
        let text = format!("job {job} has {count} tasks, and only one can be followed");
        return Err(Error::new(Exit::InvalidInput, text).todo("choose it with --task INDEX"));
    } else {
        let width = count.saturating_sub(1).to_string().len();
        for index in 0..count {
            let prefix = format!("{index:>width$} | ");
            print_task(&client, console, job, index, false, Some(prefix)).await?;
        }
    }
    client.close().await;
    Ok(Exit::Success)
}

/// The job as the server has it.
pub(crate) async fn detail(client: &Client, job: JobId) -> Result<JobDetail, Error> {
    match workflow::find(client, job).await? {
        Found::Job(detail) => Ok(*detail),
        Found::Workflow(detail) => Err(workflow::choose(&detail)),
    }
}

/// How many tasks it has.
pub(crate) fn count_of(detail: &JobDetail) -> u32 {
    u32::try_from(human::total(&detail.summary.tasks)).unwrap_or(u32::MAX)
}

/// Prints the log of one task; with `prefix`, each line behind it.
pub(crate) async fn print_task(
    client: &Client,
    console: Console,
    job: JobId,
    index: u32,
    follow: bool,
    prefix: Option<String>,
) -> Result<(), Error> {
    let of = LogOf { job, index, revision: None };
    print_log(client, console, of, follow, prefix, None).await
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogOf {
    job: JobId,
    /// The task's.
    index: u32,
    /// Of a service's replica.
    revision: Option<u32>,
}

async fn print_log(
    client: &Client,
    console: Console,
    of: LogOf,
    follow: bool,
    prefix: Option<String>,
    mut skip: Option<Skip>,
) -> Result<(), Error> {
    let LogOf { job, index, .. } = of;
    let mut answers = client.stream(&Request::Logs { job, index, follow }).await?;
    let mut lines = prefix
        .filter(|_| !console.wants_json())
        .map(|prefix| Lines { prefix, held: [Vec::new(), Vec::new()] });
    loop {
        match answers.one().await? {
            Response::Log(mut chunk) => {
                if let Some(skip) = &mut skip {
                    skip.cut(&mut chunk);
                }
                match &mut lines {
                    _ if chunk.data.is_empty() => {}
                    Some(lines) => lines.print(console, &chunk)?,
                    None => run::print(console, index, of.revision, &chunk)?,
                }
            }
            Response::Done => break,
            other => return Err(unexpected(&other)),
        }
    }
    match &mut lines {
        Some(lines) => lines.finish(console),
        None => Ok(()),
    }
}

/// Leaves out what was printed before the server was lost, and counts what is printed.
struct Skip {
    left: u64,
    printed: Arc<AtomicU64>,
}

impl Skip {
    /// So many bytes were printed, and will have been.
    fn new(printed: Arc<AtomicU64>) -> Self {
        Self { left: printed.load(Ordering::Relaxed), printed }
    }

    fn cut(&mut self, chunk: &mut LogChunk) {
        if chunk.stream == LogStream::Stderr && is_gap(&chunk.data) {
            // The log begins later than it did: nobody knows how much of it was printed.
            self.left = 0;
        }
        let size = chunk.data.len();
        let known = usize::try_from(self.left).unwrap_or(usize::MAX).min(size);
        self.left -= known as u64;
        let _ = chunk.data.split_to(known);
        self.printed.fetch_add((size - known) as u64, Ordering::Relaxed);
    }
}

/// Whether a worker says so that it has not kept what came before.
fn is_gap(text: &[u8]) -> bool {
    text.starts_with(b"[wrun: ") && text.ends_with(b" older bytes are not kept]\n")
}

/// Puts a prefix before whole lines, each stream by itself.
struct Lines {
    prefix: String,
    held: [Vec<u8>; 2],
}

impl Lines {
    fn print(&mut self, console: Console, chunk: &LogChunk) -> Result<(), Error> {
        let [stdout, stderr] = &mut self.held;
        let held = if chunk.stream == LogStream::Stdout { stdout } else { stderr };
        held.extend_from_slice(&chunk.data);
        let whole = match held.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if held.len() > LONGEST_LINE => held.len(),
            None => return Ok(()),
        };
        let text: Vec<u8> = held.drain(..whole).collect();
        let data = prefixed(&self.prefix, &text);
        run::print_raw(console, &LogChunk { stream: chunk.stream, data })
    }

    fn finish(&mut self, console: Console) -> Result<(), Error> {
        for (held, stream) in self.held.iter_mut().zip([LogStream::Stdout, LogStream::Stderr]) {
            let text = std::mem::take(held);
            if !text.is_empty() {
                let data = prefixed(&self.prefix, &text);
                run::print_raw(console, &LogChunk { stream, data })?;
            }
        }
        Ok(())
    }
}

fn prefixed(prefix: &str, text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + prefix.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_before_is_left_out_unless_the_log_begins_later_now() {
        let printed = Arc::new(AtomicU64::new(5));
        let cut = |skip: &mut Skip, stream, text: &str| {
            let mut chunk = LogChunk { stream, data: text.to_owned().into() };
            skip.cut(&mut chunk);
            String::from_utf8(chunk.data.to_vec()).unwrap()
        };
        let mut skip = Skip::new(Arc::clone(&printed));
        assert_eq!(cut(&mut skip, LogStream::Stdout, "abc"), "");
        assert_eq!(cut(&mut skip, LogStream::Stderr, "defg"), "fg");
        assert_eq!(cut(&mut skip, LogStream::Stdout, "h"), "h");
        assert_eq!(printed.load(Ordering::Relaxed), 8);
        let mut skip = Skip::new(printed);
        let gap = "[wrun: 700 older bytes are not kept]\n";
        assert_eq!(cut(&mut skip, LogStream::Stderr, gap), gap);
        assert_eq!(cut(&mut skip, LogStream::Stdout, "xyz"), "xyz");
    }

    #[test]
    fn every_line_has_its_tasks_index() {
        assert_eq!(&prefixed("7 | ", b"a\n\nb")[..], b"7 | a\n7 | \n7 | b\n");
    }
}

//! When a replica can have requests.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use wrun_protocol::service::Readiness;
use wrun_protocol::wire::service::Readied;
use wrun_sandbox::{Body, CallError};

use super::hosted::{Hosted, Phase, within};
use crate::executor::Executor;

/// Before a replica is ready for the first time it is asked more often than later, since
/// somebody may wait for it: after this, then twice that, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Between two times that the server is told of a change: each is a fact in its journal. What
/// has changed back meanwhile is not told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read to its end.
const MAX_ANSWER: usize = 64 << 10;

/// What a question came to.
enum Heard {
    Good,
    /// It has its hands full, which says nothing of how it is.
    Busy,
    Bad(String),
}

/// What becomes of a replica.
pub(crate) enum News {
    /// The server is to know.
    Readied(Readied),
    /// Not yet ready, for another reason than before: for its log.
    NotYet(String),
}

/// Tells how the replica is, until it goes. One that is not ready in time is ended.
pub(crate) async fn watch_replica<E: Executor>(
    hosted: Arc<Hosted<E>>,
    readiness: Readiness,
    tell: impl Fn(News),
) {
    let Some(path) = &readiness.path else { return tell(News::Readied(Readied::Ready)) };
    let interval = Duration::from_millis(readiness.interval_ms);
    let mut phase = hosted.phase();
    let mut start_by = Instant::now() + Duration::from_millis(readiness.start_ms);
    let mut pause = FIRST_PAUSE.min(interval);
    // Whether it is ready, as was last told.
    let (mut told, mut failures, mut reason) = (None, 0, String::new());
    let mut told_at: Option<Instant> = None;
    while let Some(frozen) = until_serving(&mut phase).await {
        start_by += frozen;
        let may_tell = told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        match ask(&hosted, path, readiness.timeout_ms).await {
            Heard::Busy => {}
            Heard::Good => {
                failures = 0;
                if told != Some(true) && may_tell {
                    tell(News::Readied(Readied::Ready));
                    (told, told_at) = (Some(true), Some(Instant::now()));
                }
            }
            // What a frozen one does not answer says nothing of it.
            Heard::Bad(_) if *phase.borrow() != Phase::Serving => continue,
            Heard::Bad(why) => {
                failures += 1;
                if told.is_none() && Instant::now() >= start_by {
                    let start = super::hosted::in_words(Duration::from_millis(readiness.start_ms));
                    let message = format!("it was not ready within {start}: GET {path}: {why}");
                    return hosted.fail(message);
                }
                if told.is_none() && reason != why {
                    tell(News::NotYet(format!("[wrun: not ready yet: GET {path}: {why}]\n")));
                }
                if told == Some(true) && failures >= readiness.failures && may_tell {
                    tell(News::Readied(Readied::NotReady { why: why.clone() }));
                    (told, told_at) = (Some(false), Some(Instant::now()));
                }
                reason = why;
            }
        }
        let wait = if told.is_none() { pause } else { interval };
        pause = (pause * 2).min(interval);
        tokio::select! {
            () = sleep(wait) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Leaving) => return,
        }
    }
}

/// Waits until it is not frozen, and says for how long; `None` when it goes.
async fn until_serving(phase: &mut watch::Receiver<Phase>) -> Option<Duration> {
    let since = Instant::now();
    let now = *phase.wait_for(|phase| *phase != Phase::Frozen).await.ok()?;
    (now == Phase::Serving).then(|| since.elapsed())
}

async fn ask<E: Executor>(hosted: &Hosted<E>, path: &str, timeout_ms: u64) -> Heard {
    let request = Request::builder()
        .uri(format!("http://localhost{path}"))
        .header(http::header::USER_AGENT, "wrun-readiness")
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Heard::Bad(error.to_string()),
    };
    let answer = match hosted.call(request, within(timeout_ms)).await {
        Ok(answer) => answer,
        Err(CallError::Busy { .. }) => return Heard::Busy,
        Err(error) => return Heard::Bad(error.to_string()),
    };
    let status = answer.status();
    // Read to its end, so that the guest is not stopped amid it; what it says does not matter.
    let _ = timeout(Duration::from_millis(timeout_ms), read(answer.into_body())).await;
    if status.as_u16() < 400 { Heard::Good } else { Heard::Bad(format!("status {status}")) }
}

async fn read(mut body: Body) {
    let mut left = MAX_ANSWER;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Tells that a program has run for long enough to count as ready.
pub(crate) async fn watch_program(ready_after: Duration, tell: impl Fn(News)) {
    sleep(ready_after).await;
    tell(News::Readied(Readied::Ready));
}

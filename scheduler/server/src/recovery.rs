//! From what is on disk to a server that can start: the newest snapshot, every later fact,
//! and a history that has caught up with them.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use wrun_core::{Core, JobsQuery};
use wrun_protocol::wire::user::JobDetail;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{SubmitId, Timestamp};
use wrun_store::disk::Disk;
use wrun_store::{History, HistoryOpened, HistoryOptions, JobRow, Journal, JournalOptions};

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::components::Components;
use crate::data_dir::DataDir;
use crate::driver::{Driver, Parts, Recorder};
use crate::shared::{Connections, Nodes, Shared};
use crate::watchers::Watchers;
use crate::{ServerConfig, ServerError};

/// Everything that the server runs on.
pub(crate) struct Recovered {
    pub(crate) data_dir: DataDir,
    pub(crate) shared: Arc<Shared>,
    pub(crate) parts: Parts,
    pub(crate) journal: Arc<Journal>,
    pub(crate) warnings: Vec<String>,
}

/// Reads the data directory. Blocks.
pub(crate) fn recover(config: ServerConfig, disk: Arc<dyn Disk>) -> Result<Recovered, ServerError> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let authority = data_dir.authority()?;
    let blobs = Blobs::open(&data_dir.blobs()).map_err(|error| ServerError::DataDir {
        action: "open",
        path: data_dir.blobs(),
        source: std::io::Error::other(error),
    })?;
    let (said, durable) = watch::channel(Ok(0));
    let on_durable = Box::new(move |result: Result<u64, wrun_store::JournalError>| {
        let _ = said.send_replace(result);
    });
    let (journal, found) =
        Journal::open_on(disk, &data_dir.journal(), JournalOptions::new(on_durable))
            .map_err(|error| ServerError::of_opening(&error))?;
    let options = HistoryOptions { retention: config.retention, ..HistoryOptions::default() };
    let HistoryOpened { history, warning } =
        open_history(&data_dir.history(), options, found.last_seq())?;
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if let Some(cut) = &found.cut {
        warnings.push(format!("{cut}"));
    }
    let caught_up = replay(&config, found, &history)?;
    let journal = Arc::new(journal);
    let history = Arc::new(history);
    let recorder = Recorder::start(Arc::clone(&history), Arc::clone(&journal), caught_up.last)
        .map_err(|error| ServerError::History(format!("no thread for the history: {error}")))?;
    let clock = Clock::start(caught_up.at);
    let (driver, commands) = Driver::channel();
    let watchers = Arc::new(Watchers::default());
    let parts = Parts {
        core: caught_up.core,
        clock,
        journal: Arc::clone(&journal),
        recorder,
        commands,
        durable,
        watchers: Arc::clone(&watchers),
        recovered: caught_up.last,
        snapshot_facts: config.snapshot_facts,
    };
    let shared = Arc::new(Shared {
        requests: Arc::new(Semaphore::new(config.max_requests)),
        config,
        authority,
        clock,
        driver,
        blobs,
        components: Components::new(),
        history,
        watchers,
        nodes: Nodes::default(),
        connections: Connections::new(),
    });
    Ok(Recovered { data_dir, shared, parts, journal, warnings })
}

/// Opens the history of a journal whose last fact is `last`. One that is ahead of it has
/// followed another journal, or a later state of this one than was restored: it would skip
/// the facts to come and show strangers under the ids of new jobs, so it is moved aside.
fn open_history(
    path: &Path,
    options: HistoryOptions,
    last: u64,
) -> Result<HistoryOpened, ServerError> {
    let refused = |reason: String| ServerError::History(reason);
    let open = || History::open(path, options).map_err(|error| refused(error.to_string()));
    let opened = open()?;
    let applied = opened.history.last();
    if applied <= last {
        return Ok(opened);
    }
    drop(opened);
    let aside = (1..u32::MAX)
        .map(|number| path.with_extension(format!("other-{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| path.with_extension("other"));
    std::fs::rename(path, &aside).map_err(|error| {
        refused(format!("{} cannot be moved to {}: {error}", path.display(), aside.display()))
    })?;
    let warning = format!(
        "the history {} is of another journal, or of a later state of this one (it has fact {applied}, the journal ends with {last}); it was moved to {} and begins afresh: jobs that had ended are not listed any more, live jobs are not affected",
        path.display(),
        aside.display()
    );
    Ok(HistoryOpened { warning: Some(warning), ..open()? })
}

/// The core and the history after every fact of the journal.
struct CaughtUp {
    core: Core,
    /// The last fact.
    last: u64,
    /// When it happened.
    at: Timestamp,
}

fn replay(
    config: &ServerConfig,
    found: wrun_store::Recovered,
    history: &History,
) -> Result<CaughtUp, ServerError> {
    let (mut core, mut last) = match found.snapshot {
        Some((seq, bytes)) => (Core::restore(config.core.clone(), &bytes)?, seq),
        None => (Core::new(config.core.clone()), 0),
    };
    let (covered, recorded) = (last, history.last());
    let mut at = Timestamp(0);
    // Whether the history misses facts that the journal no longer has.
    let mut gap = None;
    for record in found.facts {
        let (seq, fact) = record.map_err(|error| ServerError::of_opening(&error))?;
        if *gap.get_or_insert(seq > recorded + 1) && seq == covered + 1 {
            adopt(&core, history);
        }
        if seq > recorded {
            history.apply(seq, &fact);
        }
        if seq > covered {
            core.apply(&fact);
        }
        last = last.max(seq);
        at = at.max(fact.at());
    }
    if last == covered && gap.unwrap_or(covered > recorded) {
        adopt(&core, history);
    }
    Ok(CaughtUp { core, last, at })
}

/// Gives a history that was lost the live jobs of the snapshot, so that what they come to
/// is recorded all the same. The ids of their submissions are the core's alone.
fn adopt(core: &Core, history: &History) {
    let mut query = JobsQuery { limit: 1000, ..JobsQuery::default() };
    loop {
        let page = core.jobs(&query);
        let Some(oldest) = page.last() else { return };
        query.before = Some(oldest.id);
        for id in page.iter().map(|summary| summary.id) {
            if let (Some(detail), Some(kind)) = (core.job(id), core.job_kind(id)) {
                history.adopt(id, row_of(detail, kind));
            }
        }
    }
}

fn row_of(detail: JobDetail, kind: ComponentKind) -> JobRow {
    let JobDetail { summary, spec, usage, failure, .. } = detail;
    JobRow {
        tenant: summary.tenant,
        submit_id: SubmitId([0; 16]),
        kind,
        spec,
        state: summary.state,
        submitted: summary.submitted,
        started: summary.started,
        ended: None,
        succeeded: summary.tasks.succeeded,
        failed: summary.tasks.failed,
        usage,
        failure,
        sole: None,
    }
}

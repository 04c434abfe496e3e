//! From what is on disk to a server that can start: the newest snapshot and every later
//! fact. The history is opened meanwhile, and told of what it lacks.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::{Semaphore, mpsc, watch};
use wrun_core::workflow::Preparation;
use wrun_core::{Core, Fact};
use wrun_protocol::{JobId, Timestamp};
use wrun_store::disk::Disk;
use wrun_store::{Facts, HistoryOptions, Journal, JournalOptions, OpenError};

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::components::Components;
use crate::data_dir::DataDir;
use crate::driver::{Begin, Driver, Parts, Recorder, Untold};
use crate::history::{self, Past};
use crate::shared::{Connections, Nodes, Shared};
use crate::watchers::Watchers;
use crate::{ServerConfig, ServerError};

/// Facts that are decoded ahead of the core: in each batch, and batches.
const FACTS_AHEAD: usize = 1024;
const BATCHES_AHEAD: usize = 8;

/// Everything that the server runs on.
pub(crate) struct Recovered {
    pub(crate) data_dir: DataDir,
    pub(crate) shared: Arc<Shared>,
    pub(crate) parts: Parts,
    /// Steps of workflows to be prepared.
    pub(crate) steps: mpsc::UnboundedReceiver<Box<Preparation>>,
    /// Jobs whose results are to be looked up.
    pub(crate) unlooked: mpsc::UnboundedReceiver<JobId>,
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
    let restore = |snapshot: &[u8]| Core::restore(config.core.clone(), snapshot);
    let (journal, found) = Journal::open_restoring(
        disk,
        &data_dir.journal(),
        JournalOptions::new(on_durable),
        restore,
    )
    .map_err(|error| ServerError::of_opening(&error))?;
    let warnings = found.cut.iter().map(|cut| format!("{cut}")).collect();
    let (covered, last) = (found.covered(), found.last_seq());
    let core = found.snapshot.transpose()?.unwrap_or_else(|| Core::new(config.core.clone()));
    let journal = Arc::new(journal);
    let options = HistoryOptions { retention: config.retention, ..HistoryOptions::default() };
    let path = data_dir.history();
    let mut recorder = Recorder::start(move |past| history::open(&path, options, past))
        .map_err(|error| ServerError::History(format!("no thread for the history: {error}")))?;
    let nodes = core.nodes().into_iter().map(|node| (node.id, node.info.name)).collect();
    let facts = found.facts.again();
    let past = Past { covered, last, facts, nodes, config: config.core.clone() };
    recorder.begin(Begin { journal: Arc::clone(&journal), past });
    let caught_up = replay(core, covered, found.facts.after(covered), &mut recorder)?;
    let clock = Clock::start(caught_up.at);
    let (driver, commands) = Driver::channel();
    let (due_steps, steps) = mpsc::unbounded_channel();
    let (due_results, unlooked) = mpsc::unbounded_channel();
    let watchers = Arc::new(Watchers::default());
    let history = recorder.opening().clone();
    let parts = Parts {
        core: caught_up.core,
        clock,
        journal: Arc::clone(&journal),
        recorder,
        commands,
        durable,
        watchers: Arc::clone(&watchers),
        due_steps,
        due_results,
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
    Ok(Recovered { data_dir, shared, parts, steps, unlooked, journal, warnings })
}

/// The core after every fact of the journal.
struct CaughtUp {
    core: Core,
    /// The last fact.
    last: u64,
    /// When it happened.
    at: Timestamp,
}

/// Applies the facts after a snapshot, which another thread reads and decodes.
fn replay(
    mut core: Core,
    covered: u64,
    facts: Facts,
    recorder: &mut Recorder,
) -> Result<CaughtUp, ServerError> {
    let (mut last, mut at, mut untold) = (covered, Timestamp(0), Untold::default());
    std::thread::scope(|scope| {
        let (ahead, batches) = std::sync::mpsc::sync_channel(BATCHES_AHEAD);
        scope.spawn(move || read_ahead(facts, &ahead));
        for batch in batches {
            for (seq, fact) in batch.map_err(|error| ServerError::of_opening(&error))? {
                core.apply(&fact);
                untold.push(seq, &fact);
                core.take_ended().for_each(|job| untold.push_ended(job));
                last = seq;
                at = at.max(fact.at());
            }
            if untold.len() >= FACTS_AHEAD {
                recorder.send_all(&mut untold, last, at)?;
            }
        }
        recorder.send_all(&mut untold, last, at)
    })?;
    Ok(CaughtUp { core, last, at })
}

type Batch = Result<Vec<(u64, Fact)>, OpenError>;

fn read_ahead(mut facts: Facts, ahead: &SyncSender<Batch>) {
    loop {
        let batch: Batch = facts.by_ref().take(FACTS_AHEAD).collect();
        let over = batch.as_ref().map_or(true, Vec::is_empty);
        // Who has met an error does not want more.
        if ahead.send(batch).is_err() || over {
            return;
        }
    }
}

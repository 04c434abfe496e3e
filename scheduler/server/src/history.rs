//! The history as the server has it: opened while live work is taken up again, because a
//! large one takes longer than the core. Who asks for what has ended waits until it is open.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use wrun_core::{Config, Core, Fact};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::{NodeId, Timestamp};
use wrun_store::{Facts, History, HistoryError, HistoryOpened, HistoryOptions};

use crate::ServerError;

/// A history that is open.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) history: Arc<History>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

/// What the journal had when the server started, for a history that is behind it.
pub(crate) struct Past {
    /// The last fact that a snapshot of the core covers, and the last of all.
    pub(crate) covered: u64,
    pub(crate) last: u64,
    /// Every fact that the journal still has.
    pub(crate) facts: Facts,
    /// Nodes that the snapshot has.
    pub(crate) nodes: Vec<(NodeId, String)>,
    pub(crate) config: Config,
}

type State = Option<Result<Opened, Arc<ServerError>>>;

/// A history that is being opened, or is open, or could not be opened.
#[derive(Clone)]
pub(crate) struct Opening(watch::Receiver<State>);

impl Opening {
    pub(crate) fn new(state: watch::Receiver<State>) -> Self {
        Self(state)
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self) -> Result<Opened, Arc<ServerError>> {
        let mut state = self.0.clone();
        let ended = || Arc::new(ServerError::History("the history's thread has ended".to_owned()));
        match state.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_else(|| Err(ended())),
            Err(_) => Err(ended()),
        }
    }

    /// It, if it is open by now.
    pub(crate) fn now(&self) -> Option<Arc<History>> {
        let state = self.0.borrow();
        state.as_ref()?.as_ref().ok().map(|opened| Arc::clone(&opened.history))
    }

    /// Why it could not be opened.
    pub(crate) fn failure(&self) -> Option<Arc<ServerError>> {
        let state = self.0.borrow();
        state.as_ref()?.as_ref().err().map(Arc::clone)
    }

    /// Reads it, apart from the threads that serve connections.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let internal = |text: String| RequestError::new(ErrorCode::Internal, text);
        let opened = self.opened().await.map_err(|error| internal(error.to_string()))?;
        match tokio::task::spawn_blocking(move || read(&opened.history)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(%error, "the history cannot be read");
                Err(internal(format!("the history cannot be read: {error}")))
            }
            Err(_) => Err(internal("reading the history failed".to_owned())),
        }
    }
}

/// Opens the history of the journal that has this past, and tells it what of that it has
/// lost. One that is ahead of the journal has followed another, or a later state of this one
/// than was restored: it would skip the facts to come and show strangers under the ids of
/// new jobs, so it is moved aside.
pub(crate) fn open(
    path: &Path,
    options: HistoryOptions,
    past: &Past,
) -> Result<Opened, ServerError> {
    let refused = |reason: String| ServerError::History(reason);
    let open = || History::open(path, options).map_err(|error| refused(error.to_string()));
    let mut opened = open()?;
    let applied = opened.history.last();
    if applied > past.last {
        drop(opened);
        let aside = (1..u32::MAX)
            .map(|number| path.with_extension(format!("other-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| path.with_extension("other"));
        std::fs::rename(path, &aside).map_err(|error| {
            refused(format!("{} cannot be moved to {}: {error}", path.display(), aside.display()))
        })?;
        let warning = format!(
            "the history {} is of another journal, or of a later state of this one (it has fact {applied}, the journal ends with {}); it was moved to {} and begins afresh: jobs that had ended are not listed any more, live jobs are not affected",
            path.display(),
            past.last,
            aside.display()
        );
        opened = HistoryOpened { warning: Some(warning), ..open()? };
    }
    let HistoryOpened { history, warning } = opened;
    if history.last() < past.covered {
        rebuild(&history, past)?;
    }
    Ok(Opened { history: Arc::new(history), warnings: warning.into_iter().collect() })
}

/// Tells a history that was lost what the journal still has from before the snapshot. A core
/// that begins with these facts knows the jobs that both came and ended by them.
fn rebuild(history: &History, past: &Past) -> Result<(), ServerError> {
    let mut core = Core::new(past.config.clone());
    let mut at = Timestamp(0);
    for (node, name) in &past.nodes {
        let (node, name, token) = (*node, name.clone(), [0; 32]);
        core.apply(&Fact::NodeJoined { at, node, name, token });
    }
    for record in past.facts.again() {
        let (seq, fact) = record.map_err(|error| ServerError::of_opening(&error))?;
        if seq > past.covered {
            break;
        }
        at = at.max(fact.at());
        core.apply(&fact);
        history.apply(seq, &fact, core.take_ended());
    }
    history.advance(past.covered, at);
    Ok(())
}

//! From bytes to a component that can be started: found in memory, mapped from the
//! cache, or compiled; each once per digest at a time, on threads of their own.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::watch;
use wasmtime::component::Component;
use wrun_protocol::Digest;

use crate::cache::Cache;
use crate::engines::Engines;
use crate::facts::Facts;
use crate::link::Linkers;
use crate::{PrepareError, Prepared};

/// Components kept ready in memory although no job holds them.
const KEPT: usize = 32;
/// Components that may wait for a compile thread.
const MAX_WAITING: usize = 1024;

/// What is wanted of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    /// For executions that observe nothing of the outside.
    pub(crate) deterministic: bool,
}

type Answer = Result<Arc<Prepared>, PrepareError>;
type Source = Box<dyn FnOnce() -> io::Result<Bytes> + Send>;

/// Compiles and remembers.
pub(crate) struct Compiler {
    engines: Arc<Engines>,
    linkers: Linkers,
    cache: Cache,
    state: Mutex<State>,
    work: std::sync::Condvar,
}

#[derive(Default)]
struct State {
    known: HashMap<Wanted, Weak<Prepared>>,
    kept: VecDeque<Arc<Prepared>>,
    flights: HashMap<Wanted, watch::Receiver<Option<Answer>>>,
    waiting: VecDeque<(Wanted, Source, watch::Sender<Option<Answer>>)>,
    closed: bool,
}

impl Compiler {
    /// Starts `threads` compile threads.
    pub(crate) fn start(
        engines: Arc<Engines>,
        linkers: Linkers,
        cache: Cache,
        threads: usize,
    ) -> io::Result<Arc<Self>> {
        let compiler = Arc::new(Self {
            engines,
            linkers,
            cache,
            state: Mutex::default(),
            work: std::sync::Condvar::new(),
        });
        for index in 0..threads {
            let shared = Arc::clone(&compiler);
            std::thread::Builder::new()
                .name(format!("wrun-compile-{index}"))
                .spawn(move || shared.run())?;
        }
        Ok(compiler)
    }

    /// See [`crate::Sandbox::compile`].
    pub(crate) async fn prepare(&self, wanted: Wanted, source: Source) -> Answer {
        let mut flight = match self.join(wanted, source)? {
            Joined::Ready(prepared) => return Ok(prepared),
            Joined::Flight(flight) => flight,
        };
        match flight.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(PrepareError::Closed)),
            Err(_) => Err(PrepareError::Closed),
        }
    }

    fn join(&self, wanted: Wanted, source: Source) -> Result<Joined, PrepareError> {
        let mut state = self.lock();
        if let Some(prepared) = state.known.get(&wanted).and_then(Weak::upgrade) {
            state.keep(&prepared);
            return Ok(Joined::Ready(prepared));
        }
        if let Some(flight) = state.flights.get(&wanted) {
            return Ok(Joined::Flight(flight.clone()));
        }
        if state.closed {
            return Err(PrepareError::Closed);
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(PrepareError::Busy);
        }
        let (sender, flight) = watch::channel(None);
        state.flights.insert(wanted, flight.clone());
        state.waiting.push_back((wanted, source, sender));
        drop(state);
        self.work.notify_one();
        Ok(Joined::Flight(flight))
    }

    /// Ends the threads; who waits is told that the sandbox is closing.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.work.notify_all();
    }

    fn run(&self) {
        while let Some((wanted, source, sender)) = self.next() {
            // A panic of the compiler on hostile input fails this component, not the node.
            let made = std::panic::AssertUnwindSafe(|| self.make(wanted, source));
            let answer = std::panic::catch_unwind(made).unwrap_or_else(|_| {
                let text = "the compiler failed on it; please report the component".to_owned();
                Err(PrepareError::Compile(text))
            });
            let mut state = self.lock();
            state.flights.remove(&wanted);
            if let Ok(prepared) = &answer {
                state.known.retain(|_, known| known.strong_count() > 0);
                state.known.insert(wanted, Arc::downgrade(prepared));
                state.keep(prepared);
            }
            drop(state);
            let _ = sender.send(Some(answer));
        }
    }

    fn next(&self) -> Option<(Wanted, Source, watch::Sender<Option<Answer>>)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = state.waiting.pop_front() {
                return Some(next);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self, wanted: Wanted, source: Source) -> Answer {
        let (component, facts) = match self.cache.load(wanted, &self.engines) {
            Some(found) => found,
            None => self.compile(wanted, source)?,
        };
        self.linkers.link(&self.engines, &component, facts).map(Arc::new)
    }

    fn compile(&self, wanted: Wanted, source: Source) -> Result<(Component, Facts), PrepareError> {
        let bytes = source().map_err(|error| PrepareError::Source(error.to_string()))?;
        let inspected = wrun_component::inspect(&bytes)
            .map_err(|error| PrepareError::Component(error.to_string()))?;
        let facts = Facts::of(&inspected, wanted.deterministic).ok_or_else(|| {
            let text = "it answers HTTP requests, and what it answers is not remembered";
            PrepareError::Component(text.to_owned())
        })?;
        let engine = &self.engines.of(facts.flavor).map_err(PrepareError::Engine)?.engine;
        let component = Component::from_binary(engine, &bytes)
            .map_err(|error| PrepareError::Compile(format!("{error:#}")))?;
        if let Err(error) = self.cache.store(wanted, &component, &facts) {
            // A full disk costs the next start its time, nothing else.
            let digest = wanted.digest;
            tracing::warn!(%digest, %error, "a compiled component could not be kept on disk");
        }
        Ok((component, facts))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined {
    Ready(Arc<Prepared>),
    Flight(watch::Receiver<Option<Answer>>),
}

impl State {
    /// Marks as most recently used.
    fn keep(&mut self, prepared: &Arc<Prepared>) {
        self.kept.retain(|kept| !Arc::ptr_eq(kept, prepared));
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(prepared));
    }
}

//! The clock that guests are interrupted by: one thread raises the engines' epochs while
//! any guest thread is busy, and is parked while none is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

use crate::engines::Engines;

/// Tells the ticker whether anyone is busy.
pub(crate) struct Ticker {
    busy: AtomicUsize,
    closed: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engines: Arc<Engines>, tick: Duration) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            busy: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let shared = Arc::clone(&ticker);
        let handle = thread::Builder::new()
            .name("wrun-ticker".to_owned())
            .spawn(move || shared.run(&engines, tick))?;
        let _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    /// A guest thread has work again.
    pub(crate) fn on_busy(&self) {
        if self.busy.fetch_add(1, Ordering::SeqCst) == 0 {
            self.unpark();
        }
    }

    /// A guest thread has none left.
    pub(crate) fn on_idle(&self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engines: &Engines, tick: Duration) {
        while !self.closed.load(Ordering::SeqCst) {
            if self.busy.load(Ordering::SeqCst) == 0 {
                thread::park();
                continue;
            }
            thread::sleep(tick);
            engines.made().for_each(Engine::increment_epoch);
        }
    }
}

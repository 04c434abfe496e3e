//! `wrun:task/context`: what a guest knows of its execution and may ask of the node.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use wrun_protocol::limits::MAX_CHECKPOINT;

use crate::bindings::wrun::task::context::{CheckpointError, Host, Level, Task};
use crate::state::TaskState;
use crate::task::CheckpointDone;

/// Longest message of a progress report, in bytes; the rest is cut off.
const MAX_MESSAGE: usize = 1024;

impl Host for TaskState {
    fn current(&mut self) -> wasmtime::Result<Task> {
        let job = self.control.job();
        let (index, count, tenant) = (self.index, job.count, job.tenant.as_str().to_owned());
        if self.control.world().is_some() {
            return Ok(Task { job: 0, index, count, attempt: 1, tenant, remaining_ms: None });
        }
        let left = self.control.wall_left(Instant::now());
        let remaining_ms = left.map(wrun_protocol::time::millis);
        Ok(Task { job: job.job.0, index, count, attempt: self.attempt, tenant, remaining_ms })
    }

    fn progress(&mut self, permille: u16, message: String) -> wasmtime::Result<()> {
        let end = (0..=MAX_MESSAGE.min(message.len())).rev();
        let end = end.into_iter().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        let message = message.get(..end).unwrap_or_default();
        self.control.events().progress(self.control.token, permille.min(1000), message);
        Ok(())
    }

    async fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let word = match level {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        };
        self.stderr.writable().await;
        self.stderr.put(Bytes::from(format!("{word} {message}\n")))?;
        Ok(())
    }

    async fn save_checkpoint(
        &mut self,
        state: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CheckpointError>> {
        if self.control.world().is_some() {
            let text = "a task whose result is remembered has no checkpoints";
            return Ok(Err(CheckpointError::Unavailable(text.to_owned())));
        }
        let size = state.len() as u64;
        if size > MAX_CHECKPOINT {
            return Ok(Err(CheckpointError::TooLarge(MAX_CHECKPOINT)));
        }
        let control = &self.control;
        if !control.account.charge(size) {
            let limit = wrun_protocol::task::Limit::Memory;
            control.reach(limit, control.account.limit());
            return Err(crate::stdio::LimitReached.into());
        }
        let state = Bytes::from(state);
        let (sender, done) = oneshot::channel();
        control.events().save_checkpoint(control.token, state.clone(), CheckpointDone(sender));
        let saved = done.await.unwrap_or_else(|_| Err("the node is going".to_owned()));
        match saved {
            Ok(()) => {
                let before = self.checkpoint.replace(state);
                self.control.account.release(before.map_or(0, |bytes| bytes.len() as u64));
                Ok(Ok(()))
            }
            Err(reason) => {
                self.control.account.release(size);
                Ok(Err(CheckpointError::Unavailable(reason)))
            }
        }
    }

    fn stopping(&mut self) -> wasmtime::Result<Option<u64>> {
        if self.control.world().is_some() {
            return Ok(None);
        }
        let left = self.control.stops_in(Instant::now());
        Ok(left.map(wrun_protocol::time::millis))
    }

    fn load_checkpoint(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        let seen = self.checkpoint.as_ref().filter(|_| self.control.world().is_none());
        Ok(seen.map(|bytes| bytes.to_vec()))
    }
}

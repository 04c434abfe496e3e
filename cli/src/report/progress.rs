//! How far a job is, while somebody waits: a bar on a terminal, plain lines in a pipe,
//! JSON lines where asked. Bars and lines go to standard error, JSON to standard output.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wrun_protocol::JobId;
use wrun_protocol::wire::user::{JobProgress, JobState};

use super::{human, json};
use crate::console::Console;
use crate::error::Error;

/// How often a plain line is printed at most.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows the progress of one job.
pub(crate) struct JobView {
    job: JobId,
    console: Console,
    bar: Option<ProgressBar>,
    said: Option<(Instant, JobState, u64)>,
}

impl JobView {
    /// Shows nothing yet.
    pub(crate) fn new(console: Console, job: JobId) -> Self {
        Self { job, console, bar: None, said: None }
    }

    /// Shows `progress`.
    pub(crate) fn show(&mut self, progress: &JobProgress) -> Result<(), Error> {
        if self.console.wants_json() {
            let state = human::job_state(progress.state);
            let tasks = progress.tasks.into();
            self.console.json(&json::Event::Progress { job: self.job.0, state, tasks })
        } else if self.console.can_draw() {
            self.draw(progress);
            Ok(())
        } else {
            self.say(progress);
            Ok(())
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, progress: &JobProgress) {
        let total = human::total(&progress.tasks);
        let job = self.job;
        let bar = self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template = "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            bar.set_style(style);
            bar.set_prefix(format!("job {job}"));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        bar.set_length(total);
        bar.set_position(human::ended(&progress.tasks));
        bar.set_message(human::counts(&progress.tasks));
    }

    fn say(&mut self, progress: &JobProgress) {
        let ended = human::ended(&progress.tasks);
        let due = match self.said {
            None => true,
            Some((_, state, _)) if state != progress.state => true,
            Some((when, _, before)) => before != ended && when.elapsed() >= LINE_EVERY,
        };
        if due {
            let (state, counts) =
                (human::job_state(progress.state), human::counts(&progress.tasks));
            let total = human::total(&progress.tasks);
            let job = self.job;
            self.console.note(format_args!("job {job} {state}: {ended}/{total} ended ({counts})"));
            self.said = Some((Instant::now(), progress.state, ended));
        }
    }
}

/// A bar over bytes that are sent, on a terminal only.
pub(crate) fn upload_bar(console: Console, bytes: u64) -> ProgressBar {
    if !console.can_draw() || bytes < 1 << 20 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(10));
    let template = "uploading [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

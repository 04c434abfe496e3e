//! How far a job is, while somebody waits: a bar on a terminal, plain lines in a pipe,
//! JSON lines where asked. Bars and lines go to standard error, JSON to standard output.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wrun_protocol::JobId;
use wrun_protocol::wire::service::ServiceDetail;
use wrun_protocol::wire::user::{JobProgress, JobState};
use wrun_protocol::wire::workflow::{StepDetail, WorkflowDetail};
use wrun_protocol::workflow::StepState;

use super::{graph, human, json};
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

/// Shows how the steps of a workflow stand: the graph, redrawn on a terminal; in a pipe a line
/// for each step that has changed.
pub(crate) struct WorkflowView {
    console: Console,
    drawing: Option<ProgressBar>,
    /// As last said, by place.
    said: Vec<(StepState, u64, Instant)>,
}

impl WorkflowView {
    /// Shows nothing yet.
    pub(crate) fn new(console: Console) -> Self {
        Self { console, drawing: None, said: Vec::new() }
    }

    /// Shows `workflow`.
    pub(crate) fn show(&mut self, workflow: &WorkflowDetail) -> Result<(), Error> {
        if self.console.can_draw() {
            let drawing = self.drawing.get_or_insert_with(|| {
                let target = ProgressDrawTarget::stderr_with_hz(10);
                let style = ProgressStyle::with_template("{msg}");
                ProgressBar::with_draw_target(None, target)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            });
            drawing.set_message(graph::text(self.console, workflow, human::now()));
            return Ok(());
        }
        for (place, step) in workflow.steps.iter().enumerate() {
            if self.is_news(place, step) {
                self.say(workflow, step)?;
                let news = (step.state, human::ended(&step.tasks), Instant::now());
                match self.said.get_mut(place) {
                    Some(said) => *said = news,
                    None => self.said.push(news),
                }
            }
        }
        Ok(())
    }

    /// Whether something is to be said of the step.
    fn is_news(&self, place: usize, step: &StepDetail) -> bool {
        match self.said.get(place) {
            None => true,
            Some((state, ended, when)) => {
                let went_on = *ended != human::ended(&step.tasks) && when.elapsed() >= LINE_EVERY;
                *state != step.state || went_on
            }
        }
    }

    fn say(&self, workflow: &WorkflowDetail, step: &StepDetail) -> Result<(), Error> {
        let (job, name, state) = (workflow.summary.id, &step.name, step.state.name());
        let why = step.why.as_ref().map(ToString::to_string);
        if self.console.wants_json() {
            return self.console.json(&json::Event::Step {
                job: job.0,
                step: name.clone(),
                state,
                step_job: step.job.map(|job| job.0),
                tasks: step.tasks.into(),
                why,
            });
        }
        // What has not begun is told of when it does.
        if matches!(step.state, StepState::Waiting | StepState::Preparing) {
            return Ok(());
        }
        let mut text = format!("workflow {job}: {name} {state}");
        if let Some(job) = step.job {
            text += &format!(", job {job}");
        }
        if human::total(&step.tasks) > 1 {
            text += &format!(" ({})", graph::tasks(&step.tasks));
        }
        if let Some(why) = why {
            text += &format!(": {}", super::table::clean(&why));
        }
        self.console.note(text);
        Ok(())
    }

    /// Takes the drawing away, and leaves the last one as text.
    pub(crate) fn finish(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            let last = drawing.message();
            drawing.finish_and_clear();
            self.console.note(last);
        }
    }
}

/// Shows how a revision of a service takes its place: a line, redrawn on a terminal; in a pipe
/// a line for each change.
pub(crate) struct RolloutView {
    console: Console,
    revision: u32,
    drawing: Option<ProgressBar>,
    /// When it was said last, or when there first was something to say, and what.
    said: Option<(Instant, String)>,
}

impl RolloutView {
    /// Shows nothing yet.
    pub(crate) fn new(console: Console, revision: u32) -> Self {
        Self { console, revision, drawing: None, said: None }
    }

    /// Shows how far `service` is.
    pub(crate) fn show(&mut self, service: &ServiceDetail) {
        if self.console.wants_json() {
            return;
        }
        let text = super::service::progress(service, self.revision);
        if self.console.can_draw() {
            self.draw(text);
        } else {
            self.say(text);
        }
    }

    fn draw(&mut self, text: String) {
        let drawing = self.drawing.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            let drawing = ProgressBar::with_draw_target(None, target)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            drawing.enable_steady_tick(Duration::from_millis(100));
            drawing
        });
        drawing.set_message(text);
    }

    /// What is over before it could be read is not said.
    fn say(&mut self, text: String) {
        let (when, before) = self.said.get_or_insert_with(|| (Instant::now(), String::new()));
        if *before != text && when.elapsed() >= LINE_EVERY {
            self.console.note(&text);
            self.said = Some((Instant::now(), text));
        }
    }

    /// Takes the drawing away.
    pub(crate) fn finish(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            drawing.finish_and_clear();
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

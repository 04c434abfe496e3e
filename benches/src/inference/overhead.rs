//! What a run of a model costs a guest over what it costs this process, on one thread each.

use anyhow::{Result, ensure};

use super::guests;
use super::models::{self, Case};
use super::native::Native;
use crate::report::{Report, Section};
use crate::statistics::{median, percentile};

/// How much the same model's outputs may differ between the two, by what they add up to.
const SAME: f64 = 1e-4;

/// A model, runs in a round, and its bar.
struct Measured {
    case: Case,
    count: usize,
    bar: Option<Bar>,
}

#[derive(Clone, Copy)]
enum Bar {
    /// At most so many microseconds more.
    Microseconds(f64),
    /// At most such a part more.
    Part(f64),
}

pub(super) fn measure(report: &mut Report) -> Result<()> {
    let rounds = if report.is_quick() { 2 } else { 20 };
    let scale = if report.is_quick() { 10 } else { 1 };
    let measured = [
        Measured { case: models::trivial(), count: 5000, bar: Some(Bar::Microseconds(50.0)) },
        Measured { case: models::deep(), count: 100, bar: Some(Bar::Part(0.01)) },
        Measured { case: models::magika()?, count: 100, bar: Some(Bar::Part(0.01)) },
        Measured { case: models::voice()?, count: 1000, bar: None },
    ];
    let cluster = guests::cluster(1);
    let mut section =
        Section::new("Inference: one guest, beside the same back end called directly");
    for Measured { case, count, bar } in &measured {
        case.push(&cluster, &["--max-batch", "1"])?;
        let native = Native::load(case, 1)?;
        let (mut ours, mut theirs, mut more) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut direct = native.times(count / scale)?;
            let (sum, mut guest) = guests::times(&cluster, case, count / scale)?;
            let right = native.run()?;
            let apart = (sum - right).abs();
            ensure!(apart <= SAME * right.abs().max(1.0), "{}: {sum}, not {right}", case.name);
            let (direct, guest) = (median(&mut direct), median(&mut guest));
            theirs.push(direct / 1e3);
            ours.push(guest / 1e3);
            more.push((guest - direct) / 1e3);
        }
        let direct = median(&mut theirs);
        section.row(format!("{}: tract, called directly", case.what), format!("{direct:.1} µs"));
        section.row(
            format!("{}: through `wasi:nn`, in a guest", case.what),
            format!("{:.1} µs", median(&mut ours)),
        );
        let what = format!("{}: more, median of {rounds} alternating rounds", case.what);
        let least = percentile(&mut more, 0.25);
        let most = percentile(&mut more, 0.75);
        let more = median(&mut more);
        let figure = format!(
            "{more:.1} µs, {:.2} % (half of the rounds: {least:.1} to {most:.1} µs)",
            more / direct * 100.0
        );
        match bar {
            Some(Bar::Microseconds(bar)) => {
                section.bar(&what, figure, &format!("at most {bar} µs"), more <= *bar);
            }
            Some(Bar::Part(bar)) => {
                let met = more <= direct * bar;
                section.bar(&what, figure, &format!("at most {} %", bar * 100.0), met);
            }
            None => section.row(what, figure),
        }
    }
    section.note(
        "Both make tensors from numbers, run the model on one thread of tract, and read the first \
         output. Directly: a loop in a process of its own. In a guest: a program in a sandbox of \
         `wrun worker`, whose every run goes through `wasi:nn`, the engine's queue and a thread of \
         the engine, and whose tensors are copied into the guest's memory and out of it. Each \
         measures its own runs; a round's figure is their median. Both gave the same.",
    );
    report.add(section);
    Ok(())
}

//! What a run of a model costs a guest over what it costs this process, on one thread each.

use anyhow::{Result, ensure};
use harness::Cluster;

use super::guests;
use super::models::{self, Case};
use super::native::{Loop, Native};
use super::onnx_runtime::{self, OnnxRuntime};
use crate::report::{Report, Section};
use crate::statistics::{median, percentile};

/// How much the same model's outputs may differ between the two, by what they add up to.
const SAME: f64 = 1e-4;

/// A model, rounds, runs in each, and its bar. A machine that is now faster and now slower shows
/// less in many short rounds: a round is long enough where it takes a tenth of a second.
struct Measured {
    case: Case,
    rounds: usize,
    count: usize,
    bar: Option<Bar>,
}

#[derive(Clone, Copy)]
enum Bar {
    /// At most so many microseconds more.
    Microseconds(f64),
    /// At most such a part more; of a model of ten milliseconds, where it takes less.
    Part(f64),
}

/// What makes a loop of a model.
type Load<'a> = &'a dyn Fn(&Case) -> Result<Box<dyn Loop>>;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scale = if report.is_quick() { 10 } else { 1 };
    let measured = |case, [rounds, count]: [usize; 2], bar| {
        let rounds = (rounds / scale).max(2);
        Measured { case, rounds, count, bar }
    };
    let (short, long) = ([40, 2000], [200, 10]);
    let within = |us| Some(Bar::Microseconds(us));
    let of_tract = [
        measured(models::trivial(), short, within(50.0)),
        measured(of_ten_milliseconds()?, long, Some(Bar::Part(0.01))),
        measured(models::magika()?, long, Some(Bar::Part(0.01))),
        measured(models::voice()?, [40, 200], None),
    ];
    let of_onnx_runtime = [
        measured(models::trivial(), short, within(100.0)),
        measured(of_ten_milliseconds()?, long, None),
        measured(models::magika()?, long, None),
        measured(models::voice()?, [40, 500], None),
    ];
    let mut section =
        Section::new("Inference: one guest, beside the same back end called directly");
    let cluster = guests::cluster(1);
    let tract: Load<'_> = &|case| Ok(Box::new(Native::load(case, case.rows())?));
    of_tract.iter().try_for_each(|of| compare(&mut section, &cluster, "tract", tract, of))?;
    drop(cluster);
    let cluster = guests::cluster_of(1, onnx_runtime::worker_file());
    let library = onnx_runtime::library()?;
    let runtime: Load<'_> = &|case| Ok(Box::new(OnnxRuntime::load(&library, case)?));
    let name = "ONNX Runtime";
    of_onnx_runtime.iter().try_for_each(|of| compare(&mut section, &cluster, name, runtime, of))?;
    section.note(
        "Both make tensors from numbers, run the model on one thread of the back end, and read the \
         first output. Directly: a loop in the benchmark's process. In a guest: a program in a \
         sandbox of `wrun worker`, whose every run goes through `wasi:nn`, the engine's queue and a \
         thread of the engine, and whose tensors are copied into the guest's memory and out of it; \
         with ONNX Runtime also through shared memory into a process of its own, and back. Each \
         measures its own runs; a round's figure is their median. Both gave the same. The worker's \
         allocator is mimalloc and the loop's is the system's, by which a guest can be the faster one.",
    );
    report.add(section);
    Ok(())
}

/// Dense layers that take tract about so long on this machine.
fn of_ten_milliseconds() -> Result<Case> {
    let mut cases = Vec::from(models::longer());
    cases.insert(0, models::deep());
    let mut chosen = models::deep();
    for case in cases {
        let mut times = Native::load(&case, case.rows())?.times(11)?;
        chosen = case;
        if median(&mut times) >= 7e6 {
            break;
        }
    }
    Ok(chosen)
}

/// A guest and the loop in turns.
fn compare(
    section: &mut Section,
    cluster: &Cluster,
    back_end: &str,
    load: Load<'_>,
    Measured { case, rounds, count, bar }: &Measured,
) -> Result<()> {
    case.push(cluster, &["--max-batch", "1"])?;
    let mut native = load(case)?;
    let (mut ours, mut theirs, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..*rounds {
        let mut direct = native.times(*count)?;
        let (sum, mut guest) = guests::times(cluster, case, *count)?;
        let right = native.run()?;
        let apart = (sum - right).abs();
        ensure!(apart <= SAME * right.abs().max(1.0), "{}: {sum}, not {right}", case.name);
        let (direct, guest) = (median(&mut direct), median(&mut guest));
        theirs.push(direct / 1e3);
        ours.push(guest / 1e3);
        more.push((guest - direct) / 1e3);
    }
    let direct = median(&mut theirs);
    section.row(format!("{}: {back_end}, called directly", case.what), format!("{direct:.1} µs"));
    section.row(
        format!("{}: {back_end}, in a guest through `wasi:nn`", case.what),
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
            let least = bar * 10_000.0;
            let met = more <= (direct * bar).max(least);
            let bar = format!("at most {} %, or {least} µs", bar * 100.0);
            section.bar(&what, figure, &bar, met);
        }
        None => section.row(what, figure),
    }
    Ok(())
}

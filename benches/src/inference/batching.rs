//! Many guests with one model: with merging of their requests and without, beside a loop in this
//! process with batches and without.

use std::time::Duration;

use anyhow::Result;
use harness::Cluster;

use super::guests;
use super::models::{self, Case};
use super::native::Native;
use crate::report::{Report, Section};
use crate::statistics::median;

const GUESTS: u32 = 64;
const BATCH: usize = 32;

/// A part of the gain of native batches that guests are to have; and of their rate without
/// merging, where a batch gains nothing.
const GAIN: f64 = 0.8;
const NO_LOSS: f64 = 0.97;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let (rounds, time_ms) = if report.is_quick() { (1, 1_000) } else { (5, 4_000) };
    let threads = std::thread::available_parallelism()?.get();
    let cluster = guests::cluster(threads);
    let mut section = Section::new(&format!("Inference: {GUESTS} guests with one model"));
    let pairs = [
        (models::dense(), models::dense().renamed("dense-alone"), true),
        (models::magika()?, models::magika()?.renamed("magika-alone"), false),
    ];
    for (merged, alone, gains) in &pairs {
        merged.push(&cluster, &["--max-batch", &BATCH.to_string()])?;
        alone.push(&cluster, &["--max-batch", "1"])?;
        let rates = rates(&cluster, [merged, alone], threads, rounds, time_ms)?;
        rows(&mut section, merged, &rates, *gains);
    }
    section.note(format!(
        "Each guest is a program in a sandbox of its own that runs the model on one row at a time, \
         again and again for {} s; all begin at the same time. The worker has {threads} threads \
         for models, and so has the loop in this process, which runs the model on one row or on \
         {BATCH} at a time. All four are measured in turns, {rounds} times; medians. The two \
         cores are the guests' too, who make tensors and copy them.",
        f64::from(time_ms) / 1e3
    ));
    report.add(section);
    Ok(())
}

/// Rows a second: native one by one, native in batches, of guests unmerged, of guests merged.
fn rates(
    cluster: &Cluster,
    [merged, alone]: [&Case; 2],
    threads: usize,
    rounds: usize,
    time_ms: u32,
) -> Result<[f64; 4]> {
    let (one, many) = (Native::load(merged, 1)?, Native::load(merged, BATCH)?);
    let time = Duration::from_millis(time_ms.into());
    // The first load proves the batch axes, which takes its time.
    guests::times(cluster, merged, 1)?;
    guests::times(cluster, alone, 1)?;
    let mut all = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let round = [
            one.rows_per_second(threads, time)?,
            many.rows_per_second(threads, time)?,
            guests::runs_per_second(cluster, alone, GUESTS, time_ms)?,
            guests::runs_per_second(cluster, merged, GUESTS, time_ms)?,
        ];
        all.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
    }
    Ok(all.map(|mut rates| median(&mut rates)))
}

fn rows(section: &mut Section, case: &Case, rates: &[f64; 4], gains: bool) {
    let [one, many, alone, merged] = *rates;
    let rate = |rate: f64| format!("{rate:.0} rows a second");
    let what = case.what;
    section.row(format!("{what}: directly, row by row"), rate(one));
    section.row(format!("{what}: directly, {BATCH} rows at a time"), rate(many));
    section.row(format!("{what}: guests, not merged"), rate(alone));
    section.row(format!("{what}: guests, merged"), rate(merged));
    let (gain, ours) = (many / one, merged / alone);
    if gains {
        let figure = format!(
            "{ours:.2} times, where a batch gains {gain:.2} times: {:.2} of it",
            ours / gain
        );
        let bar = format!("at least {GAIN}");
        section.bar(&format!("{what}: gain of merging"), figure, &bar, ours >= GAIN * gain);
    } else {
        let figure = format!("{ours:.2} times, where a batch gains {gain:.2} times");
        let bar = format!("no loss: at least {NO_LOSS}");
        section.bar(&format!("{what}: merged to not merged"), figure, &bar, ours >= NO_LOSS);
    }
}

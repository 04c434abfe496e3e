//! Finds the batch axis of each tensor of a model, and proves it by running rows alone and
//! together. It is bounded in runs, and gives up for a stated reason; one is that a batch is not
//! faster, which is measured.

use std::time::{Duration, Instant};

use super::axes::{AloneReason, Axes};
use super::merge::MAX_COMMON;
use super::sample::{Numbers, Sample, difference, tolerance};
use crate::back_end::{Graph, RunError, Stop};
use crate::signature::{Dimension, Signature, TensorSignature};
use crate::tensor::{Tensor, byte_length};

/// Combinations of axes that are tried.
const MAX_COMBINATIONS: usize = 16;

/// Runs of a model that a proof may take.
const MAX_RUNS: usize = 200;

/// A batch must be so many times as fast as its rows to be worth its waiting.
const MIN_GAIN: f64 = 1.1;

/// Rows of the batch that is measured.
const MEASURED: u32 = 8;

/// It is measured so many times, and for so long, whichever is less; twice at least.
const MEASURES: u32 = 12;
const MEASURED_TIME: Duration = Duration::from_millis(200);

/// What open dimensions but the batch's are tried with: models want a length above that of
/// their windows, and often a certain one.
const SIZES: [u32; 6] = [4, 16, 64, 512, 224, 1];

/// What whole numbers in trial inputs are below.
const BELOW: [u8; 2] = [100, 2];

/// The magnitudes of the trial rows.
const MAGNITUDES: [f32; 3] = [1.0, 4.0, 0.25];

/// The batch axes of the model, or why it had better have none. Batches will have so many rows
/// at most; `now` is the time.
pub(crate) fn prove(
    graph: &dyn Graph,
    signature: &Signature,
    max_batch: u32,
    stop: &Stop,
    now: &dyn Fn() -> Instant,
) -> Result<Axes, AloneReason> {
    let mut proof = Proof { graph, signature, stop, now, runs: 0 };
    let mut reason = None;
    for inputs in combinations(signature)? {
        match proof.try_axes(&inputs) {
            Ok((outputs, row)) => {
                let axes = Axes { inputs, outputs };
                proof.check_gain(&axes, &row, max_batch.min(MEASURED))?;
                return Ok(axes);
            }
            Err(found @ AloneReason::Stateful { .. }) => return Err(found),
            // The first combination is the likeliest, and so is its reason.
            Err(found) => reason = reason.or(Some(found)),
        }
    }
    let problem = "no axes are left to try".to_owned();
    Err(reason.unwrap_or(AloneReason::NoTrial { problem }))
}

type InputAxes = Vec<Option<usize>>;

/// The combinations of input axes worth trying, the likeliest first: a dimension that all
/// inputs call by one name, then the first open dimensions.
fn combinations(signature: &Signature) -> Result<Vec<InputAxes>, AloneReason> {
    let mut open = Vec::new();
    for tensor in &signature.inputs {
        open.push(open_axes(tensor)?);
    }
    if open.iter().all(Vec::is_empty) {
        let input = signature.inputs.first().map(|tensor| tensor.name.clone());
        return Err(AloneReason::Fixed { input: input.unwrap_or_default() });
    }
    let symbols = signature.inputs.iter().flat_map(|tensor| tensor.dimensions.iter().flatten());
    let by_name = symbols.filter_map(|dimension| match dimension {
        Dimension::Symbol(name) => named_axes(signature, &open, name),
        _ => None,
    });
    let mut found: Vec<InputAxes> = Vec::new();
    for axes in by_name.chain(products(&open)).take(MAX_COMBINATIONS * 4) {
        if found.len() < MAX_COMBINATIONS && !found.contains(&axes) {
            found.push(axes);
        }
    }
    Ok(found)
}

/// The axes that may be the batch's. None: the input is small and the same for all rows.
fn open_axes(tensor: &TensorSignature) -> Result<Vec<usize>, AloneReason> {
    let input = || tensor.name.clone();
    let declared =
        tensor.dimensions.as_ref().ok_or_else(|| AloneReason::UnknownShape { input: input() })?;
    let fixed = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Symbol(_) | Dimension::Any => None,
    };
    let open = |(axis, dimension)| fixed(dimension).is_none().then_some(axis);
    let axes: Vec<_> = declared.iter().enumerate().filter_map(open).collect();
    if axes.is_empty() {
        let sizes: Vec<_> = declared.iter().filter_map(fixed).collect();
        let small = byte_length(&sizes, tensor.element).is_some_and(|it| it <= MAX_COMMON as u64);
        if !small {
            return Err(AloneReason::Fixed { input: input() });
        }
    }
    Ok(axes)
}

/// The axis of that name in every input that has open ones.
fn named_axes(signature: &Signature, open: &[Vec<usize>], name: &str) -> Option<InputAxes> {
    let axes = signature.inputs.iter().zip(open).map(|(tensor, open)| {
        if open.is_empty() {
            return Some(None);
        }
        let mut dimensions = tensor.dimensions.iter().flatten();
        let is_it = |it: &Dimension| matches!(it, Dimension::Symbol(other) if other == name);
        dimensions.position(is_it).map(Some)
    });
    axes.collect()
}

/// Every choice of one open axis for each input, first axes first.
fn products(open: &[Vec<usize>]) -> impl Iterator<Item = InputAxes> {
    let count = open.iter().try_fold(1_usize, |all, axes| all.checked_mul(axes.len().max(1)));
    (0..count.unwrap_or(usize::MAX)).map(move |number| {
        let mut rest = number;
        let axes = open.iter().map(|axes| {
            let choices = axes.len().max(1);
            let choice = axes.get(rest % choices).copied();
            rest /= choices;
            choice
        });
        axes.collect()
    })
}

struct Proof<'a> {
    graph: &'a dyn Graph,
    signature: &'a Signature,
    stop: &'a Stop,
    now: &'a dyn Fn() -> Instant,
    runs: usize,
}

/// A row with what it gives alone.
struct Row {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Proof<'_> {
    /// The output axes that go with these input axes, and the inputs of a row.
    fn try_axes(&mut self, inputs: &InputAxes) -> Result<(Vec<usize>, Vec<Tensor>), AloneReason> {
        let rows = self.rows(inputs)?;
        let [first, second, third] = &rows;
        // Once more, after others: a state would have moved on.
        let again =
            self.run(first.inputs.clone()).map_err(|problem| AloneReason::Failed { problem })?;
        if let Some(output) = self.differing(&first.outputs, &again).map(|(output, _, _)| output) {
            return Err(AloneReason::Stateful { output });
        }
        let outputs = self.check_together(inputs, &[first, second, third], None)?;
        let outputs = self.check_together(inputs, &[third, first], Some(&outputs))?;
        Ok((outputs, first.inputs.clone()))
    }

    /// Whether a batch is faster than its rows, with all that merging them takes. Both are
    /// measured in turns and at their best: what else the machine does makes them longer only.
    /// A row alone is measured as often as there are rows, lest one that was disturbed make a
    /// batch look fast.
    fn check_gain(&mut self, axes: &Axes, row: &[Tensor], rows: u32) -> Result<(), AloneReason> {
        let requests = vec![row.to_vec(); rows as usize];
        let counts = vec![1; rows as usize];
        let (mut alone, mut together) = (Duration::MAX, Duration::MAX);
        let begin = (self.now)();
        // The first of either may prepare the model for its size.
        for turn in 0..MEASURES {
            for _ in 0..rows {
                let start = (self.now)();
                self.run(row.to_vec()).map_err(|problem| AloneReason::Failed { problem })?;
                alone = alone.min((self.now)().saturating_duration_since(start));
            }
            let start = (self.now)();
            let outputs = self.run(axes.merge(&requests));
            let outputs = outputs.map_err(|problem| AloneReason::Failed { problem })?;
            let parts = axes.split(&outputs, &counts);
            parts.map_err(|error| AloneReason::Failed { problem: error.to_string() })?;
            let end = (self.now)();
            together = together.min(end.saturating_duration_since(start));
            if turn > 0 && end.saturating_duration_since(begin) > MEASURED_TIME {
                break;
            }
        }
        let gain = alone.as_secs_f64() * f64::from(rows) / together.as_secs_f64().max(1e-9);
        if gain < MIN_GAIN {
            return Err(AloneReason::NoGain { gain: format!("{gain:.2}") });
        }
        Ok(())
    }

    /// Three rows with which the model runs.
    fn rows(&mut self, axes: &InputAxes) -> Result<[Row; 3], AloneReason> {
        let mut problem = String::new();
        for below in BELOW {
            for size in SIZES {
                let mut row = |magnitude| self.row(axes, Sample { size, below, magnitude });
                let [first, second, third] = MAGNITUDES;
                let mut rows = || Ok([row(first)?, row(second)?, row(third)?]);
                match rows() {
                    Ok(rows) => return Ok(rows),
                    Err(found) => problem = found,
                }
            }
        }
        Err(AloneReason::NoTrial { problem })
    }

    fn row(&mut self, axes: &InputAxes, sample: Sample) -> Result<Row, String> {
        let mut numbers = Numbers::new(u64::from(sample.magnitude.to_bits()));
        // What all rows share must be the same in all.
        let mut common = Numbers::new(1);
        let inputs: Vec<Tensor> = self
            .signature
            .inputs
            .iter()
            .zip(axes)
            .map(|(tensor, axis)| match axis {
                Some(axis) => numbers.tensor(tensor, Some(*axis), sample),
                None => common.tensor(tensor, None, Sample { magnitude: 1.0, ..sample }),
            })
            .collect();
        let outputs = self.run(inputs.clone())?;
        Ok(Row { inputs, outputs })
    }

    /// Runs the rows together and compares. The output axes are found, or those that are given.
    fn check_together(
        &mut self,
        inputs: &InputAxes,
        rows: &[&Row],
        outputs: Option<&[usize]>,
    ) -> Result<Vec<usize>, AloneReason> {
        let mut axes = Axes { inputs: inputs.clone(), outputs: Vec::new() };
        let requests: Vec<_> = rows.iter().map(|row| row.inputs.clone()).collect();
        let together = self.run(axes.merge(&requests));
        let together = together.map_err(|problem| AloneReason::Failed { problem })?;
        axes.outputs = match outputs {
            Some(outputs) => outputs.to_vec(),
            None => self.output_axes(rows, &together)?,
        };
        let counts = vec![1; rows.len()];
        let parts = axes.split(&together, &counts);
        let parts = parts.map_err(|error| AloneReason::Failed { problem: error.to_string() })?;
        for (row, part) in rows.iter().zip(&parts) {
            if let Some((output, difference, tolerance)) = self.differing(&row.outputs, part) {
                let (difference, tolerance) =
                    (format!("{difference:.2e}"), format!("{tolerance:.0e}"));
                return Err(AloneReason::Differs { output, difference, tolerance });
            }
        }
        Ok(axes.outputs)
    }

    /// The axis of each output along which the parts of the rows lie.
    fn output_axes(&self, rows: &[&Row], together: &[Tensor]) -> Result<Vec<usize>, AloneReason> {
        let axis = |(index, tensor): (usize, &Tensor)| {
            let alone: Vec<&[u32]> =
                rows.iter().filter_map(|row| Some(row.outputs.get(index)?.dimensions())).collect();
            let first = alone.first().filter(|first| first.len() == tensor.dimensions().len());
            let name = || self.name(index);
            let axes = first.map_or(0..0, |first| 0..first.len());
            axes.into_iter()
                .find(|axis| grows(&alone, tensor.dimensions(), *axis))
                .ok_or_else(|| AloneReason::NotSplit { output: name() })
        };
        together.iter().enumerate().map(axis).collect()
    }

    /// The first output that differs by more than rounding, by how much, and what would be.
    fn differing(&self, first: &[Tensor], second: &[Tensor]) -> Option<(String, f64, f64)> {
        let outputs = first.iter().zip(second).enumerate();
        let mut apart = outputs.map(|(index, (first, second))| {
            (index, difference(first, second), tolerance(first.element()))
        });
        let (index, difference, tolerance) =
            apart.find(|(_, difference, tolerance)| difference > tolerance)?;
        Some((self.name(index), difference, tolerance))
    }

    fn name(&self, output: usize) -> String {
        self.signature.outputs.get(output).map(|tensor| tensor.name.clone()).unwrap_or_default()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
        self.runs += 1;
        if self.runs > MAX_RUNS {
            return Err(format!("it took more than {MAX_RUNS} runs"));
        }
        self.graph.run(inputs, self.stop).map_err(|error| match error {
            RunError::Stopped => "it took too long".to_owned(),
            RunError::Failed(problem) => problem,
            RunError::TooLarge { what, size, limit } => {
                format!("{what} is {size} bytes, and the limit is {limit}")
            }
        })
    }
}

/// Whether a batch is along that axis the sum of its rows, and equal to each elsewhere.
fn grows(alone: &[&[u32]], together: &[u32], axis: usize) -> bool {
    let sum: u64 = alone.iter().filter_map(|it| it.get(axis)).map(|size| u64::from(*size)).sum();
    let same = |row: &&[u32]| {
        row.len() == together.len()
            && row.iter().zip(together).enumerate().all(|(at, (one, all))| at == axis || one == all)
    };
    together.get(axis).is_some_and(|size| u64::from(*size) == sum) && alone.iter().all(same)
}

#[cfg(test)]
mod tests;

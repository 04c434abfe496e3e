//! The floor: tract in this process, called in a loop, with what the worker gives it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable,
    IntoTValue, TValue, TVec, Tensor, TractResult, TypedRunnableModel,
};

use super::models::{Case, Element, Input, Numbers};

/// A back end that is called directly, again and again.
pub(super) trait Loop {
    /// One run; what the numbers of the first output add up to.
    fn run(&mut self) -> Result<f64>;

    /// How long each of so many runs takes, in nanoseconds.
    fn times(&mut self, count: usize) -> Result<Vec<f64>> {
        self.run()?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            self.run()?;
            times.push(begun.elapsed().as_secs_f64() * 1e9);
        }
        Ok(times)
    }
}

impl Loop for Native {
    fn run(&mut self) -> Result<f64> {
        Self::run(self)
    }
}

/// A model, ready to run on so many rows at a time.
pub(super) struct Native {
    plan: Arc<TypedRunnableModel>,
    inputs: &'static [Input],
    rows: usize,
}

impl Native {
    /// Prepared for all sizes where tract can do that, else for this one, as the worker does it.
    pub(super) fn load(case: &Case, rows: usize) -> Result<Self> {
        let parse = || tract_onnx::onnx().model_for_read(&mut &*case.file).map_err(plain);
        let prepare =
            |model: InferenceModel| -> TractResult<_> { model.into_optimized()?.into_runnable() };
        let plan = match prepare(parse()?) {
            Ok(plan) => plan,
            Err(_) => {
                let mut model = parse()?;
                for (index, input) in case.inputs.iter().enumerate() {
                    let datum = match input.element {
                        Element::Fp32 => DatumType::F32,
                        Element::I32 => DatumType::I32,
                        Element::I64 => DatumType::I64,
                    };
                    let fact = InferenceFact::dt_shape(datum, input.shape_of(rows));
                    model.set_input_fact(index, fact).map_err(plain)?;
                }
                prepare(model).map_err(plain)?
            }
        };
        Ok(Self { plan, inputs: case.inputs, rows })
    }

    /// Runs it once: tensors made from numbers, and all numbers of the first
    /// output read, as the guest does. What they add up to.
    fn run(&self) -> Result<f64> {
        let inputs = self.inputs.iter().map(|input| tensor(input, self.rows));
        let inputs: TVec<TValue> = inputs.collect::<Result<_>>()?;
        let outputs = self.plan.run(inputs).map_err(plain)?;
        let first = outputs.first().context("the model gives nothing")?;
        let values = first.try_as_plain_ram().map_err(plain)?;
        let values = values.as_slice::<f32>().map_err(plain)?;
        Ok(values.iter().map(|value| f64::from(*value)).sum())
    }

    /// Rows a second of so many threads that each run it again and again, as long as that.
    pub(super) fn rows_per_second(&self, threads: usize, time: Duration) -> Result<f64> {
        self.run()?;
        let begun = Instant::now();
        let each = || -> Result<f64> {
            let mut done = 0;
            while begun.elapsed() < time {
                self.run()?;
                done += self.rows;
            }
            Ok(done as f64 / begun.elapsed().as_secs_f64())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
            let rates = threads.into_iter().map(|thread| {
                thread.join().map_err(|_| anyhow!("a thread of the native loop panicked"))?
            });
            rates.sum()
        })
    }
}

/// tract's errors are of a type of its own.
fn plain(error: tract_onnx::prelude::TractError) -> anyhow::Error {
    anyhow!("{error:#}")
}

fn tensor(input: &Input, rows: usize) -> Result<TValue> {
    let shape = input.shape_of(rows);
    let tensor = match input.numbers(rows) {
        Numbers::Fp32(numbers) => Tensor::from_shape(&shape, &numbers),
        Numbers::I32(numbers) => Tensor::from_shape(&shape, &numbers),
        Numbers::I64(numbers) => Tensor::from_shape(&shape, &numbers),
    };
    Ok(tensor.map_err(plain)?.into_tvalue())
}

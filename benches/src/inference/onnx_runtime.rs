//! The floor of ONNX Runtime: its library in this process, called in a loop, with what the worker
//! gives it.

use anyhow::{Context, Result, anyhow};
use harness::artefacts;
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use super::models::{Case, Input, Numbers};
use super::native::Loop;

/// What a worker's file says for the same library.
pub(super) fn worker_file() -> String {
    let library = artefacts::onnx_runtime("onnxruntime");
    format!(
        "back_ends = [\"onnxruntime\"]\nonnxruntime = \"{}\"\nproviders = [\"cpu\"]\n",
        library.display()
    )
}

/// The library; there can be one in a process.
pub(super) fn library() -> Result<Environment> {
    let library = artefacts::onnx_runtime("onnxruntime");
    let builder = ort::init_from(library).map_err(plain)?;
    builder.with_telemetry(false).build().map_err(plain)
}

/// A model, ready to run.
pub(super) struct OnnxRuntime {
    session: Session,
    inputs: &'static [Input],
    rows: usize,
}

impl OnnxRuntime {
    /// On one thread, as a worker with one.
    pub(super) fn load(library: &Environment, case: &Case) -> Result<Self> {
        let builder = Session::builder(library).map_err(plain)?;
        let mut builder = builder.with_intra_threads(1).map_err(plain)?;
        let session = builder.commit_from_memory(&case.file).map_err(plain)?;
        Ok(Self { session, inputs: case.inputs, rows: case.rows() })
    }
}

impl Loop for OnnxRuntime {
    fn run(&mut self) -> Result<f64> {
        let inputs = self.inputs.iter().map(|input| Ok((input.name, value(input, self.rows)?)));
        let inputs: Vec<(&str, SessionInputValue<'_>)> = inputs.collect::<Result<_>>()?;
        let outputs = self.session.run(inputs).map_err(plain)?;
        let first = outputs.values().next().context("the model gives nothing")?;
        let (_, values) = first.try_extract_tensor::<f32>().map_err(plain)?;
        Ok(values.iter().map(|value| f64::from(*value)).sum())
    }
}

fn value(input: &Input, rows: usize) -> Result<SessionInputValue<'static>> {
    let shape: Vec<i64> = input.shape_of(rows).into_iter().map(|size| size as i64).collect();
    let value = match input.numbers(rows) {
        Numbers::Fp32(numbers) => Tensor::from_array((shape, numbers)).map(Tensor::into_dyn),
        Numbers::I32(numbers) => Tensor::from_array((shape, numbers)).map(Tensor::into_dyn),
        Numbers::I64(numbers) => Tensor::from_array((shape, numbers)).map(Tensor::into_dyn),
    };
    Ok(value.map_err(plain)?.into())
}

fn plain(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

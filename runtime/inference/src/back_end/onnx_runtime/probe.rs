//! Whether a provider can be had here: a model of one node is run on it, and on nothing else.
//! Asking the library is not enough, since it lists what it was built with, drivers or not.

use ort::environment::Environment;
use ort::session::SessionInputValue;

use super::session::{self, Fallback};
use crate::config::Provider;

/// `y = Relu(x)` of two numbers, as an ONNX file.
const MODEL: &[u8] = b"\x08\x08\x3a\x37\
    \x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\
    \x12\x05probe\
    \x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02\
    \x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02\
    \x42\x02\x10\x0d";

/// Bytes of a card's memory that it may take.
const MOST: usize = 64 << 20;

/// Runs the model; says why it cannot be run.
pub(super) fn run(environment: &Environment, provider: Provider) -> Result<(), String> {
    let text = |error: ort::Error| error.to_string();
    let mut session = session::open(environment, MODEL, provider, 1, MOST, Fallback::None)?;
    let input = ort::value::Tensor::from_array(([2_i64], vec![-1.0_f32, 2.0])).map_err(text)?;
    let outputs = session.run(vec![("x", SessionInputValue::from(input))]).map_err(text)?;
    let output = outputs.values().next().ok_or("it gave no output")?;
    let (_, numbers) = output.try_extract_tensor::<f32>().map_err(text)?;
    if numbers == [0.0, 2.0] {
        Ok(())
    } else {
        Err(format!("it computes Relu(-1, 2) as {numbers:?}"))
    }
}

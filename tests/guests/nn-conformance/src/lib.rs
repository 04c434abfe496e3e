//! A handler that loads the model that its input brings, runs it on the tensors that come with it,
//! and returns what the model gives, or where and why it gave nothing. What is right it does not
//! know. Bytes are in hexadecimal, so that an input is a line of text:
//!
//! ```text
//! {"model": "0808…", "inputs": [{"name": "x", "element": "fp32", "shape": [2], "data": "0000…"}]}
//! {"outputs": [{"name": "y", "element": "fp32", "shape": [2], "data": "0000…"}]}
//! {"refused": {"step": "load", "code": "UnsupportedOperation", "text": "…"}}
//! ```

use serde::{Deserialize, Serialize};
use wrun_sdk::nn::{self, ElementType, Model, Target};

#[derive(Deserialize)]
struct Case {
    model: String,
    inputs: Vec<Tensor>,
}

#[derive(Deserialize, Serialize)]
struct Tensor {
    name: String,
    element: Element,
    shape: Vec<u32>,
    data: String,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Element {
    Fp16,
    Fp32,
    Fp64,
    Bf16,
    U8,
    I32,
    I64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Outputs(Vec<Tensor>),
    Refused { step: &'static str, code: String, text: String },
}

#[wrun_sdk::task]
fn conform(case: Case) -> Result<Answer, wrun_sdk::Error> {
    let model = bytes(&case.model)?;
    let inputs: Result<Vec<_>, wrun_sdk::Error> = case.inputs.iter().map(given).collect();
    let model = match Model::from_onnx(&model, Target::Cpu) {
        Ok(model) => model,
        Err(error) => return Ok(refused("load", &error)),
    };
    Ok(match model.run(inputs?) {
        Ok(outputs) => Answer::Outputs(outputs.iter().map(shown).collect()),
        Err(error) => refused("compute", &error),
    })
}

fn refused(step: &'static str, error: &nn::Error) -> Answer {
    Answer::Refused { step, code: format!("{:?}", error.code()), text: error.to_string() }
}

fn given(tensor: &Tensor) -> Result<(&str, nn::Tensor), wrun_sdk::Error> {
    let element = match tensor.element {
        Element::Fp16 => ElementType::Fp16,
        Element::Fp32 => ElementType::Fp32,
        Element::Fp64 => ElementType::Fp64,
        Element::Bf16 => ElementType::Bf16,
        Element::U8 => ElementType::U8,
        Element::I32 => ElementType::I32,
        Element::I64 => ElementType::I64,
    };
    let made = nn::Tensor::from_bytes(&tensor.shape, element, bytes(&tensor.data)?)?;
    Ok((&tensor.name, made))
}

fn shown((name, tensor): (&str, &nn::Tensor)) -> Tensor {
    let element = match tensor.element() {
        ElementType::Fp16 => Element::Fp16,
        ElementType::Fp32 => Element::Fp32,
        ElementType::Fp64 => Element::Fp64,
        ElementType::Bf16 => Element::Bf16,
        ElementType::U8 => Element::U8,
        ElementType::I32 => Element::I32,
        ElementType::I64 => Element::I64,
    };
    let data = tensor.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Tensor { name: name.to_owned(), element, shape: tensor.shape().to_vec(), data }
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>, wrun_sdk::Error> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
    bytes.ok_or_else(|| wrun_sdk::Error::new("this is not hexadecimal"))
}

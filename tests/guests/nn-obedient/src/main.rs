//! A program that imports `wasi:nn` and knows nothing of wrun. Each argument is a step; for each a
//! line is printed:
//!
//! ```text
//! load:NAME                    a model by its name
//! own:ENCODING:TARGET          a model from standard input
//! parts:COUNT                  one from so many parts of no bytes
//! run:NAME=TYPE:DIMS:BYTES,…   runs the model; so many bytes of zeros, or values of f32 as 1/2/3
//! times:COUNT:…                the same so often, and what the last one gave
//! until-error:COUNT:…          the same until a run fails, and what that one gave
//! keep:COUNT:…                 the same so often, and keeps all that it gave
//! hold:COUNT:BYTES             keeps so many tensors of so many bytes
//! errors:COUNT:BYTES           keeps so many errors with a text of so many bytes
//! ```

#[allow(unsafe_code, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/nn", world: "ml" });
}

use std::io::Read;

use bindings::wasi::nn::errors::{Error, ErrorCode};
use bindings::wasi::nn::graph::{self, ExecutionTarget, Graph, GraphEncoding};
use bindings::wasi::nn::inference::GraphExecutionContext;
use bindings::wasi::nn::tensor::{Tensor, TensorType};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut model = None;
    let mut held = Vec::new();
    for step in std::env::args().skip(1) {
        let (what, rest) = step.split_once(':').ok_or("say what to do, and with what")?;
        match what {
            "load" => model = loaded(graph::load_by_name(rest)),
            "own" => model = loaded(own(rest)?),
            "parts" => model = loaded(parts(rest.parse()?)),
            "run" => println!("{}", run(&model, 1, false, rest)?),
            "times" | "until-error" => {
                let (count, rest) = rest.split_once(':').ok_or("say how often")?;
                println!("{}", run(&model, count.parse()?, what == "until-error", rest)?);
            }
            "keep" => {
                let (count, rest) = rest.split_once(':').ok_or("say how often")?;
                let Some(model) = &model else { return Err("no model".into()) };
                for _ in 0..count.parse()? {
                    held.extend(results(model, rest)?.map_err(|error| said(&error))?);
                }
                println!("{} held", held.len());
            }
            "hold" => {
                let (count, bytes) = pair(rest)?;
                held.extend((0..count).map(|_| Held::Tensor(zeros(bytes))));
                println!("{} held", held.len());
            }
            "errors" => {
                let (count, bytes) = pair(rest)?;
                let text = "x".repeat(bytes);
                held.extend((0..count).map(|_| Held::Error(Error::new(ErrorCode::Unknown, &text))));
                println!("{} held", held.len());
            }
            other => return Err(format!("it does not know how to `{other}`").into()),
        }
    }
    Ok(())
}

#[allow(dead_code, reason = "only kept")]
enum Held {
    Tensor(Tensor),
    Error(Error),
}

fn zeros(bytes: usize) -> Tensor {
    Tensor::new(&[u32::try_from(bytes).unwrap_or(u32::MAX)], TensorType::U8, &vec![0; bytes])
}

fn pair(text: &str) -> Result<(usize, usize), Failure> {
    let (first, second) = text.split_once(':').ok_or("two numbers are needed")?;
    Ok((first.parse()?, second.parse()?))
}

/// Of a case, without its type.
fn name(case: impl std::fmt::Debug) -> String {
    let text = format!("{case:?}");
    text.rsplit("::").next().unwrap_or_default().to_owned()
}

fn said(error: &Error) -> String {
    format!("{}: {}", name(error.code()), error.data())
}

fn loaded(result: Result<Graph, Error>) -> Option<GraphExecutionContext> {
    let context = result.and_then(|graph| graph.init_execution_context());
    match &context {
        Ok(_) => println!("loaded"),
        Err(error) => println!("{}", said(error)),
    }
    context.ok()
}

fn own(how: &str) -> Result<Result<Graph, Error>, Failure> {
    let (encoding, target) = how.split_once(':').ok_or("say the encoding and the target")?;
    let encoding = match encoding {
        "onnx" => GraphEncoding::Onnx,
        "openvino" => GraphEncoding::Openvino,
        "autodetect" => GraphEncoding::Autodetect,
        _ => return Err("an unknown encoding".into()),
    };
    let target = match target {
        "cpu" => ExecutionTarget::Cpu,
        "gpu" => ExecutionTarget::Gpu,
        "tpu" => ExecutionTarget::Tpu,
        _ => return Err("an unknown target".into()),
    };
    let mut model = Vec::new();
    std::io::stdin().read_to_end(&mut model)?;
    Ok(graph::load(&[model], encoding, target))
}

fn parts(count: usize) -> Result<Graph, Error> {
    graph::load(&vec![Vec::new(); count], GraphEncoding::Onnx, ExecutionTarget::Cpu)
}

fn run(
    model: &Option<GraphExecutionContext>,
    times: u32,
    until_error: bool,
    inputs: &str,
) -> Result<String, Failure> {
    let Some(model) = model else { return Ok("no model".to_owned()) };
    let mut line = String::new();
    for _ in 0..times {
        let inputs = inputs.split(',').filter(|input| !input.is_empty()).map(input);
        line = match model.compute(inputs.collect::<Result<_, _>>()?) {
            Ok(outputs) => {
                let shown: Vec<_> = outputs
                    .iter()
                    .map(|(name, tensor)| format!("{name} {}", shown(tensor)))
                    .collect();
                shown.join("; ")
            }
            Err(error) if until_error => return Ok(said(&error)),
            Err(error) => said(&error),
        };
    }
    Ok(line)
}

fn results(
    model: &GraphExecutionContext,
    inputs: &str,
) -> Result<Result<Vec<Held>, Error>, Failure> {
    let inputs = inputs.split(',').map(input).collect::<Result<_, _>>()?;
    let outputs = model.compute(inputs);
    Ok(outputs.map(|all| all.into_iter().map(|(_, tensor)| Held::Tensor(tensor)).collect()))
}

fn input(text: &str) -> Result<(String, Tensor), Failure> {
    let (name, rest) = text.split_once('=').ok_or("an input is NAME=TYPE:DIMS:BYTES")?;
    let parts: Vec<_> = rest.split(':').collect();
    let [ty, dims, bytes] = parts.as_slice() else {
        return Err("an input is NAME=TYPE:DIMS:BYTES".into());
    };
    let ty = match *ty {
        "fp16" => TensorType::Fp16,
        "fp32" => TensorType::Fp32,
        "fp64" => TensorType::Fp64,
        "bf16" => TensorType::Bf16,
        "u8" => TensorType::U8,
        "i32" => TensorType::I32,
        "i64" => TensorType::I64,
        _ => return Err("an unknown type".into()),
    };
    let dims: Vec<u32> =
        dims.split('x').filter(|dim| !dim.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    let data = match bytes.strip_suffix('b') {
        Some(count) => vec![0; count.parse()?],
        None => {
            let values = bytes.split('/').map(|value| value.parse::<f32>().map(f32::to_le_bytes));
            values.collect::<Result<Vec<_>, _>>()?.concat()
        }
    };
    Ok((name.to_owned(), Tensor::new(&dims, ty, &data)))
}

fn shown(tensor: &Tensor) -> String {
    let dims: Vec<_> = tensor.dimensions().iter().map(u32::to_string).collect();
    let data = tensor.data();
    let values: Vec<_> = if tensor.ty() == TensorType::Fp32 {
        data.chunks_exact(4)
            .filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes))
            .map(|value| value.to_string())
            .collect()
    } else {
        vec![format!("{} bytes", data.len())]
    };
    format!("{} {} {}", name(tensor.ty()), dims.join("x"), values.join("/"))
}

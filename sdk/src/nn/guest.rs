//! Models inside a cluster: calls to the node.

use super::{ElementType, Error, ErrorCode, Target, Tensor};

/// Made from the WIT file: in use only where the guest infers.
#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit/nn", world: "ml" });
}

use bindings::wasi::nn::errors;
use bindings::wasi::nn::graph::{self, ExecutionTarget, Graph, GraphEncoding};
use bindings::wasi::nn::inference::GraphExecutionContext;
use bindings::wasi::nn::tensor::{self, TensorType};

pub(super) struct Loaded(GraphExecutionContext);

pub(super) fn load_by_name(name: &str) -> Result<Loaded, Error> {
    graph::load_by_name(name).map_err(Error::from).and_then(context)
}

pub(super) fn load(bytes: &[u8], target: Target) -> Result<Loaded, Error> {
    let target = match target {
        Target::Cpu => ExecutionTarget::Cpu,
        Target::Gpu => ExecutionTarget::Gpu,
    };
    let graph = graph::load(&[bytes.to_vec()], GraphEncoding::Onnx, target);
    graph.map_err(Error::from).and_then(context)
}

/// It keeps the model; the graph is not needed any more.
fn context(graph: Graph) -> Result<Loaded, Error> {
    Ok(Loaded(graph.init_execution_context()?))
}

impl Loaded {
    pub(super) fn compute(
        &self,
        inputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let given = inputs.into_iter().map(|(name, given)| {
            let ty = type_of(given.element());
            (name, tensor::Tensor::new(given.shape(), ty, given.bytes()))
        });
        let outputs = self.0.compute(given.collect())?;
        Ok(outputs.into_iter().map(|(name, output)| (name, taken(&output))).collect())
    }
}

fn taken(output: &tensor::Tensor) -> Tensor {
    Tensor::from_node(output.dimensions(), element_of(output.ty()), output.data())
}

fn type_of(element: ElementType) -> TensorType {
    match element {
        ElementType::Fp16 => TensorType::Fp16,
        ElementType::Fp32 => TensorType::Fp32,
        ElementType::Fp64 => TensorType::Fp64,
        ElementType::Bf16 => TensorType::Bf16,
        ElementType::U8 => TensorType::U8,
        ElementType::I32 => TensorType::I32,
        ElementType::I64 => TensorType::I64,
    }
}

fn element_of(ty: TensorType) -> ElementType {
    match ty {
        TensorType::Fp16 => ElementType::Fp16,
        TensorType::Fp32 => ElementType::Fp32,
        TensorType::Fp64 => ElementType::Fp64,
        TensorType::Bf16 => ElementType::Bf16,
        TensorType::U8 => ElementType::U8,
        TensorType::I32 => ElementType::I32,
        TensorType::I64 => ElementType::I64,
    }
}

impl From<errors::Error> for Error {
    fn from(error: errors::Error) -> Self {
        let code = match error.code() {
            errors::ErrorCode::InvalidArgument => ErrorCode::InvalidArgument,
            errors::ErrorCode::InvalidEncoding => ErrorCode::InvalidEncoding,
            errors::ErrorCode::Timeout => ErrorCode::Timeout,
            errors::ErrorCode::RuntimeError => ErrorCode::RuntimeError,
            errors::ErrorCode::UnsupportedOperation => ErrorCode::UnsupportedOperation,
            errors::ErrorCode::TooLarge => ErrorCode::TooLarge,
            errors::ErrorCode::NotFound => ErrorCode::NotFound,
            errors::ErrorCode::Security => ErrorCode::Security,
            errors::ErrorCode::Unknown => ErrorCode::Unknown,
        };
        Self::new(code, error.data())
    }
}

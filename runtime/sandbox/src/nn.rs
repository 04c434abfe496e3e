//! `wasi:nn`: what a guest is given of inference. Which models it may load is the job's matter,
//! what runs them that of the node's engine; here its tensors are charged to its memory, and a
//! guest that waits for either holds no thread. Runs nothing itself.
#![allow(unreachable_pub, reason = "the generated bindings name what the guest holds")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource};
use wrun_inference::{
    Call, ComputeError, ElementType, Encoding, Engine, ErrorCode, FetchError, LoadError, Model,
    ModelKey, ModelOptions, Target, Tensor,
};
use wrun_protocol::TenantName;
use wrun_protocol::task::Limit;

use crate::GrantedModel;
use crate::bindings::nn::wasi::nn::{errors, graph, inference, tensor};
use crate::cards::{CardFull, OnCard};
use crate::control::Control;
use crate::gang::{Charge, TaskMemory};
use crate::state::TaskState;
use crate::stdio::LimitReached;

/// What a handle costs the host beside the bytes that it holds.
const HANDLE: u64 = 128;

/// Most bytes of an error's text: some repeat what a guest or a model has said.
const TEXT: usize = 4 << 10;

/// A guest's tensor.
pub struct HeldTensor {
    tensor: Tensor,
    _charge: Charge,
}

/// A guest's model.
pub struct HeldGraph(Arc<Loaded>);

/// What a guest runs a model with.
pub struct HeldContext(Arc<Loaded>);

struct Loaded {
    model: Model,
    /// For one that is on a card.
    _on_card: Option<OnCard>,
    /// For one that the guest brought itself.
    _charge: Option<Charge>,
}

/// An error that the guest has not let go yet.
pub struct HeldError {
    code: errors::ErrorCode,
    data: String,
    _charge: Charge,
}

/// What the guest is told in place of a result.
struct Refusal {
    code: ErrorCode,
    text: String,
}

type Answer<T> = wasmtime::Result<Result<T, Resource<HeldError>>>;

pub(crate) fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    crate::bindings::nn::Ml::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl TaskState {
    /// Charges what the host holds for the guest. Too much ends the task.
    fn charge(&self, bytes: usize) -> wasmtime::Result<Charge> {
        let memory = TaskMemory::new(&self.control);
        memory.charge(bytes as u64 + HANDLE, true).ok_or_else(|| {
            self.control.reach(Limit::Memory, self.control.account.limit());
            LimitReached.into()
        })
    }

    fn hold_tensor(&mut self, tensor: Tensor) -> wasmtime::Result<Resource<HeldTensor>> {
        let charge = self.charge(tensor.data().len())?;
        Ok(self.table().push(HeldTensor { tensor, _charge: charge })?)
    }

    fn hold_error(
        &mut self,
        code: errors::ErrorCode,
        mut data: String,
    ) -> wasmtime::Result<Resource<HeldError>> {
        data.truncate(data.floor_char_boundary(TEXT));
        let charge = self.charge(data.len())?;
        Ok(self.table().push(HeldError { code, data, _charge: charge })?)
    }

    fn refuse<T>(&mut self, Refusal { code, text }: Refusal) -> Answer<T> {
        Ok(Err(self.hold_error(error_code(code), text)?))
    }

    fn hold_graph(&mut self, loaded: Result<HeldGraph, Refusal>) -> Answer<Resource<HeldGraph>> {
        match loaded {
            Ok(graph) => Ok(Ok(self.table().push(graph)?)),
            Err(refusal) => self.refuse(refusal),
        }
    }
}

fn engine(control: &Control) -> Result<Engine, Refusal> {
    control.batch.guests.inference().cloned().ok_or_else(|| {
        refusal(ErrorCode::UnsupportedOperation, "this node runs no models".to_owned())
    })
}

/// What the job grants under that name.
fn granted(control: &Control, name: &str) -> Result<GrantedModel, Refusal> {
    let models = &control.job().models;
    let Some(granted) = models.iter().find(|granted| granted.name == name) else {
        let names: Vec<_> = models.iter().map(|granted| granted.name.as_str()).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(refusal(
            ErrorCode::NotFound,
            format!("the job names no model `{name}` (it names: {has}): add it to `models`"),
        ));
    };
    Ok(granted.clone())
}

async fn load_granted(control: &Control, name: &str) -> Result<HeldGraph, Refusal> {
    let granted = granted(control, name)?;
    let model = granted.load(&engine(control)?, &control.job().tenant, &cards(control)).await?;
    hold(control, model, None)
}

/// The cards that the task was given, in the order in which a model is tried on them.
fn cards(control: &Control) -> Vec<u16> {
    control.job().cards.as_ref().map(|cards| cards.in_order()).unwrap_or_default()
}

/// Counts the model among those of the task.
fn hold(control: &Control, model: Model, charge: Option<Charge>) -> Result<HeldGraph, Refusal> {
    let cards = control.job().cards.as_ref();
    let on_card = cards.map(|cards| cards.hold(&model)).transpose()?.flatten();
    Ok(HeldGraph(Arc::new(Loaded { model, _on_card: on_card, _charge: charge })))
}

impl GrantedModel {
    /// Loads it on this node, if it is not yet, in the name of the tenant that uses it, and for
    /// who was given those cards.
    pub async fn load(
        &self,
        engine: &Engine,
        tenant: &TenantName,
        cards: &[u16],
    ) -> Result<Model, LoadError> {
        let Some(file) = self.file.clone() else {
            let text = format!("`{}` was removed", self.name);
            return Err(LoadError::Fetch(FetchError::NotFound(text)));
        };
        let key = ModelKey::of(&self.owner, &self.version);
        let read = move || std::fs::read(file).map(Bytes::from);
        let fetch = || read().map_err(|error| FetchError::Failed(error.to_string()));
        engine.load(tenant, &self.name, &key, cards, fetch).await
    }
}

fn may_load_own(control: &Control) -> Result<(), Refusal> {
    if control.job().load_models {
        return Ok(());
    }
    Err(refusal(
        ErrorCode::Security,
        "the job does not allow models from a guest's own bytes: set `load_models = true`, \
         or push the model and name it in `models`"
            .to_owned(),
    ))
}

async fn load_own(
    control: &Control,
    bytes: Bytes,
    options: ModelOptions,
    charge: Charge,
) -> Result<HeldGraph, Refusal> {
    let (tenant, cards) = (&control.job().tenant, cards(control));
    let load = engine(control)?.load_bytes(tenant, "of the guest", &options, &cards, bytes).await;
    hold(control, load?, Some(charge))
}

fn refusal(code: ErrorCode, text: String) -> Refusal {
    Refusal { code, text }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        refusal(error.code(), error.to_string())
    }
}

impl From<CardFull> for Refusal {
    fn from(full: CardFull) -> Self {
        refusal(ErrorCode::TooLarge, full.to_string())
    }
}

impl From<ComputeError> for Refusal {
    fn from(error: ComputeError) -> Self {
        refusal(error.code(), error.to_string())
    }
}

impl tensor::Host for TaskState {}

impl tensor::HostTensor for TaskState {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<HeldTensor>> {
        self.hold_tensor(Tensor::new(dimensions, element(ty), data))
    }

    fn dimensions(&mut self, held: Resource<HeldTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table().get(&held)?.tensor.dimensions().to_vec())
    }

    fn ty(&mut self, held: Resource<HeldTensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(tensor_type(self.table().get(&held)?.tensor.element()))
    }

    fn data(&mut self, held: Resource<HeldTensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table().get(&held)?.tensor.data().to_vec())
    }

    fn drop(&mut self, held: Resource<HeldTensor>) -> wasmtime::Result<()> {
        Ok(self.table().delete(held).map(drop)?)
    }
}

impl graph::Host for TaskState {
    async fn load(
        &mut self,
        parts: Vec<Vec<u8>>,
        encoding: graph::GraphEncoding,
        target: graph::ExecutionTarget,
    ) -> Answer<Resource<HeldGraph>> {
        if let Err(refused) = may_load_own(&self.control) {
            return self.refuse(refused);
        }
        let bytes: Bytes = match <[Vec<u8>; 1]>::try_from(parts) {
            Ok([part]) => part.into(),
            Err(parts) => {
                let text = format!("an ONNX model is one part, and {} were given", parts.len());
                return self.refuse(refusal(ErrorCode::InvalidArgument, text));
            }
        };
        let charge = self.charge(bytes.len())?;
        let options = ModelOptions {
            encoding: own_encoding(encoding),
            target: own_target(target),
            ..ModelOptions::default()
        };
        let control = Arc::clone(&self.control);
        let loaded = load_own(&control, bytes, options, charge).await;
        self.hold_graph(loaded)
    }

    async fn load_by_name(&mut self, name: String) -> Answer<Resource<HeldGraph>> {
        let control = Arc::clone(&self.control);
        let loaded = load_granted(&control, &name).await;
        self.hold_graph(loaded)
    }
}

impl graph::HostGraph for TaskState {
    fn init_execution_context(
        &mut self,
        held: Resource<HeldGraph>,
    ) -> Answer<Resource<HeldContext>> {
        let context = HeldContext(Arc::clone(&self.table().get(&held)?.0));
        Ok(Ok(self.table().push(context)?))
    }

    fn drop(&mut self, held: Resource<HeldGraph>) -> wasmtime::Result<()> {
        Ok(self.table().delete(held).map(drop)?)
    }
}

impl inference::Host for TaskState {}

impl inference::HostGraphExecutionContext for TaskState {
    async fn compute(
        &mut self,
        held: Resource<HeldContext>,
        inputs: Vec<(String, Resource<HeldTensor>)>,
    ) -> Answer<Vec<(String, Resource<HeldTensor>)>> {
        let loaded = Arc::clone(&self.table().get(&held)?.0);
        let mut given = Vec::with_capacity(inputs.len());
        // The guest's memory pays for its inputs until the model has done with them.
        let mut charges = Vec::with_capacity(inputs.len());
        for (name, held) in inputs {
            let HeldTensor { tensor, _charge: charge } = self.table().delete(held)?;
            given.push((name, tensor));
            charges.push(charge);
        }
        let job = self.control.job();
        let (tenant, weight) = (job.tenant.clone(), job.model_weight);
        let call = Call { tenant, weight, deadline: None };
        let asked = Instant::now();
        let computed = loaded.model.compute(call, given).await;
        self.control.job().models_asked.answered(asked.elapsed());
        drop(charges);
        let outputs = match computed {
            Ok(outputs) => outputs,
            Err(error) => return self.refuse(error.into()),
        };
        let held = outputs.into_iter().map(|(name, tensor)| Ok((name, self.hold_tensor(tensor)?)));
        Ok(Ok(held.collect::<wasmtime::Result<_>>()?))
    }

    fn drop(&mut self, held: Resource<HeldContext>) -> wasmtime::Result<()> {
        Ok(self.table().delete(held).map(drop)?)
    }
}

impl errors::Host for TaskState {}

impl errors::HostError for TaskState {
    fn new(
        &mut self,
        code: errors::ErrorCode,
        data: String,
    ) -> wasmtime::Result<Resource<HeldError>> {
        self.hold_error(code, data)
    }

    fn code(&mut self, held: Resource<HeldError>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table().get(&held)?.code)
    }

    fn data(&mut self, held: Resource<HeldError>) -> wasmtime::Result<String> {
        Ok(self.table().get(&held)?.data.clone())
    }

    fn drop(&mut self, held: Resource<HeldError>) -> wasmtime::Result<()> {
        Ok(self.table().delete(held).map(drop)?)
    }
}

fn element(ty: tensor::TensorType) -> ElementType {
    match ty {
        tensor::TensorType::Fp16 => ElementType::Fp16,
        tensor::TensorType::Fp32 => ElementType::Fp32,
        tensor::TensorType::Fp64 => ElementType::Fp64,
        tensor::TensorType::Bf16 => ElementType::Bf16,
        tensor::TensorType::U8 => ElementType::U8,
        tensor::TensorType::I32 => ElementType::I32,
        tensor::TensorType::I64 => ElementType::I64,
    }
}

fn tensor_type(element: ElementType) -> tensor::TensorType {
    match element {
        ElementType::Fp16 => tensor::TensorType::Fp16,
        ElementType::Fp32 => tensor::TensorType::Fp32,
        ElementType::Fp64 => tensor::TensorType::Fp64,
        ElementType::Bf16 => tensor::TensorType::Bf16,
        ElementType::U8 => tensor::TensorType::U8,
        ElementType::I32 => tensor::TensorType::I32,
        ElementType::I64 => tensor::TensorType::I64,
    }
}

fn own_encoding(encoding: graph::GraphEncoding) -> Encoding {
    match encoding {
        graph::GraphEncoding::Openvino => Encoding::OpenVino,
        graph::GraphEncoding::Onnx => Encoding::Onnx,
        graph::GraphEncoding::Tensorflow => Encoding::TensorFlow,
        graph::GraphEncoding::Pytorch => Encoding::PyTorch,
        graph::GraphEncoding::Tensorflowlite => Encoding::TensorFlowLite,
        graph::GraphEncoding::Ggml => Encoding::Ggml,
        graph::GraphEncoding::Autodetect => Encoding::Autodetect,
    }
}

fn own_target(target: graph::ExecutionTarget) -> Target {
    match target {
        graph::ExecutionTarget::Cpu => Target::Cpu,
        graph::ExecutionTarget::Gpu => Target::Gpu,
        graph::ExecutionTarget::Tpu => Target::Tpu,
    }
}

fn error_code(code: ErrorCode) -> errors::ErrorCode {
    match code {
        ErrorCode::InvalidArgument => errors::ErrorCode::InvalidArgument,
        ErrorCode::InvalidEncoding => errors::ErrorCode::InvalidEncoding,
        ErrorCode::Timeout => errors::ErrorCode::Timeout,
        ErrorCode::RuntimeError => errors::ErrorCode::RuntimeError,
        ErrorCode::UnsupportedOperation => errors::ErrorCode::UnsupportedOperation,
        ErrorCode::TooLarge => errors::ErrorCode::TooLarge,
        ErrorCode::NotFound => errors::ErrorCode::NotFound,
        ErrorCode::Security => errors::ErrorCode::Security,
        ErrorCode::Unknown => errors::ErrorCode::Unknown,
    }
}

//! From a file to something that runs: operators checked, shapes analysed, graph optimised.

use std::sync::Arc;

use bytes::Bytes;
use tract_onnx::Onnx;
use tract_onnx::prelude::{DatumType, Framework, InferenceModel, InferenceModelExt, IntoRunnable};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{InferenceFact, ShapeFactoid, ToDim, TractResult};

use super::NAME;
use super::plan::{Plan, TractGraph};
use crate::back_end::Graph;
use crate::back_end::guard::{Caught, guarded};
use crate::config::Limits;
use crate::error::LoadError;
use crate::onnx::{Declared, Outline};
use crate::signature::Dimension;

/// Domains whose operators tract means when it knows their names.
const DOMAINS: [&str; 3] = ["", "ai.onnx.ml", "com.microsoft"];

/// What a load may allocate: several times the weights, since they are read, arranged anew
/// and packed; and some for graphs that consist of nodes alone.
const LOAD_FACTOR: u64 = 6;
const LOAD_SLACK: u64 = 64 << 20;

pub(super) fn load(
    onnx: &Onnx,
    bytes: &Bytes,
    outline: &Outline,
    limits: &Limits,
) -> Result<Arc<dyn Graph>, LoadError> {
    check_operators(onnx, outline)?;
    check_types(outline)?;
    let allowed = (bytes.len() as u64 + outline.weights) * LOAD_FACTOR + LOAD_SLACK;
    let graph = guarded(allowed, || prepare(onnx, bytes, outline, limits));
    match graph {
        Ok(graph) => Ok(Arc::new(graph.map_err(failed)?)),
        Err(Caught::Panic(message)) => {
            Err(failed(format!("it panicked: {message}; this is a bug of {NAME}")))
        }
        Err(Caught::Memory(size)) => {
            let what = "what the model makes while it is loaded, in bytes,".to_owned();
            Err(LoadError::TooLarge { what, size, limit: allowed })
        }
    }
}

fn failed(problem: String) -> LoadError {
    LoadError::Failed { back_end: NAME, problem }
}

fn check_operators(onnx: &Onnx, outline: &Outline) -> Result<(), LoadError> {
    let known = |domain: &str, name: &String| {
        DOMAINS.contains(&domain) && onnx.op_register.0.contains_key(name)
    };
    let mut operators = outline.operators.iter();
    let Some(unknown) = operators.find(|it| !known(&it.domain, &it.name)) else {
        return Ok(());
    };
    Err(LoadError::UnsupportedOperator {
        back_end: NAME,
        operator: unknown.name.clone(),
        domain: unknown.domain.clone(),
        node: unknown.node.clone(),
    })
}

fn check_types(outline: &Outline) -> Result<(), LoadError> {
    for Declared { name, element, .. } in outline.inputs.iter().chain(&outline.outputs) {
        if element.element().is_some_and(|element| super::convert::datum_type(element).is_none()) {
            let place = format!("`{name}`");
            return Err(LoadError::UnsupportedType { place, element: element.name(), who: NAME });
        }
    }
    Ok(())
}

fn prepare(
    onnx: &Onnx,
    bytes: &Bytes,
    outline: &Outline,
    limits: &Limits,
) -> Result<TractGraph, String> {
    let parsed = parse(onnx, bytes, outline).map_err(|error| chain(&error))?;
    let weights = outline.weights;
    match optimise(parsed.clone()) {
        Ok(plan) => Ok(TractGraph::for_all_sizes(plan, weights, limits)),
        // Some graphs can be analysed with all sizes known, and not without.
        Err(error) if outline.inputs.iter().any(Declared::is_open) => {
            tracing::debug!(error = chain(&error), "preparing the model for each size apart");
            try_sizes(&parsed, outline)?;
            Ok(TractGraph::for_each_size(parsed, weights, limits))
        }
        Err(error) => Err(chain(&error)),
    }
}

/// Whether there are sizes for which the graph can be prepared: else it is wrong whatever they
/// are, and that is said now and not when it is run.
fn try_sizes(parsed: &InferenceModel, outline: &Outline) -> Result<(), String> {
    const SIZES: [u32; 14] = [1, 2, 4, 8, 16, 32, 64, 96, 128, 224, 256, 512, 640, 1024];
    let mut problem = String::new();
    for open in SIZES {
        let sizes = outline.inputs.iter().map(|declared| {
            let datum = declared.element.element().and_then(super::convert::datum_type)?;
            let sizes = declared.dimensions.as_ref()?.iter().map(|dimension| match dimension {
                Dimension::Fixed(size) => *size as usize,
                Dimension::Symbol(_) | Dimension::Any => open as usize,
            });
            Some((datum, sizes.collect()))
        });
        // Of an input of unknown rank nothing can be tried.
        let Some(sizes) = sizes.collect::<Option<Vec<_>>>() else { return Ok(()) };
        match for_sizes(parsed.clone(), &sizes) {
            Ok(_) => return Ok(()),
            Err(error) => problem = chain(&error),
        }
    }
    Err(problem)
}

/// The file as a graph whose inputs have a symbol wherever anything may stand.
fn parse(onnx: &Onnx, bytes: &Bytes, outline: &Outline) -> TractResult<InferenceModel> {
    let proto = onnx.proto_model_for_read(&mut &**bytes)?;
    let parsed = onnx.parse(&proto, None)?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(tract_onnx::tract_hir::internal::anyhow!(
            "a node uses `{name}`, which nothing makes"
        ));
    }
    let mut model = parsed.model;
    for (index, declared) in outline.inputs.iter().enumerate() {
        let fact = model.input_fact(index)?.clone();
        if declared.dimensions.is_none() {
            continue;
        }
        let symbols = &model.symbols;
        let dims = fact.shape.dims().map(|dim| match dim.concretize() {
            Some(known) if known.as_i64() != Some(0) => known.into(),
            _ => symbols.new_with_prefix("wrun").to_dim().into(),
        });
        let shape = ShapeFactoid::closed(dims.collect());
        model.set_input_fact(index, fact.with_shape(shape))?;
    }
    Ok(model)
}

/// The graph, ready to run.
pub(super) fn optimise(model: InferenceModel) -> TractResult<Arc<Plan>> {
    model.into_optimized()?.into_runnable()
}

/// The graph for inputs of these sizes alone.
pub(super) fn for_sizes(
    mut model: InferenceModel,
    sizes: &[(DatumType, Vec<usize>)],
) -> TractResult<Arc<Plan>> {
    for (index, (datum, shape)) in sizes.iter().enumerate() {
        // Booleans are bytes to guests.
        let is_bool = model.input_fact(index)?.datum_type == DatumType::Bool.into();
        let datum = if is_bool { DatumType::Bool } else { *datum };
        model.set_input_fact(index, InferenceFact::dt_shape(datum, shape))?;
    }
    optimise(model)
}

/// An error with its causes, the outermost first.
pub(super) fn chain(error: &tract_onnx::prelude::TractError) -> String {
    const LONGEST: usize = 2000;
    let mut text = format!("{error:#}");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
    }
    text
}

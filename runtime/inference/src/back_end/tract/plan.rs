//! A prepared model and its runs. Between two nodes a run sees whether it is still wanted;
//! what a run makes on its way is computed from the sizes of its inputs before it starts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::{
    DatumType, InferenceModel, TValue, TVec, TractError, TypedRunnableModel,
};
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::SymbolValues;

use super::load::{chain, for_sizes};
use super::{NAME, convert, memory};
use crate::back_end::guard::{Caught, guarded};
use crate::back_end::{Graph, RunError, Sizes, Stop};
use crate::config::{Limits, Provider};
use crate::tensor::{ElementType, Tensor};

/// What tract runs.
pub(super) type Plan = TypedRunnableModel;

/// Sizes of inputs for which a model is kept prepared, where it is prepared for each apart.
const PREPARED: usize = 8;

/// Combinations of sizes that are remembered to need no more memory than they may.
const CHECKED: usize = 256;

/// The type and the sizes of each input, as tract has them.
type TractSizes = Vec<(DatumType, Vec<usize>)>;

/// A loaded model.
pub(super) struct TractGraph {
    plans: Plans,
    bytes: u64,
    run_bytes: u64,
    tensor_bytes: u64,
    checked: Mutex<HashSet<TractSizes>>,
    is_bounded: bool,
}

enum Plans {
    /// One for all sizes.
    All(Arc<Plan>),
    /// One for each of the last few combinations of sizes, the newest last.
    Each { parsed: Box<InferenceModel>, prepared: Mutex<Vec<(TractSizes, Arc<Plan>)>> },
}

/// Ends a run that nobody wants any more.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

impl TractGraph {
    pub(super) fn for_all_sizes(plan: Arc<Plan>, weights: u64, limits: &Limits) -> Self {
        // Some weights are there twice: as they were, and packed for the processor.
        let bytes = weights + weights / 2 + memory::of_nodes(&plan);
        Self::new(Plans::All(plan), bytes, limits)
    }

    pub(super) fn for_each_size(parsed: InferenceModel, weights: u64, limits: &Limits) -> Self {
        let nodes = memory::NODE * parsed.nodes().len() as u64;
        let bytes = (weights + nodes) * (1 + PREPARED as u64);
        let prepared = Mutex::new(Vec::new());
        Self::new(Plans::Each { parsed: Box::new(parsed), prepared }, bytes, limits)
    }

    fn new(plans: Plans, bytes: u64, limits: &Limits) -> Self {
        let Limits { run_bytes, tensor_bytes, .. } = *limits;
        // One that is prepared for each size computes anew what it takes as constant.
        let is_bounded = match &plans {
            Plans::All(plan) => memory::is_known(plan),
            Plans::Each { .. } => false,
        };
        Self { plans, bytes, run_bytes, tensor_bytes, checked: Mutex::default(), is_bounded }
    }

    fn compute(&self, inputs: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        let sizes = sizes(inputs.iter().map(|it| (it.element(), it.dimensions())))?;
        let plan = self.plan(&sizes)?;
        let shapes = sizes.iter().map(|(_, shape)| shape.as_slice());
        let symbols = memory::symbols(&plan, shapes);
        self.check(&plan, &symbols, sizes)?;
        let mut values = TVec::new();
        for (index, tensor) in inputs.iter().enumerate() {
            let fact = plan.model().input_fact(index).map_err(|error| failed(&error))?;
            let value = convert::to_tract(tensor, fact.datum_type);
            values.push(value.map_err(RunError::Failed)?);
        }
        let outputs = run(&plan, values, stop)?;
        outputs
            .iter()
            .map(|value| convert::from_tract(value, &symbols).map_err(RunError::Failed))
            .collect()
    }

    fn plan(&self, sizes: &TractSizes) -> Result<Arc<Plan>, RunError> {
        let (parsed, prepared) = match &self.plans {
            Plans::All(plan) => return Ok(Arc::clone(plan)),
            Plans::Each { parsed, prepared } => (parsed, prepared),
        };
        // Held while a plan is made, so that it is made once.
        let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = prepared.iter().position(|(known, _)| known == sizes);
        let entry = match known {
            Some(index) => prepared.remove(index),
            None => {
                let plan = for_sizes(parsed.as_ref().clone(), sizes);
                (sizes.clone(), plan.map_err(|error| failed(&error))?)
            }
        };
        let plan = Arc::clone(&entry.1);
        prepared.push(entry);
        if prepared.len() > PREPARED {
            prepared.remove(0);
        }
        Ok(plan)
    }

    /// Whether a run with these sizes stays within its memory, as far as the sizes tell.
    fn check(
        &self,
        plan: &Plan,
        symbols: &SymbolValues,
        sizes: TractSizes,
    ) -> Result<(), RunError> {
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().contains(&sizes) {
            return Ok(());
        }
        let needed = memory::of_run(plan, symbols);
        let (what, size, limit) = if needed.largest > self.tensor_bytes {
            ("a tensor that the model makes on its way", needed.largest, self.tensor_bytes)
        } else {
            ("what the model makes on its way", needed.peak, self.run_bytes)
        };
        if size > limit {
            return Err(RunError::TooLarge { what: what.to_owned(), size, limit });
        }
        let mut checked = checked();
        if checked.len() >= CHECKED {
            checked.clear();
        }
        checked.insert(sizes);
        Ok(())
    }
}

impl Graph for TractGraph {
    fn device(&self) -> String {
        Provider::Cpu.name().to_owned()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    fn prepares_each_size(&self) -> bool {
        matches!(self.plans, Plans::Each { .. })
    }

    fn run(&self, inputs: Vec<Tensor>, stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        // Inputs and outputs are copied: they come on top of what the model makes.
        let copied: u64 = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let allowed = self.run_bytes.saturating_add(copied.saturating_mul(2));
        within(allowed, || self.compute(&inputs, stop))
    }

    fn prepare(&self, sizes: &Sizes, _: &Stop) -> Result<bool, RunError> {
        within(self.run_bytes, || {
            let each = sizes.iter().map(|(element, dimensions)| (*element, &**dimensions));
            let plan = self.plan(&self::sizes(each)?)?;
            Ok(memory::is_known(&plan))
        })
    }
}

/// Does it with so many bytes, and says what it is that it did instead.
fn within<R>(allowed: u64, work: impl FnOnce() -> Result<R, RunError>) -> Result<R, RunError> {
    guarded(allowed, work).unwrap_or_else(|caught| {
        Err(match caught {
            Caught::Panic(message) => {
                RunError::Failed(format!("it panicked: {message}; this is a bug of {NAME}"))
            }
            Caught::Memory(size) => {
                let what = "what the model makes on its way".to_owned();
                RunError::TooLarge { what, size, limit: allowed }
            }
        })
    })
}

fn run(plan: &Arc<Plan>, inputs: TVec<TValue>, stop: &Stop) -> Result<TVec<TValue>, RunError> {
    let mut state = plan.spawn().map_err(|error| failed(&error))?;
    let outputs = state.run_plan_with_eval(inputs, |context, state, node, inputs| {
        if stop.is_set() {
            return Err(TractError::new(Stopped));
        }
        eval(context, state, node, inputs)
    });
    outputs.map_err(|error| {
        if error.downcast_ref::<Stopped>().is_some() { RunError::Stopped } else { failed(&error) }
    })
}

fn failed(error: &TractError) -> RunError {
    RunError::Failed(chain(error))
}

fn sizes<'a>(
    inputs: impl Iterator<Item = (ElementType, &'a [u32])>,
) -> Result<TractSizes, RunError> {
    let size = |(element, dimensions): (ElementType, &[u32])| {
        let datum = convert::datum_type(element)?;
        Some((datum, dimensions.iter().map(|size| *size as usize).collect()))
    };
    let sizes: Option<TractSizes> = inputs.map(size).collect();
    sizes.ok_or_else(|| RunError::Failed("it has no elements of type bf16".to_owned()))
}

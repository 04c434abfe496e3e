//! How much memory a run takes, from the sizes of its inputs. What depends on values, not on
//! sizes, cannot be told before and counts nothing here.

use std::collections::HashSet;

use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::scan::{OptScan, Scan};
use tract_onnx::tract_hir::internal::{OutletId, Symbol, SymbolValues, TDim, TypedFact, TypedNode};

use super::plan::Plan;

/// What a node takes beside its tensors, about.
pub(super) const NODE: u64 = 4 << 10;

/// The tensors of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed {
    /// Bytes of the largest one.
    pub(super) largest: u64,
    /// Bytes that are there at the same time, at most.
    pub(super) peak: u64,
}

/// Bytes of the nodes of a plan.
pub(super) fn of_nodes(plan: &Plan) -> u64 {
    NODE * plan.model().nodes().len() as u64
}

/// What a run makes with these sizes.
pub(super) fn of_run(plan: &Plan, symbols: &SymbolValues) -> Needed {
    let order = plan.order_without_consts();
    let model = plan.model();
    // After which step each node's outputs are not needed any more.
    let mut last = vec![0; model.nodes().len()];
    for (step, id) in order.iter().enumerate() {
        for input in &model.node(*id).inputs {
            if let Some(last) = last.get_mut(input.node) {
                *last = step;
            }
        }
    }
    for OutletId { node, .. } in model.output_outlets().unwrap_or_default() {
        if let Some(last) = last.get_mut(*node) {
            *last = order.len();
        }
    }
    let mut freed = vec![0_u64; order.len() + 1];
    let mut needed = Needed::default();
    let mut held = 0_u64;
    for (step, id) in order.iter().enumerate() {
        let outputs = model.node(*id).outputs.iter().map(|output| bytes(&output.fact, symbols));
        let mut made = 0_u64;
        for bytes in outputs {
            needed.largest = needed.largest.max(bytes);
            made = made.saturating_add(bytes);
        }
        held = held.saturating_add(made);
        needed.peak = needed.peak.max(held);
        if let Some(freed) = last.get(*id).and_then(|last| freed.get_mut(*last)) {
            *freed = freed.saturating_add(made);
        }
        held = held.saturating_sub(freed.get(step).copied().unwrap_or(0));
    }
    needed
}

/// The sizes that the inputs give to the model's symbols. A symbol that only stands within an
/// expression stays unknown.
pub(super) fn symbols<'a>(plan: &Plan, inputs: impl Iterator<Item = &'a [usize]>) -> SymbolValues {
    let mut symbols = SymbolValues::default();
    for (index, shape) in inputs.enumerate() {
        let Ok(fact) = plan.model().input_fact(index) else { continue };
        for (dim, size) in fact.shape.iter().zip(shape) {
            if let (TDim::Sym(symbol), Ok(size)) = (dim, i64::try_from(*size)) {
                symbols.set(symbol, size);
            }
        }
    }
    symbols
}

/// Whether the sizes of all that a run makes are known from those of its inputs: not where they come
/// from values, and not within the graphs that some operators run.
pub(super) fn is_known(plan: &Plan) -> bool {
    let model = plan.model();
    let inputs = model.input_outlets().unwrap_or_default().iter();
    let given: HashSet<Symbol> = inputs
        .filter_map(|input| model.outlet_fact(*input).ok())
        .flat_map(|fact| fact.shape.iter().cloned().collect::<Vec<_>>())
        .filter_map(|dim| match dim {
            TDim::Sym(symbol) => Some(symbol),
            _ => None,
        })
        .collect();
    plan.order_without_consts().iter().map(|id| model.node(*id)).all(|node| {
        let mut sizes = node.outputs.iter().flat_map(|output| output.fact.shape.iter());
        !runs_graphs(node) && sizes.all(|size| size.symbols().is_subset(&given))
    })
}

fn runs_graphs(node: &TypedNode) -> bool {
    node.op_is::<OptScan>() || node.op_is::<Scan>() || node.op_is::<IfThenElse>()
}

fn bytes(fact: &TypedFact, symbols: &SymbolValues) -> u64 {
    let sizes = fact.shape.iter().map(|dim| dim.eval_to_i64(symbols).ok());
    let Some(sizes) = sizes.collect::<Option<Vec<_>>>() else { return 0 };
    let size = fact.datum_type.size_of() as u64;
    let sizes = sizes.into_iter().map(|size| u64::try_from(size).unwrap_or(0));
    sizes.fold(size, u64::saturating_mul)
}

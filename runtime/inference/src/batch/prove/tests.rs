//! Proofs of graphs that are functions of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::tensor::ElementType;

struct Function<F>(F);

impl<F: Fn(&[Tensor]) -> Result<Vec<Tensor>, String> + Send + Sync> Graph for Function<F> {
    fn device(&self) -> String {
        String::new()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn run(&self, inputs: Vec<Tensor>, _: &Stop) -> Result<Vec<Tensor>, RunError> {
        (self.0)(&inputs).map_err(RunError::Failed)
    }
}

fn named(name: &str) -> Dimension {
    Dimension::Symbol(name.to_owned())
}

fn tensor(name: &str, dimensions: Vec<Dimension>) -> TensorSignature {
    TensorSignature {
        name: name.to_owned(),
        element: ElementType::Fp32,
        dimensions: Some(dimensions),
    }
}

fn signature(inputs: Vec<TensorSignature>) -> Signature {
    let outputs = vec![tensor("y", vec![Dimension::Any, Dimension::Any])];
    Signature { inputs, outputs }
}

/// Of one input with a row of three floats.
fn rows() -> Signature {
    signature(vec![tensor("x", vec![named("n"), Dimension::Fixed(3)])])
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    let (numbers, _) = tensor.data().as_chunks::<4>();
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn like(tensor: &Tensor, values: impl IntoIterator<Item = f32>) -> Vec<Tensor> {
    let data: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    vec![Tensor::new(tensor.dimensions(), ElementType::Fp32, data)]
}

fn prove_function(
    signature: &Signature,
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>, String> + Send + Sync,
) -> Result<Axes, AloneReason> {
    // A clock that goes on by the same each time that it is looked at.
    let start = Instant::now();
    let looks = AtomicU32::new(0);
    let now = || start + Duration::from_millis(looks.fetch_add(1, Ordering::SeqCst).into());
    prove(&Function(function), signature, 32, &Stop::default(), &now)
}

#[test]
fn rows_that_do_not_know_of_each_other_are_merged() {
    let axes = prove_function(&rows(), |inputs| {
        Ok(like(&inputs[0], floats(&inputs[0]).into_iter().map(|value| value * 2.0)))
    });
    assert_eq!(axes, Ok(Axes { inputs: vec![Some(0)], outputs: vec![0] }));
}

#[test]
fn rounding_is_no_difference() {
    let axes = prove_function(&rows(), |inputs| {
        let off = if inputs[0].dimensions()[0] > 1 { 1.000_05 } else { 1.0 };
        Ok(like(&inputs[0], floats(&inputs[0]).into_iter().map(|value| value * off)))
    });
    assert!(axes.is_ok(), "{axes:?}");
}

#[test]
fn a_scale_that_is_computed_from_all_rows_is_found_out() {
    // As dynamic quantisation to eight bits does it.
    let reason = prove_function(&rows(), |inputs| {
        let values = floats(&inputs[0]);
        let step = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs())) / 127.0;
        Ok(like(&inputs[0], values.into_iter().map(|value| (value / step).round() * step)))
    });
    let reason = reason.unwrap_err();
    assert!(matches!(&reason, AloneReason::Differs { output, .. } if output == "y"), "{reason}");
}

#[test]
fn a_state_is_found_out() {
    let calls = Arc::new(AtomicU32::new(0));
    let reason = prove_function(&rows(), |inputs| {
        let state = calls.fetch_add(1, Ordering::SeqCst) as f32;
        Ok(like(&inputs[0], floats(&inputs[0]).into_iter().map(|value| value + state)))
    });
    assert_eq!(reason, Err(AloneReason::Stateful { output: "y".to_owned() }));
}

#[test]
fn an_output_for_all_rows_together_cannot_be_split() {
    let reason =
        prove_function(&rows(), |_| Ok(vec![Tensor::new([1, 1], ElementType::Fp32, vec![0; 4])]));
    assert_eq!(reason, Err(AloneReason::NotSplit { output: "y".to_owned() }));
}

#[test]
fn fixed_sizes_and_unknown_ranks_are_reasons() {
    let fixed = signature(vec![tensor("x", vec![Dimension::Fixed(1), Dimension::Fixed(224)])]);
    let reason = prove_function(&fixed, |_| Err("not run".to_owned()));
    assert_eq!(reason, Err(AloneReason::Fixed { input: "x".to_owned() }));
    let mut unknown = rows();
    unknown.inputs[0].dimensions = None;
    let reason = prove_function(&unknown, |_| Err("not run".to_owned()));
    assert_eq!(reason, Err(AloneReason::UnknownShape { input: "x".to_owned() }));
}

#[test]
fn a_batch_on_an_inner_axis_of_one_input_is_found() {
    // A state of two layers, whose rows are its second axis; the sum of each layer's row is
    // added to the input's row.
    let signature = Signature {
        inputs: vec![
            tensor("x", vec![Dimension::Any, Dimension::Fixed(1)]),
            tensor("state", vec![Dimension::Fixed(2), Dimension::Any, Dimension::Fixed(1)]),
        ],
        outputs: vec![
            tensor("y", vec![Dimension::Any; 2]),
            tensor("next", vec![Dimension::Any; 3]),
        ],
    };
    let axes = prove_function(&signature, |inputs| {
        let (x, state) = (floats(&inputs[0]), floats(&inputs[1]));
        if state.len() != 2 * x.len() {
            return Err("rows do not match".to_owned());
        }
        let sums =
            x.iter().enumerate().map(|(row, value)| value + state[row] + state[x.len() + row]);
        Ok([like(&inputs[0], sums), vec![inputs[1].clone()]].concat())
    });
    assert_eq!(axes, Ok(Axes { inputs: vec![Some(0), Some(1)], outputs: vec![0, 1] }));
}

#[test]
fn a_small_fixed_input_is_shared_by_all_rows() {
    let signature = signature(vec![
        tensor("x", vec![Dimension::Any, Dimension::Fixed(3)]),
        tensor("rate", Vec::new()),
    ]);
    let axes = prove_function(&signature, |inputs| {
        let rate = floats(&inputs[1])[0];
        Ok(like(&inputs[0], floats(&inputs[0]).into_iter().map(|value| value * rate)))
    });
    assert_eq!(axes, Ok(Axes { inputs: vec![Some(0), None], outputs: vec![0] }));
}

#[test]
fn rows_that_the_machine_held_up_do_not_make_a_batch_look_fast() {
    let start = Instant::now();
    let (time, alone) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let of_run = Arc::clone(&time);
    let function = move |inputs: &[Tensor]| {
        let took = match inputs[0].dimensions()[0] {
            // Seven of eight take twice as long as they should.
            1 if alone.fetch_add(1, Ordering::SeqCst) % 8 < 7 => 20,
            1 => 10,
            rows => 15 * rows,
        };
        of_run.fetch_add(took, Ordering::SeqCst);
        Ok(inputs.to_vec())
    };
    let now = || start + Duration::from_millis(time.load(Ordering::SeqCst).into());
    let reason = prove(&Function(function), &rows(), 32, &Stop::default(), &now).unwrap_err();
    assert_eq!(reason, AloneReason::NoGain { gain: "0.67".to_owned() });
}

#[test]
fn a_batch_that_takes_as_long_as_its_rows_is_not_worth_waiting_for() {
    let start = Instant::now();
    let time = Arc::new(AtomicU32::new(0));
    let of_row = Arc::clone(&time);
    let function = move |inputs: &[Tensor]| {
        of_row.fetch_add(10 * inputs[0].dimensions()[0], Ordering::SeqCst);
        Ok(inputs.to_vec())
    };
    let now = || start + Duration::from_millis(time.load(Ordering::SeqCst).into());
    let reason = prove(&Function(function), &rows(), 32, &Stop::default(), &now).unwrap_err();
    assert_eq!(reason, AloneReason::NoGain { gain: "1.00".to_owned() });
    let text = "a batch is only 1.00 times as fast as its rows one by one";
    assert_eq!(reason.to_string(), text);
}

#[test]
fn a_model_that_never_runs_says_why_and_is_not_tried_for_ever() {
    let calls = AtomicU32::new(0);
    let reason = prove_function(&rows(), |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        Err("no kernel".to_owned())
    });
    assert_eq!(reason, Err(AloneReason::NoTrial { problem: "no kernel".to_owned() }));
    assert!(calls.load(Ordering::SeqCst) <= MAX_RUNS as u32);
}

//! Requests of several callers in one run of a directed back end.

use std::sync::{Arc, Mutex};

use super::env::*;
use super::models;
use crate::config::{BatchAxes, Config, ModelOptions, TensorAxes};
use crate::tensor::Tensor;
use crate::{AloneReason, Batching, Engine, Model};

fn axes() -> TensorAxes {
    TensorAxes { inputs: [("x".to_owned(), 0)].into(), outputs: [("y".to_owned(), 0)].into() }
}

/// The dimensions that each run was given.
type Runs = Arc<Mutex<Vec<Vec<u32>>>>;

/// A model whose runs stand at a gate, and what each run was given.
fn gated(config: Config) -> (Engine, Model, Arc<Gate>, Runs) {
    let (gate, runs) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
    let (its, seen) = (Arc::clone(&gate), Arc::clone(&runs));
    let back_end = Directed::new(move |inputs: Vec<Tensor>, _| {
        seen.lock().unwrap().push(inputs[0].dimensions().to_vec());
        its.pass();
        Ok(inputs)
    });
    let engine = engine(config, Arc::new(back_end));
    let options = ModelOptions { axes: BatchAxes::Declared(axes()), ..ModelOptions::default() };
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    (engine, model, gate, runs)
}

#[test]
fn requests_of_different_tenants_run_together_and_each_gets_its_own_rows() {
    let (_engine, model, gate, runs) = gated(config());
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let second = model.compute(call("b"), x(&[1.0, 2.0]));
    let third = model.compute(call("c"), x(&[3.0, 4.0, 5.0, 6.0]));
    gate.let_through(2);
    wait(first).unwrap();
    assert_eq!(values(&wait(second).unwrap()), [1.0, 2.0]);
    let third = wait(third).unwrap();
    assert_eq!(third[0].1.dimensions(), [2, 2]);
    assert_eq!(values(&third), [3.0, 4.0, 5.0, 6.0]);
    assert_eq!(*runs.lock().unwrap(), [[1, 2], [3, 2]]);
    let sizes: Vec<_> = model.stats().batch_size.buckets().collect();
    assert_eq!(sizes, [(2, 1), (4, 1)]);
}

#[test]
fn a_batch_is_no_larger_than_it_may_be() {
    let (_engine, model, gate, runs) = gated(Config { max_batch: 3, ..config() });
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let others: Vec<_> = (0..7).map(|_| model.compute(call("b"), x(&[0.0; 2]))).collect();
    gate.let_through(4);
    [vec![first], others].concat_wait();
    let rows: Vec<_> = runs.lock().unwrap().iter().map(|dimensions| dimensions[0]).collect();
    assert_eq!(rows, [1, 3, 3, 1]);
}

#[test]
fn many_models_give_a_tenant_no_more_of_a_thread_than_one() {
    let (engine, model, gate, runs) = gated(config());
    let options = ModelOptions { axes: BatchAxes::Never, ..ModelOptions::default() };
    let more: Vec<Model> = (2..6)
        .map(|number| load_with(&engine, number, models::relu(), &options).unwrap())
        .collect();
    let first = model.compute(call("c"), x(&[0.0; 2]));
    gate.wait_for(1);
    // Those of `a` have waited for longer.
    let of_a: Vec<_> = more[..3].iter().map(|it| it.compute(call("a"), x(&[0.0; 4]))).collect();
    let of_b = vec![more[3].compute(call("b"), x(&[0.0; 6]))];
    gate.let_through(5);
    [vec![first], of_a, of_b].concat_wait();
    let rows: Vec<_> = runs.lock().unwrap().iter().map(|dimensions| dimensions[0]).collect();
    assert_eq!(rows, [1, 2, 3, 2, 2]);
}

trait ConcatWait {
    fn concat_wait(self);
}

impl<const N: usize> ConcatWait for [Vec<crate::Compute>; N] {
    fn concat_wait(self) {
        self.into_iter().flatten().for_each(|compute| drop(wait(compute).unwrap()));
    }
}

#[test]
fn one_who_leaves_a_batch_does_not_disturb_it() {
    let (_engine, model, gate, _) = gated(config());
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let second = model.compute(call("b"), x(&[1.0, 2.0]));
    let third = model.compute(call("c"), x(&[3.0, 4.0]));
    gate.let_through(1);
    wait(first).unwrap();
    gate.wait_for(1);
    drop(second);
    gate.let_through(1);
    assert_eq!(values(&wait(third).unwrap()), [3.0, 4.0]);
}

#[test]
fn outputs_that_cannot_be_split_end_batching_and_fail_nobody() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs: Vec<Tensor>, _| {
        its.pass();
        // However many rows there are, one comes out.
        let row = inputs[0].data().slice(0..8);
        Ok(vec![Tensor::new([1, 2], inputs[0].element(), row)])
    });
    let engine = engine(config(), Arc::new(back_end));
    let options = ModelOptions { axes: BatchAxes::Declared(axes()), ..ModelOptions::default() };
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let second = model.compute(call("b"), x(&[1.0, 2.0]));
    let third = model.compute(call("c"), x(&[3.0, 4.0]));
    gate.let_through(100);
    wait(first).unwrap();
    assert_eq!(values(&wait(second).unwrap()), [1.0, 2.0]);
    assert_eq!(values(&wait(third).unwrap()), [3.0, 4.0]);
    let Batching::Alone(reason @ AloneReason::WentWrong { .. }) = model.batching() else {
        panic!("{}", model.batching());
    };
    assert_eq!(
        reason.to_string(),
        "a batch went wrong: output 0 has the dimensions [1, 2], which 2 rows cannot share along \
         axis 0"
    );
}

#[test]
fn axes_that_do_not_fit_the_model_are_named() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let input =
        |name: &str, axis| TensorAxes { inputs: [(name.to_owned(), axis)].into(), ..axes() };
    let cases = [
        (input("z", 0), "there is no `z`"),
        (input("x", 2), "x fp32[n, 2] has no axis 2"),
        (TensorAxes { outputs: [].into(), ..axes() }, "output `y` is not named"),
        (TensorAxes { inputs: [].into(), ..axes() }, "no input is named"),
    ];
    for (number, (axes, problem)) in (1..).zip(cases) {
        let options = ModelOptions { axes: BatchAxes::Declared(axes), ..ModelOptions::default() };
        let model = load_with(&engine, number, models::relu(), &options).unwrap();
        let text = format!("not batched: the declared axes do not fit the model: {problem}");
        assert_eq!(model.batching().to_string(), text);
    }
}

#[test]
fn axes_may_be_declared_for_tensors_of_either_side_at_once() {
    let both: std::collections::BTreeMap<_, _> = [("x".to_owned(), 0), ("y".to_owned(), 0)].into();
    let axes = TensorAxes { inputs: both.clone(), outputs: both };
    let options = ModelOptions { axes: BatchAxes::Declared(axes), ..ModelOptions::default() };
    let engine = engine(config(), Arc::new(Directed::echo()));
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    assert_eq!(model.batching().to_string(), "batched on axis 0 of x, axis 0 of y");
}

//! Requests: wrong ones, late ones, those that go away, and those for which there is no room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::env::*;
use super::models;
use crate::config::{Config, Limits};
use crate::error::{BusyReason, ComputeError, ErrorCode};
use crate::model::Call;
use crate::tensor::{ElementType, NamedTensor, Tensor};

fn refused(inputs: Vec<NamedTensor>) -> (ErrorCode, String) {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let error = wait(relu(&engine).compute(call("a"), inputs)).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_request_is_answered_with_the_names_of_the_outputs() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let outputs = wait(relu(&engine).compute(call("a"), x(&[1.0, 2.0]))).unwrap();
    assert_eq!(outputs, [("y".to_owned(), floats(&[1, 2], &[1.0, 2.0]))]);
}

#[test]
fn inputs_that_the_model_does_not_take_are_refused_by_name() {
    let of = |name: &str, tensor| vec![(name.to_owned(), tensor)];
    let right = || floats(&[1, 2], &[0.0; 2]);
    let cases = [
        (of("z", right()), "the model has no input `z`; its inputs are x fp32[n, 2]"),
        (Vec::new(), "input `x` is missing; the model's inputs are x fp32[n, 2]"),
        ([of("x", right()), of("x", right())].concat(), "input `x` is given twice"),
        (
            of("x", Tensor::new([1, 2], ElementType::I64, vec![0; 16])),
            "input `x` is of i64, and the model takes fp32",
        ),
        (
            of("x", floats(&[2, 1], &[0.0; 2])),
            "input `x` has the dimensions [2, 1], and the model takes x fp32[n, 2]",
        ),
        (
            of("x", floats(&[2], &[0.0; 2])),
            "input `x` has the dimensions [2], and the model takes x fp32[n, 2]",
        ),
        (
            of("x", floats(&[3, 2], &[0.0; 2])),
            "input `x` is malformed: its dimensions [3, 2] of fp32 need 24 bytes, and it has 8: \
             give as many bytes as the dimensions say",
        ),
        (
            of("x", floats(&[u32::MAX, u32::MAX, 2, 2], &[0.0; 2])),
            "input `x` is malformed: its dimensions [4294967295, 4294967295, 2, 2] of fp32 are \
             more bytes than can be counted",
        ),
    ];
    for (inputs, message) in cases {
        assert_eq!(refused(inputs), (ErrorCode::InvalidArgument, message.to_owned()));
    }
}

#[test]
fn what_is_not_a_number_is_a_value_like_any_other() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let given = [f32::NAN, f32::INFINITY];
    let outputs = wait(relu(&engine).compute(call("a"), x(&given))).unwrap();
    let bits: Vec<_> = values(&outputs).iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, given.map(f32::to_bits));
}

#[test]
fn inputs_and_outputs_are_bounded() {
    let limits = Limits { tensor_bytes: 64, request_bytes: 128, ..Limits::default() };
    let large = Arc::new(Directed::new(|_, _| Ok(vec![floats(&[100, 2], &[0.0; 200])])));
    let engine = engine(Config { limits, ..config() }, large);
    let model = relu(&engine);
    let error = wait(model.compute(call("a"), x(&[0.0; 18]))).unwrap_err();
    assert_eq!(error.to_string(), "input `x` is 72 bytes, and the limit is 64");
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let error = wait(model.compute(call("a"), x(&[0.0; 2]))).unwrap_err();
    assert_eq!(error.to_string(), "the sum of the outputs is 800 bytes, and the limit is 128");
}

/// An engine with one thread, which stands at the gate with a request's run.
fn blocked(config: Config) -> (crate::Engine, crate::Model, Arc<Gate>, crate::Compute) {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs, _| {
        its.pass();
        Ok(inputs)
    });
    let engine = engine(config, Arc::new(back_end));
    let options = crate::ModelOptions { axes: crate::BatchAxes::Never, ..Default::default() };
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    (engine, model, gate, first)
}

#[test]
fn the_queue_is_bounded_for_the_model_and_for_each_tenant() {
    let limits = Limits { waiting: 3, waiting_per_tenant: 2, ..Limits::default() };
    let (_engine, model, gate, first) = blocked(Config { limits, ..config() });
    let second = model.compute(call("a"), x(&[0.0; 2]));
    let third = model.compute(call("a"), x(&[0.0; 2]));
    let mut of_tenant = model.compute(call("a"), x(&[0.0; 2]));
    let busy = ComputeError::Busy(BusyReason::Tenant { limit: 2 });
    assert_eq!(poll(&mut of_tenant), Some(Err(busy)));
    let other = model.compute(call("b"), x(&[0.0; 2]));
    let mut full = model.compute(call("c"), x(&[0.0; 2]));
    let busy = poll(&mut full).unwrap().unwrap_err();
    assert_eq!(busy, ComputeError::Busy(BusyReason::Model { limit: 3 }));
    assert_eq!(busy.code(), ErrorCode::RuntimeError);
    let stats = model.stats();
    assert_eq!((stats.waiting, stats.running, stats.refused), (3, 1, 2));
    gate.let_through(4);
    [first, second, third, other].into_iter().for_each(|it| drop(wait(it).unwrap()));
}

#[test]
fn bytes_that_wait_are_bounded_for_the_node_and_given_back() {
    let limits = Limits { waiting_bytes: 16, ..Limits::default() };
    let (engine, model, gate, first) = blocked(Config { limits, ..config() });
    let second = model.compute(call("a"), x(&[0.0; 2]));
    let mut third = model.compute(call("b"), x(&[0.0; 2]));
    let busy = ComputeError::Busy(BusyReason::Node { limit: 16 });
    assert_eq!(poll(&mut third), Some(Err(busy)));
    assert_eq!(engine.stats().waiting_bytes, 16);
    drop(second);
    assert_eq!(engine.stats().waiting_bytes, 8);
    gate.let_through(1);
    wait(first).unwrap();
    assert_eq!(engine.stats().waiting_bytes, 0);
}

#[test]
fn who_goes_away_while_waiting_is_never_run() {
    let (_engine, model, gate, first) = blocked(config());
    drop(model.compute(call("a"), x(&[0.0; 2])));
    let last = model.compute(call("a"), x(&[0.0; 2]));
    gate.let_through(2);
    wait(first).unwrap();
    wait(last).unwrap();
    let stats = model.stats();
    assert_eq!((stats.requests, stats.cancelled, stats.batch_size.count()), (3, 1, 2));
}

#[test]
fn a_run_that_nobody_waits_for_is_stopped() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs, stop| {
        its.pass();
        while !stop.is_set() {
            std::thread::yield_now();
        }
        its.pass();
        Ok(inputs)
    });
    let engine = engine(config(), Arc::new(back_end));
    let options = crate::ModelOptions { axes: crate::BatchAxes::Never, ..Default::default() };
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    gate.let_through(1);
    drop(first);
    gate.wait_for(1);
    gate.let_through(1);
    assert_eq!(model.stats().cancelled, 1);
}

#[test]
fn a_run_that_does_not_stop_costs_its_own_model_only() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    // Large requests hang, whatever they are told.
    let back_end = Directed::new(move |inputs: Vec<Tensor>, _| {
        if inputs[0].data().len() > 8 {
            its.pass();
        }
        Ok(inputs)
    });
    let engine = engine(config(), Arc::new(back_end));
    let options = crate::ModelOptions { axes: crate::BatchAxes::Never, ..Default::default() };
    let hanging = load_with(&engine, 1, models::relu(), &options).unwrap();
    let other = load_with(&engine, 2, models::relu(), &options).unwrap();
    for _ in 0..3 {
        let hung = hanging.compute(call("a"), x(&[0.0; 4]));
        gate.wait_for(1);
        drop(hung);
        wait(other.compute(call("b"), x(&[0.0; 2]))).unwrap();
        gate.let_through(1);
        wait(hanging.compute(call("a"), x(&[0.0; 2]))).unwrap();
    }
}

#[test]
fn a_deadline_that_is_over_is_told_at_once() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let model = relu(&engine);
    let late = Call { deadline: Some(Instant::now()), ..call("a") };
    let error = wait(model.compute(late, x(&[0.0; 2]))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert_eq!(model.stats().timeouts, 1);
}

#[test]
fn deadlines_end_waiting_and_running_requests_while_all_threads_are_busy() {
    let (_engine, model, gate, _first) = blocked(config());
    let after = |time| Some(Instant::now() + Duration::from_millis(time));
    let waiting = model.compute(Call { deadline: after(20), ..call("a") }, x(&[0.0; 2]));
    let error = wait(waiting).unwrap_err();
    assert!(matches!(error, ComputeError::Timeout { started: false, .. }), "{error}");
    gate.let_through(1);
    // Long enough to be at the gate by then on a busy machine.
    let running = model.compute(Call { deadline: after(500), ..call("a") }, x(&[0.0; 2]));
    gate.wait_for(1);
    let error = wait(running).unwrap_err();
    assert!(matches!(error, ComputeError::Timeout { started: true, .. }), "{error}");
    gate.let_through(1);
}

#[test]
fn a_failed_request_fails_alone_and_not_those_in_its_batch() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs: Vec<Tensor>, _| {
        its.pass();
        let bad = inputs[0].data().contains(&0xff);
        if bad { Err(crate::back_end::RunError::Failed("bad".to_owned())) } else { Ok(inputs) }
    });
    let engine = engine(config(), Arc::new(back_end));
    let axes = crate::TensorAxes {
        inputs: [("x".to_owned(), 0)].into(),
        outputs: [("y".to_owned(), 0)].into(),
    };
    let options =
        crate::ModelOptions { axes: crate::BatchAxes::Declared(axes), ..Default::default() };
    let model = load_with(&engine, 1, models::relu(), &options).unwrap();
    let first = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let bad = model.compute(call("b"), x(&[f32::from_bits(u32::MAX); 2]));
    let good = model.compute(call("c"), x(&[3.0; 2]));
    gate.let_through(4);
    wait(first).unwrap();
    let error = wait(bad).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (ErrorCode::RuntimeError, "directed failed: bad".to_owned())
    );
    assert_eq!(values(&wait(good).unwrap()), [3.0, 3.0]);
    assert_eq!(model.stats().failed, 1);
}

//! Loading: once, within the memory, evicted, unloaded, too slow, too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::env::*;
use super::models;
use crate::config::{BatchAxes, Config, Encoding, Limits, ModelOptions, Target, TensorAxes};
use crate::engine::ModelKey;
use crate::error::{BusyReason, ComputeError, ErrorCode, FetchError, LoadError, UnloadError};

/// Without a proof, so that a directed back end runs only what tests ask for.
fn options() -> ModelOptions {
    ModelOptions { axes: BatchAxes::Never, ..ModelOptions::default() }
}

fn with_gate() -> (Arc<Directed>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let directed = Directed { load_gate: Some(Arc::clone(&gate)), ..Directed::echo() };
    (Arc::new(directed), gate)
}

#[test]
fn a_model_is_fetched_and_loaded_once_however_many_ask_at_once() {
    let (back_end, gate) = with_gate();
    let engine = engine(config(), Arc::clone(&back_end));
    let fetched = Arc::new(AtomicUsize::new(0));
    let tenant = tenant("a");
    let (key, other) = (key(1, &options()), key(2, &options()));
    let load = |key| {
        let fetched = Arc::clone(&fetched);
        engine.load(&tenant, "it", key, &[], move || {
            fetched.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(models::relu()))
        })
    };
    let loads = futures_util::future::join_all((0..20).map(|_| load(&key)));
    gate.let_through(1);
    let models: Vec<_> = wait(loads).into_iter().map(Result::unwrap).collect();
    let again = wait(load(&key)).unwrap();
    assert_eq!(again.stats().users, 21);
    drop(models);
    gate.let_through(1);
    wait(load(&other)).unwrap();
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
    assert_eq!(back_end.loads.load(Ordering::SeqCst), 2);
}

#[test]
fn a_load_goes_on_when_the_one_who_began_it_goes_away() {
    let (back_end, gate) = with_gate();
    let engine = engine(config(), Arc::clone(&back_end));
    let (tenant, key) = (tenant("a"), key(1, &options()));
    let load = || {
        let load = engine.load(&tenant, "it", &key, &[], || Ok(Bytes::from(models::relu())));
        load.boxed_local()
    };
    let (mut first, mut second) = (load(), load());
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    gate.let_through(1);
    wait(second).unwrap();
    assert_eq!(back_end.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_load_that_failed_is_tried_again_by_the_next() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let (tenant, key) = (tenant("a"), key(1, &options()));
    for (error, code) in [
        (FetchError::NotFound("magika".to_owned()), ErrorCode::NotFound),
        (FetchError::Denied("magika".to_owned()), ErrorCode::Security),
        (FetchError::Failed("disk".to_owned()), ErrorCode::RuntimeError),
    ] {
        let fails = error.clone();
        let load = engine.load(&tenant, "it", &key, &[], move || Err(fails));
        let found = wait(load).unwrap_err();
        assert_eq!((&found, found.code()), (&LoadError::Fetch(error), code));
    }
    load(&engine, 1, models::relu()).unwrap();
}

#[test]
fn what_was_used_least_recently_makes_room_and_what_is_used_does_not() {
    let engine = engine(Config { model_memory: 3500, ..config() }, Arc::new(Directed::echo()));
    let load = |number| load_with(&engine, number, models::relu(), &options());
    let first = load(1).unwrap();
    [2, 3].into_iter().for_each(|number| drop(load(number).unwrap()));
    drop(load(2).unwrap());
    drop(load(4).unwrap());
    let names = || {
        let mut names: Vec<_> = engine.models().into_iter().map(|model| model.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["model-1", "model-2", "model-4"]);
    let (_second, _fourth) = (load(2).unwrap(), load(4).unwrap());
    let busy = load(5).unwrap_err();
    assert!(matches!(&busy, LoadError::Busy(BusyReason::Memory { .. })), "{busy}");
    assert_eq!(busy.code(), ErrorCode::RuntimeError);
    drop(first);
    load(5).unwrap();
    assert_eq!(names(), ["model-2", "model-4", "model-5"]);
    let stats = engine.stats();
    assert_eq!((stats.models, stats.model_bytes, stats.evictions), (3, 3000, 2));
}

#[test]
fn a_model_that_can_never_fit_is_too_large() {
    let large = Directed { bytes: 5000, ..Directed::echo() };
    let engine = engine(Config { model_memory: 3500, ..config() }, Arc::new(large));
    let error = load_with(&engine, 1, models::relu(), &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let message = "the memory that the model needs, in bytes, is 5000, and the limit is 3500";
    assert_eq!(error.to_string(), message);
    assert_eq!(engine.stats().model_bytes, 0, "nothing stays reserved");
}

#[test]
fn a_guests_own_model_is_not_shared_and_goes_with_its_handle() {
    let back_end = Arc::new(Directed::echo());
    let engine = engine(config(), Arc::clone(&back_end));
    let (tenant, options) = (tenant("a"), options());
    let bring =
        || wait(engine.load_bytes(&tenant, "own", &options, &[], Bytes::from(models::relu())));
    let (first, second) = (bring().unwrap(), bring().unwrap());
    assert_eq!(back_end.loads.load(Ordering::SeqCst), 2);
    assert_eq!((first.digest(), engine.stats().model_bytes), (None, 2000));
    wait(second.compute(call("a"), x(&[0.0; 2]))).unwrap();
    drop((first, second));
    let stats = engine.stats();
    assert_eq!((stats.models, stats.model_bytes), (0, 0));
}

#[test]
fn a_used_model_is_unloaded_by_force_only_and_its_requests_are_told() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs, _| {
        its.pass();
        Ok(inputs)
    });
    let engine = engine(config(), Arc::new(back_end));
    let key = key(1, &options());
    assert_eq!(engine.unload(&key, true), Err(UnloadError::NotLoaded));
    let model = load_with(&engine, 1, models::relu(), &options()).unwrap();
    let running = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    let waiting = model.compute(call("a"), x(&[0.0; 2]));
    let in_use = engine.unload(&key, false).unwrap_err();
    assert!(matches!(in_use, UnloadError::InUse { users } if users >= 3), "{in_use}");
    engine.unload(&key, true).unwrap();
    assert_eq!(wait(running), Err(ComputeError::Unloaded));
    assert_eq!(wait(waiting), Err(ComputeError::Unloaded));
    let later = wait(model.compute(call("a"), x(&[0.0; 2]))).unwrap_err();
    assert_eq!((later.code(), later), (ErrorCode::NotFound, ComputeError::Unloaded));
    gate.let_through(1);
    assert!(engine.models().is_empty());
}

/// Whoever says how requests are merged says it of its own model, whatever the bytes are.
#[test]
fn the_same_bytes_of_another_owner_or_with_other_settings_are_another_model() {
    let back_end = Arc::new(Directed::echo());
    let engine = engine(config(), Arc::clone(&back_end));
    let declared = ModelOptions {
        axes: BatchAxes::Declared(TensorAxes::default()),
        ..ModelOptions::default()
    };
    let own = key(1, &options());
    let keys = [own.clone(), key(1, &declared), ModelKey { owner: tenant("b"), ..own.clone() }];
    for key in &keys {
        let fetch = || Ok(Bytes::from(models::relu()));
        drop(wait(engine.load(&tenant("a"), "it", key, &[], fetch)).unwrap());
    }
    assert_eq!(back_end.loads.load(Ordering::SeqCst), 3);
    assert_eq!(engine.loaded().len(), 1, "they are the same bytes");
    let known: Vec<_> = keys.iter().map(|key| engine.model(key).remove(0).key.unwrap()).collect();
    assert_eq!(known, keys);
    engine.unload(&own, false).unwrap();
    assert!(engine.model(&own).is_empty());
    assert_eq!(engine.models().len(), 2);
}

/// Who keeps others informed of what is loaded is told each time.
#[test]
fn a_load_and_an_unload_are_told() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    drop(relu(&engine));
    wait(engine.changed().notified());
    engine.unload(&key(1, &ModelOptions::default()), false).unwrap();
    wait(engine.changed().notified());
}

#[test]
fn an_idle_model_is_unloaded() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    drop(relu(&engine));
    engine.unload(&key(1, &ModelOptions::default()), false).unwrap();
    assert_eq!(engine.stats().model_bytes, 0);
}

#[test]
fn loads_are_bounded_for_the_node_and_for_each_tenant_and_go_in_turn() {
    let (back_end, gate) = with_gate();
    let limits = Limits { loads: 3, loads_per_tenant: 2, ..Limits::default() };
    let engine = engine(Config { limits, ..config() }, back_end);
    let options = options();
    let load = |name: &str| {
        let (engine, tenant, options) = (engine.clone(), tenant(name), options.clone());
        let load = async move {
            engine.load_bytes(&tenant, "own", &options, &[], Bytes::from(models::relu())).await
        };
        load.boxed_local()
    };
    // One is at the gate, so that the others wait.
    let mut loads = vec![load("a")];
    assert!(loads[0].as_mut().now_or_never().is_none());
    gate.wait_for(1);
    for name in ["a", "a", "b"] {
        let mut waiting = load(name);
        assert!(waiting.as_mut().now_or_never().is_none());
        loads.push(waiting);
        if loads.len() == 3 {
            let busy = load("a").now_or_never().unwrap().unwrap_err();
            assert_eq!(busy, LoadError::Busy(BusyReason::LoadsOfTenant { limit: 2 }));
        }
    }
    let busy = load("c").now_or_never().unwrap().unwrap_err();
    assert_eq!(busy, LoadError::Busy(BusyReason::Loads { limit: 3 }));
    gate.let_through(4);
    wait(futures_util::future::join_all(loads)).into_iter().for_each(|it| drop(it.unwrap()));
}

#[test]
fn the_bytes_of_a_model_are_fetched_when_its_turn_to_be_loaded_has_come() {
    let (back_end, gate) = with_gate();
    let engine = engine(config(), back_end);
    let fetched = Arc::new(AtomicUsize::new(0));
    let load = |number: u8| {
        let (engine, fetched) = (engine.clone(), Arc::clone(&fetched));
        let fetch = move || {
            fetched.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(models::relu()))
        };
        async move { engine.load(&tenant("a"), "it", &key(number, &options()), &[], fetch).await }
            .boxed_local()
    };
    let mut first = load(1);
    assert!(first.as_mut().now_or_never().is_none());
    gate.wait_for(1);
    let mut second = load(2);
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
    gate.let_through(2);
    wait(first).unwrap();
    wait(second).unwrap();
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
}

#[test]
fn a_load_that_hangs_is_given_up_and_the_next_one_has_a_thread() {
    let (back_end, gate) = with_gate();
    let limits = Limits { load_time: Duration::from_millis(500), ..Limits::default() };
    let engine = engine(Config { limits, ..config() }, back_end);
    let error = load_with(&engine, 1, models::relu(), &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    // Both hang now: one of them on the thread in the place of the first.
    let (tenant, key) = (tenant("a"), key(2, &options()));
    let file = || Ok(Bytes::from(models::relu()));
    let mut second = engine.load(&tenant, "it", &key, &[], file).boxed_local();
    assert!(second.as_mut().now_or_never().is_none());
    gate.wait_for(2);
    gate.let_through(2);
    let second = wait(second);
    assert!(second.is_ok() || second.unwrap_err().code() == ErrorCode::Timeout);
}

#[test]
fn what_is_not_for_this_node_is_refused() {
    let engine = engine(config(), Arc::new(Directed::echo()));
    let gpu = ModelOptions { target: Target::Gpu, ..options() };
    let error = load_with(&engine, 1, models::relu(), &gpu).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    let message = "no back end of this node has a GPU: load the model for another target";
    assert_eq!(error.to_string(), message);
    let tflite = ModelOptions { encoding: Encoding::TensorFlowLite, ..options() };
    let error = load_with(&engine, 1, models::relu(), &tflite).unwrap_err();
    assert_eq!(error, LoadError::Encoding(Encoding::TensorFlowLite));
    assert_eq!(error.code(), ErrorCode::InvalidEncoding);
}

#[test]
fn when_the_engine_ends_whoever_waits_is_told() {
    let gate = Arc::new(Gate::default());
    let its = Arc::clone(&gate);
    let back_end = Directed::new(move |inputs, _| {
        its.pass();
        Ok(inputs)
    });
    let engine = engine(config(), Arc::new(back_end));
    let model = load_with(&engine, 1, models::relu(), &options()).unwrap();
    let running = model.compute(call("a"), x(&[0.0; 2]));
    gate.wait_for(1);
    drop(engine);
    assert_eq!(wait(running), Err(ComputeError::Stopped));
    assert_eq!(wait(model.compute(call("a"), x(&[0.0; 2]))), Err(ComputeError::Stopped));
    gate.let_through(1);
}

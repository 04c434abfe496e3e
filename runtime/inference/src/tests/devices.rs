//! Which device a model is on, for whom, and what it takes there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::env::{Directed, config, key, tenant, wait};
use super::models;
use crate::config::{Config, ModelOptions, Target};
use crate::device::{Card, Device};
use crate::error::{BusyReason, ErrorCode, LoadError};
use crate::{Engine, Model};

fn cards(memory: &[u64]) -> Vec<Card> {
    let card =
        |(place, memory): (usize, &u64)| Card { visible: place.to_string(), memory: *memory };
    memory.iter().enumerate().map(card).collect()
}

/// An engine whose back ends are tried in that order.
fn engine(memory: &[u64], back_ends: &[Arc<Directed>]) -> Engine {
    let config = Config { cards: cards(memory), model_memory: 3500, ..config() };
    let back_ends = back_ends.iter().map(|it| Arc::clone(it) as _).collect();
    Engine::with(config, back_ends).unwrap()
}

fn load(engine: &Engine, number: u8, target: Target, cards: &[u16]) -> Result<Model, LoadError> {
    let options = ModelOptions { target, ..ModelOptions::default() };
    let fetch = || Ok(Bytes::from(models::relu()));
    wait(engine.load(&tenant("a"), "it", &key(number, &options), cards, fetch))
}

fn on(model: Result<Model, LoadError>) -> Device {
    model.unwrap().device()
}

#[test]
fn a_model_is_on_a_card_only_for_who_was_given_it() {
    let back_ends = [Device::Card(0), Device::Card(1), Device::Processor].map(Directed::on);
    let engine = engine(&[5000, 5000], &back_ends);
    let any = |cards: &[u16]| on(load(&engine, 1, Target::Any, cards));
    assert_eq!(any(&[]), Device::Processor);
    assert_eq!(any(&[1]), Device::Card(1));
    assert_eq!(any(&[0]), Device::Card(0));
    // The first that is named goes first.
    assert_eq!(any(&[1, 0]), Device::Card(1));
    assert_eq!(on(load(&engine, 1, Target::Cpu, &[0])), Device::Processor);
    assert_eq!(on(load(&engine, 1, Target::Gpu, &[0])), Device::Card(0));
    let refused = load(&engine, 1, Target::Gpu, &[]).unwrap_err();
    assert_eq!((refused.code(), refused), (ErrorCode::UnsupportedOperation, LoadError::NoCard));
    // A card that the node has not, whoever said so.
    assert_eq!(load(&engine, 1, Target::Gpu, &[7]).unwrap_err(), LoadError::NoCard);
    assert_eq!(any(&[7]), Device::Processor);
    let loads = back_ends.each_ref().map(|it| it.loads.load(Ordering::SeqCst));
    assert_eq!(loads, [2, 1, 2], "once for each device and target");
}

#[test]
fn the_order_of_back_ends_is_that_in_which_devices_are_tried() {
    let back_ends = [Device::Processor, Device::Card(0)].map(Directed::on);
    let engine = engine(&[5000], &back_ends);
    assert_eq!(on(load(&engine, 1, Target::Any, &[0])), Device::Processor);
    back_ends[0].refuses.store(true, Ordering::SeqCst);
    assert_eq!(on(load(&engine, 2, Target::Any, &[0])), Device::Card(0));
}

#[test]
fn who_has_no_cards_to_lend_lets_everybody_use_what_the_library_takes() {
    let back_ends = [Device::Unlisted, Device::Processor].map(Directed::on);
    let engine = engine(&[], &back_ends);
    assert_eq!(on(load(&engine, 1, Target::Any, &[])), Device::Unlisted);
    assert_eq!(on(load(&engine, 1, Target::Gpu, &[])), Device::Unlisted);
}

#[test]
fn what_a_card_refused_is_not_tried_on_it_again_while_it_is_loaded_elsewhere() {
    let back_ends = [Device::Card(0), Device::Processor].map(Directed::on);
    let [card, processor] = &back_ends;
    let engine = engine(&[5000], &back_ends);
    card.refuses.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(on(load(&engine, 1, Target::Any, &[0])), Device::Processor);
    }
    let loads = |it: &Directed| it.loads.load(Ordering::SeqCst);
    assert_eq!((loads(card), loads(processor)), (1, 1));
    // Another model is another matter.
    assert_eq!(on(load(&engine, 2, Target::Any, &[0])), Device::Processor);
    assert_eq!(loads(card), 2);
    // Where it is the only one it is asked each time.
    for _ in 0..2 {
        let error = load(&engine, 1, Target::Gpu, &[0]).unwrap_err();
        assert!(matches!(error, LoadError::Failed { .. }), "{error}");
    }
    assert_eq!(loads(card), 4);
}

#[test]
fn each_card_has_room_of_its_own_and_what_is_idle_there_goes_first() {
    let back_ends = [Device::Card(0), Device::Card(1), Device::Processor].map(Directed::on);
    let engine = engine(&[2500, 2500], &back_ends);
    let gpu = |number: u8, card: u16| load(&engine, number, Target::Gpu, &[card]);
    let first = gpu(1, 0).unwrap();
    drop(gpu(2, 0).unwrap());
    drop(gpu(2, 1).unwrap());
    drop(load(&engine, 2, Target::Cpu, &[]).unwrap());
    // The third makes the second go, there and nowhere else.
    let third = gpu(3, 0).unwrap();
    let mut left: Vec<_> =
        engine.models().into_iter().map(|it| it.key.unwrap().digest.0[0]).collect();
    left.sort_unstable();
    assert_eq!((left, engine.stats().evictions), (vec![1, 2, 2, 3], 1));
    // Those in use stay, and say so.
    let error = gpu(4, 0).unwrap_err();
    let LoadError::Busy(BusyReason::Memory { device, .. }) = &error else { panic!("{error}") };
    assert_eq!(*device, Device::Card(0));
    assert!(error.to_string().contains("that card 0 has for models"), "{error}");
    assert!(gpu(4, 1).is_ok());
    drop((first, third));
    // A guest's own model takes of the card too, and gives it back with its last handle.
    let own = |cards: &[u16]| {
        let bytes = Bytes::from(models::relu());
        let options = ModelOptions { target: Target::Gpu, ..ModelOptions::default() };
        wait(engine.load_bytes(&tenant("a"), "own", &options, cards, bytes))
    };
    let (one, two) = (own(&[0]).unwrap(), own(&[0]).unwrap());
    assert_eq!((one.device(), two.bytes_on_device()), (Device::Card(0), 1000));
    assert!(own(&[0]).is_err());
    drop(one);
    assert!(own(&[0]).is_ok());
    assert_eq!(own(&[]).unwrap_err(), LoadError::NoCard);
}

#[test]
fn a_model_is_unloaded_from_every_device() {
    let back_ends = [Device::Card(0), Device::Processor].map(Directed::on);
    let engine = engine(&[5000], &back_ends);
    let kept = load(&engine, 1, Target::Any, &[0]).unwrap();
    drop(load(&engine, 1, Target::Any, &[]).unwrap());
    let key = key(1, &ModelOptions::default());
    assert_eq!(engine.model(&key).len(), 2);
    assert!(engine.unload(&key, false).is_err());
    engine.unload(&key, true).unwrap();
    assert!(engine.model(&key).is_empty());
    drop(kept);
}

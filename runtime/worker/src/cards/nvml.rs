//! NVIDIA's cards, by its management library (NVML), which comes with the driver. Where there is
//! no such library there are no such cards.
//!
//! It is called in this process, as every monitor of cards does: it runs nothing that a tenant
//! gave. It may hang, and is called on a thread of its own.

use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tokio::sync::{oneshot, watch};
use wrun_protocol::card::CardState;
use wrun_protocol::limits::MAX_NAME;
use wrun_protocol::scheduling::{Gpu, MAX_GPUS};

use super::{Found, Readings};

/// The value of NVML that says that a card is in parts (`NVML_DEVICE_MIG_ENABLE`).
const IN_PARTS: u32 = 1;

/// Tells of the cards that there are, and then how they are, until nobody listens.
pub(super) fn watch(
    tell: oneshot::Sender<Result<(Vec<Found>, Readings), String>>,
    every: Duration,
) {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => return drop(tell.send(Err(error.to_string()))),
    };
    let found = match find(&nvml) {
        Ok(found) => found,
        Err(error) => return drop(tell.send(Err(error.to_string()))),
    };
    let uuids: Vec<String> = found.iter().map(|found| found.uuid.clone()).collect();
    let look = || uuids.iter().map(|uuid| read(&nvml, uuid)).collect();
    let (readings, first) = watch::channel(look());
    if found.is_empty() || tell.send(Ok((found, first))).is_err() {
        return;
    }
    while !readings.is_closed() {
        std::thread::sleep(every);
        readings.send_replace(look());
    }
}

/// All cards in the order of NVML, and in place of one that is in parts these.
fn find(nvml: &Nvml) -> Result<Vec<Found>, NvmlError> {
    let mut found = Vec::new();
    for index in 0..nvml.device_count()?.min(MAX_GPUS) {
        // One that has fallen off the bus is no reason to do without the others.
        match nvml.device_by_index(index).and_then(|card| parts(&card, &mut found)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(index, %error, "a card is left out"),
        }
    }
    Ok(found)
}

fn parts(card: &Device<'_>, found: &mut Vec<Found>) -> Result<(), NvmlError> {
    // A card that cannot be in parts does not know the question.
    let is_in_parts = card.mig_mode().is_ok_and(|mode| mode.current == IN_PARTS);
    if !is_in_parts {
        found.push(describe(card)?);
        return Ok(());
    }
    let before = found.len();
    for index in 0..card.mig_device_count()?.min(MAX_GPUS) {
        match card.mig_device_by_index(index) {
            Ok(part) => found.push(describe(&part)?),
            // There may be fewer than there may be.
            Err(NvmlError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    if found.len() == before {
        tracing::warn!(
            card = card.name()?,
            "a card is to be in parts and has none: it is left out"
        );
    }
    Ok(())
}

fn describe(card: &Device<'_>) -> Result<Found, NvmlError> {
    let gpu = Gpu { model: model(&card.name()?), memory: card.memory_info()?.total };
    Ok(Found { gpu, uuid: card.uuid()? })
}

/// The name of a model as jobs ask for it: `NVIDIA A100-SXM4-40GB MIG 1g.5gb` is
/// `a100-sxm4-40gb-mig-1g.5gb`.
fn model(name: &str) -> String {
    let name = name.to_lowercase();
    let words: Vec<&str> = name.split_whitespace().collect();
    let words = words.strip_prefix(&["nvidia"]).unwrap_or(&words);
    let mut model = words.join("-").replace(|c: char| c.is_control(), "-");
    model.truncate(model.floor_char_boundary(MAX_NAME));
    if model.is_empty() { "gpu".to_owned() } else { model }
}

/// How the card is now. The driver may say one thing and not the other: nobody measures how busy a
/// part of a card is.
fn read(nvml: &Nvml, uuid: &str) -> CardState {
    let card = nvml.device_by_uuid(uuid).ok();
    let memory = card.as_ref().and_then(|card| card.memory_info().ok());
    let busy = card.as_ref().and_then(|card| card.utilization_rates().ok());
    let milli = |percent: u32| u16::try_from(percent.min(100) * 10).ok();
    CardState {
        found: true,
        memory_used: memory.map(|memory| memory.used),
        busy_milli: busy.and_then(|busy| milli(busy.gpu)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_as_jobs_ask_for_it() {
        for (name, expected) in [
            ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100-sxm4-40gb-mig-1g.5gb"),
            ("Tesla T4", "tesla-t4"),
            ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090"),
            ("NVIDIA", "gpu"),
            (" \n", "gpu"),
        ] {
            assert_eq!(model(name), expected);
        }
        assert!(model(&"x".repeat(1000)).len() <= MAX_NAME);
    }
}

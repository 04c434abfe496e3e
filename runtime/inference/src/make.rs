//! Makes a model of bytes that nobody has looked at: checks, back end, batch axes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::back_end::{BackEnd, Graph, Stop};
use crate::batch::axes::{AloneReason, Axes, Batching};
use crate::batch::prove::prove;
use crate::batch::queue::Settings;
use crate::config::{BatchAxes, Config, Encoding, Limits, ModelOptions, Target};
use crate::device::Device;
use crate::engine::ModelKey;
use crate::error::LoadError;
use crate::load::Loaded;
use crate::onnx::{Declared, Outline, detect, outline};
use crate::pool::Pool;
use crate::registry::Registry;
use crate::served::{About, Handle, Place, Served};
use crate::signature::{Signature, TensorSignature};

/// What makes models.
pub(crate) struct Maker {
    pub(crate) back_ends: Vec<Arc<dyn BackEnd>>,
    /// The threads of each.
    pub(crate) pools: Vec<Pool>,
    pub(crate) registry: Registry,
    /// What all have in common of where models run.
    pub(crate) place: Place,
    pub(crate) config: Config,
}

/// A model that is to be made.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// `None` for a guest's own.
    pub(crate) key: Option<ModelKey>,
    pub(crate) options: ModelOptions,
    /// Bytes that it may have.
    pub(crate) limit: u64,
    pub(crate) bytes: Bytes,
}

impl Source {
    pub(crate) fn check_size(&self) -> Result<(), LoadError> {
        let (size, limit) = (self.bytes.len() as u64, self.limit);
        if size > limit {
            return Err(LoadError::TooLarge {
                what: "the model, in bytes,".to_owned(),
                size,
                limit,
            });
        }
        Ok(())
    }
}

impl Maker {
    /// Where a model may be, in the order in which that is tried, for who was given those cards:
    /// the card first that comes first.
    pub(crate) fn devices(&self, target: Target, cards: &[u16]) -> Result<Vec<Device>, LoadError> {
        if self.back_ends.is_empty() {
            return Err(LoadError::NoBackEnd);
        }
        let mut devices = Vec::new();
        let fitting: Vec<_> = self.back_ends.iter().filter(|it| it.has(target)).collect();
        for back_end in &fitting {
            let here: &mut dyn Iterator<Item = Device> = match back_end.device() {
                Device::Card(_) => &mut cards.iter().map(|card| Device::Card(*card)),
                device => &mut std::iter::once(device),
            };
            for device in here {
                let is_there = fitting.iter().any(|it| it.device() == device);
                if is_there && !devices.contains(&device) {
                    devices.push(device);
                }
            }
        }
        match (devices.is_empty(), fitting.is_empty()) {
            (false, _) => Ok(devices),
            (true, false) => Err(LoadError::NoCard),
            (true, true) => Err(LoadError::Target(target)),
        }
    }

    /// Makes a model on that device, or says what is wrong with it. It takes long.
    pub(crate) fn make(&self, source: Source, device: Device, stop: &Stop) -> Loaded {
        let Source { name, key, options, bytes, .. } = source;
        check_encoding(&bytes, options.encoding)?;
        let outline = outline(&bytes, &self.config.limits)?;
        let signature = signature(&outline)?;
        // While it loads there are the file, what is parsed of it, and what is made of that.
        let while_loading = (bytes.len() as u64).saturating_add(outline.weights.saturating_mul(2));
        let mut memory = self.registry.reserve(device, while_loading)?;
        let (back_end, pool, graph) = self.load(&bytes, &outline, &options, device)?;
        drop(bytes);
        self.registry.resize(device, &mut memory, graph.bytes())?;
        let beside = self.registry.reserve(Device::Processor, graph.bytes_beside())?;
        let settings = self.settings(&options, &*graph);
        let batching = batching(&*graph, &signature, &options, settings.max_batch, stop);
        let runs_on = device.describe(&graph.device());
        tracing::info!(
            model = name, back_end, device = runs_on, batching = %batching.0, "loaded a model"
        );
        let about = About { key, name, back_end, device, runs_on, signature };
        let place = Place { pool: pool.clone(), ..self.place.clone() };
        let memory = [memory, beside];
        Ok(Handle::new(&Served::new(about, place, memory, graph, batching, settings)))
    }

    /// The first back end there that can, or why the first that was tried cannot.
    fn load(
        &self,
        bytes: &Bytes,
        outline: &Outline,
        options: &ModelOptions,
        device: Device,
    ) -> Result<(&'static str, &Pool, Arc<dyn Graph>), LoadError> {
        let mut reason = None;
        let all = self.back_ends.iter().zip(&self.pools);
        let there = all.filter(|(it, _)| it.device() == device && it.has(options.target));
        for (back_end, pool) in there {
            match back_end.load(bytes, outline, options.target, &self.config.limits) {
                Ok(graph) => return Ok((back_end.name(), pool, graph)),
                Err(error) => {
                    let name = back_end.name();
                    tracing::info!(back_end = name, %error, "the back end cannot load the model");
                    reason.get_or_insert(error);
                }
            }
        }
        Err(reason.unwrap_or(LoadError::Target(options.target)))
    }

    fn settings(&self, options: &ModelOptions, graph: &dyn Graph) -> Settings {
        let Config { threads, max_batch, max_delay, .. } = self.config;
        let Limits { waiting, waiting_per_tenant, .. } = self.config.limits;
        Settings {
            max_batch: options.max_batch.unwrap_or(max_batch).max(1),
            max_delay: options.max_delay.unwrap_or(max_delay),
            places: threads.min(graph.at_once()).max(1),
            waiting,
            waiting_per_tenant,
        }
    }
}

fn check_encoding(bytes: &[u8], asked: Encoding) -> Result<(), LoadError> {
    match (asked, detect(bytes)) {
        (_, Some(found)) => Err(LoadError::Encoding(found)),
        (Encoding::Onnx | Encoding::Autodetect, None) => Ok(()),
        (other, None) => Err(LoadError::Encoding(other)),
    }
}

/// The signature, where guests have the types for it.
fn signature(outline: &Outline) -> Result<Signature, LoadError> {
    let of_tensor = |declared: &Declared| -> Result<_, LoadError> {
        let Declared { name, element, dimensions } = declared.clone();
        let place = || format!("`{name}`");
        let element = element.element().ok_or_else(|| LoadError::UnsupportedType {
            place: place(),
            element: element.name(),
            who: "wasi:nn",
        })?;
        Ok(TensorSignature { name, element, dimensions })
    };
    Ok(Signature {
        inputs: outline.inputs.iter().map(of_tensor).collect::<Result<_, _>>()?,
        outputs: outline.outputs.iter().map(of_tensor).collect::<Result<_, _>>()?,
    })
}

fn batching(
    graph: &dyn Graph,
    signature: &Signature,
    options: &ModelOptions,
    max_batch: u32,
    stop: &Stop,
) -> (Batching, Option<Axes>) {
    let axes = match &options.axes {
        _ if max_batch == 1 => Err(AloneReason::Asked),
        BatchAxes::Never => Err(AloneReason::Asked),
        BatchAxes::Declared(axes) => Axes::declared(axes, signature),
        BatchAxes::Prove => prove(graph, signature, max_batch, stop, &Instant::now),
    };
    match axes {
        Ok(axes) => (Batching::Merged(axes.named(signature)), Some(axes)),
        Err(reason) => (Batching::Alone(reason), None),
    }
}

//! The node's cards: those that the driver tells of, then those that its operator declares. Tasks
//! are told theirs by the place in this list.

mod nvml;

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use wrun_inference::Card;
use wrun_protocol::card::CardState;
use wrun_protocol::scheduling::{Gpu, MAX_GPUS};

/// How long the driver may take to tell of its cards: it may have to wake them. A node that waited
/// longer would not join for the sake of a driver that hangs.
const FIND_WITHIN: Duration = Duration::from_secs(20);

/// How often is looked how busy they are.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// All cards of the node.
pub(crate) struct Cards {
    /// What the scheduler is told.
    pub(crate) gpus: Vec<Gpu>,
    /// What the engine is told.
    pub(crate) cards: Vec<Card>,
    /// How they are; it changes as long as somebody looks.
    pub(crate) states: watch::Receiver<Vec<CardState>>,
}

/// A card of which the driver tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    gpu: Gpu,
    /// The UUID of the card, or of the part of one.
    uuid: String,
}

impl Cards {
    /// Finds them if `find`, and puts those behind them that are declared.
    pub(crate) async fn of_node(find: bool, declared: &[Gpu]) -> Self {
        let (found, readings) = if find { find_all().await } else { (Vec::new(), None) };
        // What is declared, CUDA counts with the rest.
        let declared_as = |place: usize, gpu: &Gpu| (gpu.clone(), place.to_string());
        let told = found.iter().map(|found| (found.gpu.clone(), found.uuid.clone()));
        let (first, most) = (found.len(), MAX_GPUS as usize);
        let declared = declared.iter().enumerate().map(|(at, gpu)| declared_as(first + at, gpu));
        let all: Vec<(Gpu, String)> = told.chain(declared).take(most).collect();
        let card =
            |(gpu, visible): &(Gpu, String)| Card { visible: visible.clone(), memory: gpu.memory };
        let cards = all.iter().map(card).collect();
        let states: Vec<_> = (0..all.len())
            .map(|place| CardState { found: place < first, ..CardState::default() })
            .collect();
        let (tell, states) = watch::channel(states);
        if let Some(readings) = readings {
            tokio::spawn(follow(readings, tell));
        }
        Self { gpus: all.into_iter().map(|(gpu, _)| gpu).collect(), cards, states }
    }
}

type Readings = watch::Receiver<Vec<CardState>>;

/// What the driver tells of, and how that is from then on. Whatever is wrong with the driver is
/// logged, and there are no cards then.
async fn find_all() -> (Vec<Found>, Option<Readings>) {
    let (tell, told) = oneshot::channel();
    // The driver may hang in any call: in a thread of its own that is nobody else's matter.
    let thread = std::thread::Builder::new().name("wrun-cards".to_owned());
    if let Err(error) = thread.spawn(move || nvml::watch(tell, LOOK_EVERY)) {
        tracing::warn!(%error, "no cards are looked for");
        return (Vec::new(), None);
    }
    match tokio::time::timeout(FIND_WITHIN, told).await {
        Ok(Ok(Ok((found, readings)))) => {
            for Found { gpu, uuid } in &found {
                tracing::info!(model = gpu.model, memory = gpu.memory, uuid, "found a card");
            }
            (found, Some(readings))
        }
        Ok(Ok(Err(problem))) => {
            tracing::info!(problem, "no NVIDIA cards");
            (Vec::new(), None)
        }
        Ok(Err(_)) => (Vec::new(), None),
        Err(_) => {
            let seconds = FIND_WITHIN.as_secs();
            tracing::warn!(seconds, "NVIDIA's driver does not answer: its cards are left out");
            (Vec::new(), None)
        }
    }
}

/// Hands on what is read of those that were found; the others stay as they are.
async fn follow(mut readings: Readings, tell: watch::Sender<Vec<CardState>>) {
    loop {
        let read = readings.borrow_and_update().clone();
        tell.send_if_modified(|states| {
            let mut changed = false;
            for (state, read) in states.iter_mut().zip(&read) {
                changed |= state != read;
                *state = *read;
            }
            changed
        });
        tokio::select! {
            changed = readings.changed() => if changed.is_err() { return },
            // The worker has ended.
            () = tell.closed() => return,
        }
    }
}

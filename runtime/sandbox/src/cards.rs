//! The node's cards that a task was given, and how much of their memory its models take. A task is
//! held to both: its models are loaded on these cards and on no others, and take no more of each
//! than it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wrun_inference::{Device, Model};

/// Shared by all instances of a task, or of a replica.
#[derive(Debug)]
pub struct LentCards {
    /// By their places among the node's cards: the bytes of each that its models may take.
    memory: BTreeMap<u16, u64>,
    models: Mutex<Vec<Used>>,
}

/// A loaded model that the task uses, however often.
#[derive(Debug)]
struct Used {
    card: u16,
    model: usize,
    bytes: u64,
    handles: usize,
}

/// A use of a model on a card; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OnCard {
    cards: Arc<LentCards>,
    card: u16,
    model: usize,
}

/// The model takes more of a card than is left of what the task was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model takes {bytes} bytes on card {card}, where the task was given {given} bytes and its \
     models take {taken}: ask for more with `gpu.memory`, or drop a model"
)]
pub(crate) struct CardFull {
    card: u16,
    bytes: u64,
    given: u64,
    taken: u64,
}

impl LentCards {
    /// `memory`: of each card, by its place among the node's, how many bytes models may take.
    pub fn new(memory: BTreeMap<u16, u64>) -> Self {
        Self { memory, models: Mutex::default() }
    }

    /// The cards in the order in which a model is to be tried on them: where the task's models take
    /// least comes first, so that a guest that loads a model once for each has it on each.
    pub fn in_order(&self) -> Vec<u16> {
        let models = self.models();
        let mut cards: Vec<u16> = self.memory.keys().copied().collect();
        cards.sort_by_key(|card| (taken(&models, *card), *card));
        cards
    }

    /// A model was loaded for the task: whether it may stay. On the processor it may.
    pub(crate) fn hold(self: &Arc<Self>, model: &Model) -> Result<Option<OnCard>, CardFull> {
        match model.device() {
            Device::Card(card) => self.take(card, model.id(), model.bytes_on_device()).map(Some),
            Device::Processor | Device::Unlisted => Ok(None),
        }
    }

    fn take(self: &Arc<Self>, card: u16, model: usize, bytes: u64) -> Result<OnCard, CardFull> {
        let mut models = self.models();
        let known = models.iter_mut().find(|used| used.card == card && used.model == model);
        if let Some(used) = known {
            used.handles += 1;
        } else {
            let given = self.memory.get(&card).copied().unwrap_or_default();
            let taken = taken(&models, card);
            if taken.saturating_add(bytes) > given {
                return Err(CardFull { card, bytes, given, taken });
            }
            models.push(Used { card, model, bytes, handles: 1 });
        }
        Ok(OnCard { cards: Arc::clone(self), card, model })
    }

    fn models(&self) -> MutexGuard<'_, Vec<Used>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken(models: &[Used], card: u16) -> u64 {
    models.iter().filter(|used| used.card == card).map(|used| used.bytes).sum()
}

impl Drop for OnCard {
    fn drop(&mut self) {
        let mut models = self.cards.models();
        models.retain_mut(|used| {
            let is_it = used.card == self.card && used.model == self.model;
            used.handles -= usize::from(is_it);
            used.handles > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(memory: &[(u16, u64)]) -> Arc<LentCards> {
        Arc::new(LentCards::new(memory.iter().copied().collect()))
    }

    #[test]
    fn the_models_of_a_task_take_no_more_of_a_card_than_it_was_given() {
        let cards = lent(&[(3, 100)]);
        let first = cards.take(3, 1, 60).unwrap();
        let error = cards.take(3, 2, 41).unwrap_err();
        assert_eq!(error, CardFull { card: 3, bytes: 41, given: 100, taken: 60 });
        let _second = cards.take(3, 2, 40).unwrap();
        drop(first);
        assert!(cards.take(3, 4, 61).is_err());
        assert!(cards.take(3, 4, 60).is_ok());
        assert_eq!(cards.take(0, 4, 1).unwrap_err().given, 0, "a card of somebody else");
        assert!(cards.take(3, 5, u64::MAX).is_err());
    }

    #[test]
    fn a_model_that_is_used_twice_counts_once_until_it_is_not_used_at_all() {
        let cards = lent(&[(0, 100)]);
        let (first, second) = (cards.take(0, 1, 60).unwrap(), cards.take(0, 1, 60).unwrap());
        drop(first);
        assert!(cards.take(0, 2, 60).is_err());
        drop(second);
        assert!(cards.take(0, 2, 60).is_ok());
    }

    #[test]
    fn the_next_model_goes_where_least_is_taken() {
        let cards = lent(&[(1, 100), (2, 100)]);
        assert_eq!(cards.in_order(), [1, 2]);
        let one = cards.take(1, 1, 10).unwrap();
        assert_eq!(cards.in_order(), [2, 1]);
        let _two = cards.take(2, 1, 20).unwrap();
        assert_eq!(cards.in_order(), [1, 2]);
        drop(one);
        assert_eq!(cards.in_order(), [1, 2]);
    }
}

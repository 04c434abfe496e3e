//! Requests that wait for a replica, first come, first served. Whoever is at the head looks
//! for a replica when it is woken; a place is given up by dropping it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue. Cheap to look at while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: Mutex<VecDeque<Arc<Notify>>>,
    length: AtomicU32,
}

/// A place in a queue.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    woken: Arc<Notify>,
}

impl Queue {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        self.length.load(Ordering::SeqCst)
    }

    /// A place at the end.
    pub(crate) fn join(self: &Arc<Self>) -> Place {
        let woken = Arc::new(Notify::new());
        let mut places = self.places();
        places.push_back(Arc::clone(&woken));
        self.length.fetch_add(1, Ordering::SeqCst);
        drop(places);
        Place { queue: Arc::clone(self), woken }
    }

    /// Lets the head look again: something may have become free.
    pub(crate) fn wake(&self) {
        if self.len() == 0 {
            return;
        }
        if let Some(head) = self.places().front() {
            head.notify_one();
        }
    }

    /// Lets everybody look: what they wait for may never come.
    pub(crate) fn wake_all(&self) {
        self.places().iter().for_each(|place| place.notify_one());
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is its turn.
    pub(crate) fn is_head(&self) -> bool {
        self.queue.places().front().is_some_and(|head| Arc::ptr_eq(head, &self.woken))
    }

    /// Whether it is a place in that queue.
    pub(crate) fn is_in(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    /// Waits until there is a reason to look again. One that came before is not lost.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.queue.places();
        let at = places.iter().position(|place| Arc::ptr_eq(place, &self.woken));
        if let Some(at) = at {
            places.remove(at);
            self.queue.length.fetch_sub(1, Ordering::SeqCst);
        }
        // A new head has not looked yet: there may be room for it too.
        if let (Some(0), Some(head)) = (at, places.front()) {
            head.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_woken(place: &Place) -> bool {
        place.woken().now_or_never().is_some()
    }

    #[test]
    fn the_head_is_woken_and_the_next_one_when_it_has_gone() {
        let queue = Arc::new(Queue::default());
        let (first, second, third) = (queue.join(), queue.join(), queue.join());
        assert_eq!(queue.len(), 3);
        queue.wake();
        assert!(is_woken(&first) && !is_woken(&second));
        drop(second);
        assert!(first.is_head() && !is_woken(&third));
        drop(first);
        assert!(third.is_head() && is_woken(&third));
        drop(third);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_wake_that_comes_before_the_wait_is_not_lost() {
        let queue = Arc::new(Queue::default());
        let place = queue.join();
        queue.wake();
        queue.wake();
        assert!(is_woken(&place));
        assert!(!is_woken(&place), "two of them are one reason to look");
        queue.wake_all();
        assert!(is_woken(&place));
    }
}

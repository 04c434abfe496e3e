//! A replica for a request: at once where one is free, in turn where none is.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::CallError;
use crate::service::{Lease, Picked, Place, Queue, Service, Shape};

/// How often the head of a queue looks again though nobody woke it: permits are also given
/// back at other gateways, and times run out.
const LOOK: Duration = Duration::from_millis(1);

/// The same, while there is no replica at all.
const LOOK_FOR_ANY: Duration = Duration::from_millis(500);

/// Waits for a replica until `until`. Notifies `urgent` where there is none.
///
/// # Errors
/// Too many wait already, none came free in time, or the service is no more.
pub(crate) async fn acquire(
    service: &Arc<Service>,
    shape: &Shape,
    fields: &HeaderMap,
    until: Instant,
    urgent: &Notify,
) -> Result<Lease, CallError> {
    let begun = Instant::now();
    let pinned = shape.pinned(fields);
    if queue(service, shape, pinned).len() == 0
        && let Picked::Lease(lease) = service.pick(shape, pinned, &[], service.clock.ms(begun))
    {
        return Ok(lease);
    }
    let waiting = service.waiting();
    if waiting >= shape.http.max_waiting {
        return Err(CallError::QueueFull { service: service.id.clone(), waiting });
    }
    let mut place = queue(service, shape, pinned).join();
    if !shape.has_replicas() {
        urgent.notify_one();
    }
    loop {
        if service.is_gone() {
            return Err(CallError::NotFound(service.id.clone()));
        }
        let shape = service.shape();
        let pinned = shape.pinned(fields);
        let pause = match look(service, &shape, pinned, &mut place) {
            Picked::Lease(lease) => return Ok(lease),
            Picked::Full => LOOK,
            Picked::Empty => LOOK_FOR_ANY,
        };
        let now = Instant::now();
        if now >= until {
            let (service, waited) = (service.id.clone(), now - begun);
            return Err(CallError::NoReplica { service, waited });
        }
        let again = if place.is_head() { until.min(now + pause) } else { until };
        tokio::select! {
            () = place.woken() => {}
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

/// Looks for a replica if it is the place's turn; in the queue where it belongs by now.
fn look(service: &Arc<Service>, shape: &Shape, pinned: Option<u32>, place: &mut Place) -> Picked {
    let queue = queue(service, shape, pinned);
    if !place.is_in(queue) {
        *place = queue.join();
    }
    if !place.is_head() {
        return Picked::Full;
    }
    service.pick(shape, pinned, &[], service.clock.ms(Instant::now()))
}

fn queue<'a>(service: &'a Service, shape: &'a Shape, pinned: Option<u32>) -> &'a Arc<Queue> {
    let revision = pinned.and_then(|number| shape.revision(number));
    revision.map_or(&service.queue, |revision| &revision.queue)
}

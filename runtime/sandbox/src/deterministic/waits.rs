//! Who lets a deterministic task wait, and when its time moves: neither shows in what the
//! guest sees.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use crate::control::Control;

/// Whether the guest was woken, and who is to poll it then.
struct Woken {
    yes: AtomicBool,
    poller: Mutex<Waker>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        Wake::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.yes.store(true, Ordering::SeqCst);
        self.poller.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

/// Runs a guest to its end. When it can do nothing but sleep, time jumps; when it has
/// logged more than the rate allows, it gets no turn for a while, unknowing.
pub(crate) async fn drive<T>(control: Arc<Control>, guest: impl Future<Output = T>) -> T {
    let mut guest = pin!(guest);
    let poller = Mutex::new(Waker::noop().clone());
    let woken = Arc::new(Woken { yes: AtomicBool::new(false), poller });
    let waker = Waker::from(Arc::clone(&woken));
    let mut pause = None;
    std::future::poll_fn(move |cx| {
        ready!(poll_pause(&mut pause, &control, cx));
        *woken.poller.lock().unwrap_or_else(PoisonError::into_inner) = cx.waker().clone();
        woken.yes.store(false, Ordering::SeqCst);
        let polled = guest.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending()
            && !woken.yes.load(Ordering::SeqCst)
            && let Some(world) = control.world()
        {
            // It waits, and nothing that it waits for is under way outside.
            world.clock().advance();
        }
        polled
    })
    .await
}

type Pause = Pin<Box<tokio::time::Sleep>>;

/// Ready when the log's rate allows the guest to go on.
fn poll_pause(pause: &mut Option<Pause>, control: &Control, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if let Some(pause) = pause {
            ready!(pause.as_mut().poll(cx));
        }
        *pause = match control.log_pause() {
            left if left.is_zero() => return Poll::Ready(()),
            left => Some(Box::pin(tokio::time::sleep(left))),
        };
    }
}

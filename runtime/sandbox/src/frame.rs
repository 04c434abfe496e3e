//! The memory in which a future runs, used again for the next one: a guest's future takes
//! kilobytes, and to allocate and free that for each small task costs as much as to start
//! it.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs one future after the other, all of which `I` is made into by the same function.
pub(crate) trait Frame<I, O>: Send {
    /// Puts the future of `input` in place of what was there.
    fn load(&mut self, input: I);
    /// Polls it. Without one there is nothing to wait for.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<O>;
    /// Drops it.
    fn clear(&mut self);
}

struct Held<I, F> {
    make: fn(I) -> F,
    future: Pin<Box<Option<F>>>,
}

/// An empty frame for the futures that `make` makes.
pub(crate) fn frame<I, F>(make: fn(I) -> F) -> Box<dyn Frame<I, F::Output>>
where
    I: 'static,
    F: Future + Send + 'static,
{
    Box::new(Held { make, future: Box::pin(None) })
}

impl<I, F: Future + Send> Frame<I, F::Output> for Held<I, F> {
    fn load(&mut self, input: I) {
        self.future.as_mut().set(Some((self.make)(input)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(context),
            None => Poll::Pending,
        }
    }

    fn clear(&mut self) {
        self.future.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Waker;

    async fn doubled(input: Arc<u32>) -> u32 {
        if *input == 0 {
            std::future::pending::<()>().await;
        }
        *input * 2
    }

    #[test]
    fn one_future_runs_after_the_other_and_leaves_nothing_behind() {
        let mut frame = frame(doubled);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(frame.poll(&mut context), Poll::Pending, "there is none");
        frame.load(Arc::new(2));
        assert_eq!(frame.poll(&mut context), Poll::Ready(4));
        let endless = Arc::new(0);
        frame.load(Arc::clone(&endless));
        assert_eq!(frame.poll(&mut context), Poll::Pending);
        frame.clear();
        assert_eq!(Arc::strong_count(&endless), 1, "what it held is dropped");
        frame.load(Arc::new(3));
        assert_eq!(frame.poll(&mut context), Poll::Ready(6));
    }
}

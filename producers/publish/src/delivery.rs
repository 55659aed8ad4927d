//! Writing records so that each stands, several at a time.
//!
//! A record is offered again, the same with the same id, when it isn't known whether it stands. It gives
//! up after a few times and leaves it to its caller what that means.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use runtime::ports::{ClusterError, Outgoing, Publish};

/// The most records on their way: enough to keep a broker busy over a slow line, few enough that a stop
/// waits for moments only.
pub(crate) const IN_FLIGHT: usize = 256;

/// How often a record is offered.
const TRIES: u32 = 3;

/// The wait before the second time; doubled for each further one.
const AGAIN: Duration = Duration::from_millis(250);

/// What became of a record.
pub(crate) struct Delivered<T> {
    /// What came with it.
    pub(crate) tag: T,
    /// Where it stands, or why it isn't known to.
    pub(crate) place: Result<(i32, i64), ClusterError>,
}

type Sending<'a, T> = Pin<Box<dyn Future<Output = Delivered<T>> + Send + 'a>>;

/// Records on their way.
pub(crate) struct Delivery<'a, T> {
    to: &'a dyn Publish,
    sending: FuturesUnordered<Sending<'a, T>>,
    done: Vec<Delivered<T>>,
}

impl<'a, T: Send + 'a> Delivery<'a, T> {
    pub(crate) fn new(to: &'a dyn Publish) -> Self {
        Self { to, sending: FuturesUnordered::new(), done: Vec::new() }
    }

    /// Whether another record may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.sending.len() + self.done.len() < IN_FLIGHT
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.done.is_empty()
    }

    /// Sends one. It is handed over before this returns, so records of one key keep their order.
    pub(crate) async fn send(&mut self, record: Outgoing, tag: T) {
        let to = self.to;
        let mut sending: Sending<'a, T> = Box::pin(async move {
            let mut tries = 1;
            let mut wait = AGAIN;
            loop {
                match to.publish(record.clone()).await {
                    Err(_) if tries < TRIES => {
                        tokio::time::sleep(wait).await;
                        tries += 1;
                        wait *= 2;
                    }
                    place => return Delivered { tag, place },
                }
            }
        });
        match poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
            Poll::Ready(delivered) => self.done.push(delivered),
            Poll::Pending => self.sending.push(sending),
        }
    }

    /// The next that has come to an end; waits for ever when none is on its way. May be dropped while it
    /// waits.
    pub(crate) async fn next(&mut self) -> Delivered<T> {
        if let Some(done) = self.done.pop() {
            return done;
        }
        match self.sending.next().await {
            Some(delivered) => delivered,
            None => std::future::pending().await,
        }
    }
}

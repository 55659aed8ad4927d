//! Plays a plan in time, and counts how often each request has asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until};

use super::plan::{Plan, Step};
use crate::openai::http::{Broke, Response};

/// So many requests are remembered; older ones begin anew.
const REMEMBERED: usize = 65_536;

/// How often each request has asked.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    state: Mutex<(HashMap<String, u32>, VecDeque<String>)>,
}

impl Tries {
    /// Counts one more, and says how many that makes.
    pub(crate) fn count(&self, id: &str) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, order) = &mut *state;
        if let Some(count) = counts.get_mut(id) {
            *count += 1;
            return *count;
        }
        if order.len() >= REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            counts.remove(&oldest);
        }
        counts.insert(id.to_owned(), 1);
        order.push_back(id.to_owned());
        1
    }
}

/// Waits for the head's time and gives the response; its body keeps to the plan's times.
pub(crate) async fn play(plan: Plan) -> Response {
    let start = Instant::now();
    match plan.head_at {
        Some(at) => sleep_until(start + at).await,
        None => std::future::pending().await,
    }
    let steps = plan.steps.into_iter().map(move |(at, step)| (start + at, step));
    Response {
        status: plan.status,
        content_type: plan.content_type,
        retry_after: plan.retry_after,
        body: body(steps),
    }
}

fn body(
    steps: impl Iterator<Item = (Instant, Step)> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, Broke>> {
    stream::unfold(steps, |mut steps| async move {
        let (at, step) = steps.next()?;
        sleep_until(at).await;
        match step {
            Step::Send(text) => Some((Ok(Bytes::from(text)), steps)),
            Step::Break => Some((Err(Broke), steps)),
            Step::Hang => std::future::pending().await,
        }
    })
    .boxed()
}

//! Chat completions over HTTP at a fixed rate, open loop, of whoever speaks OpenAI's shape. An answer counts
//! when it is whole and its own request's; how fast it should be is for others to say.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use domain::script::{Rule, Script};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::flight::{Id, Schedule, Tally};
use crate::lane::{Flown, precise};
use crate::models::MODEL;
use crate::usage::{Usage, tree_seconds};

/// What the scripted server waits before the first word.
pub(crate) const FIRST_MS: u64 = 50;
/// Words a second. An answer that isn't streamed comes when its last word would.
pub(crate) const WORDS_PER_SECOND: u32 = 200;
/// Words of an answer behind the request's id; each is a chunk when it is streamed.
const WORDS: usize = 49;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a single request may take beyond the script's time where nothing else is to be done.
const RESTED: Duration = Duration::from_millis(500);
/// How often it is looked whether a flight is lost already.
const LOOK: Duration = Duration::from_millis(20);

static FLIGHTS: AtomicU32 = AtomicU32::new(0);

/// What every answer says behind the request's id.
fn rest() -> String {
    " word".repeat(WORDS)
}

/// What the scripted server does.
pub(crate) fn script() -> Script {
    let reply = format!("{{{{prompt}}}}{}", rest());
    let rule = Rule {
        reply: Some(reply),
        latency_ms: FIRST_MS,
        tokens_per_second: Some(WORDS_PER_SECOND),
        ..Rule::default()
    };
    Script { rules: vec![rule] }
}

/// From the request to the last word, streamed or not, as the script has it.
pub(crate) fn scripted() -> Duration {
    let words = u64::try_from(WORDS + 1).unwrap_or(u64::MAX);
    Duration::from_millis(FIRST_MS + words * 1000 / u64::from(WORDS_PER_SECOND))
}

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In one piece.
    Whole,
    /// Word by word.
    Streamed,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "calls",
            Self::Streamed => "streams",
        })
    }
}

/// Where chat completions are asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    http: reqwest::Client,
    /// Where exactly.
    pub(crate) url: String,
    key: String,
}

/// A client that goes straight to where it is sent.
pub(crate) fn http() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build().context("making an HTTP client")
}

impl Asked {
    /// At the base address `base`, which ends in `/v1`.
    pub(crate) fn new(base: &str, key: &str) -> anyhow::Result<Self> {
        Ok(Self { http: http()?, url: format!("{base}/chat/completions"), key: key.to_owned() })
    }

    /// Asks; the answer as soon as it begins.
    ///
    /// # Errors
    /// It begins with anything but success: with what it says.
    pub(crate) async fn post(
        &self,
        content: &str,
        shape: Shape,
    ) -> anyhow::Result<reqwest::Response> {
        let body = json!({
            "model": MODEL,
            "stream": shape == Shape::Streamed,
            "messages": [{ "role": "user", "content": content }],
        });
        let answer = self
            .http
            .post(&self.url)
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .context("asking")?;
        if !answer.status().is_success() {
            let status = answer.status();
            bail!("{status}: {}", answer.text().await.unwrap_or_default());
        }
        Ok(answer)
    }

    /// Asks, and reads the answer to its end.
    async fn ask(&self, id: Id, shape: Shape) -> anyhow::Result<()> {
        let answer = self.post(&id.to_string(), shape).await?;
        let text = match shape {
            Shape::Whole => {
                let body = answer.bytes().await.context("reading the answer")?;
                let body: Value = serde_json::from_slice(&body).context("reading the answer")?;
                body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
            }
            Shape::Streamed => streamed(answer).await?,
        };
        let own = text.strip_prefix(&id.to_string()).is_some_and(|text| text == rest());
        ensure!(own, "the answer to {id} is '{text}'");
        Ok(())
    }
}

/// The text of a stream that ended as it should.
async fn streamed(answer: reqwest::Response) -> anyhow::Result<String> {
    let mut pieces = answer.bytes_stream();
    let (mut text, mut line) = (String::new(), Vec::new());
    while let Some(piece) = pieces.next().await {
        for part in piece.context("reading the stream")?.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if !line.ends_with(b"\n") {
                continue;
            }
            if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.trim_ascii();
                if data == b"[DONE]" {
                    return Ok(text);
                }
                let chunk: Value = serde_json::from_slice(data).context("reading a chunk")?;
                text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            }
            line.clear();
        }
    }
    bail!("the stream broke off")
}

/// Asks at a rate, and counts the CPU of whoever is asked.
pub(crate) struct Load<'a> {
    /// Where it runs.
    pub(crate) runtime: &'a Runtime,
    /// Who is asked.
    pub(crate) asked: &'a Asked,
    /// How.
    pub(crate) shape: Shape,
    /// The process that is asked; `None`: it is this one.
    pub(crate) process: Option<u32>,
    /// The broker behind it.
    pub(crate) broker: Option<u32>,
}

/// When a flight ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Everything is answered, or will never be.
    Answered,
    /// As soon as one fails or more than one in a hundred take longer than this.
    Late(Duration),
}

/// What one flight gave.
pub(crate) struct Asking {
    /// As of any other bench.
    pub(crate) flown: Flown,
    /// CPU seconds of the process that was asked, in the measured part.
    pub(crate) cpu: f64,
    /// It was given up: see [`Until::Late`].
    pub(crate) lost: bool,
}

/// What came back so far.
struct Board {
    tally: Tally,
    late: u64,
    failed: u64,
}

type Shared = Arc<Mutex<Board>>;

fn locked(board: &Shared) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// Whether no answer can save it: of those that are due by now, too many are missing or came late.
    fn is_lost(&self, schedule: &Schedule, bound: Duration, now: Instant) -> bool {
        let due = now.saturating_duration_since(schedule.began + bound).as_nanos();
        let due = due * u128::from(schedule.rate) / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(schedule.total);
        let missing = due.saturating_sub(self.tally.distinct());
        self.failed > 0 || self.late + missing > (schedule.total - schedule.warm) / 100
    }
}

impl Load<'_> {
    /// Asks for `warm` and then for `seconds` seconds, and waits for the rest.
    pub(crate) fn fly(&self, rate: u64, warm: u64, seconds: u64, until: Until) -> Asking {
        let schedule = Schedule {
            flight: FLIGHTS.fetch_add(1, Ordering::Relaxed),
            began: Instant::now() + Duration::from_millis(20),
            rate,
            total: rate * (warm + seconds),
            warm: rate * warm,
        };
        let board = Board { tally: Tally::new(schedule), late: 0, failed: 0 };
        let board = Arc::new(Mutex::new(board));
        let mut before = self.used();
        let lost = self.runtime.block_on(self.send(schedule, until, &board, &mut before));
        let (used, cpu) = self.used();
        let board = Arc::into_inner(board).expect("every task has ended");
        let Board { tally, .. } = board.into_inner().unwrap_or_else(PoisonError::into_inner);
        let flown = Flown {
            flight: schedule.flight,
            rate,
            sent: schedule.total,
            measured: schedule.total - schedule.warm,
            void: tally.gate(0).err().map(|void| void.to_string()),
            used: used.since(before.0),
            tally,
        };
        Asking { flown, cpu: cpu - before.1, lost }
    }

    fn used(&self) -> (Usage, f64) {
        (Usage::now(self.broker), self.process.map_or(0.0, tree_seconds))
    }

    /// Whether it was given up.
    async fn send(
        &self,
        schedule: Schedule,
        until: Until,
        board: &Shared,
        before: &mut (Usage, f64),
    ) -> bool {
        let bound = match until {
            Until::Answered => PATIENCE,
            Until::Late(bound) => bound,
        };
        let is_lost = || {
            matches!(until, Until::Late(_))
                && locked(board).is_lost(&schedule, bound, Instant::now())
        };
        let mut asking = JoinSet::new();
        for nth in 0..schedule.total {
            tokio::time::sleep_until(schedule.intended(nth).into()).await;
            if nth == schedule.warm {
                *before = self.used();
            }
            if is_lost() {
                asking.shutdown().await;
                return true;
            }
            while asking.try_join_next().is_some() {}
            let (asked, shape, board) = (self.asked.clone(), self.shape, Arc::clone(board));
            asking.spawn(async move {
                let id = Id { flight: schedule.flight, nth };
                let answered = tokio::time::timeout(PATIENCE, asked.ask(id, shape)).await;
                let at = Instant::now();
                let mut board = locked(&board);
                match answered {
                    Ok(Ok(())) => {
                        let took = at.saturating_duration_since(schedule.intended(nth));
                        board.late += u64::from(nth >= schedule.warm && took > bound);
                        board.tally.came_out(id, at);
                    }
                    Ok(Err(error)) => {
                        board.failed += 1;
                        tracing::warn!("a request failed: {error:#}");
                    }
                    Err(_) => {
                        board.failed += 1;
                        tracing::warn!("a request had no answer in time");
                    }
                }
            });
        }
        loop {
            match tokio::time::timeout(LOOK, asking.join_next()).await {
                Ok(None) => return is_lost(),
                Ok(Some(_)) => {}
                Err(_) if is_lost() => {
                    asking.shutdown().await;
                    return true;
                }
                Err(_) => {}
            }
        }
    }

    /// Waits until single requests are answered as they are by someone who has nothing else to do.
    ///
    /// # Errors
    /// They aren't for a minute.
    pub(crate) fn until_rested(&self) -> anyhow::Result<()> {
        const IN_A_ROW: u32 = 5;
        let bound = scripted() + RESTED;
        self.runtime.block_on(async {
            let until = Instant::now() + 2 * PATIENCE;
            let (mut good, mut nth) = (0, 0);
            let mut last = None;
            while good < IN_A_ROW {
                let began = Instant::now();
                let id = Id { flight: u32::MAX, nth };
                let answered = tokio::time::timeout(PATIENCE, self.asked.ask(id, self.shape)).await;
                good = match answered {
                    Ok(Ok(())) if began.elapsed() <= bound => good + 1,
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        last = Some(error);
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        0
                    }
                    Err(_) => 0,
                };
                if good < IN_A_ROW && Instant::now() >= until {
                    let last = last.unwrap_or_else(|| anyhow::anyhow!("answers stay slow"));
                    return Err(last.context(format!("{} doesn't come to rest", self.asked.url)));
                }
                nth += 1;
            }
            Ok(())
        })
    }
}

/// CPU seconds for 1,000 of those that were measured.
pub(crate) fn per_thousand(cpu: f64, measured: u64) -> f64 {
    cpu * 1000.0 / precise(measured.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flight_is_lost_once_too_many_are_late_missing_or_wrong() {
        let began = Instant::now();
        let schedule = Schedule { flight: 1, began, rate: 100, total: 300, warm: 100 };
        let second = Duration::from_secs(1);
        let board = |late, failed, answered| {
            let mut tally = Tally::new(schedule);
            for nth in 0..answered {
                tally.came_out(Id { flight: 1, nth }, began);
            }
            Board { tally, late, failed }
        };
        for (board, after, lost) in [
            (board(0, 0, 0), second, false),
            (board(0, 0, 98), second * 2, false),
            (board(0, 0, 97), second * 2, true),
            (board(2, 0, 100), second * 2, false),
            (board(3, 0, 100), second * 2, true),
            (board(0, 1, 100), second * 2, true),
            (board(0, 0, 298), second * 60, false),
        ] {
            assert_eq!(board.is_lost(&schedule, second, began + after), lost, "{after:?}");
        }
    }
}

//! `tokens`: how long after asking the gateway the first token comes, beside asking the same scripted server
//! without anything in between.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::request::DEFAULT_TENANT;
use domain::script::{Rule, Script};
use domain::topic::Topic;
use futures_util::StreamExt;
use model::scripted::Server;
use rdkafka::producer::{BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::asks::{Asked, Shape};
use crate::client;
use crate::flight::{Id, Schedule, Tally};
use crate::lane::{Flown, Series};
use crate::models::MODEL;
use crate::platform::{Platform, now};
use crate::product::Dev;
use crate::report::{Reach, Report};
use crate::stack::Stack;
use crate::usage::Usage;

/// Requests a second.
const RATE: u64 = 50;
/// Seconds of warm-up before each flight.
const WARM: u64 = 2;
/// Seconds and requests a second before the first flight, until the broker's code is compiled.
const WARM_UP: (u64, u64) = (20, 150);
/// The two take turns so often.
const ROUNDS: u64 = 3;
/// What the scripted server waits before the first token.
const FIRST_MS: u64 = 50;
/// How long one stream may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Streams one answer to its end; when the first text of it came.
async fn first_token(asked: &Asked) -> anyhow::Result<Instant> {
    let answer = asked.post("How long does nothing take?", Shape::Streamed).await?;
    let mut pieces = answer.bytes_stream();
    let mut first = None;
    let mut line = Vec::new();
    while let Some(piece) = pieces.next().await {
        for byte in piece.context("reading the stream")? {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            let data = text.strip_prefix("data:").map(str::trim);
            if data == Some("[DONE]") {
                return first.context("the stream had no text");
            }
            if first.is_none() && data.is_some_and(has_text) {
                first = Some(Instant::now());
            }
            line.clear();
        }
    }
    bail!("the stream broke off")
}

/// Whether a chunk carries text of the answer.
fn has_text(data: &str) -> bool {
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
}

/// The bench.
pub(crate) fn run(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let prefix = format!("bench-{}-", uuid::Uuid::now_v7());
    let dev = Dev::start(Some((stack, &prefix)))?;
    let platform = Platform::join(stack, &prefix)?;
    let script = Script {
        rules: vec![Rule {
            reply: Some("Nothing takes no time at all, but it is never alone.".into()),
            latency_ms: FIRST_MS,
            tokens_per_second: Some(200),
            ..Rule::default()
        }],
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = platform
        .runtime
        .block_on(Server::start(address, script))
        .context("starting the scripted server")?;
    propose(&platform, &server.base_url())?;
    let gateway = Asked::new(&format!("{}/v1", dev.says("url")?), dev.says("api_key")?)?;
    let direct = Asked::new(&server.base_url(), "none")?;
    platform.runtime.block_on(until_known(&gateway))?;
    let (warm_up, rate) = WARM_UP;
    fly(&platform, &gateway, u32::MAX, rate, warm_up, dev.pid())?;
    let mut through = Series::new("through the gateway");
    let mut beside = Series::new("the server alone");
    for round in 0..ROUNDS {
        for (asked, series) in [(&direct, &mut beside), (&gateway, &mut through)] {
            let flight = u32::try_from(round).unwrap_or_default();
            let seconds = seconds.div_ceil(ROUNDS);
            let flown = fly(&platform, asked, flight, RATE, seconds, dev.pid())?;
            series.add(&flown);
        }
    }
    let rows = vec![beside.row(), through.row()];
    let mut reaches = Vec::new();
    if let [Some(direct), Some(through)] = [rows[0].latency_ms, rows[1].latency_ms] {
        let added = through.p50 - direct.p50;
        reaches.push(Reach::at_most("added time to first token, p50", added, 5.0, "ms"));
    }
    Ok(Report::new("tokens", seconds, rows, reaches, stack.broker_pid))
}

/// Proposes the one model, as an operator's tool would.
fn propose(platform: &Platform, base_url: &str) -> anyhow::Result<()> {
    let definition = json!({ "deployments": [{
        "name": "server", "provider": "openai-compatible", "model": "m", "base_url": base_url,
    }]});
    let proposal = DefinitionProposed {
        id: uuid::Uuid::now_v7().to_string(),
        kind: DefinitionKind::Model,
        tenant: DEFAULT_TENANT.into(),
        name: MODEL.into(),
        expects: 0,
        body: Some(definition.to_string()),
        proposed_by: "bench".into(),
        time: now(),
    };
    let value = platform.ids.frame(&proposal)?;
    let topic = platform.topic(Topic::Definitions);
    let key = format!("model/{DEFAULT_TENANT}/{MODEL}");
    let (producer, _) = client::producer(&platform.brokers)?;
    producer.send(BaseRecord::to(&topic).key(&key).payload(&value)).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE).context("publishing the model")
}

async fn until_known(gateway: &Asked) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match first_token(gateway).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One flight. A stream that broke, or had no text, is a lost record.
fn fly(
    platform: &Platform,
    asked: &Asked,
    flight: u32,
    rate: u64,
    seconds: u64,
    product: u32,
) -> anyhow::Result<Flown> {
    let schedule = Schedule {
        flight,
        began: Instant::now() + Duration::from_millis(20),
        rate,
        total: rate * (WARM + seconds),
        warm: rate * WARM,
    };
    let tally = Arc::new(Mutex::new(Tally::new(schedule)));
    // What is called the broker here is the product: it is what the token passes.
    let before = Usage::now(Some(product));
    platform.runtime.block_on(async {
        let mut streams = tokio::task::JoinSet::new();
        for nth in 0..schedule.total {
            tokio::time::sleep_until(schedule.intended(nth).into()).await;
            let (asked, tally) = (asked.clone(), Arc::clone(&tally));
            streams.spawn(async move {
                match tokio::time::timeout(PATIENCE, first_token(&asked)).await {
                    Ok(Ok(first)) => {
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        tally.came_out(Id { flight, nth }, first);
                    }
                    Ok(Err(error)) => tracing::warn!("a stream failed: {error:#}"),
                    Err(_) => tracing::warn!("a stream did not end in time"),
                }
            });
        }
        while streams.join_next().await.is_some() {}
    });
    let used = Usage::now(Some(product)).since(before);
    let tally = Arc::into_inner(tally)
        .context("every stream has ended")?
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Flown {
        flight,
        rate,
        sent: schedule.total,
        // Usage was counted from the first record on.
        measured: schedule.total,
        void: tally.gate(0).err().map(|void| void.to_string()),
        used,
        tally,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_chunk_with_text_is_a_first_token() {
        let chunk = |delta: &str| format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
        assert!(has_text(&chunk(r#"{"content":"a"}"#)));
        for data in [
            chunk(r#"{"role":"assistant","content":""}"#),
            chunk("{}"),
            r#"{"choices":[]}"#.to_owned(),
            "x".to_owned(),
        ] {
            assert!(!has_text(&data), "{data}");
        }
    }
}

//! `model` and `head-of-line`: the real inference processor on the real broker, with models that are
//! scripted, so that whatever is slower than the script is the platform.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::ExecutionEvent;
use domain::request::{DEFAULT_TENANT, ModelRequest};
use domain::topic::{Kind, Topic};
use inference::{Inference, Models};
use runtime::partition;
use runtime::ports::Cluster as _;
use runtime::worker;
use schemas::Ids;
use serde_json::{Value, json};
use service::catalogue::Definitions;

use crate::flight::Id;
use crate::lane::{Encode, Flown, Lane, Probe, Series, id_of_text, precise, warm_up};
use crate::peers::Relay;
use crate::platform::{Platform, Running, now};
use crate::relay::{PADDED, text};
use crate::report::{Latency, Reach, Report, Row};
use crate::stack::Stack;

/// Partitions of each topic of `model`.
const PARTITIONS: i32 = 4;
/// What a scripted call takes.
const CALL_MS: u32 = 200;
/// What a slow one takes.
const SLOW_MS: u32 = 30_000;
/// The calls in flight for which there is a reach.
const REACHED: [u64; 2] = [100, 1_000];
/// Seconds of warm-up before each flight.
const WARM: f64 = 1.0;
/// Room for every call that may be in flight: the window isn't what is measured.
const WINDOW: usize = 4_000;

/// The model that every request names.
pub(crate) const MODEL: &str = "bench";

/// The catalogue of a process that knows one model.
pub(crate) fn catalogue(definition: &Value) -> Definitions {
    let definitions = Definitions::new();
    definitions.apply(DefinitionProposed {
        id: "bench".into(),
        kind: DefinitionKind::Model,
        tenant: DEFAULT_TENANT.into(),
        name: MODEL.into(),
        expects: 0,
        body: Some(definition.to_string()),
        proposed_by: "bench".into(),
        time: now(),
    });
    definitions.set_caught_up();
    definitions
}

/// Starts a worker of the inference processor.
pub(crate) fn start_inference(platform: &Platform, definition: &Value) -> anyhow::Result<Running> {
    let models = Arc::new(Models::new(catalogue(definition)));
    let deltas = platform.cluster.deltas()?;
    let ids = platform.ids.clone();
    let processor = Inference::new(models, model::Options::default(), ids, deltas);
    let options = worker::Options {
        partition: partition::Options { window: Some(WINDOW), ..partition::Options::default() },
        ..worker::Options::default()
    };
    Ok(platform.start(processor, options))
}

/// A model that answers after [`CALL_MS`]; one in `slow_every` after [`SLOW_MS`].
fn scripted(slow_every: Option<u32>) -> Value {
    let mut rule = json!({ "reply": "done", "latency_ms": CALL_MS });
    if let Some(every) = slow_every {
        rule["slow"] = json!({ "every": every, "latency_ms": SLOW_MS });
    }
    json!({ "deployments": [{
        "name": "scripted", "provider": "scripted", "model": "m", "script": { "rules": [rule] },
    }]})
}

/// What a reader of `results` does about copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    /// There must be none: nothing crashed.
    Count,
    /// Drops those that equal the first byte for byte, which a crash may leave, and counts any other.
    DropEqual,
}

/// Reads endings off `results`; the execution's id is the record's.
pub(crate) fn endings(platform: &Platform, copies: Copies) -> anyhow::Result<Arc<Probe>> {
    let ids = platform.ids.clone();
    let results = platform.topic(Topic::Results);
    let seen = Mutex::new(HashSet::new());
    let probe = Probe::start(&platform.brokers, &results, move |value| {
        let event = ids.read::<ExecutionEvent>(value).ok()?;
        if !event.event_type.is_terminal() {
            return None;
        }
        if copies == Copies::DropEqual {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.insert(value.to_vec()) {
                return None;
            }
        }
        Id::at_front(&event.execution_id)
    })?;
    Ok(Arc::new(probe))
}

fn request(ids: &Ids, id: Id) -> (String, Vec<u8>) {
    let body = r#"{"messages":[{"role":"user","content":"How long does nothing take?"}]}"#;
    let request = ModelRequest::new(id.to_string(), MODEL, body);
    let value = ids.frame(&request).expect("every schema is registered");
    (request.id, value)
}

/// A way from the feed to the ending.
pub(crate) fn lane(platform: &Platform, name: &str, probe: &Arc<Probe>) -> anyhow::Result<Lane> {
    let ids = platform.ids.clone();
    let encode: Encode = Box::new(move |id| request(&ids, id));
    Lane::new(
        &platform.brokers,
        platform.broker_pid,
        name,
        platform.topic(Topic::Feed(Kind::Model)),
        probe,
        encode,
    )
}

/// Whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Ours,
    Floor,
}

/// What a call costs on this broker when nothing is promised and nothing is kept: a record for the request,
/// one for its admission, one for the end of the call and one for the answer, each passed on by a plain
/// relay, the second one after the time of a call.
fn floor(platform: &Platform) -> anyhow::Result<(Lane, [Relay; 3])> {
    let Platform { brokers, runtime, broker_pid, .. } = platform;
    let names = ["request", "admitted", "finished", "answer"]
        .map(|what| format!("{}floor-{what}", platform.prefix()));
    let [request, admitted, finished, answer] = &names;
    let all = names.each_ref().map(String::as_str);
    runtime.block_on(crate::client::make_topics(brokers, &all, PARTITIONS))?;
    let wait = Duration::from_millis(CALL_MS.into());
    let relays = [
        Relay::plain(brokers, request, admitted)?,
        Relay::later(brokers, admitted, finished, wait)?,
        Relay::plain(brokers, finished, answer)?,
    ];
    let probe = Arc::new(Probe::start(brokers, answer, id_of_text)?);
    let encode: Encode = Box::new(|id| (id.to_string(), text(id, PADDED).into_bytes()));
    let lane = Lane::new(brokers, *broker_pid, "plain relays", request, &probe, encode)?;
    Ok((lane, relays))
}

/// `model`: a thousand calls of 200 ms in flight; a hundred, for the part of it that isn't load; and what lies
/// between, to see where load begins.
pub(crate) fn model(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    let platform = Platform::make(stack, PARTITIONS)?;
    let running = start_inference(&platform, &scripted(None))?;
    let probe = endings(&platform, Copies::Count)?;
    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    // The first flight waits for the take-over.
    lane(&platform, "take-over", &probe)?.fly(50, 0.0, 2.0)?;
    let (floor, _relays) = floor(&platform)?;
    warm_up(&[&lane(&platform, "warm-up", &probe)?, &floor], 500)?;
    for in_flight in [100, 200, 400, 1_000] {
        let rate = in_flight * 1_000 / u64::from(CALL_MS);
        let name = format!("{in_flight} calls in flight");
        let ours = lane(&platform, &name, &probe)?;
        let relays = format!("the same records by plain relays, {in_flight}");
        for (which, lane, name) in [(Way::Floor, &floor, relays), (Way::Ours, &ours, name)] {
            let flown = lane.fly(rate, WARM, precise(seconds))?;
            let mut series = Series::new(name.as_str());
            series.add(&flown);
            let mut row = series.row();
            let Some(Latency { p50, p99, .. }) = row.latency_ms else {
                rows.push(row);
                continue;
            };
            let call = f64::from(CALL_MS);
            let (p50, p99) = (p50 - call, p99 - call);
            row.more = vec![("added p50 ms".into(), p50), ("added p99 ms".into(), p99)];
            rows.push(row);
            if which == Way::Ours && REACHED.contains(&in_flight) {
                reaches.push(Reach::at_most(format!("{name}: added p50"), p50, 8.0, "ms"));
                reaches.push(Reach::at_most(format!("{name}: added p99"), p99, 40.0, "ms"));
            }
        }
    }
    drop(probe);
    platform.stop(running)?;
    Ok(Report::new("model", seconds, rows, reaches, stack.broker_pid))
}

/// `head-of-line`: one partition, a thousand keys, and whether the slow ones hold back the fast.
pub(crate) fn head_of_line(stack: &Stack, seconds: u64) -> anyhow::Result<Report> {
    const KEYS: u64 = 1_000;
    let rate = (KEYS / seconds).max(1);
    let mut rows = Vec::new();
    let mut p99 = Vec::new();
    for (name, slow_every) in [("all fast", None), ("1 % take 30 s", Some(100))] {
        let platform = Platform::make(stack, 1)?;
        let running = start_inference(&platform, &scripted(slow_every))?;
        let probe = endings(&platform, Copies::Count)?;
        lane(&platform, "warm-up", &probe)?.fly(20, 0.0, 2.0)?;
        let flown = lane(&platform, name, &probe)?.fly(rate, 0.0, precise(KEYS) / precise(rate))?;
        let row = fast_ones(name, &flown);
        p99.extend(row.latency_ms.map(|latency| latency.p99));
        rows.push(row);
        drop(probe);
        platform.stop(running)?;
    }
    let reaches = match p99[..] {
        [without, with] => {
            let what = "p99 of the fast ones, with slow ones / without";
            vec![Reach::at_most(what, with / without, 1.2, "x")]
        }
        _ => Vec::new(),
    };
    Ok(Report::new("head-of-line", seconds, rows, reaches, stack.broker_pid))
}

/// The row of the calls that weren't slow by their script. Between the two lies half a minute, so the
/// latency itself tells them apart.
fn fast_ones(name: &str, flown: &Flown) -> Row {
    let halfway = u64::from(SLOW_MS) * 1_000 / 2;
    let mut fast = crate::flight::histogram();
    let mut slow = 0;
    for value in flown.tally.latency().iter_recorded() {
        if value.value_iterated_to() < halfway {
            fast.record_n(value.value_iterated_to(), value.count_at_value())
                .expect("the bounds are the same");
        } else {
            slow += value.count_at_value();
        }
    }
    let mut series = Series::new(name);
    series.add(flown);
    let mut row = series.row();
    row.latency_ms = Latency::of(&fast);
    row.more.push(("slow ones".into(), precise(slow)));
    row
}

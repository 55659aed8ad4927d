//! One partition of the processor on a log in memory: each send stands at once, each append is read back,
//! and time moves when a test says so. Calls don't run; the test says how they end.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use domain::answer::{Answer, Failure, ModelOutcome};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::{Chunk, ExecutionEvent};
use domain::fact::{Command, DeadLetter, Fact, Order};
use domain::log_row::ExecutionLogRecord;
use domain::model_call::WantedModelCall;
use domain::request::ModelRequest;
use domain::state::Genesis;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::partition::effects::{Effect, Input};
use runtime::partition::{Identity, Options, Partition, Restored, Survivors, genesis_key};
use runtime::ports::{Confirmed, Deltas, Headers, Outgoing, Raw, Sent, Side};
use runtime::processor::Running;
use schemas::Ids;
use service::catalogue::Definitions;

use crate::{Inference, Models};

/// What the world's model, `fast`, is: it echoes, stumbles once over "stumble", and never gets past "break".
const DEFINITION: &str = r#"{
    "deployments": [{
        "name": "one", "provider": "scripted", "model": "m",
        "price": {"currency": "EUR", "input": 1000000, "output": 2000000},
        "script": {"rules": [
            {"when": {"contains": "stumble"}, "tokens_per_second": 20,
             "fault": {"kind": {"drop": {"after_tokens": 2}}, "first_tries": 1}},
            {"when": {"contains": "break"}, "tokens_per_second": 20,
             "fault": {"kind": {"drop": {"after_tokens": 2}}}}
        ]}
    }],
    "retry": {"max_tries": 2}
}"#;

/// Where the token deltas of tests go.
#[derive(Default)]
struct Stream(std::sync::Mutex<Vec<Vec<u8>>>);

impl Deltas for Stream {
    fn send(&self, _key: &str, value: Vec<u8>, _headers: Headers) {
        self.0.lock().unwrap().push(value);
    }
}

/// A call that the machine started.
pub(super) struct Started {
    pub(super) run: u64,
    pub(super) running: Running,
    pub(super) call: WantedModelCall,
}

pub(super) struct World {
    pub(super) inference: Arc<Inference>,
    stream: Arc<Stream>,
    ids: Ids,
    pub(super) started: Vec<Started>,
    pub(super) stopped: Vec<u64>,
    pub(super) rows: Vec<ExecutionLogRecord>,
    partition: Partition<Inference>,
    now: i64,
    feed: Records,
    log: Records,
    outputs: Vec<Arc<Outgoing>>,
}

/// A topic partition, and how far it has been read under which epoch.
#[derive(Default)]
struct Records {
    records: Vec<Raw>,
    reading: Option<(u64, usize)>,
}

impl Records {
    fn append(&mut self, time: i64, key: Option<Bytes>, value: Bytes, headers: Headers) -> i64 {
        let offset = i64::try_from(self.records.len()).expect("few");
        self.records.push(Raw {
            offset,
            time: Millis(time),
            key,
            value,
            headers,
        });
        offset
    }

    fn unread(&mut self) -> Option<(u64, Vec<Raw>)> {
        let (epoch, next) = self.reading.as_mut()?;
        let records = self.records[*next..].to_vec();
        *next = self.records.len();
        (!records.is_empty()).then_some((*epoch, records))
    }
}

impl World {
    /// A partition that is owned and idle, at time 1,000.
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let ids = Ids::for_tests();
        let definitions = Definitions::new();
        definitions.apply(DefinitionProposed {
            id: "p".into(),
            kind: DefinitionKind::Model,
            tenant: "default".into(),
            name: "fast".into(),
            expects: 0,
            body: Some(DEFINITION.into()),
            proposed_by: "test".into(),
            time: Millis(0),
        });
        let stream = Arc::new(Stream::default());
        let inference = Arc::new(Inference::new(
            Arc::new(Models::new(definitions)),
            model::Options::default(),
            ids.clone(),
            stream.clone(),
        ));
        let genesis = Genesis {
            topic: Topic::State(Kind::Model).name().into(),
            partition: 0,
            created: Millis(0),
        };
        let snapshot = HashMap::from([(
            Bytes::from(genesis_key()),
            Bytes::from(ids.frame(&genesis).expect("a known record")),
        )]);
        let restored = Restored::read(&snapshot, &ids).expect("a fresh partition");
        let identity = Identity {
            partition: 0,
            partitions: 1,
            owner: "owner".into(),
            program: "program".into(),
            incarnation: 1,
        };
        let now = 1_000;
        let partition = Partition::new(
            Arc::clone(&inference),
            ids.clone(),
            options,
            identity,
            restored,
            Survivors::default(),
            now,
        );
        let mut world = Self {
            inference,
            stream,
            ids,
            started: Vec::new(),
            stopped: Vec::new(),
            rows: Vec::new(),
            partition,
            now,
            feed: Records::default(),
            log: Records::default(),
            outputs: Vec::new(),
        };
        world.settle();
        world
    }

    /// Publishes a request, as an upstream does.
    pub(super) fn publish(&mut self, request: &ModelRequest) {
        let value = self.ids.frame(request).expect("a known record").into();
        let key = Some(Bytes::from(request.id.clone()));
        self.feed.append(self.now, key, value, Vec::new());
        self.settle();
    }

    /// Writes a command into the log, as anybody may.
    pub(super) fn command(&mut self, entity: &str, order: Order) {
        let id = format!("command-{}", self.log.records.len());
        let fact = Fact::Command(Command {
            id,
            tenant: "default".into(),
            order,
        });
        let value = self.ids.frame_fact(&fact).expect("a known record").into();
        self.log.append(
            self.now,
            Some(Bytes::from(entity.to_owned())),
            value,
            Vec::new(),
        );
        self.settle();
    }

    /// The last call that was started ends.
    pub(super) fn end_call(&mut self, result: Result<ModelOutcome, Failure>) {
        let run = self.started.last().expect("a call was started").run;
        self.handle(Input::CallEnded { run, result });
        self.settle();
    }

    /// Time passes, ten milliseconds at once, with a live owner.
    pub(super) fn wait(&mut self, ms: i64) {
        for _ in 0..ms / 10 {
            self.now += 10;
            self.handle(Input::Confirmed {
                confirmed: Confirmed::Owner,
                asked_at: self.now,
            });
            self.handle(Input::Tick);
            self.settle();
        }
    }

    /// The events of `results`, in short words.
    pub(super) fn told(&self) -> Vec<&'static str> {
        self.events()
            .iter()
            .map(|event| event.event_type.as_str())
            .collect()
    }

    pub(super) fn events(&self) -> Vec<ExecutionEvent> {
        self.outputs_of(Topic::Results)
            .map(|output| self.ids.read(&output.value).expect("an event"))
            .collect()
    }

    /// The answers in the log of a kind: key and answer.
    pub(super) fn answers(&self, kind: Kind) -> Vec<(String, Answer)> {
        self.outputs_of(Topic::Log(kind))
            .map(|output| {
                let key = output.key.as_ref().expect("a key");
                let key = String::from_utf8(key.to_vec()).expect("text");
                match self.ids.read_fact(&output.value).expect("a fact") {
                    Fact::Answer(answer) => (key, answer),
                    other => panic!("not an answer: {other:?}"),
                }
            })
            .collect()
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.outputs_of(Topic::DeadLetters)
            .map(|output| self.ids.read(&output.value).expect("a dead letter"))
            .collect()
    }

    /// The chunks that calls sent, in order.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let sent = self.stream.0.lock().unwrap();
        sent.iter()
            .map(|value| self.ids.read(value).expect("a chunk"))
            .collect()
    }

    /// The rows of the execution log, after a checkpoint had time to write them.
    pub(super) fn checkpointed_rows(&mut self) -> &[ExecutionLogRecord] {
        self.wait(2_000);
        &self.rows
    }

    fn outputs_of(&self, topic: Topic) -> impl Iterator<Item = &Arc<Outgoing>> {
        self.outputs
            .iter()
            .filter(move |output| output.topic == topic)
    }

    fn handle(&mut self, input: Input<Inference>) {
        self.partition.handle(self.now, input);
    }

    /// Carries out effects and delivers records until nothing is left.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.partition.poll_effect() {
                self.carry_out(effect);
            }
            if let Some((epoch, records)) = self.log.unread() {
                self.handle(Input::Records {
                    side: Side::Log,
                    epoch,
                    records,
                });
            } else if let Some((epoch, records)) = self.feed.unread() {
                self.handle(Input::Records {
                    side: Side::Feed,
                    epoch,
                    records,
                });
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect<Inference>) {
        match effect {
            Effect::Send { seq, record } => {
                let sent = if record.topic == Topic::Log(Kind::Model) {
                    let Outgoing {
                        key,
                        value,
                        headers,
                        ..
                    } = (*record).clone();
                    self.log.append(self.now, key, value, headers)
                } else {
                    self.outputs.push(record);
                    i64::try_from(self.outputs.len()).expect("few")
                };
                self.handle(Input::Sent {
                    seq,
                    sent: Sent::At(sent),
                });
            }
            Effect::Start {
                side,
                offset,
                epoch,
            } => {
                let from = usize::try_from(offset.unwrap_or(0)).expect("an offset");
                match side {
                    Side::Feed => self.feed.reading = Some((epoch, from)),
                    Side::Log => self.log.reading = Some((epoch, from)),
                }
            }
            Effect::StartCall { run, running, call } => {
                self.started.push(Started { run, running, call });
            }
            Effect::StopCall(run) => self.stopped.push(run),
            Effect::Commit(cut) => {
                self.rows.extend(cut.rows);
                self.handle(Input::Committed(Ok(())));
            }
            Effect::Confirm => {
                self.handle(Input::Confirmed {
                    confirmed: Confirmed::Owner,
                    asked_at: self.now,
                });
            }
            // What is on its way may still arrive, and here it does.
            Effect::Pause(_) | Effect::Resume(_) => {}
            other => panic!("nothing in this world leads to {other:?}"),
        }
    }
}

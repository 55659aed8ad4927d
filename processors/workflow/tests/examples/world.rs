//! One partition of the processor, and those whom workflows ask: models by their scripts, functions by the test,
//! children by the same partition.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use domain::answer::{Answer, Failure, ModelOutcome, Terminal};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Command, Fact, Order};
use domain::model_definition::ModelDefinition;
use domain::request::{FunctionCall, JSON, ModelRequest, Origin, WorkflowStart};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use model::{Caller, ChunkSink, Delta};
use runtime::ports::{Elsewhere, ElsewhereError, PublishElsewhere};
use runtime::testing::Harness;
use schemas::Ids;
use serde_json::Value;
use service::catalogue::Definitions;
use stepstream_workflow::{Programs, Workflows};

use crate::example::Example;

/// The execution that [`World::start`] starts.
pub(crate) const RUN: &str = "run-1";

/// What a function says to a call.
pub(crate) type Function = fn(&FunctionCall) -> Result<Value, Failure>;

pub(crate) struct World {
    pub(crate) harness: Harness<Workflows>,
    /// Requests that nobody has answered, the oldest first. Those that were called off are gone.
    pub(crate) models: VecDeque<ModelRequest>,
    /// As [`World::models`].
    pub(crate) functions: VecDeque<FunctionCall>,
    /// Starts that nobody has taken in.
    pub(crate) children: VecDeque<WorkflowStart>,
    /// The steps that asked for what was called off.
    pub(crate) called_off: Vec<String>,
    /// The names of the functions that were called, in order.
    pub(crate) called: Vec<String>,
    example: Example,
    caller: Caller,
    function: Function,
    ids: Ids,
    /// How much of each topic was looked at.
    seen: HashMap<Topic, usize>,
    /// The ids of all requests: one that is sent again is a copy.
    known: BTreeSet<String>,
}

impl World {
    /// The example by this name, with nothing started.
    pub(crate) fn of(name: &str) -> Self {
        Self::with(Example::read(name))
    }

    /// One definition that is no example, without models.
    pub(crate) fn running(definition: Value) -> Self {
        Self::with(Example {
            definitions: vec![definition],
            input: Value::Null,
            models: BTreeMap::new(),
            readme: String::new(),
        })
    }

    fn with(example: Example) -> Self {
        let definitions = Definitions::default();
        for definition in &example.definitions {
            let name = definition["metadata"]["name"].as_str().expect("a name");
            definitions.apply(DefinitionProposed {
                id: name.into(),
                kind: DefinitionKind::Workflow,
                tenant: "default".into(),
                name: name.into(),
                expects: 0,
                body: Some(definition.to_string()),
                proposed_by: "test".into(),
                time: Millis(0),
            });
        }
        let programs = Arc::new(Programs::new(definitions));
        let caller =
            Caller::new(model::Options::default(), Arc::new(Models(example.models.clone())));
        Self {
            harness: Harness::new(Workflows::new(programs, Arc::new(Nowhere))),
            models: VecDeque::new(),
            functions: VecDeque::new(),
            children: VecDeque::new(),
            called_off: Vec::new(),
            called: Vec::new(),
            example,
            caller,
            function: |call| panic!("nobody answers calls of {}", call.function),
            ids: Ids::for_tests(),
            seen: HashMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// The same, with functions.
    pub(crate) fn with_functions(self, function: Function) -> Self {
        Self { function, ..self }
    }

    /// Puts another model in the place of the example's own.
    pub(crate) fn put_model(&mut self, name: &str, definition: &str) {
        let definition = ModelDefinition::parse(definition).expect("a model");
        self.example.models.insert(name.to_owned(), Arc::new(definition));
        let models = Arc::new(Models(self.example.models.clone()));
        self.caller = Caller::new(model::Options::default(), models);
    }

    pub(crate) fn example(&self) -> &Example {
        &self.example
    }

    /// Starts the workflow with the example's own input.
    pub(crate) fn start(&mut self) {
        self.start_with(&self.example.input.clone());
    }

    pub(crate) fn start_with(&mut self, input: &Value) {
        let start = WorkflowStart::new(RUN, self.example.workflow());
        self.harness.publish(&WorkflowStart { input: input.to_string(), ..start });
        self.look();
    }

    /// Tells the execution something.
    pub(crate) fn tell(&mut self, order: Order) {
        self.harness.command(RUN, order);
        self.look();
    }

    pub(crate) fn signal(&mut self, name: &str, payload: &Value) {
        self.tell(Order::Signal { name: name.into(), payload: Some(payload.to_string()) });
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.harness.pass(ms);
        self.look();
    }

    /// Answers whatever is asked, the oldest first, until nothing is asked any more.
    pub(crate) async fn run(&mut self) {
        while self.run_one().await {}
    }

    /// Answers the oldest of what is asked; whether there was something.
    pub(crate) async fn run_one(&mut self) -> bool {
        if let Some(request) = self.models.pop_front() {
            self.ask(request).await;
        } else if let Some(call) = self.functions.pop_front() {
            self.call(&call);
        } else if let Some(start) = self.children.pop_front() {
            self.harness.publish(&start);
            self.look();
        } else {
            return false;
        }
        true
    }

    /// Lets the model answer that this step of the execution asked.
    pub(crate) async fn ask_for(&mut self, step: &str) {
        let request = self.take(step);
        self.ask(request).await;
    }

    /// The request of a step, which the test answers itself.
    pub(crate) fn take(&mut self, step: &str) -> ModelRequest {
        let of_step = |request: &ModelRequest| origin(request.origin.as_ref()).step == step;
        let place = self.models.iter().position(of_step);
        let place = place.unwrap_or_else(|| panic!("{step} has asked nothing"));
        self.models.remove(place).expect("it is there")
    }

    /// Lets a model answer, by its script.
    pub(crate) async fn ask(&mut self, request: ModelRequest) {
        let outcome = self.caller.call(&request, None, &mut Ignored).await;
        let origin = origin(request.origin.as_ref());
        self.answer(&request.id, origin, outcome);
    }

    /// A request fails.
    pub(crate) fn fail(&mut self, request: &ModelRequest, failure: Failure) {
        self.answer(&request.id, origin(request.origin.as_ref()), Err(failure));
    }

    fn call(&mut self, call: &FunctionCall) {
        self.called.push(call.function.clone());
        let result = (self.function)(call).map(|output| ModelOutcome {
            body: output.to_string(),
            body_media_type: JSON.into(),
            ..nothing()
        });
        self.answer(&call.id, origin(call.origin.as_ref()), result);
    }

    fn answer(&mut self, request: &str, origin: Origin, outcome: Result<ModelOutcome, Failure>) {
        let (outcome, failure) = match outcome {
            Ok(outcome) => (Some(outcome), None),
            Err(failure) => (None, Some(failure)),
        };
        let status = if outcome.is_some() { Terminal::Succeeded } else { Terminal::Failed };
        let ModelOutcome { body, body_media_type, usage, cost, .. } =
            outcome.clone().unwrap_or_else(nothing);
        let entity = origin.id.clone();
        let answer = Answer {
            request_id: request.into(),
            origin,
            status,
            output: outcome.map(|_| body),
            output_media_type: body_media_type,
            failure,
            usage,
            cost,
            output_claim: None,
        };
        self.harness.append(&entity, &Fact::Answer(answer));
        self.look();
    }

    /// Takes notice of what was asked for and what was called off since the last time.
    pub(crate) fn look(&mut self) {
        for frame in self.unseen(Topic::Feed(Kind::Model)) {
            let request: ModelRequest = self.ids.read(&frame).expect("a request");
            if self.known.insert(request.id.clone()) {
                self.models.push_back(request);
            }
        }
        for frame in self.unseen(Topic::Feed(Kind::Function)) {
            let call: FunctionCall = self.ids.read(&frame).expect("a call");
            if self.known.insert(call.id.clone()) {
                self.functions.push_back(call);
            }
        }
        for frame in self.unseen(Topic::Feed(Kind::Workflow)) {
            let start: WorkflowStart = self.ids.read(&frame).expect("a start");
            if self.known.insert(start.id.clone()) {
                self.children.push_back(start);
            }
        }
        for kind in [Kind::Model, Kind::Function] {
            for (key, fact) in self.unseen_facts(kind) {
                if let Fact::Command(Command { order: Order::Cancel { .. }, .. }) = fact {
                    self.call_off(&key);
                }
            }
        }
    }

    fn call_off(&mut self, id: &str) {
        let models = self.models.iter().map(|it| (&it.id, &it.origin));
        let functions = self.functions.iter().map(|it| (&it.id, &it.origin));
        let found = models.chain(functions).find(|(known, _)| *known == id);
        self.called_off.extend(found.map(|(_, asker)| origin(asker.as_ref()).step));
        self.models.retain(|it| it.id != id);
        self.functions.retain(|it| it.id != id);
    }

    fn unseen(&mut self, topic: Topic) -> Vec<Bytes> {
        let seen = self.seen.entry(topic).or_default();
        let new: Vec<_> =
            self.harness.sent(topic).skip(*seen).map(|sent| sent.value.clone()).collect();
        *seen += new.len();
        new
    }

    fn unseen_facts(&mut self, kind: Kind) -> Vec<(String, Fact)> {
        let topic = Topic::Log(kind);
        let seen = self.seen.entry(topic).or_default();
        let new: Vec<_> = self.harness.sent(topic).skip(*seen).collect();
        *seen += new.len();
        let read = |sent: &runtime::ports::Outgoing| {
            let key = sent.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            (key.into_owned(), self.ids.read_fact(&sent.value).expect("a fact"))
        };
        new.into_iter().map(read).collect()
    }

    pub(crate) fn events(&self) -> Vec<ExecutionEvent> {
        self.harness.events(RUN)
    }

    pub(crate) fn last(&self) -> ExecutionEvent {
        self.events().pop().expect("an event")
    }

    /// What the execution gave.
    pub(crate) fn output(&self) -> Value {
        let last = self.last();
        assert_eq!(last.event_type, EventType::Succeeded, "{:?}", last.error);
        serde_json::from_str(&last.data.expect("a result")).expect("JSON")
    }

    /// The code with which the execution failed.
    pub(crate) fn failure(&self) -> String {
        let last = self.last();
        assert_eq!(last.event_type, EventType::Failed);
        last.error.expect("an error").code
    }

    /// The steps of which this is told, in order.
    pub(crate) fn steps(&self, event_type: EventType) -> Vec<String> {
        let events = self.events().into_iter();
        events.filter(|it| it.event_type == event_type).filter_map(|it| it.step).collect()
    }

    /// The longest value of a record, in bytes, and where it stands. Of the state only what stands there now.
    pub(crate) fn longest_record(&self) -> (usize, String) {
        let sent = Topic::ALL.into_iter().flat_map(|topic| {
            self.harness.sent(topic).map(move |sent| (sent.value.len(), topic.name().to_owned()))
        });
        let log = self.harness.facts().map(|(_, fact)| {
            (self.ids.frame_fact(&fact).expect("a fact").len(), "workflow-events".to_owned())
        });
        let state = self.harness.state().iter().map(|(key, value)| {
            (value.len(), format!("workflow-state {}", String::from_utf8_lossy(key)))
        });
        let rows = self
            .harness
            .rows()
            .values()
            .map(|row| (self.ids.frame(row).expect("a row").len(), "execution-log".to_owned()));
        sent.chain(log).chain(state).chain(rows).max().expect("a record")
    }
}

fn origin(origin: Option<&Origin>) -> Origin {
    origin.cloned().expect("a workflow asks")
}

fn nothing() -> ModelOutcome {
    ModelOutcome {
        body: String::new(),
        body_media_type: JSON.into(),
        provider: String::new(),
        deployment: String::new(),
        model_used: String::new(),
        finish_reason: None,
        usage: None,
        cost: None,
        tries: 0,
        queued_ms: 0,
        duration_ms: 0,
        time_to_first_token_ms: None,
        http_status: None,
        body_claim: None,
    }
}

/// The example's models, for every tenant.
struct Models(BTreeMap<String, Arc<ModelDefinition>>);

impl model::Definitions for Models {
    fn model(&self, _: &str, alias: &str, _: Option<i32>) -> Option<Arc<ModelDefinition>> {
        self.0.get(alias).cloned()
    }
}

/// Nobody watches the tokens.
struct Ignored;

impl ChunkSink for Ignored {
    fn try_begins(&mut self, _: i32) {}

    fn delta(&mut self, _: Delta) {}
}

/// No example publishes events.
struct Nowhere;

#[async_trait]
impl PublishElsewhere for Nowhere {
    async fn publish_elsewhere(&self, record: Elsewhere) -> Result<(i32, i64), ElsewhereError> {
        Err(ElsewhereError::Refused(format!("there is no topic {}", record.topic)))
    }
}

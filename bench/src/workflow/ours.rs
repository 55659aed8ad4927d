//! Our side: `stepstream serve` with the roles of workflows and model calls, on the real broker. Starts are
//! published as any upstream publishes them, ends are read off `results`.

use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::{EventType, ExecutionEvent};
use domain::request::{DEFAULT_TENANT, WorkflowStart};
use domain::topic::{Kind, Topic};
use rdkafka::producer::{BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::flight::{Leg, Plan, WARM};
use crate::asks::http;
use crate::client;
use crate::flight::Id;
use crate::lane::{Encode, Lane, Probe};
use crate::models::MODEL;
use crate::operator::{Operator, READY, Serving, until_ready};
use crate::platform::{Platform, now};
use crate::stack::Stack;
use crate::usage::{cpu_seconds, tree_seconds};

/// What one process does for a workflow.
const ROLES: &str = "workflow,inference";
/// How long one workflow of thousands of steps may take.
pub(crate) const LONG: Duration = Duration::from_secs(1_200);
/// How long the broker may take for the definitions.
const PUBLISHED: Duration = Duration::from_secs(30);

/// What is promised, for the notes.
pub(crate) const DURABILITY: &str = "ours: every fact is a record that the broker has acknowledged \
    (`acks=all`, one broker, which leaves the disk to the kernel as Kafka does by default)";

/// The product with workflows that it knows.
pub(crate) struct Ours {
    /// Its topics.
    pub(crate) platform: Platform,
    probe: Arc<Probe>,
    last_result: Arc<Mutex<Option<String>>>,
    serving: Option<Serving>,
    // Behind the process that uses its directory.
    operator: Operator,
}

impl Ours {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(stack: &Stack, workflows: &[Value]) -> anyhow::Result<Self> {
        let operator = Operator::new(stack)?;
        let script = json!({ "rules": [{ "reply": "done" }] });
        let model = json!({ "deployments": [{
            "name": "scripted", "provider": "scripted", "model": "m", "script": script,
        }]});
        operator.put_model(MODEL, &model.to_string())?;
        let platform = Platform::join(stack, operator.prefix())?;
        propose(&platform, workflows)?;
        let last_result = Arc::new(Mutex::new(None));
        let probe = Arc::new(successes(&platform, Arc::clone(&last_result))?);
        let mut ours = Self { platform, probe, last_result, serving: None, operator };
        ours.serve()?;
        Ok(ours)
    }

    /// Starts its process where none runs. What it says, as `filter` has it.
    pub(crate) fn serve_heard(&mut self, filter: &str) -> anyhow::Result<ChildStderr> {
        let (serving, said) = self.operator.serve_heard(ROLES, filter)?;
        self.serving = Some(serving);
        Ok(said)
    }

    /// Starts its process, and waits until that has taken over its partitions.
    fn serve(&mut self) -> anyhow::Result<()> {
        let mut serving = self.operator.serve(ROLES)?;
        let url = format!("{}/readyz", serving.health());
        let http = http()?;
        let ready = until_ready(&http, &url, READY, || serving.still_runs());
        self.platform.runtime.block_on(ready)?;
        self.serving = Some(serving);
        Ok(())
    }

    /// Ends its process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.serving = None;
    }

    /// Its process.
    ///
    /// # Errors
    /// It was killed.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.serving.as_ref().context("our process was killed")?.pid())
    }

    /// CPU seconds of the process and of the broker.
    pub(crate) fn cpu(&self) -> f64 {
        let own = self.serving.as_ref().map_or(0.0, |serving| tree_seconds(serving.pid()));
        own + self.platform.broker_pid.and_then(cpu_seconds).unwrap_or_default()
    }

    /// A way from the starts of a workflow to its ends.
    pub(crate) fn lane(
        &self,
        workflow: &str,
        input: impl Fn(Id) -> Value + Send + Sync + 'static,
    ) -> anyhow::Result<Lane> {
        let (ids, workflow) = (self.platform.ids.clone(), workflow.to_owned());
        let encode: Encode = Box::new(move |id| {
            let input = input(id).to_string();
            let start = WorkflowStart { input, ..WorkflowStart::new(id.to_string(), &workflow) };
            let value = ids.frame(&start).expect("every schema is registered");
            (start.id, value)
        });
        self.lane_to("ours", Topic::Feed(Kind::Workflow), encode)
    }

    /// A way from a topic to the ends of workflows.
    pub(crate) fn lane_to(&self, name: &str, topic: Topic, encode: Encode) -> anyhow::Result<Lane> {
        let Platform { brokers, broker_pid, .. } = &self.platform;
        Lane::new(brokers, *broker_pid, name, self.platform.topic(topic), &self.probe, encode)
    }

    /// Flies a lane, and counts what our processes use.
    pub(crate) fn fly(&self, lane: &Lane, plan: Plan) -> anyhow::Result<Leg> {
        self.fly_after(lane, plan.rate, WARM, plan.seconds)
    }

    /// Starts one workflow, and waits for its end as long as the lane does.
    pub(crate) fn fly_one(&self, lane: &Lane) -> anyhow::Result<Leg> {
        self.fly_after(lane, 1, 0.0, 1.0)
    }

    fn fly_after(&self, lane: &Lane, rate: u64, warm: f64, seconds: f64) -> anyhow::Result<Leg> {
        let mut before = self.cpu();
        let counts_from = (warm * crate::lane::precise(rate)).round() as u64;
        let flown = lane.fly_and(rate, warm, seconds, |nth| {
            if nth == counts_from {
                before = self.cpu();
            }
        })?;
        Ok(Leg { flown, cpu: self.cpu() - before })
    }

    /// What the last workflow that ended gave.
    pub(crate) fn last_result(&self) -> Option<String> {
        self.last_result.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the ends of workflows that succeeded off `results`. Others are said, and so are missing.
fn successes(platform: &Platform, last: Arc<Mutex<Option<String>>>) -> anyhow::Result<Probe> {
    let ids = platform.ids.clone();
    let results = platform.topic(Topic::Results);
    Probe::start(&platform.brokers, &results, move |value| {
        let event = ids.read::<ExecutionEvent>(value).ok()?;
        if event.kind != Kind::Workflow || !event.event_type.is_terminal() {
            return None;
        }
        if event.event_type != EventType::Succeeded {
            let (id, why) = (event.execution_id, event.error);
            tracing::warn!(id, ?why, "a workflow did not succeed");
            return None;
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = event.data;
        Id::at_front(&event.execution_id)
    })
}

/// Makes workflows known.
fn propose(platform: &Platform, workflows: &[Value]) -> anyhow::Result<()> {
    let (producer, failures) = client::producer(&platform.brokers)?;
    let topic = platform.topic(Topic::Definitions);
    for workflow in workflows {
        let name = workflow["metadata"]["name"].as_str().context("a workflow without a name")?;
        let kind = DefinitionKind::Workflow;
        let proposal = DefinitionProposed {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            tenant: DEFAULT_TENANT.into(),
            name: name.into(),
            expects: 0,
            body: Some(workflow.to_string()),
            proposed_by: "bench".into(),
            time: now(),
        };
        let value = platform.ids.frame(&proposal)?;
        let key = format!("{}/{DEFAULT_TENANT}/{name}", kind.as_str());
        let record = BaseRecord::to(&topic).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PUBLISHED).context("publishing the workflows")?;
    if failures.count() > 0 {
        bail!("the workflows were not acknowledged");
    }
    Ok(())
}

//! How a node begins: what it asks of others, and what is done at once.

use serde_json::Value;

use super::document::Document;
use super::entry::{Asked, Entry, NodeState, Step, Task, name};
use super::flow::Spent;
use super::state::{At, Machine, index, number};
use super::{Announcement, Damaged, Effect, Memory, Publication, Request};
use crate::answer::{Cost, ErrorClass, Failure, Usage};
use crate::event::EventType;
use crate::id;
use crate::request::{
    AgentMessage, FunctionCall, ModelRequest, Operation, Origin, OriginKind, WorkflowStart,
};
use crate::topic;
use crate::workflow::definition::{ChildMode, Kind};
use crate::workflow::template::Template;

impl<M: Memory> Machine<'_, M> {
    /// Begins what stood at the head of the line, if it may still.
    pub(super) fn start(&mut self, task: Task) -> Result<(), Damaged> {
        let at = At { frame: task.frame, node: index(task.node) };
        if self.peek(&at.frame).is_none() {
            return Ok(());
        }
        let state = self.state_of(&at)?;
        if task.body {
            return match state {
                NodeState::Running => self.go_on_with_body(&at),
                _ => Ok(()),
            };
        }
        if state != NodeState::Ready {
            return Ok(());
        }
        self.set_state(&at, NodeState::Running)?;
        if !self.program.is_compensation(at.node) {
            self.begin_deadlines(&at)?;
        }
        let program = self.program;
        match &program.node(at.node).kind {
            Kind::Transform { value } => match self.evaluate(&at, value) {
                Ok(value) => self.succeed(&at, value, Spent::default()),
                Err(failure) => self.give_up(&at, failure, Spent::default()),
            },
            Kind::Switch { .. } | Kind::Fork => {
                self.succeed(&at, Document::null(), Spent::default())
            }
            Kind::Join { .. } => Err(Damaged(format!("a join that begins: {at:?}"))),
            Kind::Fail { message, code } => {
                let failure = match self.text(&at, message) {
                    Ok(message) => {
                        let code = code.as_deref().unwrap_or("failed");
                        Failure::new(ErrorClass::Invalid, code, message).from_source("workflow")
                    }
                    Err(failure) => failure,
                };
                self.give_up(&at, failure, Spent::default())
            }
            Kind::End { result } => self.end(&at, result.as_ref()),
            kind => self.attempt(&at, kind),
        }
    }

    /// An `end` ends its scope: with its own result, or the scope's.
    fn end(&mut self, at: &At, result: Option<&Template>) -> Result<(), Damaged> {
        let outcome = match result {
            Some(result) => self.evaluate(at, result),
            None => self.result_of(&at.frame)?,
        };
        if let Err(failure) = outcome {
            return self.fall_back(at, failure, Spent::default());
        }
        let announcement = self.of_step(EventType::StepSucceeded, at);
        self.announce(announcement);
        self.set_state(at, NodeState::Succeeded)?;
        self.end_frame(&at.frame, outcome)
    }

    /// The next attempt of a step that takes time.
    fn attempt(&mut self, at: &At, kind: &Kind) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        let mut run = match self.step_of(&step) {
            Some(run) => Step { attempt: run.attempt + 1, until: None, ..run.clone() },
            None => Step {
                frame: at.frame.clone(),
                node: number(at.node),
                attempt: 1,
                started: self.now,
                ..Step::default()
            },
        };
        if let Some(timeout) = self.program.node(at.node).policy.timeout_ms
            && run.attempt == 1
        {
            let due = self.now.plus(i64::try_from(timeout).unwrap_or(i64::MAX));
            self.effect(Effect::SetTimer { timer: format!("timeout/{step}"), due });
        }
        // What is around others is gone through again: they have outputs of their own.
        let reused = match kind {
            Kind::Map { .. } | Kind::Loop { .. } => None,
            _ => self.value(&name::reuse(&step)),
        };
        if let Some(output) = reused {
            self.memory.remove(&name::reuse(&step));
            self.put_step(&step, run);
            let data = format!(r#"{{"node":"{}","reused":true}}"#, kind.as_str());
            let begun = self.of_step(EventType::StepStarted, at);
            self.announce(Announcement { data: Some(data), ..begun });
            return self.succeed(at, output, Spent::default());
        }
        match kind {
            Kind::Map { .. } | Kind::Loop { .. } => {
                self.put_step(&step, run);
                self.begin_body(at, &step)
            }
            Kind::Wait(wait) => {
                self.put_step(&step, run);
                self.begin_wait(at, &step, wait)
            }
            Kind::Emit { .. } => {
                self.put_step(&step, run.clone());
                match self.publication(at, &step, &run, kind) {
                    Ok(call) => {
                        self.started(at, None);
                        let attempt = run.attempt;
                        self.effect(Effect::Want { step, attempt, call: Box::new(call) });
                        Ok(())
                    }
                    Err(failure) => self.fall_back(at, failure, Spent::default()),
                }
            }
            _ => {
                let request = self.request(at, &step, &run, kind);
                self.put_step(&step, run.clone());
                let request = match request {
                    Ok(request) => request,
                    Err(failure) => return self.give_up(at, failure, Spent::default()),
                };
                let (kind, id, input) = described(&request);
                self.started(at, Some((kind, &id, input)));
                let detached =
                    matches!(&request, Request::Workflow(child) if child.origin.is_none());
                self.effect(Effect::Ask(Box::new(request)));
                if detached {
                    let output = Document::from(&serde_json::json!({"execution_id": id}));
                    return self.succeed(at, output, Spent::default());
                }
                run.asked = Some(Asked { kind, id });
                self.put_step(&step, run);
                Ok(())
            }
        }
    }

    /// Tells that an attempt has begun.
    pub(super) fn started(&mut self, at: &At, asked: Option<(topic::Kind, &str, String)>) {
        let kind = self.program.node(at.node).kind.as_str();
        let data = match asked {
            // The input is JSON already.
            Some((asked, id, input)) => {
                let id = Value::from(id);
                let asked = asked.as_str();
                format!(
                    r#"{{"node":"{kind}","asked":"{asked}","execution_id":{id},"input":{input}}}"#
                )
            }
            None => format!(r#"{{"node":"{kind}"}}"#),
        };
        self.announce(Announcement {
            data: Some(data),
            ..self.of_step(EventType::StepStarted, at)
        });
    }

    fn request(&self, at: &At, step: &str, run: &Step, kind: &Kind) -> Result<Request, Failure> {
        let id = id::derived(self.id, step, run.attempt);
        let origin = Some(Origin {
            kind: OriginKind::Workflow,
            id: self.id.to_owned(),
            step: step.to_owned(),
            attempt: run.attempt,
        });
        let Self { execution, .. } = self;
        let (tenant, labels) = (execution.tenant.clone(), execution.labels.clone());
        let priority = execution.priority;
        let empty = || Document::trusted("{}".to_owned());
        Ok(match kind {
            Kind::Model { model, operation, request } => {
                let body = self.evaluate(at, request)?.text().to_owned();
                let operation: Operation = *operation;
                let request = ModelRequest::new(id, model.clone(), body);
                Request::Model(ModelRequest {
                    tenant,
                    origin,
                    priority,
                    labels,
                    operation,
                    ..request
                })
            }
            Kind::Agent { agent, input, session } => {
                let content = input.as_ref().map(|input| self.text(at, input)).transpose()?;
                let session = session.as_ref().map(|session| self.text(at, session)).transpose()?;
                Request::Agent(AgentMessage {
                    session: session.unwrap_or_else(|| id.clone()),
                    content: content.unwrap_or_default(),
                    tenant,
                    origin,
                    priority,
                    labels,
                    ..AgentMessage::new(id, agent.clone())
                })
            }
            Kind::Function { name, arguments } => {
                let arguments = arguments.as_ref().map(|it| self.evaluate(at, it)).transpose()?;
                let arguments = arguments.unwrap_or_else(empty).text().to_owned();
                Request::Function(FunctionCall {
                    tenant,
                    origin,
                    priority,
                    labels,
                    arguments,
                    ..FunctionCall::new(id, name.clone())
                })
            }
            Kind::Workflow { name, pin, input, mode } => {
                let input = input.as_ref().map(|input| self.evaluate(at, input)).transpose()?;
                let (version, alias) = pin.named();
                Request::Workflow(WorkflowStart {
                    tenant,
                    origin: origin.filter(|_| *mode == ChildMode::Attached),
                    priority,
                    labels,
                    version,
                    alias: alias.map(str::to_owned),
                    input: input.unwrap_or_else(empty).text().to_owned(),
                    search_attributes: execution.search_attributes.clone(),
                    ..WorkflowStart::new(id, name.clone())
                })
            }
            _ => {
                let message = "this kind of node asks nobody";
                return Err(Failure::new(ErrorClass::Internal, "no_request", message));
            }
        })
    }

    fn publication(
        &self,
        at: &At,
        step: &str,
        run: &Step,
        kind: &Kind,
    ) -> Result<Publication, Failure> {
        let Kind::Emit { topic, event_type, subject, key, data } = kind else {
            let message = "this kind of node publishes nothing";
            return Err(Failure::new(ErrorClass::Internal, "no_event", message));
        };
        let optional =
            |field: &Option<Template>| field.as_ref().map(|field| self.text(at, field)).transpose();
        Ok(Publication {
            // One event, however often its step is tried.
            id: id::derived(self.id, step, 1),
            tenant: self.execution.tenant.clone(),
            topic: self.text(at, topic)?,
            key: optional(key)?,
            event_type: self.text(at, event_type)?,
            source: format!("/workflows/{}/{step}", self.execution.workflow),
            subject: optional(subject)?,
            time: run.started,
            data: self.evaluate(at, data)?.text().to_owned(),
            trace_parent: self.execution.trace_parent.clone(),
        })
    }

    /// Another processor answered, or an outside call ended.
    pub(super) fn answered(
        &mut self,
        step: &str,
        attempt: i32,
        result: Result<Document, Failure>,
        usage: Option<Usage>,
        cost: Option<Cost>,
    ) -> Result<(), Damaged> {
        let Some(run) = self.step_of(step).cloned() else { return Ok(()) };
        let at = At { frame: run.frame.clone(), node: index(run.node) };
        let is_awaited = run.asked.is_some()
            || matches!(self.program.node(at.node).kind, Kind::Emit { .. }) && run.until.is_none();
        if run.attempt != attempt || !is_awaited || self.state_of(&at)? != NodeState::Running {
            return Ok(());
        }
        self.spend(usage, cost.as_ref());
        let spent = Spent { usage, cost };
        // What ended needs no calling off.
        self.put_step(step, Step { asked: None, ..run });
        match result {
            Ok(output) => self.succeed(&at, output, spent),
            Err(failure) => self.fail(&at, failure, spent),
        }
    }

    fn spend(&mut self, usage: Option<Usage>, cost: Option<&Cost>) {
        if let Some(usage) = usage {
            self.progress.usage.get_or_insert_default().add(usage);
        }
        if let Some(cost) = cost {
            *self.progress.costs.entry(cost.currency.clone()).or_default() += cost.micros;
        }
    }

    /// A step goes on with its next attempt, when the line comes to it.
    pub(super) fn try_again(&mut self, at: &At) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        if self.state_of(at)? != NodeState::Running {
            return Ok(());
        }
        if let Some(Entry::Step(run)) = self.memory.get(&name::step(&step)) {
            let run = Step { until: None, ..(**run).clone() };
            self.put_step(&step, run);
        }
        self.set_raw(at, NodeState::Ready)?;
        self.line_up(Task { frame: at.frame.clone(), node: number(at.node), body: false });
        Ok(())
    }
}

/// What a request is to: its kind, its id, and its input as JSON.
fn described(request: &Request) -> (topic::Kind, String, String) {
    match request {
        Request::Model(it) => (topic::Kind::Model, it.id.clone(), it.body.clone()),
        Request::Workflow(it) => (topic::Kind::Workflow, it.id.clone(), it.input.clone()),
        Request::Function(it) => (topic::Kind::Function, it.id.clone(), it.arguments.clone()),
        Request::Agent(it) => {
            (topic::Kind::Agent, it.id.clone(), Value::from(it.content.as_str()).to_string())
        }
    }
}

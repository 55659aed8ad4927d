//! How nodes lead to nodes: edges are decided, what they lead to is considered, and a scope ends.

use super::document::Document;
use super::entry::{EdgeState, Entry, NodeState, Parent, Task, name};
use super::state::{At, MAIN, Machine, index, number};
use super::{Announcement, Damaged, Effect, Memory};
use crate::answer::{Cost, ErrorClass, Failure, Usage};
use crate::event::EventType;
use crate::workflow::compile::{OnFailure, Route};
use crate::workflow::definition::Kind;

/// What an attempt used and cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    pub(super) usage: Option<Usage>,
    pub(super) cost: Option<Cost>,
}

impl<M: Memory> Machine<'_, M> {
    /// Begins a run of a scope.
    pub(super) fn open(
        &mut self,
        path: &str,
        scope: usize,
        parent: Option<Parent>,
    ) -> Result<(), Damaged> {
        self.make_frame(path, scope, parent);
        let program = self.program;
        for node in &program.compiled.graph.scopes[scope].starts {
            self.make_ready(&At { frame: path.to_owned(), node: *node })?;
        }
        Ok(())
    }

    /// A node may run: it joins the line.
    fn make_ready(&mut self, at: &At) -> Result<(), Damaged> {
        self.set_state(at, NodeState::Ready)?;
        self.line_up(Task { frame: at.frame.clone(), node: number(at.node), body: false });
        Ok(())
    }

    /// Decides the edges of what is decided, and what follows from them, until nothing does.
    pub(super) fn settle(&mut self) -> Result<(), Damaged> {
        while let Some(at) = self.decided.pop_front() {
            if self.over {
                return Ok(());
            }
            if self.program.is_compensation(at.node) {
                self.undo_next()?;
                continue;
            }
            if self.frame(&at.frame).is_none() {
                continue;
            }
            match self.decide_edges(&at)? {
                Ok(()) => {}
                Err(failure) => {
                    self.end_frame(&at.frame, Err(failure))?;
                    continue;
                }
            }
            if self.over {
                return Ok(());
            }
            if self.frame(&at.frame).is_some_and(|frame| frame.undecided == 0) {
                let result = self.result_of(&at.frame)?;
                self.end_frame(&at.frame, result)?;
            }
        }
        Ok(())
    }

    /// Decides the edges of a node. The failure is that of a condition, and the scope's.
    fn decide_edges(&mut self, at: &At) -> Result<Result<(), Failure>, Damaged> {
        let state = self.state_of(at)?;
        let program = self.program;
        let shape = program.shape(at.node);
        let case = match (&program.node(at.node).kind, state) {
            (Kind::Switch { cases, .. }, NodeState::Succeeded) => {
                match self.first_case(at, cases) {
                    Ok(case) => Some(case),
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            _ => None,
        };
        for edge in &shape.outgoing {
            let target =
                At { frame: at.frame.clone(), node: program.compiled.graph.edges[*edge].to };
            let is_open = self.edge_state(&at.frame, *edge)? == EdgeState::Open;
            if !is_open || self.state_of(&target)? != NodeState::Waiting {
                continue;
            }
            let arrival = match state {
                NodeState::Succeeded => {
                    match self.is_taken(at, &program.compiled.graph.edges[*edge].route, case) {
                        Ok(true) => EdgeState::Taken,
                        Ok(false) => EdgeState::NotTaken,
                        Err(failure) => return Ok(Err(failure)),
                    }
                }
                NodeState::Failed => match shape.on_failure {
                    OnFailure::Branch(branch) if branch == *edge => EdgeState::Taken,
                    OnFailure::Arrives => EdgeState::Failed,
                    _ => EdgeState::NotTaken,
                },
                _ => EdgeState::NotTaken,
            };
            self.arrive(&target, *edge, arrival)?;
            if self.over || self.frame(&at.frame).is_none() {
                return Ok(Ok(()));
            }
        }
        Ok(Ok(()))
    }

    fn is_taken(
        &self,
        at: &At,
        route: &Route,
        case: Option<Option<usize>>,
    ) -> Result<bool, Failure> {
        Ok(match route {
            Route::Always => true,
            Route::Failure => false,
            Route::When(edge) => {
                let scope = self.program.node(at.node).scope;
                let edge = &self.program.definition().scopes[scope].edges[*edge];
                match &edge.when {
                    None => true,
                    Some(when) => self.holds(at, when)?,
                }
            }
            Route::Cases { cases, otherwise } => match case.flatten() {
                Some(case) => cases.contains(&case),
                None => *otherwise,
            },
        })
    }

    /// An edge is decided: whether its target may run now.
    fn arrive(&mut self, target: &At, edge: usize, arrival: EdgeState) -> Result<(), Damaged> {
        let program = self.program;
        if let Kind::Join { policy, .. } = &program.node(target.node).kind {
            return self.arrive_at_join(target, policy, edge, arrival);
        }
        self.set_edge(&target.frame, edge, arrival)?;
        let mut is_taken = false;
        for edge in &program.shape(target.node).incoming {
            match self.edge_state(&target.frame, *edge)? {
                EdgeState::Open => return Ok(()),
                EdgeState::Taken => is_taken = true,
                EdgeState::NotTaken | EdgeState::Failed => {}
            }
        }
        match is_taken {
            true => self.make_ready(target),
            false => self.skip(target),
        }
    }

    /// None of a node's edges was taken.
    pub(super) fn skip(&mut self, at: &At) -> Result<(), Damaged> {
        self.set_state(at, NodeState::Skipped)?;
        self.forget_step(at);
        let announcement = self.of_step(EventType::StepSkipped, at);
        self.announce(announcement);
        self.decided.push_back(at.clone());
        Ok(())
    }

    /// A step gave an output.
    pub(super) fn succeed(
        &mut self,
        at: &At,
        output: Document,
        spent: Spent,
    ) -> Result<(), Damaged> {
        if output.text().len() > super::MAX_VALUE_BYTES {
            return self.give_up(at, too_large(output.text().len()), spent);
        }
        self.succeeded(at, Some(output), None, spent)
    }

    /// The same, of an output that may lie in pieces, or stand for a failure.
    pub(super) fn succeeded(
        &mut self,
        at: &At,
        output: Option<Document>,
        instead_of: Option<Failure>,
        spent: Spent,
    ) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        self.announce(Announcement {
            data: output.as_ref().map(|output| output.text().to_owned()),
            error: instead_of,
            usage: spent.usage,
            cost: spent.cost,
            ..self.of_step(EventType::StepSucceeded, at)
        });
        self.forget_step(at);
        if let Some(output) = output.filter(|_| self.program.is_read[at.node]) {
            self.memory.put(&name::output(&step), Entry::Value(output));
        }
        self.set_state(at, NodeState::Succeeded)?;
        if self.program.shape(at.node).compensate.is_some() {
            self.note_undoable(at)?;
        }
        self.decided.push_back(at.clone());
        Ok(())
    }

    /// A step lost, or its scope ended without it.
    pub(super) fn cancel_step(&mut self, at: &At, reason: Option<&str>) -> Result<(), Damaged> {
        let state = self.state_of(at)?;
        if !state.is_open() {
            return Ok(());
        }
        if state == NodeState::Running {
            self.stop_work(at, reason)?;
        }
        // One that is to be tried again has begun, too.
        let step = self.program.step(&at.frame, at.node);
        let is_retried = state == NodeState::Ready && self.step_of(&step).is_some();
        if state == NodeState::Running || is_retried {
            let announcement = self.of_step(EventType::StepCancelled, at);
            self.announce(announcement);
        }
        self.forget_step(at);
        self.set_state(at, NodeState::Cancelled)
    }

    /// Calls off what a running step asked for or waits for.
    pub(super) fn stop_work(&mut self, at: &At, reason: Option<&str>) -> Result<(), Damaged> {
        let step = self.program.step(&at.frame, at.node);
        let Some(run) = self.step_of(&step).cloned() else { return Ok(()) };
        self.call_off(at, &run, reason);
        match &self.program.node(at.node).kind {
            Kind::Map { .. } => self.cancel_items(&step, &run, reason),
            Kind::Loop { .. } => {
                self.cancel_frame(&format!("{step}[{}]", run.iteration), reason)?;
                self.memory.remove(&name::last(&step));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Nothing of a step is awaited any more.
    pub(super) fn forget_step(&mut self, at: &At) {
        let step = self.program.step(&at.frame, at.node);
        let Some(run) = self.step_of(&step).cloned() else { return };
        let node = self.program.node(at.node);
        if node.policy.timeout_ms.is_some() {
            self.effect(Effect::ClearTimer(format!("timeout/{step}")));
        }
        if run.until.is_some() {
            let what = waits_as(&node.kind);
            self.effect(Effect::ClearTimer(format!("{what}/{step}")));
        }
        self.memory.remove(&name::step(&step));
    }

    /// Cancels all that is open in a frame, and drops it.
    pub(super) fn cancel_frame(&mut self, path: &str, reason: Option<&str>) -> Result<(), Damaged> {
        if self.frame(path).is_none() {
            return Ok(());
        }
        self.cancel_open(path, reason)?;
        self.leave(path)
    }

    /// Cancels all that is open in a frame.
    pub(super) fn cancel_open(&mut self, path: &str, reason: Option<&str>) -> Result<(), Damaged> {
        for at in self.nodes_of(path) {
            self.cancel_step(&at, reason)?;
        }
        Ok(())
    }

    /// The nodes of a frame.
    pub(super) fn nodes_of(&mut self, path: &str) -> Vec<At> {
        let program = self.program;
        let Some(scope) = self.any_frame(path).map(|frame| index(frame.scope)) else {
            return Vec::new();
        };
        let nodes = program.definition().scopes[scope].nodes.iter();
        nodes.map(|node| At { frame: path.to_owned(), node: *node }).collect()
    }

    /// A scope has come to its end: what isn't decided in it is called off, and its owner goes on.
    pub(super) fn end_frame(
        &mut self,
        path: &str,
        outcome: Result<Document, Failure>,
    ) -> Result<(), Damaged> {
        self.cancel_open(path, None)?;
        let Some(parent) = self.any_frame(path).map(|frame| frame.parent.clone()) else {
            return Ok(());
        };
        let Some(parent) = parent else {
            debug_assert_eq!(path, MAIN, "only the execution's own frame has no parent");
            return match outcome {
                Ok(result) => self.succeed_execution(result),
                Err(failure) => self.fail_execution(failure),
            };
        };
        self.leave(path)?;
        self.body_ended(path, &parent, outcome)
    }

    /// Nothing of a frame that is over is kept, unless something in it may have to be undone.
    fn leave(&mut self, path: &str) -> Result<(), Damaged> {
        let Some(frame) = self.any_frame(path) else { return Ok(()) };
        let (undoable, parent) = (frame.undoable, frame.parent.clone());
        if undoable {
            self.frame_mut(path)?.over = true;
            if let Some(parent) = parent {
                self.frame_mut(&parent.frame)?.undoable = true;
                // What undoes sees the iteration as it was.
                let owner = self.program.step(&parent.frame, index(parent.node));
                if let Some(last) = self.value(&name::last(&owner)) {
                    self.memory.put(&name::last(path), Entry::Value(last));
                }
            }
            return Ok(());
        }
        for at in self.nodes_of(path) {
            let step = self.program.step(path, at.node);
            if self.program.is_read[at.node] {
                self.drop_output(&step);
                self.memory.remove(&name::error(&step));
            }
        }
        self.memory.remove(&name::item(path));
        self.drop_frame(path);
        Ok(())
    }

    /// Removes an output, its pieces included.
    fn drop_output(&mut self, step: &str) {
        if let Some(Entry::Pieces(count)) = self.memory.get(&name::output(step)) {
            for piece in 0..*count {
                self.memory.remove(&name::result(&format!("{step}[{piece}]")));
            }
        }
        self.memory.remove(&name::output(step));
    }
}

/// What the timer is called that ends a step's waiting.
pub(super) fn waits_as(kind: &Kind) -> &'static str {
    match kind {
        Kind::Join { .. } => "join",
        Kind::Wait(_) => "wait",
        _ => "retry",
    }
}

/// The failure of an output that is too large.
pub(super) fn too_large(bytes: usize) -> Failure {
    let limit = super::MAX_VALUE_BYTES;
    let message = format!("the value has {bytes} bytes, at most {limit}");
    Failure::new(ErrorClass::TooLarge, "value_too_large", message).from_source("workflow")
}

//! One fold: the entries that it has looked at, what it does, and the line of what is to begin.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::json;

use super::entry::{Entry, Execution, Frame, NodeState, Parent, Progress, Step, Task, name};
use super::program::Program;
use super::{Admission, Announcement, Damaged, Effect, MAX_BEGUN, Memory};
use crate::answer::Failure;
use crate::event::EventType;
use crate::fact::Order;
use crate::request::OriginKind;
use crate::time::Millis;
use crate::topic::Kind;
use crate::workflow::definition::TOP;
use crate::workflow::limit;
use crate::workflow::run::document::Document;
use crate::workflow::run::entry::EdgeState;

/// The frame of the execution itself.
pub(super) const MAIN: &str = "";

/// A node in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) frame: String,
    pub(super) node: usize,
}

/// A frame as this fold knows it.
struct Loaded {
    frame: Frame,
    changed: bool,
}

/// One fold of an execution.
pub(super) struct Machine<'m, M: Memory> {
    pub(super) program: &'m Program,
    pub(super) id: &'m str,
    pub(super) memory: &'m mut M,
    pub(super) now: Millis,
    pub(super) execution: Execution,
    pub(super) progress: Progress,
    before: Option<Progress>,
    frames: BTreeMap<String, Loaded>,
    /// What is to begin, behind what waits in the entries.
    line: VecDeque<Task>,
    /// Nodes that are decided, and whose edges aren't.
    pub(super) decided: VecDeque<At>,
    effects: Vec<Effect>,
    /// Whether an ending has been put out.
    pub(super) over: bool,
}

impl<'m, M: Memory> Machine<'m, M> {
    /// Takes an execution in, and begins it unless it is to wait.
    pub(super) fn admit(
        program: &'m Program,
        id: &'m str,
        memory: &'m mut M,
        admission: Admission,
        now: Millis,
    ) -> Result<Self, Damaged> {
        let Admission { execution, inputs, not_before, reuse } = admission;
        memory.put(name::EXECUTION, Entry::Execution(Box::new(execution.clone())));
        memory.put(name::INPUTS, Entry::Value(inputs));
        for (step, output) in reuse {
            memory.put(&name::reuse(&step), Entry::Value(output));
        }
        let mut machine = Self::new(program, id, memory, now, execution, Progress::default());
        machine.tell(EventType::Admitted);
        let deadline = machine.execution.deadline;
        if deadline.is_some_and(|due| due <= now) {
            machine.time_out()?;
            return Ok(machine);
        }
        if let Some(due) = deadline {
            machine.effect(Effect::SetTimer { timer: "deadline".into(), due });
        }
        match not_before.filter(|due| *due > now) {
            Some(due) => machine.effect(Effect::SetTimer { timer: "start".into(), due }),
            None => machine.begin()?,
        }
        machine.work()?;
        Ok(machine)
    }

    /// The execution as its entries have it; `None`: there is none.
    pub(super) fn load(
        program: &'m Program,
        id: &'m str,
        memory: &'m mut M,
        now: Millis,
    ) -> Result<Option<Self>, Damaged> {
        let Some(Entry::Execution(execution)) = memory.get(name::EXECUTION) else {
            return Ok(None);
        };
        let Some(Entry::Progress(progress)) = memory.get(name::PROGRESS) else {
            return Err(Damaged("an execution without progress".into()));
        };
        let (execution, progress) = ((**execution).clone(), (**progress).clone());
        let before = Some(progress.clone());
        let machine = Self::new(program, id, memory, now, execution, progress);
        Ok(Some(Self { before, ..machine }))
    }

    fn new(
        program: &'m Program,
        id: &'m str,
        memory: &'m mut M,
        now: Millis,
        execution: Execution,
        progress: Progress,
    ) -> Self {
        Self {
            program,
            id,
            memory,
            now,
            execution,
            progress,
            before: None,
            frames: BTreeMap::new(),
            line: VecDeque::new(),
            decided: VecDeque::new(),
            effects: Vec::new(),
            over: false,
        }
    }

    /// Writes what changed; returns what is to be done.
    pub(super) fn finish(mut self) -> Result<Vec<Effect>, Damaged> {
        if self.over {
            return Ok(self.effects);
        }
        while let Some(task) = self.line.pop_front() {
            let number = self.progress.waiting.next;
            self.progress.waiting.next += 1;
            self.memory.put(&name::waiting(number), Entry::Task(task));
        }
        for (path, loaded) in self.frames {
            if loaded.changed {
                self.memory.put(&name::frame(&path), Entry::Frame(loaded.frame));
            }
        }
        if self.before.as_ref() != Some(&self.progress) {
            self.memory.put(name::PROGRESS, Entry::Progress(Box::new(self.progress)));
        }
        Ok(self.effects)
    }

    /// Settles what is decided and begins what may begin, until nothing is left or this fold did enough.
    pub(super) fn work(&mut self) -> Result<(), Damaged> {
        for _ in 0..MAX_BEGUN {
            self.settle()?;
            if self.over || self.progress.paused {
                return Ok(());
            }
            let Some(task) = self.next_task() else { return Ok(()) };
            self.start(task)?;
        }
        self.settle()?;
        let left = !self.line.is_empty() || !self.progress.waiting.is_empty();
        if left && !self.over && !self.progress.paused {
            self.effect(Effect::SetTimer { timer: "go".into(), due: self.now });
        }
        Ok(())
    }

    /// Nothing that stands in the line is to begin any more.
    pub(super) fn clear_line(&mut self) {
        self.line.clear();
        while self.next_task().is_some() {}
    }

    /// Puts something at the end of the line.
    pub(super) fn line_up(&mut self, task: Task) {
        self.line.push_back(task);
    }

    fn next_task(&mut self) -> Option<Task> {
        while !self.progress.waiting.is_empty() {
            let name = name::waiting(self.progress.waiting.first);
            self.progress.waiting.first += 1;
            let task = match self.memory.get(&name) {
                Some(Entry::Task(task)) => Some(task.clone()),
                _ => None,
            };
            self.memory.remove(&name);
            if task.is_some() {
                return task;
            }
        }
        self.line.pop_front()
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Tells those who follow of something about the execution.
    pub(super) fn tell(&mut self, event_type: EventType) {
        self.tell_with(event_type, None);
    }

    fn tell_with(&mut self, event_type: EventType, data: Option<String>) {
        self.announce(Announcement {
            event_type,
            step: None,
            node: None,
            attempt: None,
            data,
            error: None,
            usage: None,
            cost: None,
            started: None,
        });
    }

    /// What is told of a step, with nothing but its names.
    pub(super) fn of_step(&self, event_type: EventType, at: &At) -> Announcement {
        let step = self.program.step(&at.frame, at.node);
        let run = self.step_of(&step);
        Announcement {
            event_type,
            node: Some(at.node),
            attempt: run.map(|run| run.attempt),
            started: run.map(|run| run.started),
            step: Some(step),
            data: None,
            error: None,
            usage: None,
            cost: None,
        }
    }

    pub(super) fn announce(&mut self, announcement: Announcement) {
        self.effect(Effect::Announce(Box::new(announcement)));
    }

    /// The frame of this name, if there is one that isn't over.
    pub(super) fn frame(&mut self, path: &str) -> Option<&Frame> {
        self.any_frame(path).filter(|frame| !frame.over)
    }

    /// The frame of this name, if there is one.
    pub(super) fn any_frame(&mut self, path: &str) -> Option<&Frame> {
        if !self.frames.contains_key(path) {
            let Some(Entry::Frame(frame)) = self.memory.get(&name::frame(path)) else {
                return None;
            };
            let loaded = Loaded { frame: frame.clone(), changed: false };
            self.frames.insert(path.to_owned(), loaded);
        }
        self.frames.get(path).map(|loaded| &loaded.frame)
    }

    /// The same, without keeping it at hand.
    pub(super) fn peek(&self, path: &str) -> Option<&Frame> {
        if let Some(loaded) = self.frames.get(path) {
            return Some(&loaded.frame);
        }
        match self.memory.get(&name::frame(path)) {
            Some(Entry::Frame(frame)) => Some(frame),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn frame_mut(&mut self, path: &str) -> Result<&mut Frame, Damaged> {
        if self.any_frame(path).is_none() {
            return Err(Damaged(format!("no frame {path:?}")));
        }
        let loaded = self.frames.get_mut(path).expect("it was looked up above");
        loaded.changed = true;
        Ok(&mut loaded.frame)
    }

    /// Makes a frame; its nodes wait.
    pub(super) fn make_frame(&mut self, path: &str, scope: usize, parent: Option<Parent>) {
        let program = self.program;
        let nodes = &program.definition().scopes[scope].nodes;
        let state = |node: &usize| match program.is_compensation(*node) {
            true => NodeState::Apart as u8,
            false => NodeState::Waiting as u8,
        };
        let nodes: Vec<u8> = nodes.iter().map(state).collect();
        let undecided = nodes.iter().filter(|state| **state == NodeState::Waiting as u8).count();
        let frame = Frame {
            scope: number(scope),
            parent,
            nodes,
            edges: vec![EdgeState::Open as u8; program.edge_count[scope]],
            undecided: number(undecided),
            undoable: false,
            over: false,
        };
        self.frames.insert(path.to_owned(), Loaded { frame, changed: true });
    }

    /// Drops a frame that is over.
    pub(super) fn drop_frame(&mut self, path: &str) {
        self.frames.remove(path);
        self.memory.remove(&name::frame(path));
    }

    pub(super) fn state_of(&mut self, at: &At) -> Result<NodeState, Damaged> {
        let place = self.program.node_place[at.node];
        let state = self.any_frame(&at.frame).and_then(|frame| frame.nodes.get(place).copied());
        state.map(NodeState::of).ok_or_else(|| Damaged(format!("no state of {at:?}")))
    }

    /// Moves a node; counts it when that decides it.
    pub(super) fn set_state(&mut self, at: &At, state: NodeState) -> Result<(), Damaged> {
        let place = self.program.node_place[at.node];
        let counts = !self.program.is_compensation(at.node);
        let frame = self.frame_mut(&at.frame)?;
        let slot =
            frame.nodes.get_mut(place).ok_or_else(|| Damaged(format!("no place of {at:?}")))?;
        let was_open = NodeState::of(*slot).is_open();
        *slot = state as u8;
        if counts && was_open && !state.is_open() {
            frame.undecided -= 1;
        }
        Ok(())
    }

    /// Writes a node's state, and counts nothing.
    pub(super) fn set_raw(&mut self, at: &At, state: NodeState) -> Result<(), Damaged> {
        let place = self.program.node_place[at.node];
        let slot = self.frame_mut(&at.frame)?.nodes.get_mut(place);
        *slot.ok_or_else(|| Damaged(format!("no place of {at:?}")))? = state as u8;
        Ok(())
    }

    pub(super) fn edge_state(&mut self, path: &str, edge: usize) -> Result<EdgeState, Damaged> {
        let place = self.program.edge_place[edge];
        let state = self.any_frame(path).and_then(|frame| frame.edges.get(place).copied());
        state.map(EdgeState::of).ok_or_else(|| Damaged(format!("no edge {edge} in {path:?}")))
    }

    pub(super) fn set_edge(
        &mut self,
        path: &str,
        edge: usize,
        state: EdgeState,
    ) -> Result<(), Damaged> {
        let place = self.program.edge_place[edge];
        let frame = self.frame_mut(path)?;
        let slot = frame.edges.get_mut(place);
        *slot.ok_or_else(|| Damaged(format!("no edge {edge} in {path:?}")))? = state as u8;
        Ok(())
    }

    pub(super) fn step_of(&self, step: &str) -> Option<&Step> {
        match self.memory.get(&name::step(step)) {
            Some(Entry::Step(run)) => Some(run),
            _ => None,
        }
    }

    pub(super) fn put_step(&mut self, step: &str, run: Step) {
        self.memory.put(&name::step(step), Entry::Step(Box::new(run)));
    }

    pub(super) fn value(&self, name: &str) -> Option<Document> {
        match self.memory.get(name) {
            Some(Entry::Value(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// Begins, or asks for a place where only so many executions of its workflow run at once. Whoever was
    /// asked for by a workflow has one: its parent must not wait for a child that waits for the parent.
    pub(super) fn begin(&mut self) -> Result<(), Damaged> {
        if let Err(failure) = self.make_variables() {
            return self.fail_execution(failure);
        }
        let program = self.program;
        let origin = self.execution.origin.as_ref();
        let is_child = origin.is_some_and(|origin| origin.kind == OriginKind::Workflow);
        let Some(concurrency) = program.definition().concurrency.as_ref().filter(|_| !is_child)
        else {
            return self.begin_top();
        };
        let key = match self.key_of_place() {
            Ok(key) => key,
            Err(failure) => return self.fail_execution(failure),
        };
        let Execution { tenant, workflow, priority, .. } = &self.execution;
        let entity = limit::entity(tenant, workflow, key.as_deref());
        let (limit, priority) = (concurrency.limit, *priority);
        let asked = limit::Acquire { holder: self.id.to_owned(), limit, priority };
        self.ask_for_place(&entity, limit::ACQUIRE, &asked);
        self.progress.place = Some(entity);
        Ok(())
    }

    /// By what executions of its workflow are counted; `None`: all together.
    fn key_of_place(&self) -> Result<Option<String>, Failure> {
        let concurrency = self.program.definition().concurrency.as_ref();
        concurrency.and_then(|it| it.key.as_ref()).map(|key| self.place_key(key)).transpose()
    }

    /// It has to wait for its place.
    pub(super) fn queued(&mut self, place: limit::Queued) {
        if !self.waits_for_place() {
            return;
        }
        let limit::Queued { limit, running, ahead } = place;
        // It was worked out when the place was asked for, and inputs and variables don't change.
        let key = self.key_of_place().unwrap_or_default();
        let data = json!({"limit": limit, "key": key, "running": running, "ahead": ahead});
        self.tell_with(EventType::Queued, Some(data.to_string()));
        if self.progress.paused {
            // Someone was faster than the answer: what was told last is how it stands.
            self.tell(EventType::Paused);
        }
    }

    /// It has a place now.
    pub(super) fn granted(&mut self) -> Result<(), Damaged> {
        if !self.waits_for_place() {
            return Ok(());
        }
        self.begin_top()
    }

    fn waits_for_place(&self) -> bool {
        let progress = &self.progress;
        progress.place.is_some() && progress.started.is_none() && progress.ending.is_none()
    }

    fn begin_top(&mut self) -> Result<(), Damaged> {
        self.progress.started = Some(self.now);
        self.tell(EventType::Started);
        self.open(MAIN, TOP, None)
    }

    /// Somebody else may have the place now.
    pub(super) fn give_place_back(&mut self) {
        if let Some(entity) = self.progress.place.take() {
            let given = limit::Release { holder: self.id.to_owned() };
            self.ask_for_place(&entity, limit::RELEASE, &given);
        }
    }

    fn ask_for_place(&mut self, entity: &str, name: &str, says: &impl Serialize) {
        let payload = serde_json::to_string(says).expect("plain fields are JSON");
        let order = Order::Signal { name: name.into(), payload: Some(payload) };
        self.effect(Effect::Tell { kind: Kind::Workflow, id: entity.to_owned(), order });
    }
}

/// An index as entries have it.
pub(super) fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// An index from an entry.
pub(super) fn index(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

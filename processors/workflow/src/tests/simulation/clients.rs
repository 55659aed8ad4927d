//! The clients: they start workflows, again and with mistakes, and tell them what to do, too early, too late and
//! twice.

use std::collections::BTreeSet;

use domain::answer::Terminal;
use domain::event::ExecutionEvent;
use domain::fact::{Command, Fact, Order};
use domain::request::{DEFAULT_TENANT, WorkflowStart};
use domain::topic::{Kind, Topic};
use runtime::ports::Raw;
use runtime::sim::{Clients, Settled};
use serde_json::{Value, json};

use super::definitions;
use super::models::{INVALID, POISON};

/// So many rounds of waiting, each twice as long as the one before, end everything that can end.
const ROUNDS: u32 = 18;
/// No round takes longer, in milliseconds.
const LONGEST_ROUND: i64 = 900_000;
/// After these rounds everybody is told what it may wait for.
const SIGNALS: [u32; 4] = [4, 7, 10, 13];

/// What clients know.
#[derive(Default)]
pub(super) struct Office {
    starts: Vec<WorkflowStart>,
    commands: Vec<(String, Command)>,
    round: u32,
    /// Executions that were cancelled before their start was published.
    pub(super) cancelled_early: BTreeSet<String>,
}

impl Office {
    /// Starts an execution, or one again.
    pub(super) fn start(&mut self, clients: &mut Clients<'_>) {
        let again = !self.starts.is_empty() && clients.rng.percent(8);
        let mut start = if again {
            clients.rng.one_of(&self.starts).clone()
        } else {
            let start = new_start(clients, self.starts.len() + 1);
            self.starts.push(start.clone());
            start
        };
        let id = start.id.clone();
        if again && clients.rng.percent(50) {
            // Another start under the same id: the first one stands.
            start.workflow = "chain".into();
        }
        if !again && clients.rng.percent(12) {
            let order = self.tell(clients, &start);
            // A map of no items is done in the fold that admits it.
            if matches!(order, Order::Cancel { .. }) && start.workflow != "map" {
                self.cancelled_early.insert(id.clone());
            }
        }
        let value = clients.framed(&start);
        if clients.rng.percent(4) {
            clients.publish(Kind::Workflow, &id, value.slice(..value.len() - 1), None);
        }
        let number = self.starts.len();
        let partition = number.is_multiple_of(9).then_some(i32::from(number.is_multiple_of(2)));
        clients.note(&format!("start {id} {} {}", start.workflow, start.input));
        clients.publish(Kind::Workflow, &id, value, partition);
        clients.accept(&id);
    }

    /// Tells one of the latest executions something, or any.
    pub(super) fn command(&mut self, clients: &mut Clients<'_>) {
        if self.starts.is_empty() {
            return;
        }
        match clients.rng.below(20) {
            0..=2 => repeat_an_answer(clients),
            3 | 4 if !self.commands.is_empty() => {
                let (id, command) = clients.rng.one_of(&self.commands).clone();
                clients.note(&format!("{id} is told {} again", command.id));
                clients.command(Kind::Workflow, &id, command);
            }
            5..=8 => {
                let start = clients.rng.one_of(&self.starts).clone();
                self.tell(clients, &start);
            }
            _ => {
                let latest = self.starts.len().saturating_sub(8);
                let start = clients.rng.one_of(&self.starts[latest..]).clone();
                self.tell(clients, &start);
            }
        }
    }

    /// Tells an execution something; of half of those that wait for a signal it is one.
    fn tell(&mut self, clients: &mut Clients<'_>, start: &WorkflowStart) -> Order {
        let waits = clients.rng.percent(50);
        let order = match (start.workflow.as_str(), clients.rng.below(11)) {
            ("approval", nth) if waits => {
                signal("decision", &json!({"approved": nth.is_multiple_of(2)}))
            }
            ("waits", 0..=5) if waits => signal("go", &json!({"ok": true})),
            ("waits", 6 | 7) if waits => signal("go", &json!({"ok": "perhaps"})),
            ("waits", _) if waits => signal("stop", &Value::Null),
            (_, 0 | 1) => Order::Cancel { reason: Some("enough".into()) },
            (_, 2..=5) => Order::Pause,
            (_, 6..=9) => Order::Resume,
            _ => signal("nobody", &json!(1)),
        };
        self.order(clients, &start.id, order.clone());
        order
    }

    fn order(&mut self, clients: &mut Clients<'_>, id: &str, order: Order) {
        clients.note(&format!("{id} is told {order:?}"));
        let number = self.commands.len();
        let tenant = DEFAULT_TENANT.into();
        let command = Command { id: format!("command-{number}"), tenant, order };
        self.commands.push((id.to_owned(), command.clone()));
        clients.command(Kind::Workflow, id, command);
    }

    /// Whoever is paused goes on, time passes, and all that is waited for comes.
    pub(super) fn settle(&mut self, clients: &mut Clients<'_>) -> Settled {
        let ended = ended(clients);
        let open: Vec<String> =
            started(clients).into_iter().filter(|id| !ended.contains(id)).collect();
        if open.is_empty() || self.round > ROUNDS {
            return Settled::Done;
        }
        let own = self.starts.iter().map(|start| start.id.clone());
        let own: Vec<String> = own.filter(|id| open.contains(id)).collect();
        for id in own {
            if self.round == 0 {
                self.order(clients, &id, Order::Resume);
            }
            if SIGNALS.contains(&self.round) {
                self.order(clients, &id, signal("go", &json!({"ok": true})));
                self.order(clients, &id, signal("stop", &json!(1)));
            }
        }
        clients.pass((100_i64 << self.round).min(LONGEST_ROUND));
        self.round += 1;
        Settled::NotYet
    }
}

fn new_start(clients: &mut Clients<'_>, number: usize) -> WorkflowStart {
    let name = *clients.rng.one_of(&definitions::NAMES);
    let texts = ["hello", "hello", "hello", "hello", "hello", "hello", INVALID, POISON];
    let text = *clients.rng.one_of(&texts);
    let items = ["one", "two", "three", "four", "five"];
    let items = &items[..clients.rng.below(items.len() + 1)];
    let key = format!("key-{}", clients.rng.below(2));
    let input = match clients.rng.below(40) {
        0 => json!({"text": 1}).to_string(),
        1 => "[".to_owned(),
        _ => json!({"text": text, "items": items, "key": key}).to_string(),
    };
    let priority = clients.rng.below(3) as i32;
    let now = clients.now();
    let not_before = clients.rng.percent(8).then(|| now.plus(150));
    let deadline = clients.rng.percent(8).then(|| now.plus(600));
    // Not every process knows the second version yet.
    let version = (name == "chain" && clients.rng.percent(50)).then_some(2);
    WorkflowStart {
        input,
        priority,
        not_before,
        deadline,
        version,
        ..WorkflowStart::new(format!("w{number}"), name)
    }
}

fn signal(name: &str, payload: &Value) -> Order {
    Order::Signal { name: name.into(), payload: Some(payload.to_string()) }
}

/// Somebody writes one of the latest answers again, as no processor does; half of the time one that says that
/// a call failed.
fn repeat_an_answer(clients: &mut Clients<'_>) {
    let topic = Topic::Log(Kind::Workflow);
    let nth = clients.rng.below(5);
    let failed = clients.rng.percent(50);
    let is_meant = |raw: &&Raw| match clients.ids().read_fact(&raw.value) {
        Ok(Fact::Answer(answer)) => !failed || answer.status == Terminal::Failed,
        _ => false,
    };
    let answers: Vec<Raw> = clients.records(topic).filter(is_meant).cloned().collect();
    let Some(raw) = answers.into_iter().rev().nth(nth) else { return };
    clients.note("an answer comes again");
    clients.repeat(topic, &raw);
}

/// Every execution that anybody asked for.
pub(super) fn started(clients: &Clients<'_>) -> BTreeSet<String> {
    let records = clients.records(Topic::Feed(Kind::Workflow));
    let starts = records.filter_map(|raw| clients.ids().read::<WorkflowStart>(&raw.value).ok());
    starts.map(|start| start.id).collect()
}

fn ended(clients: &Clients<'_>) -> BTreeSet<String> {
    let events = clients.records(Topic::Results);
    let events = events.filter_map(|raw| clients.ids().read::<ExecutionEvent>(&raw.value).ok());
    events.filter(|event| event.event_type.is_terminal()).map(|it| it.execution_id).collect()
}

//! Schedules under the runtime's own machine: from a definition in the catalogue to starts, and what becomes of
//! them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use domain::schedule::execution_id;
use domain::schedule::life::record_id;
use runtime::ports::{ClusterError, Outgoing, Publish};

use super::*;
use crate::announcer::{self, Announcer};

/// The schedule of these tests.
const ID: &str = "@schedule/default/nightly";
const MINUTE: i64 = 60_000;

/// A partition with a workflow and an announcer.
struct Clock {
    world: World,
    announcer: Announcer,
}

/// Due every minute.
fn minutely(more: Value) -> Value {
    let mut definition = json!({"workflow": "chain", "cron": "* * * * *", "input": {"text": "hi"}});
    for (name, value) in more.as_object().expect("fields") {
        definition[name] = value.clone();
    }
    definition
}

fn proposal(name: &str, expects: i32, definition: Option<&Value>) -> DefinitionProposed {
    DefinitionProposed {
        id: format!("{name}-{expects}"),
        kind: DefinitionKind::Schedule,
        tenant: "default".into(),
        name: name.into(),
        expects,
        body: definition.map(Value::to_string),
        proposed_by: "test".into(),
        time: Millis(0),
    }
}

impl Clock {
    /// With a schedule, created in the first second.
    fn of(definition: &Value) -> Self {
        let mut clock = Self { world: World::knowing(chain()), announcer: Announcer::default() };
        clock.says(0, Some(definition));
        clock
    }

    /// The schedule says something else from here on; `None`: it is deleted.
    fn says(&mut self, expects: i32, definition: Option<&Value>) {
        self.world.definitions.apply(proposal("nightly", expects, definition));
        self.announce();
    }

    /// Announces what is new, as a process does that has run for a while.
    fn announce(&mut self) {
        for announcement in self.announcer.due(&self.world.definitions.snapshot()) {
            self.world.harness.publish(&announcement);
            self.announcer.stands(&announcement);
        }
    }

    /// Until so many seconds after 1970, when the harness begins at the first.
    fn until(&mut self, from: i64, to: i64) -> &mut Self {
        self.world.harness.pass((to - from) * 1_000);
        self
    }

    /// What was started, by id; copies are the same.
    fn starts(&self) -> BTreeMap<String, WorkflowStart> {
        let mut starts = BTreeMap::<String, WorkflowStart>::new();
        for start in self.world.harness.outputs::<WorkflowStart>(Topic::Feed(Kind::Workflow)) {
            if let Some(before) = starts.insert(start.id.clone(), start.clone()) {
                assert_eq!(before, start, "a copy that isn't one");
            }
        }
        starts
    }

    /// The times for which something was started, in minutes after 1970.
    fn minutes(&self) -> Vec<i64> {
        let minute = |start: &WorkflowStart| start.scheduled_for.expect("a time").0 / MINUTE;
        let mut minutes: Vec<_> = self.starts().values().map(minute).collect();
        minutes.sort_unstable();
        minutes
    }

    /// What was started for this minute ends so.
    fn ends(&mut self, minute: i64, result: Result<Value, Failure>) {
        let id = execution_id(ID, Millis(minute * MINUTE));
        let origin = self.starts()[&id].origin.clone().expect("an origin");
        self.world.harness.append(ID, &answer_to(&id, origin, result));
    }

    fn signal(&mut self, name: &str, payload: Option<&str>) {
        let payload = payload.map(str::to_owned);
        self.world.harness.command(ID, Order::Signal { name: name.into(), payload });
    }

    /// The schedule's rows, each as its type, its label `count` and the minute that it is about.
    fn rows(&mut self) -> Vec<(String, Option<String>, Option<String>)> {
        self.world.harness.pass(1_500);
        let mut rows: Vec<_> =
            self.world.harness.rows().values().filter(|row| row.execution_id == ID).collect();
        rows.sort_by_key(|row| (row.event_time, row.event_id.clone()));
        assert!(rows.iter().all(|row| row.definition.as_deref() == Some("nightly")));
        let of = |row: &domain::log_row::ExecutionLogRecord| {
            let label = |name: &str| row.labels.get(name).cloned();
            (row.event_type.clone(), label("count"), label("scheduledFor"))
        };
        rows.into_iter().map(of).collect()
    }

    fn count(&mut self, event_type: &str) -> usize {
        self.rows().iter().filter(|(of, ..)| of == event_type).count()
    }

    fn told(&self, id: &str) -> Vec<&'static str> {
        let events = self.world.harness.events(id);
        events.iter().map(|event| event.event_type.as_str()).collect()
    }

    /// The entries and timers of an entity that are kept.
    fn kept(&mut self, id: &str) -> Vec<String> {
        self.world.harness.pass(1_500);
        let keys = self.world.harness.state().keys();
        let keys = keys.map(|key| String::from_utf8_lossy(key).replace('\u{1f}', " "));
        let mut kept: Vec<_> = keys
            .filter_map(|key| Some(key.strip_prefix(&format!("{id} "))?.to_owned()))
            .filter(|key| key.starts_with("entry ") || key.starts_with("timer "))
            .collect();
        kept.sort_unstable();
        kept
    }
}

#[test]
fn due_time_starts_its_workflow_once_and_on_time() {
    let labels = json!({"team": "reports"});
    let attributes = json!({"customer": "c-7"});
    let more = json!({"labels": labels, "searchAttributes": attributes, "version": 1});
    let mut clock = Clock::of(&minutely(more));
    clock.until(1, 59);
    assert!(clock.starts().is_empty());
    clock.until(59, 90);
    let starts = clock.starts();
    let id = execution_id(ID, Millis(MINUTE));
    assert_eq!(starts.keys().collect::<Vec<_>>(), [&id]);
    let start = &starts[&id];
    assert_eq!((start.workflow.as_str(), start.version), ("chain", Some(1)));
    assert_eq!(
        (start.input.as_str(), start.scheduled_for),
        (r#"{"text":"hi"}"#, Some(Millis(MINUTE)))
    );
    assert_eq!(json!(start.labels), json!({"team": "reports", "schedule": "nightly"}));
    assert_eq!(json!(start.search_attributes), attributes);
    let origin = start.origin.clone().expect("an origin");
    let asked = (origin.kind, origin.id.as_str(), origin.step.as_str(), origin.attempt);
    assert_eq!(asked, (OriginKind::Workflow, ID, "run", 1));
    assert_eq!(clock.told(ID), ["execution.admitted"]);
    let fired = ("schedule.fired".into(), None, Some("1970-01-01T00:01:00.000Z".into()));
    assert_eq!(clock.rows(), [("execution.admitted".into(), None, None), fired]);
    let rows = clock.world.harness.rows();
    let late = rows.values().find_map(|row| row.timer_lateness_ms).expect("a lateness");
    assert!((0..=10).contains(&late), "{late}");
}

#[test]
fn child_answers_the_schedule_and_is_told_the_time() {
    let mut workflow = chain();
    workflow["spec"]["inputs"]["properties"]["scheduledFor"] = json!({"type": "string"});
    workflow["spec"]["inputs"]["required"] = json!(["text", "scheduledFor"]);
    workflow["spec"]["result"] = json!("{{ inputs.scheduledFor }}");
    let mut clock = Clock::of(&minutely(json!({})));
    clock.world.define(1, Some(workflow));
    clock.until(1, 61);
    let start = clock.starts().into_values().next().expect("a start");
    clock.world.harness.publish(&start);
    for text in ["hello", "done"] {
        let request = clock.world.requests().pop().expect("a request");
        let origin = request.origin.expect("an origin");
        assert_eq!(origin.id, start.id);
        let fact = answer_to(&request.id, origin, Ok(json!({ "text": text })));
        clock.world.harness.append(&start.id, &fact);
    }
    let last = clock.world.harness.events(&start.id).pop().expect("an event");
    assert_eq!(last.data.as_deref(), Some(r#""1970-01-01T00:01:00.000Z""#));
    assert_eq!(last.parent_id.as_deref(), Some(ID));
    clock.until(61, 130);
    assert_eq!(clock.minutes(), [1, 2], "nothing runs any more, so nothing is skipped");
}

#[test]
fn due_times_of_a_restart_fire_once_whatever_was_folded_before() {
    let all = json!({"overlap": "allow", "catchUp": "all"});
    let mut clock = Clock::of(&minutely(all));
    clock.until(1, 61);
    // Nobody is there from 00:01:01 to 00:04:10; then the owner dies again, before any checkpoint.
    clock.world.harness.restart_after(189_000);
    clock.world.harness.pass(100);
    assert_eq!(clock.minutes(), [1, 2, 3, 4]);
    clock.world.harness.restart();
    clock.world.harness.pass(100);
    clock.world.harness.restart_after(10_000);
    clock.world.harness.pass(100);
    assert_eq!(clock.minutes(), [1, 2, 3, 4]);
    assert_eq!(clock.count("schedule.fired"), 4);
    clock.world.harness.pass(45_000);
    assert_eq!(clock.minutes(), [1, 2, 3, 4, 5]);
}

/// By the clock of the broker, whose highest time is what counts.
#[test]
fn clock_that_jumps_lets_no_time_fire_twice_or_early() {
    let all = json!({"overlap": "allow", "catchUp": "all"});
    let mut clock = Clock::of(&minutely(all));
    clock.until(1, 125);
    clock.world.harness.restart_after(600_000);
    clock.world.harness.pass(100);
    assert_eq!(clock.minutes(), (1..=12).collect::<Vec<_>>());
    clock.world.harness.restart_after(-600_000);
    clock.world.harness.pass(500_000);
    assert_eq!(clock.minutes().len(), 12);
    clock.world.harness.pass(150_000);
    assert_eq!(clock.minutes(), (1..=12).collect::<Vec<_>>());
    clock.world.harness.pass(20_000);
    assert_eq!(clock.minutes(), (1..=13).collect::<Vec<_>>());
    assert_eq!(clock.count("schedule.fired"), 13);
}

#[test]
fn newest_of_the_times_that_passed_fires_and_the_others_are_missed() {
    let mut clock = Clock::of(&minutely(json!({})));
    clock.until(1, 61);
    clock.ends(1, Ok(json!(1)));
    clock.world.harness.restart_after(189_000);
    clock.world.harness.pass(100);
    assert_eq!(clock.minutes(), [1, 4]);
    let missed = ("schedule.missed".to_owned(), Some("2".to_owned()), None);
    assert!(clock.rows().contains(&missed), "{:?}", clock.rows());
    let rows = clock.world.harness.rows().values();
    let late = rows.filter_map(|row| row.timer_lateness_ms).max();
    assert!(late.is_some_and(|late| (130_000..131_000).contains(&late)), "{late:?}");
}

#[test]
fn skip_waits_for_the_end_of_what_runs() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "skip"})));
    clock.until(1, 130);
    assert_eq!(clock.minutes(), [1]);
    assert_eq!(clock.count("schedule.skipped"), 1);
    clock.ends(1, Err(overloaded()));
    clock.ends(1, Ok(json!("a second answer")));
    clock.until(132, 190);
    assert_eq!(clock.minutes(), [1, 3]);
}

#[test]
fn queue_starts_the_next_one_when_the_former_ends() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "queue"})));
    clock.until(1, 130);
    assert_eq!(clock.minutes(), [1]);
    clock.world.harness.restart();
    clock.ends(1, Ok(json!(1)));
    assert_eq!(clock.minutes(), [1, 2]);
    clock.ends(2, Ok(json!(1)));
    assert_eq!(clock.kept(ID), ["entry definition", "entry schedule", "timer due"]);
}

#[test]
fn cancel_ends_the_former_before_the_next_one_starts() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "cancel"})));
    clock.until(1, 130);
    assert_eq!(clock.minutes(), [1]);
    let first = execution_id(ID, Millis(MINUTE));
    let cancelled = clock.world.harness.facts().any(|(entity, fact)| {
        let reason = "the schedule nightly starts its next execution";
        entity == first
            && matches!(fact, Fact::Command(Command { order: Order::Cancel { reason: Some(why) }, .. })
                if why == reason)
    });
    assert!(cancelled);
    clock.ends(1, Err(overloaded()));
    assert_eq!(clock.minutes(), [1, 2]);
}

#[test]
fn allow_lets_all_run_each_with_an_entry() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "allow"})));
    clock.until(1, 130);
    assert_eq!(clock.minutes(), [1, 2]);
    let kept = clock.kept(ID);
    assert_eq!(kept.iter().filter(|key| key.starts_with("entry run/")).count(), 2, "{kept:?}");
    clock.ends(1, Ok(json!(1)));
    assert_eq!(clock.kept(ID).len(), kept.len() - 1);
}

#[test]
fn paused_schedule_starts_what_is_asked_for_alone() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "allow"})));
    clock.world.harness.command(ID, Order::Pause);
    clock.until(1, 200);
    assert!(clock.starts().is_empty());
    clock.signal("trigger", None);
    clock.signal("trigger", None);
    assert_eq!(clock.starts().len(), 2);
    clock.signal("trigger", Some(r#"{"id":"t-1"}"#));
    let named = domain::schedule::triggered_id(ID, "t-1");
    assert!(clock.starts().contains_key(&named));
    let stretch = r#"{"from":"1970-01-01T00:01:00Z","to":"1970-01-01T00:03:00Z"}"#;
    clock.signal("backfill", Some(stretch));
    assert_eq!(clock.minutes(), [1, 2, 3, 3, 3]);
    clock.world.harness.restart();
    clock.world.harness.command(ID, Order::Resume);
    clock.until(200, 250);
    assert_eq!(clock.minutes(), [1, 2, 3, 3, 3, 4]);
}

#[test]
fn command_that_a_schedule_cannot_follow_is_a_row_that_says_why() {
    let mut clock = Clock::of(&minutely(json!({})));
    clock.signal("trigger", Some("7"));
    clock.signal("backfill", None);
    clock.signal("backfill", Some(r#"{"from":"yesterday","to":"1970-01-01T00:03:00Z"}"#));
    clock.signal("explode", None);
    clock.world.harness.command(ID, Order::Cancel { reason: None });
    assert_eq!(clock.count("schedule.refused"), 5);
    let rows = clock.world.harness.rows().values();
    let codes: Vec<_> = rows.filter_map(|row| row.error_code.as_deref()).collect();
    assert_eq!(codes, ["invalid_request"; 5]);
    assert!(clock.starts().is_empty());
    assert!(clock.world.harness.alarms().is_empty());
    clock.until(3, 61);
    assert_eq!(clock.minutes(), [1], "it goes on");
}

#[test]
fn replaced_definition_counts_from_then_on_and_older_ones_are_history() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "allow"})));
    clock.until(1, 70);
    let former = clock.world.definitions.snapshot();
    let input = json!({"text": "hourly"});
    let hourly = json!({"cron": "0 * * * *", "overlap": "allow", "input": input});
    clock.says(1, Some(&minutely(hourly)));
    // A process that is behind says what stood before, longer after it than ids of clients are known.
    clock.until(70, 800);
    for late in Announcer::default().due(&former) {
        clock.world.harness.publish(&late);
    }
    clock.until(800, 3_601);
    assert_eq!(clock.minutes(), [1, 60]);
    let last = &clock.starts()[&execution_id(ID, Millis(60 * MINUTE))];
    assert_eq!(last.input, r#"{"text":"hourly"}"#);
    assert_eq!(clock.told(ID), ["execution.admitted"]);
}

#[test]
fn deleted_schedule_starts_nothing_and_nothing_late_makes_it_anew() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "allow"})));
    clock.until(1, 61);
    let former = clock.world.definitions.snapshot();
    clock.says(1, None);
    assert_eq!(clock.told(ID), ["execution.admitted", "execution.cancelled"]);
    clock.ends(1, Ok(json!(1)));
    clock.world.harness.command(ID, Order::Resume);
    clock.signal("trigger", None);
    clock.until(61, 800);
    for late in Announcer::default().due(&former) {
        clock.world.harness.publish(&late);
    }
    clock.until(800, 930);
    assert_eq!(clock.minutes(), [1]);
    assert_eq!(clock.kept(ID), ["entry schedule", "timer forget"]);
    clock.world.harness.restart_after(8 * 24 * 60 * MINUTE);
    assert_eq!(clock.kept(ID), Vec::<String>::new());
    // A new process says again that it is deleted.
    clock.announcer = Announcer::default();
    clock.announce();
    assert_eq!(clock.kept(ID), Vec::<String>::new());
    assert_eq!(clock.told(ID).len(), 2);
}

#[test]
fn schedule_that_is_made_anew_is_another_execution() {
    let mut clock = Clock::of(&minutely(json!({})));
    clock.world.definitions.apply(proposal("nightly", 1, None));
    // The announcer sees both at once.
    clock.says(2, Some(&minutely(json!({"labels": {"again": "yes"}}))));
    assert_eq!(clock.told(ID), ["execution.admitted", "execution.cancelled"]);
    assert_eq!(clock.told("@schedule/default/nightly~3"), ["execution.admitted"]);
    clock.until(1, 61);
    let starts: Vec<_> = clock.starts().into_values().collect();
    let [start] = &starts[..] else { panic!("{starts:?}") };
    assert_eq!(start.labels["again"], "yes");
}

#[test]
fn refused_start_ends_for_its_schedule() {
    let mut clock = Clock::of(&minutely(json!({"overlap": "skip"})));
    clock.world.define(1, None);
    clock.until(1, 61);
    let start = clock.starts().into_values().next().expect("a start");
    clock.world.harness.publish(&start);
    // Admission waits a little for the workflow.
    clock.until(61, 110);
    let letters = clock.world.harness.dead_letters();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].message.contains("no workflow `chain`"), "{letters:?}");
    clock.until(110, 130);
    assert_eq!(clock.minutes(), [1, 2]);
    assert_eq!(clock.count("schedule.skipped"), 0);
}

#[test]
fn nobody_makes_a_schedule_past_the_catalogue() {
    let definition = minutely(json!({}));
    let mut clock = Clock::of(&definition);
    let good = Announcer::default().due(&clock.world.definitions.snapshot()).remove(0);
    clock.world.definitions.apply(proposal("broken", 0, Some(&json!({"cron": "x"}))));
    let forged = minutely(json!({"labels": {"forged": "yes"}})).to_string();
    let origin =
        Origin { kind: OriginKind::Workflow, id: "w-1".into(), step: String::new(), attempt: 1 };
    let broken = Announcer::default().due(&clock.world.definitions.snapshot()).remove(0);
    assert_eq!(broken.schedule.as_deref(), Some("broken"));
    for (start, says) in [
        (WorkflowStart { input: forged, ..good.clone() }, "input isn't what version 1 says"),
        (WorkflowStart { id: format!("{ID}@x"), ..good.clone() }, "doesn't end with `@`"),
        (WorkflowStart { id: "other@1".into(), ..good.clone() }, "id isn't `@schedule/default/"),
        (WorkflowStart { id: record_id(ID, 7), ..good.clone() }, "no version 7 of schedule"),
        (WorkflowStart { tenant: "acme".into(), ..good.clone() }, "no version 1 of schedule"),
        (WorkflowStart { origin: Some(origin), ..good.clone() }, "origin has to be absent"),
        (WorkflowStart { id: "@schedule/x".into(), ..start("chain") }, "begins with `@`"),
        (broken, "input can't be used: error at the definition"),
    ] {
        let before = clock.world.harness.dead_letters().len();
        clock.world.harness.publish(&start);
        clock.world.harness.pass(3_000);
        let letters = clock.world.harness.dead_letters();
        assert_eq!(letters.len(), before + 1, "{says}");
        assert!(letters[before].message.contains(says), "{says}: {}", letters[before].message);
    }
    assert!(clock.world.harness.alarms().is_empty());
}

#[test]
fn announcer_says_each_version_once_and_the_end_of_each_life() {
    let definitions = Definitions::default();
    let body = minutely(json!({}));
    let say = |name: &str, expects, definition: Option<&Value>| {
        definitions.apply(proposal(name, expects, definition));
    };
    for (expects, definition) in [Some(&body), Some(&body), None, Some(&body)].iter().enumerate() {
        say("a", i32::try_from(expects).expect("a few"), *definition);
    }
    say("b", 0, Some(&body));
    let mut announcer = Announcer::default();
    let due = announcer.due(&definitions.snapshot());
    let said: Vec<_> = due.iter().map(|it| (it.id.as_str(), it.input.as_str())).collect();
    let text = body.to_string();
    let expected = [
        ("@schedule/default/a@3", "null"),
        ("@schedule/default/a~4@4", &text),
        ("@schedule/default/b@1", &text),
    ];
    assert_eq!(said, expected);
    assert_eq!((due[0].workflow.as_str(), due[1].workflow.as_str()), ("", "chain"));
    announcer.stands(&due[0]);
    assert_eq!(announcer.due(&definitions.snapshot()), due[1..]);
    due.iter().for_each(|it| announcer.stands(it));
    assert!(announcer.due(&definitions.snapshot()).is_empty());
    say("b", 1, None);
    let due = announcer.due(&definitions.snapshot());
    assert_eq!((due.len(), due[0].id.as_str()), (1, "@schedule/default/b@2"));
}

/// A feed whose first write fails.
#[derive(Default)]
struct Feed {
    tries: Mutex<usize>,
    records: tokio::sync::watch::Sender<Vec<Outgoing>>,
}

#[async_trait]
impl Publish for Feed {
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
        let tries = {
            let mut tries = self.tries.lock().expect("nobody panicked");
            *tries += 1;
            *tries
        };
        if tries == 1 {
            return Err(ClusterError { what: "publish".into(), why: "timed out".into() });
        }
        self.records.send_modify(|records| records.push(record));
        Ok((0, 0))
    }
}

#[tokio::test(start_paused = true)]
async fn announcement_is_written_until_it_stands_and_by_its_schedules_key() {
    let definitions = Definitions::default();
    definitions.apply(proposal("nightly", 0, Some(&minutely(json!({})))));
    let (feed, ids) = (Arc::new(Feed::default()), Ids::for_tests());
    let publisher: Arc<dyn Publish> = feed.clone();
    let task = tokio::spawn(announcer::run(definitions.clone(), publisher, ids.clone()));
    let mut records = feed.records.subscribe();
    assert!(tokio::time::timeout(Duration::from_secs(60), records.changed()).await.is_err());
    definitions.set_caught_up();
    records.changed().await.expect("a record");
    definitions.apply(proposal("nightly", 1, None));
    records.changed().await.expect("a record");
    task.abort();
    let records = records.borrow().clone();
    let read: Vec<WorkflowStart> =
        records.iter().map(|record| ids.read(&record.value).expect("a start")).collect();
    assert_eq!(read[0].id, record_id(ID, 1));
    assert_eq!((read[1].id.as_str(), read[1].input.as_str()), (&*record_id(ID, 2), "null"));
    assert!(records.iter().all(|record| record.key.as_deref() == Some(ID.as_bytes())));
}

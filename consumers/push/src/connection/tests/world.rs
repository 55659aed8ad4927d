//! A model of everything around the machine: a hub with a memory, a store that lags, a client that checks
//! what it is told.

use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent, Position, QueuePlace};
use domain::time::Millis;
use domain::topic::Kind;
use follow::feed::{DOUBT, Doubt};
use serde_json::Value;

use super::super::*;
use crate::message::Credential;

pub(super) const TENANT: &str = "mine";
pub(super) const ID: &str = "e";

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// So many more records are published.
    Publish(usize),
    /// So many more are archived.
    Archive(usize),
    /// One read is answered.
    Answer,
    /// The client takes so many messages.
    Read(usize),
    /// Milliseconds pass.
    Wait(u64),
    /// The connection breaks; the client comes back.
    Cut,
    /// The next record is lost on its way from the topic, and the hub begins anew.
    Lose,
    /// The last record comes again.
    Repeat,
    /// The key is looked at.
    Recheck,
}

pub(super) fn event(generation: i32, number: i64, event_type: EventType) -> ExecutionEvent {
    ExecutionEvent {
        execution_id: ID.into(),
        kind: Kind::Model,
        tenant: TENANT.into(),
        parent_id: None,
        generation,
        number,
        event_type,
        time: Millis(0),
        step: None,
        attempt: None,
        data: None,
        error: None,
        usage: None,
        cost: None,
        data_claim: None,
    }
}

pub(super) fn chunk(attempt: i32, index: i64, text: &str) -> Chunk {
    Chunk {
        execution_id: ID.into(),
        tenant: TENANT.into(),
        fence: 1,
        attempt,
        index,
        kind: if text.is_empty() { ChunkKind::Done } else { ChunkKind::Text },
        choice: 0,
        text: text.into(),
    }
}

/// Where the call waits before a try, said for the `nth` time.
pub(super) fn place(attempt: i32, nth: i64, position: u64) -> Chunk {
    let text = QueuePlace { position, estimated_wait_ms: Some(position * 100) }.to_text();
    Chunk { kind: ChunkKind::Queued, text, ..chunk(attempt, -nth, "") }
}

/// Generation and number of an event, as text.
pub(super) fn ids(text: &str) -> Option<(i64, i64)> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some((value["generation"].as_i64()?, value["number"].as_i64()?))
}

/// All that is published, in its order.
fn script(changed: bool) -> Vec<Record> {
    let event = |generation, number, event_type| {
        Record::Event(event(generation, number, event_type).into())
    };
    let text = |attempt, index, text: &str| Record::Chunk(chunk(attempt, index, text).into());
    let mut script = vec![
        event(0, 1, EventType::Admitted),
        event(0, 2, EventType::Queued),
        event(0, 3, EventType::Started),
    ];
    let place = |attempt, nth, position| Record::Chunk(place(attempt, nth, position).into());
    script.extend((1..4).map(|nth| place(1, nth, 3 - nth.unsigned_abs())));
    script.extend((0..4).map(|index| text(1, index, &format!("lost{index} "))));
    script.push(place(2, 1, 1));
    if changed {
        script.push(event(0, 4, EventType::Queued));
        script.push(event(1, 3, EventType::Queued));
        script.push(event(1, 4, EventType::Started));
    }
    script.extend((0..9).map(|index| text(2, index, &format!("w{index} "))));
    script.push(text(2, 9, ""));
    let (generation, number) = if changed { (1, 5) } else { (0, 4) };
    script.push(event(generation, number, EventType::Succeeded));
    script
}

const TEXT: &str = "w0 w1 w2 w3 w4 w5 w6 w7 w8 ";

/// What a good client does.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) place: Option<Position>,
    pub(super) from_now: bool,
    /// Whether it demands that events follow its place. A liar can't.
    pub(super) trusts: bool,
    pub(super) events: Vec<Position>,
    pub(super) text: String,
    text_place: Option<(i64, i64, i64)>,
    pub(super) resets: usize,
    /// How often it was told where the call waits.
    pub(super) places: usize,
    pub(super) messages: usize,
    pub(super) lagged: usize,
    pub(super) ended: bool,
}

impl Client {
    pub(super) fn forget(&mut self) {
        *self = Self { trusts: self.trusts, ..Self::default() };
    }

    fn subscribe(&self) -> String {
        // Who has text and no event yet says so as well: the place before the first event.
        let place = self.place.or(self.text_place.map(|_| Position::default()));
        let after = match place {
            Some(Position { generation, number }) => {
                let mut after = serde_json::json!({"generation": generation, "number": number});
                if let Some((fence, attempt, index)) = self.text_place {
                    after["output"] =
                        serde_json::json!({"fence": fence, "try": attempt, "index": index});
                }
                after
            }
            None if self.from_now => "now".into(),
            None => "start".into(),
        };
        serde_json::json!({"type": "subscribe", "id": "s", "execution": ID, "after": after})
            .to_string()
    }

    fn take(&mut self, text: &str) {
        self.messages += 1;
        let message: Value = serde_json::from_str(text).expect("JSON");
        match message["type"].as_str().expect("a type") {
            "authenticated" | "subscribed" => {}
            "lagging" => self.lagged += 1,
            "reset" => {
                self.resets += 1;
                self.trusts = true;
                self.place = None;
                self.events.clear();
            }
            "unsubscribed" => self.ended = true,
            "event" => self.event(&message["event"]),
            other => panic!("{other}"),
        }
    }

    fn event(&mut self, event: &Value) {
        assert!(!self.ended, "after the end: {event}");
        let number = |field: &str| event[field].as_i64();
        match event["type"].as_str().expect("a type") {
            "output.delta" => {
                let place = (number("fence"), number("try"), number("index"));
                let (Some(fence), Some(attempt), Some(index)) = place else { panic!("{event}") };
                self.text.push_str(event["text"].as_str().expect("text"));
                self.text_place = Some((fence, attempt, index));
            }
            "output.done" => {}
            // It has no number, and nothing follows from it.
            "execution.queued" if event["number"].is_null() => {
                assert!(event["position"].as_u64().is_some_and(|place| place < 3), "{event}");
                assert_eq!(event["execution_id"], ID);
                self.places += 1;
            }
            "output.reset" => {
                assert!(event["reason"].is_string(), "{event}");
                self.text.clear();
                self.text_place = None;
            }
            _ => {
                let place = Position {
                    generation: number("generation").expect("a generation") as i32,
                    number: number("number").expect("a number"),
                };
                if let Some(last) = self.place.filter(|_| self.trusts) {
                    let next = place.number == last.number + 1;
                    let replaces =
                        place.generation > last.generation && place.number <= last.number;
                    assert!(
                        place.generation >= last.generation && (next || replaces),
                        "{place:?} after {last:?}"
                    );
                }
                self.events.retain(|one| one.number < place.number);
                self.events.push(place);
                self.place = Some(place);
            }
        }
    }
}

pub(super) struct World {
    script: Vec<Record>,
    published: usize,
    archived: usize,
    /// Events below this number are gone from the store.
    kept_from: i64,
    /// What the hub remembers.
    recent: Vec<Record>,
    pub(super) limits: Limits,
    machine: Connection,
    opened: Duration,
    clock: Duration,
    tag: Option<u64>,
    reads: Vec<(u64, Wish)>,
    pub(super) store_away: bool,
    /// When records were lost.
    lost_at: Option<Duration>,
    pub(super) client: Client,
}

impl World {
    pub(super) fn new(changed: bool) -> Self {
        let limits = Limits::default();
        let mut world = Self {
            script: script(changed),
            published: 0,
            archived: 0,
            kept_from: 0,
            recent: Vec::new(),
            limits,
            machine: Connection::new(limits),
            opened: Duration::ZERO,
            clock: Duration::ZERO,
            tag: None,
            reads: Vec::new(),
            store_away: false,
            lost_at: None,
            client: Client { trusts: true, ..Client::default() },
        };
        world.connect();
        world
    }

    pub(super) fn machine(&mut self) -> &mut Connection {
        &mut self.machine
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag.expect("it follows")
    }

    pub(super) fn last_number(&self) -> i64 {
        self.standing(self.script.len()).last().expect("events").number
    }

    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    pub(super) fn forget_before(&mut self, number: i64) {
        self.kept_from = number;
        self.recent.clear();
    }

    fn connect(&mut self) {
        self.machine = Connection::new(self.limits);
        self.opened = self.clock;
        (self.tag, self.reads) = (None, Vec::new());
        if self.client.ended {
            return;
        }
        let now = self.now();
        self.machine.handle_text(now, r#"{"type":"authenticate","key":"k"}"#);
        self.effects();
        let subscribe = self.client.subscribe();
        self.machine.handle_text(now, &subscribe);
        self.effects();
    }

    fn now(&self) -> Now {
        self.clock - self.opened
    }

    fn effects(&mut self) {
        let now = self.now();
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Authenticate { credential, .. } => {
                    assert_eq!(credential, Credential::Key("k".into()));
                    self.machine.handle_identity(now, Ok(TENANT.into()));
                }
                Effect::Follow { tag, execution } => {
                    assert_eq!(execution, ID);
                    self.tag = Some(tag);
                    let soon = self.lost_at.is_some_and(|at| self.clock < at + DOUBT);
                    let doubt = if soon { Doubt::Recent } else { Doubt::None };
                    let remembered = Remembered { records: self.recent.clone(), doubt };
                    self.machine.handle_remembered(now, tag, remembered);
                }
                Effect::Unfollow { tag } => {
                    self.tag = self.tag.filter(|followed| *followed != tag);
                }
                Effect::Read { tag, execution, wish } => {
                    assert_eq!(execution, ID);
                    self.reads.push((tag, wish));
                }
                Effect::Recheck => self.machine.handle_recheck(Ok(())),
                Effect::Ping => self.machine.handle_heard(now),
                Effect::FollowTenant { .. } => panic!("nobody asked for that"),
                Effect::Close(close) => panic!("{close:?}"),
            }
        }
    }

    /// The events that stand after so many records.
    fn standing(&self, upto: usize) -> Vec<ExecutionEvent> {
        let mut events: Vec<ExecutionEvent> = Vec::new();
        for record in &self.script[..upto] {
            if let Record::Event(event) = record {
                events.retain(|one| one.number < event.number);
                events.push((**event).clone());
            }
        }
        events
    }

    fn answer(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let (tag, wish) = self.reads.remove(0);
        let now = self.now();
        if self.store_away {
            return self.machine.handle_history(now, tag, None);
        }
        let all = self.standing(self.archived);
        let standing = all.last().map(|event| {
            let ended = event.event_type.is_terminal();
            (event.position(), if ended { Stands::Ended } else { Stands::Open })
        });
        let mut events = Vec::new();
        if let Wish::Events(after) = wish {
            events = all;
            events.retain(|event| {
                event.number >= self.kept_from
                    && (event.number > after.number || event.generation > after.generation)
            });
        }
        // Pages of two, so that history takes several.
        let rest = if events.len() > 2 { Rest::More } else { Rest::None };
        events.truncate(2);
        self.machine.handle_history(now, tag, Some(History { standing, events, rest }));
    }

    pub(super) fn apply(&mut self, op: Op) {
        let now = self.now();
        match op {
            Op::Publish(count) => {
                for _ in 0..count.min(self.script.len() - self.published) {
                    let record = self.script[self.published].clone();
                    self.published += 1;
                    self.recent.push(record.clone());
                    if let Some(tag) = self.tag {
                        self.machine.handle_record(now, tag, record);
                        self.effects();
                    }
                }
            }
            Op::Archive(count) => self.archived = (self.archived + count).min(self.published),
            Op::Answer => self.answer(),
            Op::Read(count) => {
                for _ in 0..count {
                    match self.machine.poll_message(now) {
                        Some(message) => self.client.take(&said(message)),
                        None => break,
                    }
                    self.effects();
                }
            }
            Op::Wait(ms) => {
                self.clock += Duration::from_millis(ms);
                self.machine.handle_heard(self.now());
                self.machine.handle_time(self.now());
            }
            Op::Cut => self.connect(),
            Op::Lose => {
                self.lost_at = Some(self.clock);
                self.published = (self.published + 1).min(self.script.len());
                self.recent.clear();
                self.machine.handle_interrupted(now);
            }
            Op::Repeat => {
                if let (Some(tag), Some(last)) = (self.tag, self.published.checked_sub(1)) {
                    let record = self.script[last].clone();
                    self.machine.handle_record(now, tag, record);
                }
            }
            Op::Recheck => self.machine.handle_recheck(Ok(())),
        }
        self.effects();
        let bytes = self.machine.outbox.bytes();
        assert!(bytes <= self.limits.queue_bytes + 8 * 1024, "{bytes} bytes wait");
    }

    /// The next small step of an undisturbed run; whether there was one.
    pub(super) fn step_one(&mut self) -> bool {
        if self.client.ended {
            return false;
        }
        let before = self.client.messages;
        self.apply(Op::Answer);
        self.apply(Op::Read(1));
        if self.client.messages == before {
            self.apply(Op::Publish(1));
            self.apply(Op::Archive(1));
            self.apply(Op::Wait(60));
        }
        true
    }

    /// Lets everything come to its end.
    pub(super) fn finish(&mut self) {
        for _ in 0..400 {
            if self.client.ended {
                return;
            }
            self.apply(Op::Publish(1));
            self.apply(Op::Archive(99));
            self.apply(Op::Answer);
            self.apply(Op::Read(99));
            self.apply(Op::Wait(200));
        }
        panic!("it never ended: {:?}\n{:?}", self.client, self.machine);
    }

    pub(super) fn check_whole(&self) {
        let expected: Vec<_> =
            self.standing(self.script.len()).iter().map(ExecutionEvent::position).collect();
        assert_eq!(self.client.events, expected);
        assert!(self.client.ended);
        // Text that was lost on the way ends what a client has of it; nothing is ever doubled or skipped.
        let text = &self.client.text;
        assert!(TEXT.starts_with(text.as_str()), "{text:?}");
        assert!(self.lost_at.is_some() || text == TEXT, "{text:?}");
    }
}

/// The text of a message; an event whose data lies elsewhere is said without.
pub(super) fn said(message: Outgoing) -> String {
    match message {
        Outgoing::Text(text) => text,
        Outgoing::Large { subscription, event } => Outgoing::event_text(&subscription, &event),
    }
}

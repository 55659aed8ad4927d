//! One client's connection as a pure machine: what it says and what happens goes in, messages and effects
//! come out.
//!
//! The driver hands in everything by `handle_*`, with the time since the connection was opened, then carries
//! out [`Connection::poll_effect`] until there is none, and writes [`Connection::poll_message`] for as long
//! as the socket takes it. It comes back at [`Connection::deadline`] at the latest. The machine reads no
//! clock, awaits nothing and knows no socket, no store and no catalogue.
//!
//! A client that falls behind first gets its text in fewer, larger pieces. A subscription for which even
//! that doesn't fit is told that it lags and gets nothing more until all that waits has been read; then it
//! goes on from what the client has, as if it had come back: the events from the store, the text in one
//! piece. A client that takes nothing at all is closed, with the place to resume from.

mod execution;
mod filtered;
mod outbox;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use domain::event::{ExecutionEvent, Position};
use follow::Record;
use follow::feed::{Published, Remembered};

use self::execution::{Ending, Execution, Out};
pub use self::execution::{History, Rest, Stands, Wish};
use self::filtered::Filtered;
use self::outbox::{Item, NOBODY, Outbox, Put, Sent};
use crate::close::{Close, CloseCode, MAX_REASON_BYTES};
use crate::message::{self, After, Credential, Refused, Said, Target, TextPlace, write};

/// Time since the connection was opened.
pub type Now = Duration;

/// How many reads of history one connection has under way.
const READS: usize = 4;

/// Past so many waiting messages the client isn't listened to until it has read some: answers to what it
/// says count as well.
const LISTEN_BELOW: usize = 256;

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the first message may take.
    pub authenticate: Duration,
    /// How often a client is pinged; one that is silent for two of them and a half is closed.
    pub heartbeat: Duration,
    /// How often it is looked whether the key is still good.
    pub recheck: Duration,
    /// How long a client may take nothing while something waits for it.
    pub stall: Duration,
    /// How long a hole in an execution's history may take to be filled.
    pub history_patience: Duration,
    /// How long the end of an execution waits for text that is still on its way: the two come by different
    /// topics.
    pub text_patience: Duration,
    /// The most subscriptions.
    pub subscriptions: usize,
    /// The most items that wait to be sent.
    pub queue_items: usize,
    /// The most bytes of events and text that wait to be sent, but for a single larger one.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            authenticate: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            recheck: Duration::from_secs(15),
            stall: Duration::from_secs(15),
            history_patience: Duration::from_secs(5),
            text_patience: Duration::from_millis(150),
            subscriptions: 100,
            queue_items: 1024,
            queue_bytes: 256 * 1024,
        }
    }
}

/// A message for the client.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// As it is.
    Text(String),
    /// An event whose data lies elsewhere, of this subscription: nothing may be sent before it. The driver
    /// fetches the data, or does without.
    Large {
        /// The subscription's name, as JSON.
        subscription: String,
        /// The event, with a claim check.
        event: Published<ExecutionEvent>,
    },
}

impl Outgoing {
    /// The message of an event.
    #[must_use]
    pub fn event_text(subscription: &str, event: &ExecutionEvent) -> String {
        write::event(subscription, &follow::json::event(event))
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Find out who that is; answer by [`Connection::handle_identity`].
    Authenticate {
        /// What the client presented.
        credential: Credential,
        /// Its own name for itself.
        client: Option<String>,
    },
    /// Look whether the key is still good; answer by [`Connection::handle_recheck`].
    Recheck,
    /// Follow an execution; answer by [`Connection::handle_remembered`], at once.
    Follow {
        /// Under this tag.
        tag: u64,
        /// The execution.
        execution: String,
    },
    /// Follow all of the tenant's executions.
    FollowTenant {
        /// Under this tag.
        tag: u64,
    },
    /// Follow it no more.
    Unfollow {
        /// The tag.
        tag: u64,
    },
    /// Read history; answer by [`Connection::handle_history`].
    Read {
        /// For this tag.
        tag: u64,
        /// Of this execution.
        execution: String,
        /// What.
        wish: Wish,
    },
    /// Send a ping frame.
    Ping,
    /// Close the socket. Nothing comes after it.
    Close(Close),
}

/// What has happened since it was last asked for, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events and pieces of text that were given out.
    pub sent: u64,
    /// Pieces of text that were joined.
    pub coalesced: u64,
    /// Subscriptions that lagged.
    pub lagged: u64,
}

#[derive(Debug)]
enum Phase {
    /// Nobody knows who it is.
    Unknown,
    /// The driver is finding out.
    Asked,
    /// Somebody of this tenant.
    Known { tenant: String },
    /// Nothing goes in or out any more.
    Closed,
}

#[derive(Debug)]
enum Following {
    Execution(Box<Execution>),
    Filtered(Box<Filtered>),
    /// There was no room; it goes on when the client has read what waits.
    Lagging,
    /// Everything is in the outbox.
    Over,
}

#[derive(Debug)]
struct Subscription {
    name: String,
    /// The name as JSON.
    quoted: String,
    target: Target,
    following: Following,
    /// Where it began, as long as nothing was sent.
    after: After,
    event: Option<Position>,
    text: Option<TextPlace>,
}

/// The machine.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    phase: Phase,
    /// Boxed, since a tree makes room for eleven at once and most sockets have one.
    subscriptions: BTreeMap<u64, Box<Subscription>>,
    names: HashMap<String, u64>,
    last_tag: u64,
    outbox: Outbox,
    effects: VecDeque<Effect>,
    reads: usize,
    heard: Now,
    next_ping: Now,
    next_recheck: Now,
    /// Since when something waits that the socket doesn't take.
    waiting_since: Option<Now>,
    counts: Counts,
}

impl Connection {
    /// A connection that has just been opened.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            phase: Phase::Unknown,
            subscriptions: BTreeMap::new(),
            names: HashMap::new(),
            last_tag: NOBODY,
            outbox: Outbox::new(limits.queue_items, limits.queue_bytes),
            effects: VecDeque::new(),
            reads: 0,
            heard: Now::ZERO,
            next_ping: limits.heartbeat,
            next_recheck: limits.recheck,
            waiting_since: None,
            counts: Counts::default(),
            limits,
        }
    }

    /// A text message came.
    pub fn handle_text(&mut self, now: Now, text: &str) {
        self.heard = now;
        let said = match message::read(text) {
            Ok(said) => said,
            Err(refused) => return self.refuse(now, refused),
        };
        match (&self.phase, said) {
            (Phase::Closed, _) => {}
            (Phase::Unknown, Said::Authenticate { credential, client }) => {
                self.phase = Phase::Asked;
                self.effects.push_back(Effect::Authenticate { credential, client });
            }
            (Phase::Unknown | Phase::Asked, _) => {
                let reason = "the first message must be `authenticate`";
                self.close(CloseCode::NotAuthenticated, reason);
            }
            (Phase::Known { .. }, Said::Authenticate { .. }) => {
                self.refuse(now, refused("already_authenticated", "this socket knows who you are"));
            }
            (Phase::Known { .. }, Said::Subscribe { id, target, after }) => {
                self.subscribe(now, id, target, after);
            }
            (Phase::Known { .. }, Said::Unsubscribe { id }) => self.unsubscribe(now, id),
            (Phase::Known { .. }, Said::Ping { id }) => {
                self.tell(now, NOBODY, Item::Control(write::pong(id.as_deref())));
            }
        }
    }

    /// A binary message came.
    pub fn handle_binary(&mut self, now: Now) {
        self.heard = now;
        self.refuse(now, refused("invalid_message", "messages are text, in JSON"));
    }

    /// A ping or pong frame came.
    pub fn handle_heard(&mut self, now: Now) {
        self.heard = now;
    }

    /// Who it is, or why it is refused.
    pub fn handle_identity(&mut self, now: Now, identity: Result<String, Close>) {
        if !matches!(self.phase, Phase::Asked) {
            return;
        }
        match identity {
            Ok(tenant) => {
                let hello = write::authenticated(&tenant, self.limits.heartbeat.as_millis());
                self.phase = Phase::Known { tenant };
                self.tell(now, NOBODY, Item::Control(hello));
            }
            Err(Close { code, reason }) => self.close(code, &reason),
        }
    }

    /// Whether the key is still good.
    pub fn handle_recheck(&mut self, outcome: Result<(), Close>) {
        if let Err(Close { code, reason }) = outcome {
            self.close(code, &reason);
        }
    }

    /// What is remembered of an execution that is followed from now on.
    pub fn handle_remembered(&mut self, now: Now, tag: u64, mut remembered: Remembered) {
        remembered.records.retain(|record| self.is_ours(record));
        self.execution(now, tag, |execution, out| execution.remembered(now, remembered, out));
    }

    /// A record of what is followed.
    pub fn handle_record(&mut self, now: Now, tag: u64, record: Record) {
        if !self.is_ours(&record) {
            return;
        }
        let filtered = match self.subscriptions.get_mut(&tag).map(|sub| &mut sub.following) {
            Some(Following::Filtered(filtered)) => filtered,
            Some(Following::Execution(_)) => {
                return self.execution(now, tag, |execution, out| {
                    execution.record(now, record, out);
                });
            }
            _ => return,
        };
        if let Record::Event(event) = record
            && filtered.takes(&event)
        {
            self.pass_on(now, tag, vec![Out::Event(event)]);
        }
    }

    /// Anything may be missing before what comes next.
    pub fn handle_interrupted(&mut self, now: Now) {
        let tags: Vec<_> = self.subscriptions.keys().copied().collect();
        for tag in tags {
            let Some(subscription) = self.subscriptions.get(&tag) else { continue };
            if let Following::Filtered(_) = subscription.following {
                self.pass_on(now, tag, vec![Out::Reset("interrupted")]);
            } else {
                self.execution(now, tag, |execution, _| execution.interrupted(now));
            }
        }
        self.settle(now);
    }

    /// What was read; `None`: the store can't be asked.
    pub fn handle_history(&mut self, now: Now, tag: u64, history: Option<History>) {
        self.reads = self.reads.saturating_sub(1);
        let history = history.map(|mut history| {
            history.events.retain(|event| self.is_tenant(&event.tenant));
            history
        });
        self.execution(now, tag, |execution, out| execution.history(now, history, out));
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Now) {
        match self.phase {
            Phase::Closed => return,
            Phase::Unknown | Phase::Asked if now >= self.limits.authenticate => {
                let reason = "the first message must be `authenticate`, and come soon";
                return self.close(CloseCode::NotAuthenticated, reason);
            }
            Phase::Known { .. } if now >= self.next_recheck => {
                self.next_recheck = now + self.limits.recheck;
                self.effects.push_back(Effect::Recheck);
            }
            _ => {}
        }
        if self.waiting_since.is_some_and(|since| now >= since + self.limits.stall) {
            return self.close_with_places(CloseCode::TooSlow);
        }
        if now >= self.heard + self.limits.heartbeat * 2 + self.limits.heartbeat / 2 {
            return self.close_with_places(CloseCode::TooSlow);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.limits.heartbeat;
            self.effects.push_back(Effect::Ping);
        }
        let tags: Vec<_> = self.subscriptions.keys().copied().collect();
        for tag in tags {
            self.execution(now, tag, |execution, out| execution.time(now, out));
        }
        self.settle(now);
    }

    /// This server stops.
    pub fn handle_shutdown(&mut self) {
        self.close_with_places(CloseCode::Restarting);
    }

    /// The same client has another socket.
    pub fn handle_replaced(&mut self) {
        self.close(CloseCode::Replaced, "the same client opened another socket");
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if self.effects.is_empty() {
            // An idle socket has none for seconds on end.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// The next message for a socket that can take one. Asked for without one, everything was taken.
    pub fn poll_message(&mut self, now: Now) -> Option<Outgoing> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        let Some((tag, item)) = self.outbox.pop() else {
            self.waiting_since = None;
            self.catch_up(now);
            return None;
        };
        self.waiting_since = Some(now);
        if !self.listens() {
            // It can't be heard, since nobody listens to it, but it takes what it is given.
            self.heard = now;
        }
        let Some(subscription) = self.subscriptions.get_mut(&tag) else {
            return match item {
                Item::Control(text) | Item::About(text) | Item::Last(text) => {
                    Some(Outgoing::Text(text))
                }
                _ => self.poll_message(now),
            };
        };
        match item.sent() {
            Sent::Event(place) => subscription.event = Some(place),
            Sent::Text(place) => subscription.text = Some(place),
            Sent::NoText => subscription.text = None,
            Sent::Nothing => {}
            Sent::All => {
                if let Some(gone) = self.subscriptions.remove(&tag) {
                    self.names.remove(&gone.name);
                }
            }
        }
        if let Item::Event(event) = &item
            && event.data_claim.is_some()
        {
            self.counts.sent += 1;
            let subscription = self.subscriptions.get(&tag)?.quoted.clone();
            return Some(Outgoing::Large { subscription, event: event.clone() });
        }
        if let Some(event) = item.event_json() {
            self.counts.sent += 1;
            let subscription = self.subscriptions.get(&tag)?;
            return Some(Outgoing::Text(write::event(&subscription.quoted, &event)));
        }
        match item {
            Item::Control(text) | Item::About(text) | Item::Last(text) => {
                Some(Outgoing::Text(text))
            }
            _ => None,
        }
    }

    /// Whether something waits for the socket.
    #[must_use]
    pub fn has_message(&self) -> bool {
        !self.outbox.is_empty() && !matches!(self.phase, Phase::Closed)
    }

    /// Whether the client may be listened to.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.outbox.len() < LISTEN_BELOW
    }

    /// When [`Connection::handle_time`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Now> {
        let own = match self.phase {
            Phase::Closed => return None,
            Phase::Unknown | Phase::Asked => self.limits.authenticate,
            Phase::Known { .. } => self.next_recheck,
        };
        let mute = self.heard + self.limits.heartbeat * 2 + self.limits.heartbeat / 2;
        let stalled = self.waiting_since.map(|since| since + self.limits.stall);
        let subscriptions = self.subscriptions.values().filter_map(|sub| match &sub.following {
            // One that waits for its turn to read is woken by the answer of another.
            Following::Execution(execution) => execution.deadline(),
            _ => None,
        });
        let subscriptions = subscriptions.filter(|_| self.reads < READS);
        [own, mute, self.next_ping].into_iter().chain(stalled).chain(subscriptions).min()
    }

    /// Its subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// What has happened since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn subscribe(&mut self, now: Now, name: String, target: Target, after: After) {
        if self.names.contains_key(&name) {
            let message = "there is a subscription of this name";
            let subscription = Some(name);
            let refused = Refused { subscription, ..refused("duplicate_subscription", message) };
            return self.refuse(now, refused);
        }
        if self.subscriptions.len() >= self.limits.subscriptions {
            let message = format!("a socket has at most {}", self.limits.subscriptions);
            let subscription = Some(name);
            let refused = Refused { subscription, ..refused("too_many_subscriptions", &message) };
            return self.refuse(now, refused);
        }
        let quoted = write::quoted(&name);
        let subscribed = write::subscribed(&name);
        let resumes = !matches!((&target, after), (Target::Filter(_), After::Now));
        let is_filter = matches!(target, Target::Filter(_));
        // Text that it brings counts as sent: it has it still when it lags before any more came.
        let text = match after {
            After::Place { text, .. } => text,
            After::Start | After::Now => None,
        };
        let tag = self.begin(
            now,
            Box::new(Subscription {
                name,
                quoted,
                target,
                following: Following::Over,
                after,
                event: None,
                text,
            }),
            Item::About(subscribed),
        );
        if is_filter && resumes {
            self.pass_on(now, tag, vec![Out::Reset("no_history")]);
        }
        self.settle(now);
    }

    /// Begins, or begins again, from what the client has.
    fn begin(&mut self, now: Now, mut subscription: Box<Subscription>, first: Item) -> u64 {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.names.insert(subscription.name.clone(), tag);
        self.tell(now, tag, first);
        let after = match subscription.event {
            Some(event) => After::Place { event, text: subscription.text },
            None => match (subscription.after, subscription.text) {
                (After::Start, Some(_)) => {
                    After::Place { event: Position::default(), text: subscription.text }
                }
                (After::Place { event, .. }, text) => After::Place { event, text },
                (after, _) => after,
            },
        };
        let mut execution = |id: &String, ending| {
            let id = id.clone();
            self.effects.push_back(Effect::Follow { tag, execution: id.clone() });
            Following::Execution(Box::new(Execution::new(id, ending, after, &self.limits, now)))
        };
        subscription.following = match &subscription.target {
            Target::Execution(id) => execution(id, Ending::Ends),
            Target::Session(id) => execution(id, Ending::GoesOn),
            Target::Filter(filter) => {
                self.effects.push_back(Effect::FollowTenant { tag });
                Following::Filtered(Box::new(Filtered::new(*filter)))
            }
        };
        self.subscriptions.insert(tag, subscription);
        tag
    }

    fn unsubscribe(&mut self, now: Now, name: String) {
        let Some(tag) = self.names.remove(&name) else {
            let message = "there is no subscription of this name";
            let subscription = Some(name);
            let refused = Refused { subscription, ..refused("unknown_subscription", message) };
            return self.refuse(now, refused);
        };
        self.subscriptions.remove(&tag);
        self.outbox.drop_of(tag);
        self.effects.push_back(Effect::Unfollow { tag });
        self.tell(now, NOBODY, Item::Control(write::unsubscribed(&name, "requested")));
    }

    fn execution(&mut self, now: Now, tag: u64, with: impl FnOnce(&mut Execution, &mut Vec<Out>)) {
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        let Following::Execution(execution) = &mut subscription.following else { return };
        let mut out = Vec::new();
        with(execution, &mut out);
        self.pass_on(now, tag, out);
        self.settle(now);
    }

    fn pass_on(&mut self, now: Now, tag: u64, out: Vec<Out>) {
        for out in out {
            let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
            let item = match out {
                Out::Event(event) => {
                    if let After::Now = subscription.after {
                        // From here on nothing may be left out, also when it lags.
                        let place = event.position();
                        let event = Position { number: place.number - 1, ..place };
                        subscription.after = After::Place { event, text: subscription.text };
                    }
                    Item::Event(event)
                }
                Out::Text(chunk) => Item::Text(chunk),
                Out::Place(chunk) => {
                    if self.outbox.put_place(tag, chunk) == Put::Taken {
                        self.waiting_since.get_or_insert(now);
                    }
                    continue;
                }
                Out::TextReset(json) => Item::TextReset(json),
                Out::Reset(reason) => {
                    // A place from before isn't one of those that come.
                    subscription.event = None;
                    subscription.after = match reason {
                        "unknown_position" => After::Start,
                        _ => After::Now,
                    };
                    let text = write::reset(&subscription.name, reason);
                    self.tell(now, tag, Item::About(text));
                    continue;
                }
                Out::Ended => {
                    subscription.following = Following::Over;
                    self.effects.push_back(Effect::Unfollow { tag });
                    let text = write::unsubscribed(&subscription.name, "ended");
                    self.tell(now, tag, Item::Last(text));
                    return;
                }
            };
            match self.outbox.put(tag, item) {
                Put::Taken => {
                    self.waiting_since.get_or_insert(now);
                }
                Put::Joined => self.counts.coalesced += 1,
                Put::Full => {
                    self.lag(now, tag);
                    return;
                }
            }
        }
    }

    /// There is no room: the subscription takes nothing more until the client has read what waits.
    fn lag(&mut self, now: Now, tag: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        self.counts.lagged += 1;
        subscription.following = Following::Lagging;
        let text = write::lagging(&subscription.name);
        self.effects.push_back(Effect::Unfollow { tag });
        self.tell(now, tag, Item::About(text));
    }

    /// The client has read everything: subscriptions that lag go on.
    fn catch_up(&mut self, now: Now) {
        let lagging: Vec<u64> = self
            .subscriptions
            .iter()
            .filter(|(_, sub)| matches!(sub.following, Following::Lagging))
            .map(|(tag, _)| *tag)
            .collect();
        for tag in lagging {
            let Some(subscription) = self.subscriptions.remove(&tag) else { continue };
            let name = subscription.name.clone();
            if let Target::Filter(_) = subscription.target {
                let reset = write::reset(&name, "lagging");
                self.begin(now, subscription, Item::About(reset));
            } else {
                let again = write::subscribed(&name);
                self.begin(now, subscription, Item::About(again));
            }
        }
        self.settle(now);
    }

    /// Lets those read that want to.
    fn settle(&mut self, now: Now) {
        if self.reads >= READS || matches!(self.phase, Phase::Closed) {
            return;
        }
        for (tag, subscription) in &mut self.subscriptions {
            let Following::Execution(execution) = &mut subscription.following else { continue };
            if self.reads >= READS {
                return;
            }
            if let Some(wish) = execution.wish(now) {
                self.reads += 1;
                let execution = execution.id.clone();
                self.effects.push_back(Effect::Read { tag: *tag, execution, wish });
            }
        }
    }

    fn tell(&mut self, now: Now, tag: u64, item: Item) {
        self.waiting_since.get_or_insert(now);
        self.outbox.force(tag, item);
    }

    fn refuse(&mut self, now: Now, refused: Refused) {
        match self.phase {
            Phase::Closed => {}
            // Nobody needs to learn from a stranger's guesses.
            Phase::Unknown | Phase::Asked => {
                let reason = format!("not authenticated: {}", refused.message);
                self.close(CloseCode::NotAuthenticated, &reason);
            }
            Phase::Known { .. } => self.tell(now, NOBODY, Item::Control(write::error(&refused))),
        }
    }

    /// Another tenant's records don't come here; should one, it goes no further.
    fn is_ours(&self, record: &Record) -> bool {
        match record {
            Record::Event(event) => self.is_tenant(&event.tenant),
            Record::Chunk(chunk) => self.is_tenant(&chunk.tenant),
        }
    }

    fn is_tenant(&self, other: &str) -> bool {
        matches!(&self.phase, Phase::Known { tenant } if tenant == other)
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Closed;
        self.subscriptions.clear();
        self.names.clear();
        self.outbox = Outbox::new(0, 0);
        self.effects.clear();
        self.effects.push_back(Effect::Close(Close::new(code, reason)));
    }

    /// Closes with `name=generation.number` for as many subscriptions as fit.
    fn close_with_places(&mut self, code: CloseCode) {
        let mut reason = String::new();
        for subscription in self.subscriptions.values() {
            let Some(Position { generation, number }) = subscription.event else { continue };
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            if !subscription.name.bytes().all(plain) {
                continue;
            }
            let separator = if reason.is_empty() { "" } else { ";" };
            let place = format!("{separator}{}={generation}.{number}", subscription.name);
            if reason.len() + place.len() <= MAX_REASON_BYTES {
                reason.push_str(&place);
            }
        }
        self.close(code, &reason);
    }
}

fn refused(code: &'static str, message: &str) -> Refused {
    Refused { code, message: message.into(), subscription: None }
}

#[cfg(test)]
mod tests;

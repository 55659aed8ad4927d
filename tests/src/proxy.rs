//! A proxy in front of a broker, which a test tells what to hold, swallow, delay or cut.
//!
//! Of the protocol it knows the frame: a length, and in a request the API key and the correlation id by which its
//! response is known. It changes no byte and invents none. It runs on threads of its own, so it serves whatever
//! runtime a test has.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The kinds of requests that tests single out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Writes records.
    Produce,
    /// Commits a group's positions.
    OffsetCommit,
    /// Ends a transaction.
    EndTxn,
}

impl Api {
    /// Its key in the protocol.
    #[must_use]
    pub fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::OffsetCommit => 8,
            Self::EndTxn => 26,
        }
    }
}

/// The largest frame that is believed: above the 100 MiB that brokers take by default.
const LARGEST: usize = 128 << 20;

/// Frames of one direction of one connection that may wait: more than a client has in flight.
const WAITING: usize = 1024;

/// What happens to frames now.
#[derive(Debug, Default)]
struct Rules {
    /// Requests that are still to be held, by API key.
    hold: HashMap<i16, usize>,
    /// Responses that are still to be swallowed, by API key.
    swallow: HashMap<i16, usize>,
    /// Requests that were held, by API key.
    held: BTreeMap<i16, usize>,
    /// Responses that were swallowed, by API key.
    swallowed: BTreeMap<i16, usize>,
    /// What becomes of what is held; `None`: nothing yet.
    release: Option<Release>,
    /// How long each direction takes.
    delay: Duration,
    /// Where the broker listens.
    broker: u16,
    /// No connection is taken before.
    closed_until: Option<Instant>,
    /// Connections with a lower number pass nothing on any more, and don't say so.
    dead_below: u64,
    connections: HashMap<u64, (TcpStream, TcpStream)>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    LetThrough,
    Discard,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy. It takes connections until the process ends.
#[derive(Clone, Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

/// A proxy that has a port and no broker yet: the broker has to know the port first.
#[derive(Debug)]
pub struct Unconnected(TcpListener);

impl Unconnected {
    /// Takes a port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).expect("a free port"))
    }

    /// Its port.
    ///
    /// # Panics
    /// Never: it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("it listens").port()
    }

    /// Passes everything on to the broker that listens on `port`.
    #[must_use]
    pub fn connect(self, port: u16) -> Proxy {
        let proxy = Proxy { port: self.port(), shared: Arc::default() };
        proxy.point_to(port);
        let shared = Arc::clone(&proxy.shared);
        thread::spawn(move || {
            for client in self.0.incoming().map_while(Result::ok) {
                let rules = shared.rules();
                let closed = rules.closed_until.is_some_and(|until| Instant::now() < until);
                let port = rules.broker;
                drop(rules);
                // A broker that isn't there resets the connection as well.
                if !closed && let Ok(broker) = TcpStream::connect(("127.0.0.1", port)) {
                    serve(client, broker, &shared);
                }
            }
        });
        proxy
    }
}

impl Default for Unconnected {
    fn default() -> Self {
        Self::new()
    }
}

impl Proxy {
    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What clients connect to.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on the broker listens on this port.
    pub fn point_to(&self, port: u16) {
        self.shared.rules().broker = port;
    }

    /// Holds the next `count` requests of this kind, and with each whatever follows on its connection, until
    /// [`Proxy::let_through`] or [`Proxy::discard`].
    pub fn hold(&self, api: Api, count: usize) {
        let mut rules = self.shared.rules();
        rules.release = None;
        rules.hold.insert(api.key(), count);
    }

    /// How many requests of this kind were held so far.
    #[must_use]
    pub fn held(&self, api: Api) -> usize {
        self.shared.rules().held.get(&api.key()).copied().unwrap_or(0)
    }

    /// Passes on what was held, also where the client has gone, and holds nothing more.
    pub fn let_through(&self) {
        self.release(Release::LetThrough);
    }

    /// The broker never gets what was held; nothing more is held.
    pub fn discard(&self) {
        self.release(Release::Discard);
    }

    fn release(&self, release: Release) {
        let mut rules = self.shared.rules();
        rules.hold.clear();
        rules.release = Some(release);
        self.shared.changed.notify_all();
    }

    /// The broker gets and answers the next `count` requests of this kind, and their clients never hear of it.
    pub fn swallow(&self, api: Api, count: usize) {
        self.shared.rules().swallow.insert(api.key(), count);
    }

    /// How many responses of this kind were swallowed so far.
    #[must_use]
    pub fn swallowed(&self, api: Api) -> usize {
        self.shared.rules().swallowed.get(&api.key()).copied().unwrap_or(0)
    }

    /// Makes the way longer: every round trip takes that much more from now on.
    pub fn slow_down(&self, round_trip: Duration) {
        self.shared.rules().delay = round_trip / 2;
    }

    /// Cuts all connections, and takes no new ones for so long.
    pub fn cut(&self, how_long: Duration) {
        let mut rules = self.shared.rules();
        rules.closed_until = Some(Instant::now() + how_long);
        for (client, broker) in rules.connections.values() {
            // They may be closed already.
            let _ = client.shutdown(Shutdown::Both);
            let _ = broker.shutdown(Shutdown::Both);
        }
    }

    /// From now on every connection that there is passes nothing on, in either direction, and stays open. New
    /// ones work.
    pub fn go_dead(&self) {
        let mut rules = self.shared.rules();
        rules.dead_below = rules.next;
    }
}

/// Which requests a client waits for, by correlation id.
type Asked = Arc<Mutex<HashMap<i32, i16>>>;

/// Passes on both directions of a connection.
fn serve(client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) {
    let copies = (client.try_clone(), broker.try_clone(), client.try_clone(), broker.try_clone());
    let (Ok(client_end), Ok(broker_end), Ok(client_kept), Ok(broker_kept)) = copies else {
        return;
    };
    for stream in [&client, &broker] {
        // Without it only slower.
        let _ = stream.set_nodelay(true);
    }
    let mut rules = shared.rules();
    let number = rules.next;
    rules.next += 1;
    rules.connections.insert(number, (client_kept, broker_kept));
    drop(rules);
    let asked = Asked::default();
    let connection = Connection { number, shared: Arc::clone(shared), asked };
    let (requests, to_broker) = sync_channel(WAITING);
    let (responses, to_client) = sync_channel(WAITING);
    let other = connection.clone();
    thread::spawn(move || read(client, &requests));
    thread::spawn(move || read(broker, &responses));
    thread::spawn(move || connection.requests(&to_broker, broker_end));
    thread::spawn(move || other.responses(&to_client, client_end));
}

/// A frame with its length, and when it came.
type Frame = (Instant, Vec<u8>);

/// Reads frames until the stream ends.
fn read(mut from: TcpStream, to: &SyncSender<Frame>) {
    loop {
        let mut length = [0; 4];
        if from.read_exact(&mut length).is_err() {
            return;
        }
        let size = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        assert!(size <= LARGEST, "a frame of {size} bytes: that is no Kafka client");
        let mut frame = vec![0; 4 + size];
        frame[..4].copy_from_slice(&length);
        if from.read_exact(&mut frame[4..]).is_err() || to.send((Instant::now(), frame)).is_err() {
            return;
        }
    }
}

#[derive(Clone)]
struct Connection {
    number: u64,
    shared: Arc<Shared>,
    asked: Asked,
}

impl Connection {
    fn requests(&self, frames: &Receiver<Frame>, mut broker: TcpStream) {
        for (came, frame) in frames {
            let (api, correlation) = head(&frame);
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, api);
            if self.wait(api) == Release::LetThrough && self.lives(came) {
                // It may have gone.
                let _ = broker.write_all(&frame);
            }
        }
        // What was held may still stand in front of this.
        let _ = broker.shutdown(Shutdown::Write);
        self.shared.rules().connections.remove(&self.number);
    }

    fn responses(&self, frames: &Receiver<Frame>, mut client: TcpStream) {
        for (came, frame) in frames {
            let correlation = i32_at(&frame, 4);
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let api = asked.remove(&correlation);
            drop(asked);
            if !api.is_some_and(|api| self.swallows(api)) && self.lives(came) {
                let _ = client.write_all(&frame);
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    /// Waits while requests of this kind are held.
    fn wait(&self, api: i16) -> Release {
        let mut rules = self.shared.rules();
        match rules.hold.get_mut(&api) {
            Some(left) if *left > 0 => *left -= 1,
            _ => return Release::LetThrough,
        }
        *rules.held.entry(api).or_default() += 1;
        loop {
            if let Some(release) = rules.release {
                return release;
            }
            rules = self.shared.changed.wait(rules).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn swallows(&self, api: i16) -> bool {
        let mut rules = self.shared.rules();
        match rules.swallow.get_mut(&api) {
            Some(left) if *left > 0 => *left -= 1,
            _ => return false,
        }
        *rules.swallowed.entry(api).or_default() += 1;
        true
    }

    /// Waits as long as the way takes; then says whether it leads anywhere.
    fn lives(&self, came: Instant) -> bool {
        let rules = self.shared.rules();
        let (delay, dead) = (rules.delay, self.number < rules.dead_below);
        drop(rules);
        thread::sleep((came + delay).saturating_duration_since(Instant::now()));
        !dead
    }
}

/// API key and correlation id of a request.
fn head(frame: &[u8]) -> (i16, i32) {
    let api = frame.get(4..6).and_then(|two| two.try_into().ok()).map_or(-1, i16::from_be_bytes);
    (api, i32_at(frame, 8))
}

fn i32_at(frame: &[u8], at: usize) -> i32 {
    frame.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(-1, i32::from_be_bytes)
}

//! Who is connected: how many sockets there are, how many each key has, and which one replaces which.
//!
//! It counts and tells; what a socket does about it is the socket's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::metrics as names;

/// How many sockets there may be in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// All of them.
    pub(crate) all: usize,
    /// Those of one key.
    pub(crate) per_key: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The sockets of this process.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    room: Room,
    open: watch::Sender<usize>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    per_key: HashMap<String, usize>,
    /// By key and the client's name for itself.
    clients: HashMap<(String, String), Client>,
    numbers: u64,
}

#[derive(Debug)]
struct Client {
    number: u64,
    replaced: Arc<Notify>,
}

/// An open socket, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    sockets: Sockets,
}

/// A socket of somebody known, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    sockets: Sockets,
    key_id: String,
    client: Option<(String, u64)>,
    /// Told when another socket takes its place.
    pub(crate) replaced: Arc<Notify>,
}

impl Sockets {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, open: watch::Sender::new(0), known: Arc::default() }
    }

    /// A socket that nobody has said anything on yet.
    pub(crate) fn open(&self) -> Result<Open, Full> {
        let taken = self.open.send_if_modified(|open| {
            let room = *open < self.room.all;
            *open += usize::from(room);
            room
        });
        if !taken {
            return Err(Full);
        }
        metrics::gauge!(names::SOCKETS).increment(1.0);
        Ok(Open { sockets: self.clone() })
    }

    /// A socket of this key. An older one of the same client gives way.
    pub(crate) fn seat(&self, key_id: &str, client: Option<String>) -> Result<Seat, Full> {
        let mut known = self.known();
        let count = known.per_key.entry(key_id.to_owned()).or_default();
        if *count >= self.room.per_key {
            return Err(Full);
        }
        *count += 1;
        let replaced = Arc::new(Notify::new());
        let client = client.map(|client| {
            known.numbers += 1;
            let number = known.numbers;
            let place = (key_id.to_owned(), client.clone());
            let newer = Client { number, replaced: Arc::clone(&replaced) };
            if let Some(older) = known.clients.insert(place, newer) {
                older.replaced.notify_one();
            }
            (client, number)
        });
        drop(known);
        Ok(Seat { sockets: self.clone(), key_id: key_id.to_owned(), client, replaced })
    }

    /// Returns when no socket is open.
    pub(crate) async fn none(&self) {
        let mut open = self.open.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// How many are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        *self.open.borrow()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sockets.open.send_modify(|open| *open -= 1);
        metrics::gauge!(names::SOCKETS).decrement(1.0);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut known = self.sockets.known();
        if let Some(count) = known.per_key.get_mut(&self.key_id) {
            *count -= 1;
            if *count == 0 {
                known.per_key.remove(&self.key_id);
            }
        }
        if let Some((client, number)) = self.client.take() {
            let place = (self.key_id.clone(), client);
            if known.clients.get(&place).is_some_and(|client| client.number == number) {
                known.clients.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn newer_socket_of_a_client_replaces_the_older_and_leaves_others_alone() {
        let sockets = Sockets::new(Room { all: 9, per_key: 9 });
        let mine = sockets.seat("a", Some("tab".into())).unwrap();
        let other_key = sockets.seat("b", Some("tab".into())).unwrap();
        let newer = sockets.seat("a", Some("tab".into())).unwrap();
        mine.replaced.notified().await;
        drop(mine);
        let newest = sockets.seat("a", Some("tab".into())).unwrap();
        newer.replaced.notified().await;
        drop((newer, newest, other_key));
        assert!(sockets.known().clients.is_empty() && sockets.known().per_key.is_empty());
    }

    #[tokio::test]
    async fn sockets_are_bounded_by_key_and_in_all() {
        let sockets = Sockets::new(Room { all: 2, per_key: 1 });
        let seat = sockets.seat("a", None).unwrap();
        assert_eq!(sockets.seat("a", None).unwrap_err(), Full);
        assert!(sockets.seat("b", None).is_ok());
        drop(seat);
        assert!(sockets.seat("a", None).is_ok());
        let (one, two) = (sockets.open().unwrap(), sockets.open().unwrap());
        assert_eq!(sockets.open().unwrap_err(), Full);
        drop((one, two));
        assert_eq!(sockets.count(), 0);
        sockets.none().await;
    }
}

//! Tickets: what a browser presents instead of a key, once and soon.
//!
//! A ticket is 256 random bits; what is kept is its hash, in this process only, so a ticket is good at the
//! server that made it. It stands for the key that asked: what becomes of the key becomes of the ticket
//! and of every socket that was opened with it. Time is an argument.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use service::auth::KeyHash;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// What every ticket begins with.
pub const PREFIX: &str = "tk-ss-";

/// How long a ticket may be presented: the time of a page that loads and connects.
pub const GOOD_FOR: Duration = Duration::from_secs(60);

/// The most tickets that wait to be presented, over all keys: a second of ten thousand browsers that come
/// back, six times over.
pub const MAX_TICKETS: usize = 60_000;

const RANDOM_BYTES: usize = 32;

/// What a ticket stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The key that asked for it.
    pub key: KeyHash,
    /// How long a socket that was opened with it may stay.
    pub session: Duration,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// [`MAX_TICKETS`] wait.
    #[error("too many tickets wait to be used")]
    Full,
    /// The system has no random numbers.
    #[error("failed to draw a random ticket")]
    Random(#[source] getrandom::Error),
}

#[derive(Debug)]
struct Issued {
    grant: Grant,
    until: Instant,
}

/// The tickets of this process that nobody has presented yet.
#[derive(Debug, Default)]
pub struct Tickets {
    issued: Mutex<HashMap<[u8; 32], Issued>>,
}

impl Tickets {
    /// Makes a ticket.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, grant: Grant, now: Instant) -> Result<String, IssueError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(IssueError::Random)?;
        let ticket = random.iter().fold(PREFIX.to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes every text");
            text
        });
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.len() >= MAX_TICKETS {
            issued.retain(|_, issued| issued.until > now);
        }
        if issued.len() >= MAX_TICKETS {
            return Err(IssueError::Full);
        }
        issued.insert(hash(&ticket), Issued { grant, until: now + GOOD_FOR });
        Ok(ticket)
    }

    /// What the ticket stands for, once.
    pub fn redeem(&self, ticket: &str, now: Instant) -> Option<Grant> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = issued.remove(&hash(ticket))?;
        (issued.until > now).then_some(issued.grant)
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        let key = KeyHash::of(&format!("sk-ss-{}", "0".repeat(64))).unwrap();
        Grant { key, session: Duration::from_secs(1) }
    }

    #[test]
    fn ticket_is_good_once_and_for_a_short_time() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ticket = tickets.issue(grant(), now).unwrap();
        assert_eq!(tickets.redeem(&ticket, now), Some(grant()));
        assert_eq!(tickets.redeem(&ticket, now), None);
        let late = tickets.issue(grant(), now).unwrap();
        assert_ne!(late, ticket);
        assert_eq!(tickets.redeem(&late, now + GOOD_FOR), None);
        assert_eq!(tickets.redeem("tk-ss-", now), None);
    }

    #[test]
    fn tickets_are_bounded_and_old_ones_make_room() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..MAX_TICKETS {
            tickets.issue(grant(), now).unwrap();
        }
        assert!(matches!(tickets.issue(grant(), now), Err(IssueError::Full)));
        assert!(tickets.issue(grant(), now + GOOD_FOR).is_ok());
    }

    #[test]
    fn ticket_itself_is_not_kept() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(grant(), Instant::now()).unwrap();
        assert!(!format!("{tickets:?}").contains(&ticket[PREFIX.len()..]));
    }
}

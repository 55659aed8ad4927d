//! Tickets: what a browser presents instead of a key, once and soon.
//!
//! A ticket says itself what it stands for, and is signed (HMAC with SHA-256, RFC 2104). Servers that share
//! the secret take each other's tickets: a page's own server asks one for a ticket, and the browser may reach
//! another. Without one each server draws its own. It stands for the key that asked: what becomes of the key
//! becomes of the ticket and of every socket that was opened with it. That it is used once is kept in memory,
//! so it is a promise of each server by itself. Time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::time::Millis;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use service::auth::{KeyHash, hex};
use sha2::Sha256;

/// What every ticket begins with.
pub const PREFIX: &str = "tk-ss-";

/// How long a ticket may be presented: the time of a page that loads and connects.
pub const GOOD_FOR: Duration = Duration::from_secs(60);

/// Below so many used tickets nobody looks for those that are over.
const FEW: usize = 1024;

const NONCE_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// What a ticket stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The key that asked for it.
    pub key: KeyHash,
    /// How long a socket that was opened with it may stay.
    pub session: Duration,
}

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("failed to draw a random number")]
pub struct RandomError(#[source] getrandom::Error);

/// Makes tickets, and knows which were used here.
pub struct Tickets {
    /// Keyed with the secret, of which nothing else is kept.
    mac: Hmac<Sha256>,
    used: Mutex<Used>,
}

/// The tickets that were used, until they are over anyway.
#[derive(Debug, Default)]
struct Used {
    until: HashMap<[u8; NONCE_BYTES], Millis>,
    /// How many remained when those that are over were last dropped.
    kept: usize,
}

impl Tickets {
    /// Tickets that every server with this secret takes.
    #[must_use]
    pub fn shared(secret: &SecretString) -> Self {
        Self::keyed(secret.expose_secret().as_bytes())
    }

    /// Tickets that only this process takes.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn own() -> Result<Self, RandomError> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(RandomError)?;
        Ok(Self::keyed(&secret))
    }

    fn keyed(secret: &[u8]) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("a key of any length is fine");
        Self { mac, used: Mutex::default() }
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn issue(&self, grant: &Grant, now: Millis) -> Result<String, RandomError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(RandomError)?;
        let until = now.plus(millis(GOOD_FOR)).0;
        let session = millis(grant.session);
        let said = format!("{}.{until}.{session}.{}", hex(&nonce), grant.key.as_str());
        let mac = self.mac.clone().chain_update(&said).finalize().into_bytes();
        Ok(format!("{PREFIX}{said}.{}", hex(&mac)))
    }

    /// What the ticket stands for, once.
    pub fn redeem(&self, ticket: &str, now: Millis) -> Option<Grant> {
        let (said, mac) = ticket.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let mac: [u8; MAC_BYTES] = unhex(mac)?;
        self.mac.clone().chain_update(said).verify_slice(&mac).ok()?;
        // From here on it is one that we made.
        let mut parts = said.splitn(4, '.');
        let nonce: [u8; NONCE_BYTES] = unhex(parts.next()?)?;
        let until = Millis(parts.next()?.parse().ok()?);
        let session = Duration::from_millis(parts.next()?.parse().ok()?);
        let key = KeyHash::from_hash(parts.next()?)?;
        if until <= now {
            return None;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.first_time(nonce, until, now).then_some(Grant { key, session })
    }
}

impl Used {
    fn first_time(&mut self, nonce: [u8; NONCE_BYTES], until: Millis, now: Millis) -> bool {
        // Looking at all of them each time that they are twice as many costs each a constant.
        if self.until.len() >= FEW.max(2 * self.kept) {
            self.until.retain(|_, until| *until > now);
            self.kept = self.until.len();
        }
        self.until.insert(nonce, until).is_none()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The bytes, when there are exactly so many.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn grant() -> Grant {
        let key = KeyHash::of(&format!("sk-ss-{}", "0".repeat(64))).unwrap();
        Grant { key, session: Duration::from_secs(3_600) }
    }

    fn shared(secret: &str) -> Tickets {
        Tickets::shared(&SecretString::from(secret))
    }

    #[test]
    fn ticket_is_good_once_and_for_a_short_time() {
        let tickets = Tickets::own().unwrap();
        let ticket = tickets.issue(&grant(), NOW).unwrap();
        assert_eq!(tickets.redeem(&ticket, NOW), Some(grant()));
        assert_eq!(tickets.redeem(&ticket, NOW), None);
        let late = tickets.issue(&grant(), NOW).unwrap();
        assert_ne!(late, ticket);
        assert_eq!(tickets.redeem(&late, NOW.plus(millis(GOOD_FOR))), None);
    }

    #[test]
    fn servers_with_the_same_secret_take_each_others_tickets_and_no_others() {
        let (one, other, stranger) = (shared("a"), shared("a"), shared("b"));
        let ticket = one.issue(&grant(), NOW).unwrap();
        assert_eq!(stranger.redeem(&ticket, NOW), None);
        assert_eq!(Tickets::own().unwrap().redeem(&ticket, NOW), None);
        assert_eq!(other.redeem(&ticket, NOW), Some(grant()));
    }

    #[test]
    fn ticket_that_was_changed_anywhere_is_worth_nothing() {
        let tickets = shared("a");
        let ticket = tickets.issue(&grant(), NOW).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(tickets.redeem(&changed, NOW), None, "{changed}");
        }
        for wrong in ["", PREFIX, "tk-ss-0", "tk-ss-...", "tk-ss-.....", "tk-ss-ä.1.1.1.0"] {
            assert_eq!(tickets.redeem(wrong, NOW), None, "{wrong}");
        }
        assert_eq!(tickets.redeem(&ticket, NOW), Some(grant()), "and the right one still is");
    }

    #[test]
    fn used_tickets_are_forgotten_when_they_are_over() {
        let tickets = shared("a");
        let mut now = NOW;
        for _ in 0..4 {
            for _ in 0..FEW {
                assert!(tickets.redeem(&tickets.issue(&grant(), now).unwrap(), now).is_some());
            }
            now = now.plus(millis(GOOD_FOR));
        }
        assert!(tickets.used.lock().unwrap().until.len() <= 2 * FEW);
    }
}

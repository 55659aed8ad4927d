//! Waiting for something to become true, with a deadline that says what was waited for.

use std::time::{Duration, Instant};

/// How long anything may take that isn't slow on purpose. Wide, since test machines are busy: a test that
/// passes doesn't wait for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When it finds nothing within `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

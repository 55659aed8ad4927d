//! `?wait=30s`: an answer that may take a while, asked for in one request.

use std::time::Duration;

use domain::answer::Terminal;
use store::{Execution, Status};
use tokio::time::Instant;

use crate::App;
use crate::call::{Call, Ended, News};
use crate::fault::Fault;

/// Reads a duration like `30s`, `500ms` or `2m`; longer than `limit` is `limit`.
pub(crate) fn duration(text: &str, limit: Duration) -> Result<Duration, Fault> {
    let wrong = || Fault::invalid("wait", "must be a duration like `30s`, `500ms` or `2m`");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if !(1..=6).contains(&number.len()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        _ => return Err(wrong()),
    };
    Ok(duration.min(limit))
}

/// Waits for the end of an execution, but no longer than `wait`. The execution as far as it is then.
pub(crate) async fn end_of(app: &App, execution: Execution, wait: Duration) -> Execution {
    if execution.status.is_terminal() || wait.is_zero() {
        return execution;
    }
    let call = Call::attach(app, &execution);
    finish(call, execution, wait).await
}

/// The same for a call that is followed already.
pub(crate) async fn finish(mut call: Call, mut execution: Execution, wait: Duration) -> Execution {
    let deadline = Instant::now() + wait;
    loop {
        match call.news_before(deadline).await {
            Ok(News::Ended(ended)) => {
                overlay(&mut execution, *ended);
                return execution;
            }
            Ok(News::Chunk(_) | News::Restart) => {}
            // It goes on; how far it is by now, the store knows best.
            Err(_) => return refreshed(call.app(), execution).await,
        }
    }
}

async fn refreshed(app: &App, execution: Execution) -> Execution {
    let (tenant, id) = (&execution.tenant, &execution.id);
    match app.store.execution(tenant, id).await {
        Ok(Some(fresh)) => fresh,
        Ok(None) | Err(_) => execution,
    }
}

/// The execution with its ending, which the store may not have yet.
pub(crate) fn overlay(execution: &mut Execution, ended: Ended) {
    execution.status = match ended.status {
        Terminal::Succeeded => Status::Succeeded,
        Terminal::Failed => Status::Failed,
        Terminal::Cancelled => Status::Cancelled,
        Terminal::TimedOut => Status::TimedOut,
    };
    execution.output = ended.output.filter(|_| ended.status == Terminal::Succeeded);
    execution.output_claim = ended.output_claim.filter(|_| ended.status == Terminal::Succeeded);
    execution.error = ended.failure;
    execution.usage = ended.usage;
    execution.cost = ended.cost;
    execution.updated = ended.time;
    execution.position = ended.position.or(execution.position);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_a_unit_and_a_limit() {
        let limit = Duration::from_secs(600);
        for (text, ms) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("0s", 0), ("999999m", 600_000)]
        {
            assert_eq!(duration(text, limit).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "30 s", "1h", "1234567s", "１s"] {
            assert!(duration(text, limit).is_err(), "{text}");
        }
    }
}

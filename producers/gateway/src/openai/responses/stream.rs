//! How a response is told as a stream of typed events. It decides nothing about numbers or text; that is
//! `events`.

use std::collections::VecDeque;

use axum::response::Response;
use axum::response::sse::Event;
use serde_json::Value;
use tokio::time::Instant;

use super::events::Assembly;
use super::last;
use super::memo::Ground;
use super::object::id_of;
use crate::call::{Call, News};
use crate::fault::Fault;
use crate::openai::diverged;
use crate::openai::telling::{Flow, Teller, Telling};

/// Answers with a stream. A client that waits gets the head when there is something to send, so that an
/// early failure has its own status.
pub(super) async fn start(
    call: Call,
    mut assembly: Assembly,
    deadline: Instant,
    ground: Ground,
) -> Result<Response, Fault> {
    let begun = assembly.begin().into();
    let mut telling = Telling::new(call, assembly, begun, deadline);
    if ground == Ground::Fore {
        let failed = |news: &News, execution: &str| match news {
            News::Ended(ended) => ended.as_ref().clone().into_output(execution).map(drop),
            News::Chunk(_) | News::Restart => Ok(()),
        };
        telling.head(failed).await?;
    }
    Ok(telling.into_response())
}

impl Teller for Assembly {
    type Piece = Value;

    fn take(
        &mut self,
        news: News,
        execution: &str,
        ready: &mut VecDeque<Value>,
    ) -> Result<Flow, Fault> {
        match news {
            News::Chunk(chunk) => {
                ready.extend(self.chunk(&chunk).map_err(|why| diverged(execution, why))?);
                Ok(Flow::Open)
            }
            News::Restart => {
                self.restart();
                Ok(Flow::Open)
            }
            News::Ended(ended) => {
                ready.extend(last(*ended, self, execution)?);
                Ok(Flow::Over)
            }
        }
    }

    /// Why the stream ends before the response does, and where it goes on.
    fn farewell(&mut self, fault: &Fault, execution: &str) -> Value {
        let message = match fault {
            Fault::Waiting { .. } | Fault::Restarting { .. } => format!(
                "the work goes on; resume with GET /v1/responses/{}?stream=true&starting_after={}",
                id_of(execution),
                self.last()
            ),
            fault => fault.message(),
        };
        self.error(fault.code(), &message)
    }

    fn goes_on(_: &Fault) -> bool {
        true
    }

    fn frame(piece: &Value) -> Event {
        let name = piece["type"].as_str().unwrap_or_default();
        Event::default().event(name).data(piece.to_string())
    }
}

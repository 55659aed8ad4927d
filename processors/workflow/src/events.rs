//! What a node `emit` publishes: a CloudEvent in the Kafka binding's binary mode, on a topic that is none of
//! ours.

use bytes::Bytes;
use domain::answer::{ErrorClass, Failure};
use domain::request::JSON;
use domain::workflow::run::{Publication, Published};
use runtime::ports::{Elsewhere, ElsewhereError, PublishElsewhere};

use crate::metrics;

/// Publishes an event.
///
/// # Errors
/// A failure; one that is worth another try when nobody can say whether the event stands.
pub(crate) async fn publish(
    publisher: &dyn PublishElsewhere,
    event: Publication,
) -> Result<Published, Failure> {
    let topic = event.topic.clone();
    let outcome = publisher.publish_elsewhere(record(event)).await;
    metrics::published(match &outcome {
        Ok(_) => "ok",
        Err(ElsewhereError::Refused(_)) => ErrorClass::Invalid.as_str(),
        Err(ElsewhereError::Unknown(_)) => ErrorClass::Network.as_str(),
    });
    match outcome {
        Ok((partition, offset)) => Ok(Published { topic, partition, offset }),
        Err(ElsewhereError::Refused(why)) => {
            let failure = Failure::new(ErrorClass::Invalid, "event_refused", why);
            Err(failure.from_source("workflow"))
        }
        Err(ElsewhereError::Unknown(why)) => {
            let failure = Failure::new(ErrorClass::Network, "event_unknown", why);
            Err(failure.from_source("workflow").retryable())
        }
    }
}

fn record(event: Publication) -> Elsewhere {
    let text = |name: &str, value: String| (name.to_owned(), Bytes::from(value));
    let time = domain::time::to_rfc3339(event.time);
    let mut headers = vec![
        text("ce_specversion", "1.0".into()),
        text("ce_id", event.id),
        text("ce_source", event.source),
        text("ce_type", event.event_type),
        text("ce_time", time),
        text("ce_tenant", event.tenant),
        text("content-type", JSON.into()),
    ];
    headers.extend(event.subject.map(|subject| text("ce_subject", subject)));
    headers.extend(event.trace_parent.map(|parent| text("traceparent", parent)));
    Elsewhere {
        topic: event.topic,
        key: event.key.map(Bytes::from),
        value: Bytes::from(event.data),
        headers,
    }
}

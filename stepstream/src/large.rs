//! Who keeps values that are too large for a record: the processes that share a store. And the requests of
//! `stepstream publish`, on their way to the broker.

use std::sync::Arc;

use async_trait::async_trait;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use runtime::ports::{ClusterError, Outgoing, Publish};
use schemas::Ids;
use service::config::{Config, Keep, StoreKind};
use store::{Checked, Claims, Store};

/// Whether large values are kept: where the store is everybody's, or the configuration says that there is
/// nobody else.
pub(crate) fn is_kept(config: &Config) -> bool {
    config.store.kind == StoreKind::Cql || config.claims.keep == Keep::Always
}

/// The values in `store`: kept where others find them, else only given out.
pub(crate) fn claims(config: &Config, store: Arc<dyn Store>) -> Claims {
    match is_kept(config) {
        true => Claims::new(store, config.claims.limit_bytes),
        false => Claims::read_only(store),
    }
}

/// Keeps the large bodies of model requests before they are published.
pub(crate) struct Keeping<P> {
    pub(crate) to: P,
    pub(crate) ids: Ids,
    /// `None`: there is no store that the platform shares with this process.
    pub(crate) claims: Option<Claims>,
}

impl<P> Keeping<P> {
    async fn kept(&self, claims: &Claims, value: &[u8]) -> Result<Vec<u8>, String> {
        let text = |error: &dyn std::error::Error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let mut request: ModelRequest = self.ids.read(value).map_err(|error| text(&error))?;
        let body = std::mem::take(&mut request.body);
        let checked = claims.check_in(&request.tenant, body, &request.body_media_type).await;
        match checked.map_err(|error| text(&error))? {
            Checked::Inline(body) => request.body = body,
            Checked::Claimed(claim) => request.body_claim = Some(claim),
        }
        self.ids.frame(&request).map_err(|error| text(&error))
    }
}

#[async_trait]
impl<P: Publish> Publish for Keeping<P> {
    async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
        let length = record.value.len();
        let is_model = record.topic == Topic::Feed(Kind::Model);
        match &self.claims {
            Some(claims) if is_model && length > claims.limit() => {
                let refused = |why| ClusterError { what: "keep the body".into(), why };
                let value = self.kept(claims, &record.value).await.map_err(refused)?;
                self.to.publish(Outgoing { value: value.into(), ..record }).await
            }
            None if is_model && length > gateway::RECORD_BODY_BYTES => Err(ClusterError {
                what: "publish".into(),
                why: format!(
                    "the request has {length} bytes, and without a store of kind `cql` at most {} go: \
                     the configuration names none",
                    gateway::RECORD_BODY_BYTES
                ),
            }),
            _ => self.to.publish(record).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Topics(Mutex<Vec<Outgoing>>);

    #[async_trait]
    impl Publish for &Topics {
        async fn publish(&self, record: Outgoing) -> Result<(i32, i64), ClusterError> {
            self.0.lock().unwrap().push(record);
            Ok((0, 0))
        }
    }

    fn record(ids: &Ids, body: usize) -> Outgoing {
        let request = ModelRequest::new("r", "m", "x".repeat(body));
        Outgoing {
            topic: Topic::Feed(Kind::Model),
            partition: None,
            key: None,
            value: ids.frame(&request).unwrap().into(),
            headers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn large_body_is_kept_before_its_request_is_published() {
        let (topics, ids) = (Topics::default(), Ids::for_tests());
        let claims = Claims::new(Arc::new(store::Embedded::in_memory().unwrap()), 1_000);
        let keeping = Keeping { to: &topics, ids: ids.clone(), claims: Some(claims.clone()) };
        for body in [10, 2_000_000] {
            keeping.publish(record(&ids, body)).await.unwrap();
            let value = topics.0.lock().unwrap().pop().unwrap().value;
            assert!(value.len() < 1_000, "{body}");
            let request: ModelRequest = ids.read(&value).unwrap();
            let length = match &request.body_claim {
                Some(claim) => claims.text("default", claim).await.unwrap().len(),
                None => request.body.len(),
            };
            assert_eq!((length, request.body_claim.is_some()), (body, body > 1_000));
        }
    }

    #[tokio::test]
    async fn without_a_shared_store_a_large_request_is_refused_with_what_to_do() {
        let (topics, ids) = (Topics::default(), Ids::for_tests());
        let keeping = Keeping { to: &topics, ids: ids.clone(), claims: None };
        keeping.publish(record(&ids, 500_000)).await.unwrap();
        let refused = keeping.publish(record(&ids, 2_000_000)).await.unwrap_err();
        assert!(refused.why.contains("`cql`"), "{}", refused.why);
        assert_eq!(topics.0.lock().unwrap().len(), 1);
    }
}

//! The one way in which an execution is started over HTTP, and what is kept so that the same request again
//! is the same execution.
//!
//! A request whose id a client can name again (an idempotency key, an id, a CloudEvent) is noted in the
//! store before it is published: with a hash of what was asked, so that another request under the same name
//! is refused. What the store knows to be admitted is not published again. A request with an id that was
//! made just now can't come again, so it pays for none of this.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use domain::claim::ClaimCheck;
use domain::request::{JSON, ModelRequest, WorkflowStart};
use domain::topic::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{AcceptedExecution, Checked, Execution};
use tokio::sync::Mutex;

use crate::App;
use crate::executions::away;
use crate::fault::Fault;
use crate::openai::responses::memo::Memo;
use crate::publish::now;
use crate::trace::Trace;
use crate::values::check_in;

/// Says that an answer is that of an earlier request.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key of a client for "the same request again", in bytes.
const MAX_KEY_BYTES: usize = 256;

/// Whether a request may be one that was sent before, under the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// Its id was made just now.
    New,
    /// Its id is derived from what the client says: it may have ended long ago.
    Maybe,
}

/// Whether the execution is to be found before its processor says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Findable {
    /// At once: its id is in the answer.
    AtOnce,
    /// When its first event has arrived: the client waits for the answer itself.
    Later,
}

/// What becomes of the work when its client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphan {
    /// It ends, unless somebody else may wait for it.
    Cancelled,
    /// It goes on.
    Kept,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// A model call.
    Model(Box<ModelRequest>),
    /// A run of a workflow.
    Workflow(Box<WorkflowStart>),
}

impl From<ModelRequest> for Request {
    fn from(request: ModelRequest) -> Self {
        Self::Model(Box::new(request))
    }
}

impl Request {
    /// Its id, and that of the execution.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Model(it) => &it.id,
            Self::Workflow(it) => &it.id,
        }
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> &str {
        match self {
            Self::Model(it) => &it.tenant,
            Self::Workflow(it) => &it.tenant,
        }
    }

    /// What it asks for.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Model(_) => Kind::Model,
            Self::Workflow(_) => Kind::Workflow,
        }
    }

    /// The definition that it names.
    pub(crate) fn definition(&self) -> &str {
        match self {
            Self::Model(it) => &it.model,
            Self::Workflow(it) => &it.workflow,
        }
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Model(it) => &it.labels,
            Self::Workflow(it) => &it.labels,
        }
    }

    fn search_attributes(&self) -> BTreeMap<String, String> {
        match self {
            Self::Model(_) => BTreeMap::new(),
            Self::Workflow(it) => it.search_attributes.clone(),
        }
    }
}

/// What is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) request: Request,
    pub(crate) novelty: Novelty,
    pub(crate) findable: Findable,
    pub(crate) orphan: Orphan,
    pub(crate) note: Note,
}

/// What the gateway keeps beside an execution, for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Note {
    /// Hash of what was asked, where it can be asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<String>,
    /// What a response has to tell of its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Memo>,
    /// Stands for `response`, where that is too large for a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) large: Option<ClaimCheck>,
}

impl Note {
    /// The note of an execution; an empty one where there is none.
    pub(crate) fn of(execution: &Execution) -> Self {
        let note = execution.note.as_deref().map(serde_json::from_str);
        match note {
            Some(Ok(note)) => note,
            Some(Err(error)) => {
                tracing::warn!(execution_id = execution.id, %error, "a note can't be read");
                Self::default()
            }
            None => Self::default(),
        }
    }

    /// The note of a response, fit for a row.
    pub(crate) async fn of_response(
        app: &App,
        tenant: &str,
        hash: Option<String>,
        memo: &Memo,
    ) -> Result<Self, Fault> {
        let text = serde_json::to_string(memo).expect("a memo has text keys and plain values");
        Ok(match check_in(app, tenant, text, JSON).await? {
            Checked::Inline(_) => Self { hash, response: Some(memo.clone()), large: None },
            Checked::Claimed(claim) => Self { hash, response: None, large: Some(claim) },
        })
    }

    /// What a response has to tell of its request; `None`: it isn't one, or it was forgotten.
    pub(crate) async fn into_response(
        self,
        app: &App,
        tenant: &str,
    ) -> Result<Option<Memo>, Fault> {
        let Some(claim) = &self.large else { return Ok(self.response) };
        let text = app.claims.text_or_gone(tenant, claim).await.map_err(|error| away(&error))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(crate) fn text(&self) -> Option<String> {
        (*self != Self::default())
            .then(|| serde_json::to_string(self).expect("a note has text keys and plain values"))
    }
}

/// Whether this request or an earlier one started the execution.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// This one.
    First,
    /// An earlier one; this is how far it is.
    Again(Box<Execution>),
}

impl Standing {
    /// Says in the answer which it was.
    pub(crate) fn mark(&self, response: &mut Response) {
        if let Self::Again(_) = self {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
    }
}

/// Lets one request at a time look whether its id is known, and note it. Ids share a few locks: a look
/// takes a millisecond.
#[derive(Debug)]
pub(crate) struct Known([Mutex<()>; 64]);

impl Default for Known {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Known {
    fn of(&self, id: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let places = self.0.len() as u64;
        #[allow(clippy::cast_possible_truncation, reason = "less than the number of locks")]
        let place = (hasher.finish() % places) as usize;
        &self.0[place]
    }
}

impl Intent {
    /// What the store is told of the request before its processor says anything.
    pub(crate) fn accepted(&self) -> AcceptedExecution {
        let request = &self.request;
        AcceptedExecution {
            id: request.id().to_owned(),
            tenant: request.tenant().to_owned(),
            kind: request.kind(),
            definition: request.definition().to_owned(),
            request_time: now(),
            labels: request.labels().clone(),
            search_attributes: request.search_attributes(),
            note: self.note.text(),
        }
    }
}

impl App {
    /// Starts what is intended, unless it was started before. When it returns, the request stands.
    pub(crate) async fn start(&self, intent: &Intent, trace: &Trace) -> Result<Standing, Fault> {
        let request = &intent.request;
        let away = |error: crate::publish::PublishError| error.into_fault(Some(request.id()));
        if intent.novelty == Novelty::New {
            self.publish_request(request, trace).await.map_err(away)?;
            if intent.findable == Findable::AtOnce
                && let Err(error) = self.store.put_accepted(intent.accepted()).await
            {
                // It stands in the topic: refusing it now would make the client send it twice.
                tracing::warn!(%error, "an accepted request can't be noted; its events will bring it");
            }
            return Ok(Standing::First);
        }
        let standing = self.claim(intent).await?;
        let admitted = match &standing {
            Standing::First => false,
            Standing::Again(execution) => execution.position.is_some(),
        };
        if !admitted {
            // Also after a first try that may not have reached the broker. The log drops a copy.
            self.publish_request(request, trace).await.map_err(away)?;
        }
        Ok(standing)
    }

    /// Finds out whether the id is known, and if not makes it known with what was asked.
    async fn claim(&self, intent: &Intent) -> Result<Standing, Fault> {
        let (id, tenant) = (intent.request.id(), intent.request.tenant());
        let away = |error: store::StoreError| {
            tracing::warn!(%error, "the store can't be asked whether a request came before");
            Fault::Away { what: "the store", execution: None }
        };
        let _alone = self.known.of(id).lock().await;
        if let Some(execution) = self.store.execution(tenant, id).await.map_err(away)? {
            let first = Note::of(&execution).hash;
            // One that didn't come this way, or that another gateway took, has no hash to compare.
            if first.is_some() && first != intent.note.hash {
                return Err(Fault::Reused { execution: id.to_owned() });
            }
            return Ok(Standing::Again(Box::new(execution)));
        }
        self.store.put_accepted(intent.accepted()).await.map_err(away)?;
        Ok(Standing::First)
    }
}

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |problem: &str| Fault::invalid("Idempotency-Key", problem);
    if values.next().is_some() {
        return Err(wrong("must come once"));
    }
    let key = value.to_str().map_err(|_| wrong("must be visible ASCII"))?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(wrong(&format!("must have 1 to {MAX_KEY_BYTES} bytes")));
    }
    Ok(Some(key.to_owned()))
}

/// A hash of what is asked for on `route`: the same for the same JSON, however it is spaced and its members
/// are ordered.
pub(crate) fn hash(route: &str, body: &Value) -> String {
    let mut hasher = Sha256::new();
    hasher.update(route.as_bytes());
    feed(body, &mut hasher);
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn feed(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Array(items) => {
            hasher.update(format!("[{}", items.len()));
            items.iter().for_each(|item| feed(item, hasher));
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            hasher.update(format!("{{{}", members.len()));
            for (name, value) in members {
                hasher.update(format!("{}:{name}", name.len()));
                feed(value, hasher);
            }
        }
        Value::String(text) => hasher.update(format!("\"{}:{text}", text.len())),
        other => hasher.update(format!("{other};")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hash_sees_content_and_not_spelling() {
        let of = |text: &str| hash("r", &serde_json::from_str(text).unwrap());
        let plain = of(r#"{"a":1,"b":[true,null,"x"]}"#);
        assert_eq!(plain, of(r#"{ "b" : [true, null, "x"], "a":1 }"#));
        for other in [
            r#"{"a":2,"b":[true,null,"x"]}"#,
            r#"{"a":1,"b":[null,true,"x"]}"#,
            r#"{"a":1,"b":[true,null],"x":0}"#,
            r#"{"a":"1","b":[true,null,"x"]}"#,
            r#"{"a":1,"b":["true","null","x"]}"#,
        ] {
            assert_ne!(plain, of(other), "{other}");
        }
        assert_ne!(hash("r", &json!({})), hash("s", &json!({})));
    }
}

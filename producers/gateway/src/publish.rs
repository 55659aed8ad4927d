//! Records that the gateway writes: requests, commands, proposals; with CloudEvents headers.

use bytes::Bytes;
use domain::catalogue::DefinitionProposed;
use domain::claim::MAX_VALUE_BYTES;
use domain::fact::{Command, Fact, Order};
use domain::request::{ModelRequest, WorkflowStart};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::ports::{Headers, Outgoing};
use schemas::{FrameError, Record as _};
use store::{CheckInError, Checked};
use uuid::Uuid;

use crate::App;
use crate::fault::Fault;
use crate::start::Request;
use crate::trace::Trace;

/// Who the CloudEvents of this crate say they come from.
const SOURCE: &str = "stepstream/gateway";

/// Why a record doesn't stand. Mostly that is our fault, the store's or the broker's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the record can't be framed")]
    Frame(#[from] FrameError),
    #[error("the request's body can't be kept")]
    Keep(#[from] CheckInError),
    #[error("the broker didn't take the record")]
    Broker(#[from] runtime::ports::ClusterError),
}

/// The time on this machine's clock.
pub(crate) fn now() -> Millis {
    std::time::SystemTime::now().into()
}

/// A new id, in the order of time.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

impl App {
    /// Writes a request; returns when it stands. A large body is kept first, and its record has a claim
    /// check.
    pub(crate) async fn publish_request(
        &self,
        request: &Request,
        trace: &Trace,
    ) -> Result<(), PublishError> {
        let (value, name) = match request {
            Request::Model(it) if self.claims.limit() < it.body.len() => {
                (self.ids.frame(&self.claimed(it).await?)?, ModelRequest::NAME)
            }
            Request::Model(it) => (self.ids.frame(&**it)?, ModelRequest::NAME),
            Request::Workflow(it) => (self.ids.frame(&**it)?, WorkflowStart::NAME),
        };
        let id = request.id();
        let record = Outgoing {
            topic: Topic::Feed(request.kind()),
            partition: None,
            key: Some(Bytes::copy_from_slice(id.as_bytes())),
            value: value.into(),
            headers: headers(id, name, request.tenant(), id, Some(trace)),
        };
        self.publish.publish(record).await?;
        Ok(())
    }

    async fn claimed(&self, request: &ModelRequest) -> Result<ModelRequest, CheckInError> {
        let ModelRequest { tenant, body, body_media_type, .. } = request;
        let mut request = ModelRequest { body: String::new(), ..request.clone() };
        match self.claims.check_in(tenant, body.clone(), body_media_type).await? {
            Checked::Inline(body) => request.body = body,
            Checked::Claimed(claim) => request.body_claim = Some(claim),
        }
        Ok(request)
    }

    /// Writes a command straight into the log of its execution.
    pub(crate) async fn publish_command(
        &self,
        kind: Kind,
        execution: &str,
        tenant: &str,
        order: Order,
        trace: Option<&Trace>,
    ) -> Result<(), PublishError> {
        let id = new_id();
        let fact = Fact::Command(Command { id: id.clone(), tenant: tenant.to_owned(), order });
        let name = schemas::fact::name(&fact);
        let record = Outgoing {
            topic: Topic::Log(kind),
            partition: None,
            key: Some(Bytes::copy_from_slice(execution.as_bytes())),
            value: self.ids.frame_fact(&fact)?.into(),
            headers: headers(&id, name, tenant, execution, trace),
        };
        self.publish.publish(record).await?;
        Ok(())
    }

    /// Writes a proposal into the definitions' log.
    pub(crate) async fn publish_proposal(
        &self,
        proposal: &DefinitionProposed,
        trace: &Trace,
    ) -> Result<(), PublishError> {
        let key = proposal.key();
        let record = Outgoing {
            topic: Topic::Definitions,
            partition: Some(0),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: self.ids.frame(proposal)?.into(),
            headers: headers(
                &proposal.id,
                DefinitionProposed::NAME,
                &proposal.tenant,
                &key,
                Some(trace),
            ),
        };
        self.publish.publish(record).await?;
        Ok(())
    }
}

impl PublishError {
    /// What the client is told; the cause is for the log, where it goes once.
    pub(crate) fn into_fault(self, execution: Option<&str>) -> Fault {
        let cause = std::error::Error::source(&self).map(ToString::to_string);
        tracing::warn!(error = %self, cause, "a record was not published");
        let Self::Keep(error) = self else {
            return Fault::Away { what: "the broker", execution: execution.map(str::to_owned) };
        };
        match error {
            CheckInError::TooLarge { .. } => Fault::TooLarge { limit: MAX_VALUE_BYTES },
            CheckInError::Store(_) => {
                Fault::Away { what: "the store", execution: execution.map(str::to_owned) }
            }
        }
    }
}

/// The CloudEvents Kafka binding, binary mode, and the trace.
fn headers(id: &str, record: &str, tenant: &str, subject: &str, trace: Option<&Trace>) -> Headers {
    let text =
        |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    let mut headers = vec![
        text("content-type", "application/avro"),
        text("ce_specversion", "1.0"),
        text("ce_id", id),
        text("ce_type", record),
        text("ce_source", SOURCE),
        text("ce_subject", subject),
        text("ce_tenant", tenant),
    ];
    if let Some(trace) = trace {
        headers.push(text("traceparent", &trace.parent));
        if let Some(state) = &trace.state {
            headers.push(text("tracestate", state));
        }
    }
    headers
}

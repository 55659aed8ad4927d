//! A change of a definition: which version it means to replace, and what became of it.

use std::time::Duration;

use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use domain::catalogue::{DefinitionKind, DefinitionProposed, Outcome, Version};
use service::auth::Principal;

use crate::audit;
use crate::fault::Fault;
use crate::publish::{new_id, now};
use crate::trace::Trace;
use crate::{App, RECORD_BODY_BYTES};

/// How long a proposal's outcome is waited for: a round trip through the log takes milliseconds.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(10);

/// Who asks for a change, and which version they mean to replace.
pub(super) struct Asker<'a> {
    pub(super) app: &'a App,
    pub(super) principal: &'a Principal,
    pub(super) trace: &'a Trace,
    pub(super) headers: &'a HeaderMap,
}

/// What is to change.
struct Change<'a> {
    kind: DefinitionKind,
    /// The name that it has in the log.
    name: &'a str,
    /// The version that it replaces; 0: none.
    expects: i32,
    /// What it shall say; `None` deletes.
    body: Option<String>,
}

impl Asker<'_> {
    /// Stores a body in place of what `stands`; whether it is new, and its version.
    pub(super) async fn put(
        &self,
        kind: DefinitionKind,
        name: &str,
        stands: Option<&Version>,
        body: String,
    ) -> Result<(StatusCode, i32), Fault> {
        if body.len() > RECORD_BODY_BYTES {
            return Err(Fault::TooLarge { limit: RECORD_BODY_BYTES });
        }
        let expects = expected(self.headers, stands)?;
        let number = self.propose(Change { kind, name, expects, body: Some(body) }).await?;
        let is_new = stands.is_none_or(|version| version.body.is_none());
        Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, number))
    }

    /// Deletes what stands.
    pub(super) async fn delete(
        &self,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<StatusCode, Fault> {
        let expects = deleted(self.headers)?;
        self.propose(Change { kind, name, expects, body: None }).await?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Proposes a change of the caller's tenant; the version that it became.
    async fn propose(&self, change: Change<'_>) -> Result<i32, Fault> {
        let Self { app, principal, trace, .. } = *self;
        let proposal = DefinitionProposed {
            id: new_id(),
            kind: change.kind,
            tenant: principal.tenant.clone(),
            name: change.name.to_owned(),
            expects: change.expects,
            body: change.body,
            proposed_by: format!("key {}", principal.key_id),
            time: now(),
        };
        app.publish_proposal(&proposal, trace).await.map_err(|error| error.into_fault(None))?;
        let outcome = app.definitions.wait_for(&proposal.id, OUTCOME_PATIENCE).await;
        audit::proposed(&proposal, principal, outcome);
        match outcome {
            Some(Outcome::Accepted(version)) => Ok(version),
            Some(Outcome::Conflict(version)) => Err(conflict(version)),
            None => Err(Fault::Undecided { proposal: proposal.id }),
        }
    }
}

/// The version that the client means to replace; 0: none.
fn expected(headers: &HeaderMap, stands: Option<&Version>) -> Result<i32, Fault> {
    match (text(headers, &IF_MATCH), text(headers, &IF_NONE_MATCH)) {
        (Some(tag), None) => version(tag),
        (None, Some("*")) => match stands {
            None => Ok(0),
            Some(version) if version.body.is_none() => Ok(version.number),
            Some(version) => Err(conflict(version.number)),
        },
        (None, Some(_)) => Err(Fault::invalid("If-None-Match", "must be `*`")),
        (Some(_), Some(_)) => {
            Err(Fault::invalid("If-None-Match", "must not come together with `If-Match`"))
        }
        (None, None) => Err(Fault::PreconditionRequired(
            "send `If-Match` with the version to replace, or `If-None-Match: *` for a new definition",
        )),
    }
}

/// The version that the client means to delete.
fn deleted(headers: &HeaderMap) -> Result<i32, Fault> {
    match (text(headers, &IF_MATCH), text(headers, &IF_NONE_MATCH)) {
        (Some(tag), None) => version(tag),
        (None, None) => Err(Fault::PreconditionRequired(
            "send `If-Match` with the version to delete, as in the `ETag` of an answer",
        )),
        (_, Some(_)) => Err(Fault::invalid("If-None-Match", "has no meaning here")),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default().trim())
}

/// The version in an `ETag`.
fn version(tag: &str) -> Result<i32, Fault> {
    let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    tag.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
        Fault::invalid("If-Match", "must be a version, as in the `ETag` of an answer")
    })
}

fn conflict(version: i32) -> Fault {
    Fault::Conflict {
        code: "version_conflict",
        problem: format!("version {version} stands; read it and decide again"),
        version: Some(version),
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Millis;

    use super::*;

    fn version(number: i32, body: Option<&str>) -> Version {
        let body = body.map(str::to_owned);
        Version { number, body, proposal: "p".into(), time: Millis(0) }
    }

    #[test]
    fn change_names_what_it_replaces() {
        let (live, deleted) = (version(3, Some("{}")), version(4, None));
        let of = |pairs: &[(&'static str, &str)], stands: Option<&Version>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            expected(&headers, stands).map_err(|fault| fault.status().as_u16())
        };
        assert_eq!(of(&[("if-match", "\"3\"")], Some(&live)), Ok(3));
        assert_eq!(of(&[("if-match", "3")], Some(&live)), Ok(3));
        assert_eq!(of(&[("if-match", "\"2\"")], Some(&live)), Ok(2), "the log decides");
        assert_eq!(of(&[("if-none-match", "*")], None), Ok(0));
        assert_eq!(of(&[("if-none-match", "*")], Some(&deleted)), Ok(4));
        assert_eq!(of(&[("if-none-match", "*")], Some(&live)), Err(409));
        assert_eq!(of(&[], Some(&live)), Err(428));
        for wrong in ["", "0", "-1", "x", "\"3", "99999999999"] {
            assert!(matches!(of(&[("if-match", wrong)], None), Err(400)), "{wrong}");
        }
        assert_eq!(of(&[("if-none-match", "\"3\"")], None), Err(400));
        assert_eq!(of(&[("if-match", "3"), ("if-none-match", "*")], None), Err(400));
    }
    #[test]
    fn deletion_names_what_it_deletes() {
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            deleted(&headers).map_err(|fault| fault.status().as_u16())
        };
        assert_eq!(of(&[("if-match", "\"3\"")]), Ok(3));
        assert_eq!(of(&[]), Err(428));
        assert_eq!(of(&[("if-match", "*")]), Err(400));
        assert_eq!(of(&[("if-none-match", "*")]), Err(400));
        assert_eq!(of(&[("if-match", "3"), ("if-none-match", "*")]), Err(400));
    }
}

//! Who asks: the key of the `Authorization` header, looked up in the catalogue. The tenant comes from the
//! key and from nowhere else.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use service::auth::{AuthError, Principal, Scope, authenticate};

use tokio::time::Instant;

use crate::App;
use crate::fault::Fault;
use crate::headers::Allowance;
use crate::publish::now;

/// What a handler demands of a key. A type, so that no handler can forget to say which.
pub(crate) trait Demand: Send + Sync + 'static {
    /// The scope that the key must have.
    const SCOPE: Scope;
}

/// Starting executions.
pub(crate) struct Start;
/// Seeing executions.
pub(crate) struct See;
/// Steering executions.
pub(crate) struct Steer;
/// Seeing definitions.
pub(crate) struct Look;
/// Changing definitions.
pub(crate) struct Define;

impl Demand for Start {
    const SCOPE: Scope = Scope::RequestsWrite;
}
impl Demand for See {
    const SCOPE: Scope = Scope::ExecutionsRead;
}
impl Demand for Steer {
    const SCOPE: Scope = Scope::ExecutionsWrite;
}
impl Demand for Look {
    const SCOPE: Scope = Scope::DefinitionsRead;
}
impl Demand for Define {
    const SCOPE: Scope = Scope::DefinitionsWrite;
}

/// Somebody who may do what `D` says. `E` is the form of a refusal.
pub(crate) struct Caller<D, E> {
    pub(crate) principal: Principal,
    demand: PhantomData<(D, E)>,
}

impl<D, E> Caller<D, E> {
    pub(crate) fn tenant(&self) -> &str {
        &self.principal.tenant
    }
}

impl<D, E> FromRequestParts<App> for Caller<D, E>
where
    D: Demand,
    E: From<Fault> + IntoResponse + Send + 'static,
{
    type Rejection = E;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, E> {
        let principal = who(&parts.headers, app)?;
        if let Some(verdict) = app.buckets.take(&principal.key_id, Instant::now()) {
            if let Some(allowance) = parts.extensions.get::<Allowance>() {
                let _ = allowance.0.set(verdict);
            }
            if let Some(wait) = verdict.wait {
                return Err(Fault::RateLimited { wait }.into());
            }
        }
        principal.require(D::SCOPE).map_err(|error| Fault::Forbidden(error.to_string()))?;
        Ok(Self { principal, demand: PhantomData })
    }
}

fn who(headers: &HeaderMap, app: &App) -> Result<Principal, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Fault::Unauthenticated("send one header `Authorization: Bearer <key>`".into()));
    };
    let presented = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| {
            Fault::Unauthenticated("the Authorization header must be `Bearer <key>`".into())
        })?;
    authenticate(presented, &app.definitions.snapshot(), now()).map_err(|error| {
        if let AuthError::Damaged { .. } = &error {
            tracing::error!(%error, "an API key can't be used");
        }
        // Which of them it was is nobody's business but the key owner's and the log's.
        tracing::debug!(%error, "a key was refused");
        Fault::Unauthenticated("the API key is not valid".into())
    })
}

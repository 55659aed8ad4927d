//! Paths that end with a verb, such as `/v1/executions/{id}:cancel`. The router matches whole segments, so what
//! stands behind the last colon is told apart here.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::handler::Handler;
use axum::response::{IntoResponse as _, Response};

use crate::definitions::compile;
use crate::fault::{Fault, Problem};
use crate::{App, again, running, steering};

pub(crate) const CANCEL: &str = ":cancel";
pub(crate) const PAUSE: &str = ":pause";
pub(crate) const RESUME: &str = ":resume";
pub(crate) const SIGNAL: &str = ":signal";
pub(crate) const RETRY: &str = ":retry";
pub(crate) const RESTART: &str = ":restart";
pub(crate) const START: &str = ":start";
pub(crate) const COMPILE: &str = ":compile";

/// Whether a path ends with a verb that its route knows.
pub(crate) fn is_in(path: &str) -> bool {
    [CANCEL, PAUSE, RESUME, SIGNAL, RETRY, RESTART, START, COMPILE]
        .iter()
        .any(|verb| path.ends_with(verb))
}

/// `POST` of what an execution is to do.
pub(crate) async fn of_execution(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match path.rsplit_once(':').map(|(_, verb)| verb) {
        Some("cancel") => steering::cancel.call(request, app).await,
        Some("pause") => steering::pause.call(request, app).await,
        Some("resume") => steering::resume.call(request, app).await,
        Some("signal") => steering::signal.call(request, app).await,
        Some("retry") => again::retry.call(request, app).await,
        Some("restart") => again::restart.call(request, app).await,
        _ => Problem(Fault::Method { allowed: "GET, HEAD" }).into_response(),
    }
}

/// `POST` of what is to be done with a workflow.
pub(crate) async fn of_workflow(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match path.rsplit_once(':').map(|(_, verb)| verb) {
        Some("start") => running::start.call(request, app).await,
        Some("compile") => compile::post.call(request, app).await,
        _ => Problem(Fault::NoRoute).into_response(),
    }
}

/// A path's segment without its verb.
pub(crate) fn without(
    path: Result<Path<String>, PathRejection>,
    verb: &str,
) -> Result<Result<Path<String>, PathRejection>, Fault> {
    match path {
        Ok(Path(segment)) => match segment.strip_suffix(verb) {
            Some(name) => Ok(Ok(Path(name.to_owned()))),
            None => Err(Fault::NoRoute),
        },
        Err(wrong) => Ok(Err(wrong)),
    }
}

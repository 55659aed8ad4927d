//! Who is asked next, and when: facts in, decision out. No clock, no network, no chance of its own.
//!
//! | class | what follows |
//! |---|---|
//! | invalid, too large, internal | the failure: it would come again |
//! | context window, content policy | the fallbacks for just that, else the failure |
//! | authentication, not found, an exhausted quota | another deployment, else the general fallbacks |
//! | rate limited, provider, timeout, network | another deployment at once; when all were asked, the least asked again after a wait; when the tries are used up, the general fallbacks |

use std::time::Duration;

use domain::answer::{ErrorClass, Failure};
use domain::model_definition::{Balance, Fallbacks, Retry};

/// What is known of one deployment at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Calls that run there or wait for it.
    pub(crate) load: u64,
    /// How many it takes at once; `None`: any number.
    pub(crate) concurrency: Option<u32>,
    /// Its share.
    pub(crate) weight: u32,
    /// How long it is still to be left alone.
    pub(crate) cooling: Option<Duration>,
    /// How often this call has asked it.
    pub(crate) tries: u32,
    /// It failed for good, as far as this call goes.
    pub(crate) out: bool,
}

/// How the last try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedTry {
    /// Which deployment.
    pub(crate) deployment: usize,
    /// What it said.
    pub(crate) failure: Failure,
    /// How long it asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    /// The deployments of the alias that is being asked, in order.
    pub(crate) deployments: &'a [Candidate],
    /// How the alias spreads calls.
    pub(crate) balance: Balance,
    /// The alias's tries and waits.
    pub(crate) retry: Retry,
    /// How often this alias was tried in this call.
    pub(crate) tries: u32,
    /// The last failure; `None` before the first try of an alias.
    pub(crate) failed: Option<&'a FailedTry>,
    /// The fallbacks of the alias that was asked for.
    pub(crate) fallbacks: &'a Fallbacks,
    /// Aliases that this call has been at, the present one included.
    pub(crate) visited: &'a [String],
    /// Time left for the whole call.
    pub(crate) left: Duration,
    /// A fresh random number.
    pub(crate) random: u64,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask a deployment that this call hasn't asked yet, at once.
    Ask {
        /// Which.
        deployment: usize,
    },
    /// Wait, then ask.
    Retry {
        /// Which deployment.
        deployment: usize,
        /// How long to wait.
        after: Duration,
    },
    /// Go on with another alias.
    Fallback {
        /// Which.
        alias: String,
    },
    /// The call has failed.
    GiveUp(Failure),
}

/// Decides.
pub(crate) fn next(facts: &Facts<'_>) -> Next {
    let Some(failed) = facts.failed else {
        return ready(facts, |_| true)
            .map(|deployment| Next::Ask { deployment })
            .unwrap_or_else(|| wait(facts, all_cooling()));
    };
    let failure = failed.failure.clone();
    match failure.class {
        ErrorClass::Invalid | ErrorClass::TooLarge | ErrorClass::Internal => Next::GiveUp(failure),
        ErrorClass::ContextWindow => fallback(facts, &facts.fallbacks.context_window, failure),
        ErrorClass::ContentPolicy => fallback(facts, &facts.fallbacks.content_policy, failure),
        _ if facts.tries >= facts.retry.max_tries => general(facts, failure),
        _ => match ready(facts, |candidate| candidate.tries == 0) {
            Some(deployment) => Next::Ask { deployment },
            None => wait(facts, failure),
        },
    }
}

/// Whether a deployment that failed so may not be asked again by the same call.
pub(crate) fn is_out(failure: &Failure) -> bool {
    !failure.retryable || matches!(failure.class, ErrorClass::Authentication | ErrorClass::NotFound)
}

/// Whether a failure speaks against the deployment, and not against the request.
pub(crate) fn counts_against_deployment(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Authentication
            | ErrorClass::NotFound
            | ErrorClass::RateLimited
            | ErrorClass::Provider
            | ErrorClass::Timeout
            | ErrorClass::Network
    )
}

/// The deployment to ask at once, among those that are fit and `eligible`.
fn ready(facts: &Facts<'_>, eligible: impl Fn(&Candidate) -> bool) -> Option<usize> {
    let fit: Vec<(usize, &Candidate)> = facts
        .deployments
        .iter()
        .enumerate()
        .filter(|(_, c)| !c.out && c.cooling.is_none() && eligible(c))
        .collect();
    match facts.balance {
        Balance::Ordered => {
            let with_room = fit
                .iter()
                .find(|(_, c)| c.concurrency.is_none_or(|limit| c.load < u64::from(limit)));
            with_room.or(fit.first()).map(|(i, _)| *i)
        }
        Balance::Spread => {
            // Loads are compared as load / weight, multiplied out.
            let lighter = |a: &Candidate, b: &Candidate| {
                let (a_load, b_load) = (u128::from(a.load), u128::from(b.load));
                (a_load * u128::from(b.weight)).cmp(&(b_load * u128::from(a.weight)))
            };
            let (_, least) = fit.iter().min_by(|(_, a), (_, b)| lighter(a, b))?;
            let ties: Vec<usize> =
                fit.iter().filter(|(_, c)| lighter(c, least).is_eq()).map(|(i, _)| *i).collect();
            let chosen = facts.random % (ties.len() as u64);
            usize::try_from(chosen).ok().and_then(|i| ties.get(i).copied())
        }
    }
}

/// Asks the deployment that can be asked soonest, the least asked first; another alias when that
/// takes long, and the failure when it takes longer than there is time.
fn wait(facts: &Facts<'_>, failure: Failure) -> Next {
    let backoff = backoff(&facts.retry, facts.tries, facts.random);
    let soonest = facts
        .deployments
        .iter()
        .enumerate()
        .filter(|(_, candidate)| !candidate.out)
        .map(|(i, candidate)| {
            let asked = facts
                .failed
                .filter(|failed| failed.deployment == i)
                .and_then(|failed| failed.retry_after)
                .map(|asked| asked.min(Duration::from_millis(facts.retry.max_retry_after_ms)));
            let after = backoff.max(candidate.cooling.unwrap_or_default());
            (after.max(asked.unwrap_or_default()), candidate.tries, i)
        })
        .min();
    let Some((after, _, deployment)) = soonest else {
        return general(facts, failure);
    };
    if after >= facts.left {
        return general(facts, failure);
    }
    // Nobody waits for a cooling deployment while another alias could answer.
    if after > Duration::from_millis(facts.retry.max_backoff_ms)
        && let Some(alias) = unvisited(facts, &facts.fallbacks.general)
    {
        return Next::Fallback { alias };
    }
    Next::Retry { deployment, after }
}

/// Full jitter: anything from nothing to the doubled bound ("Exponential Backoff And Jitter", AWS
/// Architecture Blog, 2015).
fn backoff(retry: &Retry, tries: u32, random: u64) -> Duration {
    let doublings = tries.saturating_sub(1).min(32);
    let bound = retry.base_backoff_ms.saturating_mul(1 << doublings).min(retry.max_backoff_ms);
    // The product's upper half is even over 0..=bound.
    let jitter = ((u128::from(bound) + 1) * u128::from(random)) >> 64;
    Duration::from_millis(u64::try_from(jitter).unwrap_or(bound))
}

fn general(facts: &Facts<'_>, failure: Failure) -> Next {
    fallback(facts, &facts.fallbacks.general, failure)
}

fn fallback(facts: &Facts<'_>, list: &[String], failure: Failure) -> Next {
    unvisited(facts, list).map_or(Next::GiveUp(failure), |alias| Next::Fallback { alias })
}

fn unvisited(facts: &Facts<'_>, list: &[String]) -> Option<String> {
    list.iter().find(|alias| !facts.visited.contains(alias)).cloned()
}

fn all_cooling() -> Failure {
    let message = "every deployment of the model is cooling down after failures";
    Failure::new(ErrorClass::Provider, "all_deployments_cooling", message).retryable()
}

#[cfg(test)]
mod tests;

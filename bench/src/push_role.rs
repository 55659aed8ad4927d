//! The product with the one role that keeps sockets, as a process of its own, and what it says of itself.
//!
//! It knows how the role is started, reached and asked; what is done with its sockets is a bench's business.

use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use domain::request::DEFAULT_TENANT;
use domain::topic::Topic;
use rdkafka::producer::{BaseRecord, Producer as _};
use service::auth::{KeyDefinition, NewKey, PREFIX, Scope};

use crate::client;
use crate::operator::{free_address, until_ready};
use crate::platform::{Platform, now};
use crate::product::program;
use crate::stack::Stack;

/// How long it may take to be ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked what a bench waits for.
const LOOK: Duration = Duration::from_millis(20);

/// Counters and gauges of the role, by the names that operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Sockets open now.
    Sockets,
    /// Subscriptions now.
    Subscriptions,
    /// Pieces of text that were joined since their client was behind.
    Coalesced,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::Sockets => "stepstream_push_sockets",
            Self::Subscriptions => "stepstream_push_subscriptions",
            Self::Coalesced => "stepstream_push_coalesced_total",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The role, running.
pub(crate) struct PushRole {
    child: Child,
    /// Where its sockets are.
    pub(crate) address: SocketAddr,
    /// A key that may open them.
    pub(crate) key: String,
    health: String,
    http: reqwest::Client,
    _data: tempfile::TempDir,
}

impl PushRole {
    /// Makes a key, starts the role on the topics of `platform`, and waits until it is ready.
    ///
    /// # Errors
    /// A program that isn't there, a port that is taken, a process that ends.
    pub(crate) fn start(stack: &Stack, platform: &Platform) -> anyhow::Result<Self> {
        let key = propose_key(platform)?;
        let data = tempfile::tempdir().context("making a directory for the role's store")?;
        let (address, health) = (free_address()?, free_address()?);
        let child = Command::new(program()?)
            .args(["serve", "--roles", "push"])
            .current_dir(data.path())
            .env("STEPSTREAM_KAFKA__BROKERS", &stack.brokers)
            .env("STEPSTREAM_KAFKA__PREFIX", platform.prefix())
            .env("STEPSTREAM_REGISTRY__URL", &stack.registry)
            .env("STEPSTREAM_STORE__PATH", data.path().join("push.redb"))
            .env("STEPSTREAM_PUSH__LISTEN", address.to_string())
            .env("STEPSTREAM_TELEMETRY__METRICS_LISTEN", health.to_string())
            .env("STEPSTREAM_TELEMETRY__LOG_FILTER", "warn,librdkafka=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting `stepstream serve --roles push`")?;
        let http = reqwest::Client::builder().no_proxy().build().context("making a client")?;
        let health = format!("http://{health}");
        let mut role = Self { child, address, key, health, http, _data: data };
        role.until_ready(platform)?;
        Ok(role)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says of itself; a metric that it hasn't touched yet is 0.
    pub(crate) async fn metric(&self, metric: Metric) -> anyhow::Result<f64> {
        let answer = self.http.get(format!("{}/metrics", self.health)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let text = answer.context("asking the role for its metrics")?.text().await?;
        Ok(value_of(&text, metric.name()))
    }

    /// Waits until it says what is wanted of a metric.
    ///
    /// # Errors
    /// It doesn't within `patience`.
    pub(crate) async fn until(
        &self,
        metric: Metric,
        patience: Duration,
        wanted: impl Fn(f64) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let value = self.metric(metric).await?;
            if wanted(value) {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("{metric} is {value} after {} s", patience.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn until_ready(&mut self, platform: &Platform) -> anyhow::Result<()> {
        let Self { child, http, health, .. } = self;
        let url = format!("{health}/readyz");
        platform.runtime.block_on(until_ready(http, &url, READY_WITHIN, || {
            match child.try_wait().context("looking at the role")? {
                None => Ok(()),
                Some(status) => bail!("the push role ended with {status} before it was ready"),
            }
        }))
    }
}

impl Drop for PushRole {
    fn drop(&mut self) {
        // Nothing to be done about one that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a key known as `stepstream keys create` does, before anybody reads the catalogue.
fn propose_key(platform: &Platform) -> anyhow::Result<String> {
    let half = || uuid::Uuid::new_v4().simple();
    let key = format!("{PREFIX}{}{}", half(), half());
    let new = NewKey::given(key.clone().into()).context("making a key")?;
    let definition = KeyDefinition {
        tenant: DEFAULT_TENANT.into(),
        scopes: [Scope::ExecutionsRead].into(),
        label: "bench".into(),
        created: now(),
        expires: None,
    };
    let proposal = new.proposal(uuid::Uuid::now_v7().to_string(), &definition, "bench");
    let value = platform.ids.frame(&proposal)?;
    let topic = platform.topic(Topic::Definitions);
    let place = format!("{}/{}/{}", proposal.kind.as_str(), proposal.tenant, proposal.name);
    let (producer, _) = client::producer(&platform.brokers)?;
    producer
        .send(BaseRecord::to(&topic).key(&place).payload(&value))
        .map_err(|(error, _)| error)?;
    producer.flush(READY_WITHIN).context("publishing a key")?;
    Ok(key)
}

/// The sum of a metric over its labels, out of Prometheus' text.
fn value_of(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole_name = rest.starts_with([' ', '{']);
        is_whole_name.then(|| rest.rsplit_once(' '))??.1.parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_is_the_sum_over_its_labels_and_of_no_longer_name() {
        let text = "# HELP a_total says a_total 9\na_total{code=\"1\"} 2\na_total{code=\"2\"} 3\n\
                    a_totals 7\nb 1.5\n";
        assert_eq!(value_of(text, "a_total"), 5.0);
        assert_eq!(value_of(text, "b"), 1.5);
        assert_eq!(value_of(text, "c"), 0.0);
    }
}

//! What `stepstream dev` says when everything is ready: a block for people, or one line for programs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use domain::request::DEFAULT_TENANT;
use kafka::Stack;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use service::config::Config;

/// What there is to say.
pub(super) struct Ready<'a> {
    pub(super) address: SocketAddr,
    pub(super) key: &'a SecretString,
    pub(super) config: &'a Config,
    pub(super) data: &'a Path,
    pub(super) stack: Stack,
    pub(super) models: Vec<&'static str>,
    pub(super) took: Duration,
}

impl Ready<'_> {
    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        let Config { kafka, registry, .. } = self.config;
        json!({
            "address": self.address.to_string(),
            "url": self.url(),
            "api_key": self.key.expose_secret(),
            "tenant": DEFAULT_TENANT,
            "brokers": kafka.bootstrap_servers(),
            "registry": registry.url,
            "prefix": kafka.prefix,
            "stack": match self.stack {
                Stack::Embedded => "embedded",
                Stack::Real => "real",
            },
            "data": self.data.display().to_string(),
            "models": self.models,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// A block of text, with the first command to try.
    pub(super) fn text(&self) -> String {
        let Config { kafka, registry, .. } = self.config;
        let (url, key, model) = (self.url(), self.key.expose_secret(), self.models[0]);
        let topics = match self.stack {
            Stack::Embedded => "in memory: what is on them is gone when this stops",
            Stack::Real => "on the cluster",
        };
        let prefix = match kafka.prefix.as_str() {
            "" => String::new(),
            prefix => format!("\n  prefix     {prefix}"),
        };
        format!(
            r#"
Stepstream is ready ({took:.1} s)

  page       {url}/
  API        {url}/v1
  API key    {key}
  models     {models}
  brokers    {brokers}
  registry   {registry}{prefix}
  topics     {topics}
  data       {data}

Try it:

  curl -N {url}/v1/chat/completions \
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

Ctrl-C stops it."#,
            took = self.took.as_secs_f64(),
            models = self.models.join(", "),
            brokers = kafka.bootstrap_servers(),
            registry = registry.url,
            data = self.data.display(),
        )
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn with_ready<T>(look: impl FnOnce(&Ready<'_>) -> T) -> T {
        let key = SecretString::from("sk-ss-1");
        look(&Ready {
            address: SocketAddr::from(([127, 0, 0, 1], 4000)),
            key: &key,
            config: &Config::default(),
            data: Path::new("d"),
            stack: Stack::Embedded,
            models: vec!["demo"],
            took: Duration::from_millis(840),
        })
    }

    #[test]
    fn line_for_programs_is_one_json_object() {
        let line = with_ready(|ready| ready.json());
        assert!(!line.contains('\n'));
        let ready: Value = serde_json::from_str(&line).unwrap();
        for (field, value) in [
            ("address", "127.0.0.1:4000"),
            ("api_key", "sk-ss-1"),
            ("brokers", "127.0.0.1:9092"),
            ("registry", "http://127.0.0.1:8081"),
            ("data", "d"),
            ("stack", "embedded"),
        ] {
            assert_eq!(ready[field], value, "{field}");
        }
    }

    #[test]
    fn block_for_people_warns_that_topics_are_not_kept() {
        let block = with_ready(|ready| ready.text());
        assert!(block.contains("gone when this stops"), "{block}");
        assert!(block.contains("curl -N http://127.0.0.1:4000/v1/chat/completions"), "{block}");
    }
}

//! What an operator does, on a real cluster that has nothing of ours yet: look, set up, look again, serve.

use std::process::{Command, Output};

use reqwest::StatusCode;
use stepstream_tests::process::{Process, Signal};
use stepstream_tests::stack::{self, Addresses};
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, program};

/// The command line on one prefix of the real cluster.
struct Operator {
    addresses: &'static Addresses,
    prefix: String,
}

impl Operator {
    async fn new() -> Self {
        Self { addresses: stack::real().await, prefix: format!("{}-", fresh("o")) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("STEPSTREAM_KAFKA__BROKERS", &self.addresses.brokers)
            .env("STEPSTREAM_KAFKA__PREFIX", &self.prefix)
            .env("STEPSTREAM_KAFKA__PARTITIONS", "2")
            .env("STEPSTREAM_KAFKA__REPLICATION_FACTOR", "1")
            .env("STEPSTREAM_REGISTRY__URL", &self.addresses.registry);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        Self::said(self.command(arguments)).await
    }

    async fn said(mut command: Command) -> Said {
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let Output { status, stdout, stderr } = output;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: status.code(), out: text(&stdout), err: text(&stderr) }
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// It ended with `code` and said all of `words`.
    fn check(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.out.contains(word) || self.err.contains(word), "{word}: {self:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_is_set_up_once_and_each_command_says_what_to_do_next() {
    let operator = Operator::new().await;
    operator.run(&["doctor"]).await.check(1, &["FAIL", "stepstream topics apply"]);
    operator.run(&["serve"]).await.check(1, &["stepstream topics apply"]);
    let model_requests = format!("{}model-requests", operator.prefix);
    operator.run(&["topics", "plan"]).await.check(0, &["create", &model_requests]);
    operator.run(&["topics", "check"]).await.check(1, &["stepstream topics apply"]);

    operator.run(&["topics", "apply"]).await.check(0, &["17 topics created"]);
    operator.run(&["topics", "apply"]).await.check(0, &["0 topics created, 0 settings altered"]);
    operator.run(&["topics", "check"]).await.check(0, &["every topic is as it must be"]);
    operator.run(&["doctor"]).await.check(0, &["there is no model yet"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.json").display().to_string();
    let key = r#"{"env":"STEPSTREAM_TEST_ABSENT_API_KEY"}"#;
    let deployment = format!(r#"{{"name":"a","provider":"openai","model":"m","key":{key}}}"#);
    std::fs::write(&file, format!(r#"{{"deployments":[{deployment}]}}"#)).unwrap();
    operator.run(&["models", "put", "m", &file]).await.check(0, &["m is version 1"]);
    operator.run(&["models", "put", "m", &file]).await.check(0, &["m is version 2"]);
    operator.run(&["models", "list"]).await.check(0, &["m\tversion 2"]);
    operator.run(&["doctor"]).await.check(1, &["STEPSTREAM_TEST_ABSENT_API_KEY"]);

    // The partition of an execution follows from its id and the count.
    let mut more = operator.command(&["topics", "apply"]);
    more.env("STEPSTREAM_KAFKA__PARTITIONS", "3");
    Operator::said(more).await.check(1, &["has 2 partitions instead of 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_without_a_gateway_tells_its_health() {
    let operator = Operator::new().await;
    operator.run(&["topics", "apply"]).await.check(0, &[]);
    let folder = tempfile::tempdir().unwrap();
    let port = crate::cluster::free_port();
    let mut command = operator.command(&["serve", "--roles", "inference"]);
    command.env("STEPSTREAM_TELEMETRY__METRICS_LISTEN", format!("127.0.0.1:{port}"));
    let mut worker = Process::start("worker", command, folder.path());
    let get = async |path: &str| reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok();
    until("it is ready", PATIENCE, async || {
        let answer = get("/readyz").await?;
        (answer.status() == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(get("/healthz").await.unwrap().status(), StatusCode::OK);
    until("it owns its partitions", PATIENCE, async || {
        let metrics = get("/metrics").await?.text().await.ok()?;
        metrics.contains("stepstream_partitions_owned{kind=\"model\"} 2").then_some(())
    })
    .await;
    assert_eq!(get("/v1/models").await.unwrap().status(), StatusCode::NOT_FOUND);
    worker.signal(Signal::Terminate);
    assert!(worker.ended(PATIENCE).success());
}

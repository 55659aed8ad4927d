//! What is deployed beside the program agrees with it: dashboards and alerts with its metrics, compose with
//! its settings.

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use stepstream_tests::api::Api;
use stepstream_tests::platform::Platform;
use stepstream_tests::stack::Stack;
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, program, root};

use super::push::Socket;
use crate::outside::{printed, python};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_and_alerts_ask_for_metrics_that_there_are() {
    let platform = Platform::shared(Stack::Embedded).await;
    let api = Api::of(&platform);
    // What isn't counted yet isn't exported.
    let body = json!({
        "model": "demo", "stream": true, "messages": [{ "role": "user", "content": "Ahoy there" }]
    });
    let answer = api.request(Method::POST, "/v1/chat/completions").json(&body).send().await;
    assert!(answer.unwrap().text().await.unwrap().contains("[DONE]"));
    let mut socket = Socket::known(&platform, &platform.key).await;
    let id = fresh("graphs");
    socket.follow(&id, &json!("start")).await;
    api.start(&id, "demo", "Ahoy there").await;
    assert!(!socket.rest().await.is_empty());
    drop(socket);
    // Some are first exported by the next checkpoint, or the next look at the lag.
    let metrics = format!("{}/metrics", platform.url);
    until("every metric that is asked for", PATIENCE, async || {
        let mut command = Command::new(python());
        command.arg(root().join("infra/grafana/check.py")).args(["--metrics", &metrics]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
        said.trim().ends_with("queries ask only for what there is").then_some(())
    })
    .await;
}

#[tokio::test]
async fn compose_agrees_with_its_settings() {
    let mut command = Command::new(python());
    command.arg(root().join("infra/compose/check.py"));
    let said = printed(command).await;
    assert!(said.ends_with("services agree with their settings"), "{said}");
}

#[tokio::test]
async fn configuration_of_compose_can_work() {
    let mut command = Command::new(program());
    command.args(["config", "check", "--config"]).arg(root().join("infra/compose/stepstream.toml"));
    assert_eq!(printed(command).await, "the configuration can work");
}

//! Programs that others wrote, against the API: the `openai` packages for Python and for Node, and requests
//! generated from the OpenAPI document.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stepstream_tests::api::Api;
use stepstream_tests::fresh;
use stepstream_tests::platform::{Platform, output};
use stepstream_tests::stack::Stack;

/// A Python that has `tests/requirements.txt`, as `cargo xtask setup` makes it.
pub(crate) fn python() -> PathBuf {
    let given = std::env::var_os("STEPSTREAM_PYTHON");
    given.map(PathBuf::from).expect("STEPSTREAM_PYTHON names a Python; `cargo xtask test` sets it")
}

/// A `node_modules` that has `tests/package-lock.json`, as `cargo xtask setup` makes it.
fn node_modules() -> PathBuf {
    let given = std::env::var_os("STEPSTREAM_NODE_MODULES");
    given
        .map(PathBuf::from)
        .expect("STEPSTREAM_NODE_MODULES names a folder of packages; `cargo xtask test` sets it")
}

/// What a command printed.
pub(crate) async fn printed(command: Command) -> String {
    tokio::task::spawn_blocking(move || output(command)).await.unwrap()
}

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    stepstream_tests::root().join("tests/tests/end_to_end/outside").join(name)
}

/// A model of the platform itself that plays this rule.
async fn scripted(platform: &Platform, name: &str, rule: Value) {
    let deployment = json!({
        "name": "s", "provider": "scripted", "model": "m", "script": { "rules": [rule] }
    });
    Api::of(platform).put_model(name, &json!({ "deployments": [deployment] })).await;
}

/// The models that the packages talk to: one that answers, one that calls a tool, one that takes its time.
async fn models(platform: &Platform) -> [String; 3] {
    let [plain, tooled, slow] = ["plain", "tooled", "slow"].map(fresh);
    scripted(platform, &plain, json!({})).await;
    let call = json!({ "name": "weather", "arguments": { "city": "Bergen" } });
    scripted(platform, &tooled, json!({ "tool_calls": [call] })).await;
    scripted(platform, &slow, json!({ "latency_ms": 60_000 })).await;
    [plain, tooled, slow]
}

async fn run(platform: &Platform, mut command: Command, script: &Path, more: &str) {
    let models = models(platform).await;
    command.arg(script).args([&format!("{}/v1", platform.url), &platform.key]);
    command.args(models).arg(more);
    assert_eq!(printed(command).await, "ok");
}

async fn openai_package_for_python_works_unchanged(platform: &Platform) {
    let command = Command::new(python());
    run(platform, command, &beside("openai_sdk.py"), &fresh("key")).await;
}

async fn openai_package_for_node_works_unchanged(platform: &Platform) {
    let mut command = Command::new("node");
    command.env("NODE_PATH", node_modules());
    run(platform, command, &beside("openai_sdk.cjs"), "").await;
}

super::on_both_stacks!(
    openai_package_for_python_works_unchanged,
    openai_package_for_node_works_unchanged,
);

/// What a generated request must never get: a server error, an answer (status, media type, body) that the
/// document doesn't have, or a refusal of what the document allows.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      positive_data_acceptance";

/// What may be answered to a request that is right: what it names isn't there, stands otherwise by now, or
/// its key was used before.
const CONFIG: &str = "[checks.positive_data_acceptance]\n\
                      expected-statuses = [\"2xx\", \"404\", \"409\", \"422\", \"428\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_document_holds_for_generated_requests_on_the_embedded_stack() {
    holds_for_generated_requests(Stack::Embedded, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_document_holds_for_generated_requests_on_the_real_stack() {
    // Each takes longer there, and what the store does differently shows early.
    holds_for_generated_requests(Stack::Real, 4).await;
}

/// `examples`: how many requests are drawn for each operation in each phase.
async fn holds_for_generated_requests(stack: Stack, examples: u32) {
    // Of its own, since generated definitions and executions are in nobody's way there.
    let platform = Platform::start(stack).await;
    scripted(&platform, "instant", json!({ "reply": "ok" })).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, CONFIG).unwrap();
    // The links that it guesses for a value name a parameter that there isn't; everything else is followed.
    let kinds: [&[&str]; 2] =
        [&["examples,coverage,fuzzing"], &["stateful", "--exclude-path", "/v1/values/{hash}"]];
    for phases in kinds {
        let mut command = Command::new(python().with_file_name("schemathesis"));
        command
            .arg("--config-file")
            .arg(&config)
            .args(["run", &format!("{}/openapi.json", platform.url), "--checks", CHECKS])
            .args(["--header", &format!("Authorization: Bearer {}", platform.key)])
            .arg("--phases")
            .args(phases)
            // A socket is more than a request and an answer.
            .args(["--exclude-path", "/v1/ws"])
            .args(["--max-examples", &examples.to_string(), "--request-timeout", "30"])
            .arg("--no-color")
            .env("SCHEMATHESIS_HOOKS", beside("hooks.py"))
            .current_dir(folder.path());
        let report = printed(command).await;
        assert!(report.contains("Tested: "), "{report}");
    }
}

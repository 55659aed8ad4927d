//! The examples for upstream systems, run as their readers would run them, on the real stack.

use std::process::Command;

use serde_json::Value;
use stepstream_tests::platform::Platform;
use stepstream_tests::root;
use stepstream_tests::stack::Stack;

use crate::outside::{printed, python};

fn with_addresses(mut command: Command, platform: &Platform) -> Command {
    command
        .args(["--brokers", &platform.addresses.brokers])
        .args(["--registry", &platform.addresses.registry])
        .args(["--topic-prefix", &platform.prefix])
        .args(["--model", "demo", "--prompt", "Ahoy there"]);
    command
}

fn check(line: &str) {
    let answer: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(answer["status"], "succeeded", "{line}");
    assert!(answer["output"].as_str().unwrap().contains("Ahoy there"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_example_publishes_and_prints_the_answer() {
    let platform = Platform::shared(Stack::Real).await;
    let mut command = Command::new(python());
    command.arg(root().join("docs/upstream/python/publish.py"));
    check(&printed(with_addresses(command, &platform)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_example_publishes_and_prints_the_answer() {
    let platform = Platform::shared(Stack::Real).await;
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new("mvn");
    build.args(["-B", "-q", "-f"]).arg(root().join("docs/upstream/java/pom.xml"));
    build.arg(format!("-Doutput.directory={}", folder.path().display())).arg("package");
    printed(build).await;
    let mut command = Command::new("java");
    command.arg("-jar").arg(folder.path().join("publish.jar"));
    check(&printed(with_addresses(command, &platform)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_example_reads_the_execution_log() {
    let platform = Platform::shared(Stack::Real).await;
    let mut publish = Command::new(python());
    publish.arg(root().join("docs/upstream/python/publish.py"));
    let line = printed(with_addresses(publish, &platform)).await;
    let answer: Value = serde_json::from_str(&line).unwrap();
    // Rows come with the next checkpoint.
    let row = stepstream_tests::wait::until("its row", stepstream_tests::wait::PATIENCE, async || {
        let script = format!(
            "set -o pipefail; kcat -b {} -C -q -t {}execution-log -e -f '%R%s' | {} {} --registry {}",
            platform.addresses.brokers,
            platform.prefix,
            python().display(),
            root().join("docs/upstream/kcat/decode.py").display(),
            platform.addresses.registry,
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        let rows = printed(command).await;
        let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
        rows.into_iter().find(|row| row["execution_id"] == answer["id"] && row["status"].is_string())
    })
    .await;
    assert_eq!(row["status"], "succeeded");
    assert_eq!(row["input_tokens"], 2);
    assert!(row["cost_micros"].as_i64().unwrap() > 0, "{row}");
}

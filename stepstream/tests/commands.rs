//! The command line, as a person or script meets it: what it says, where, and with which exit code. None of
//! these needs a broker.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepstream"));
    command.args(arguments).current_dir(folder).env_clear();
    command.envs(environment.iter().copied()).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails with this exit code, says all of `words` on standard error, and nothing on standard output.
fn refused(arguments: &[&str], environment: &[(&str, &str)], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = run(folder.path(), arguments, environment);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word} is missing in: {said}");
    }
}

#[test]
fn shown_configuration_is_one_that_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let secret = [("STEPSTREAM_KAFKA__PROPERTIES__SASL_PASSWORD", "canary")];
    let shown = run(folder.path(), &["config", "show"], &secret);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.contains("[kafka]") && shown.contains("***"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    std::fs::write(folder.path().join("c.toml"), &shown).unwrap();
    let checked = run(folder.path(), &["config", "check", "--config", "c.toml"], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout), "the configuration can work\n");
}

#[test]
fn wrong_configuration_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[gateway]\nlisten = \"here\"\n").unwrap();
    let path = path.display().to_string();
    refused(&["config", "check", "--config", &path], &[], 1, &["c.toml", "gateway.listen"]);
    refused(
        &["config", "check"],
        &[("STEPSTREAM_KAFKA__BROKER", "x")],
        1,
        &["STEPSTREAM_KAFKA__BROKER", "unknown key"],
    );
    refused(&["serve", "--config", "nowhere.toml"], &[], 1, &["nowhere.toml"]);
}

#[test]
fn wrong_arguments_are_refused_with_what_is_right() {
    refused(&["serve", "--roles", "pull"], &[], 2, &["inference, workflow, archive"]);
    refused(&["dev", "--brokers", "127.0.0.1:1"], &[], 2, &["--registry"]);
    refused(&["keys", "create", "--scopes", "root"], &[], 2, &["requests:write"]);
    refused(&["keys", "create", "--tenant", ""], &[], 2, &["the tenant is empty"]);
    refused(&["keys", "revoke", "mine"], &[], 2, &["8 hexadecimal digits"]);
    refused(&["dev", "--port", "70000"], &[], 2, &["--port"]);
}

#[test]
fn wrong_model_definition_is_refused_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.json");
    let definition = r#"{"deployments":[{"name":"a","provider":"psychic","model":"m"}]}"#;
    std::fs::write(&path, definition).unwrap();
    let path = path.display().to_string();
    refused(&["models", "put", "m", &path], &[], 1, &["m.json", "deployments[0].provider"]);
}

#[test]
fn without_a_registry_the_reason_and_what_to_do_are_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let url = format!("http://127.0.0.1:{port}");
    let environment = [("STEPSTREAM_REGISTRY__URL", url.as_str())];
    refused(&["serve", "--roles", "inference"], &environment, 1, &[&url, "infra/local/up"]);
}

#[test]
fn taken_port_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&["dev", "--port", &port], &[], 1, &[&port, "--port"]);
}

#[test]
fn file_that_holds_no_key_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/api-key"), "hunter2").unwrap();
    let output = run(folder.path(), &["dev", "--port", "0", "--data", "d"], &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("api-key") && !said.contains("hunter2"), "{said}");
}

/// The example of the guide.
fn workflow() -> &'static str {
    let guide = include_str!("../../docs/workflows.md");
    let (_, rest) = guide.split_once("```yaml\n").expect("the guide has an example");
    rest.split_once("```").expect("the example has an end").0
}

#[test]
fn workflow_of_the_guide_is_right_and_can_be_drawn() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.yaml"), workflow()).unwrap();
    let checked = run(folder.path(), &["workflow", "check", "w.yaml"], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout), "w.yaml: ok, 4 nodes, 0 warnings\n");
    let drawn = text(&run(folder.path(), &["workflow", "graph", "w.yaml"], &[]).stdout);
    assert!(drawn.starts_with("flowchart TD\n") && drawn.contains("classify"), "{drawn}");
    let schema = text(&run(folder.path(), &["workflow", "schema"], &[]).stdout);
    assert!(schema.contains("https://json-schema.org/draft/2020-12/schema"), "{schema}");
}

#[test]
fn every_mistake_of_a_workflow_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = workflow().replace("to: answer }", "to: anser }").replace("30s", "30 secs");
    std::fs::write(folder.path().join("right.yaml"), workflow()).unwrap();
    std::fs::write(folder.path().join("wrong.yaml"), wrong).unwrap();
    let files = ["workflow", "check", "right.yaml", "wrong.yaml"];
    let checked = run(folder.path(), &files, &[]);
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stdout);
    for word in ["right.yaml: ok", "wrong.yaml: error at /spec/nodes/0/timeout", "/spec/edges/1/to"]
    {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
    assert!(text(&checked.stderr).contains("1 of 2 definitions can't be used"));
    let json = run(folder.path(), &["workflow", "check", "--output", "json", "wrong.yaml"], &[]);
    let line: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(line["ok"], false);
    assert_eq!(line["problems"][0]["pointer"], "/spec/nodes/0/timeout");
    refused(&["workflow", "check", "nowhere.yaml"], &[], 1, &["reading nowhere.yaml"]);
}

#[test]
fn wrong_workflow_is_told_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.yaml").display().to_string();
    std::fs::write(&path, workflow().replace("30s", "30 secs")).unwrap();
    let said =
        ["wrong.yaml: error at /spec/nodes/0/timeout", "1 of 1 definitions", "nothing was stored"];
    refused(&["workflow", "apply", &path], &[], 1, &said);
    refused(&["workflow", "apply", "--expect", "1", &path, &path], &[], 1, &["--expect"]);
    refused(&["workflow", "apply", "--expect=-1", &path], &[], 2, &["--expect"]);
    refused(&["workflow", "get", "w@stable"], &[], 2, &["letters, digits"]);
    refused(&["workflow", "alias", "w", "stable"], &[], 2, &["VERSION"]);
    refused(&["workflow", "diff", "w", "--from", "1"], &[], 2, &["--to"]);
}

/// The example of the guide.
fn schedule() -> &'static str {
    let guide = include_str!("../../docs/schedules.md");
    let (_, rest) = guide.split_once("```yaml\n").expect("the guide has an example");
    rest.split_once("```").expect("the example has an end").0
}

#[test]
fn schedule_of_the_guide_says_when_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let later = schedule().replace("startAt: 2026-01-01", "startAt: 2090-01-01");
    std::fs::write(folder.path().join("nightly.yaml"), later).unwrap();
    let arguments = ["schedule", "next", "--file", "nightly.yaml", "--count", "3"];
    let next = run(folder.path(), &arguments, &[]);
    assert!(next.status.success(), "{}", text(&next.stderr));
    // A Monday, as the first of January of that year is a Sunday.
    let expected =
        ["2090-01-02T01:30:00.000Z\n", "2090-01-03T01:30:00.000Z\n", "2090-01-04T01:30:00.000Z\n"];
    assert_eq!(text(&next.stdout), expected.concat());
    let schema = text(&run(folder.path(), &["schedule", "schema"], &[]).stdout);
    assert!(schema.contains("https://json-schema.org/draft/2020-12/schema"), "{schema}");
}

#[test]
fn wrong_schedule_is_told_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.yaml").display().to_string();
    std::fs::write(&path, schedule().replace("Europe/Berlin", "Berlin")).unwrap();
    let said = ["wrong.yaml: error at /timeZone", "wrong.yaml can't be used"];
    refused(&["schedule", "next", "--file", &path], &[], 1, &said);
    refused(&["schedule", "apply", &path], &[], 1, &[&said[..], &["nothing was stored"]].concat());
    refused(&["schedule", "apply", "--name", "n", &path, &path], &[], 1, &["--name"]);
    refused(&["schedule", "apply", "--name", "a b", &path], &[], 2, &["letters, digits"]);
    refused(&["schedule", "next"], &[], 2, &["NAME"]);
    refused(&["schedule", "next", "n", "--count", "0"], &[], 2, &["--count"]);
}

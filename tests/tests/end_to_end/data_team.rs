//! The execution log as a data team reads it: by the examples in Java and Python, on the real stack, with
//! the types that the guide promises.

use std::process::Command;

use serde_json::{Map, Value, json};
use stepstream_tests::api::Api;
use stepstream_tests::platform::Platform;
use stepstream_tests::stack::Stack;
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, root};
use tempfile::TempDir;

use crate::outside::{printed, python};

/// The columns that a model call's rows fill, by what Avro and each language make of them.
const TYPES: [(&str, &str, &str); 16] = [
    // column, Java, Python
    ("event_id", "Utf8", "str"),
    ("event_time", "Instant", "datetime"),
    ("kind", "EnumSymbol", "str"),
    ("tenant", "Utf8", "str"),
    ("definition", "Utf8", "str"),
    ("definition_version", "Integer", "int"),
    ("status", "Utf8", "str"),
    ("queued_ms", "Long", "int"),
    ("duration_ms", "Long", "int"),
    ("input_tokens", "Long", "int"),
    ("output_tokens", "Long", "int"),
    ("cost_micros", "Long", "int"),
    ("http_status", "Integer", "int"),
    ("source_partition", "Integer", "int"),
    ("source_offset", "Long", "int"),
    ("labels", "HashMap", "dict"),
];

/// Columns that nothing but an opt-in, a parent, an error or a timer fills.
const EMPTY: [&str; 6] =
    ["input_text", "output_text", "parent_execution_id", "error_code", "function", "step"];

/// One of the two examples.
#[derive(Clone, Copy)]
enum Reader<'a> {
    Python,
    Java(&'a TempDir),
}

impl Reader<'_> {
    async fn read(self, platform: &Platform, execution: &str, more: &[&str]) -> String {
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(python());
                command.arg(root().join("docs/data-teams/python/read.py"));
                command
            }
            Self::Java(folder) => {
                let mut command = Command::new("java");
                command.arg("-jar").arg(folder.path().join("read.jar"));
                command
            }
        };
        command
            .args(["--brokers", &platform.addresses.brokers])
            .args(["--registry", &platform.addresses.registry])
            .args(["--topic-prefix", &platform.prefix])
            .args(["--execution", execution])
            .args(more);
        printed(command).await
    }

    async fn rows(self, platform: &Platform, execution: &str) -> Vec<Value> {
        let printed = self.read(platform, execution, &[]).await;
        let row = |line: &str| -> Value {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
        };
        printed.lines().map(row).collect()
    }

    async fn types(self, platform: &Platform, execution: &str) -> Map<String, Value> {
        let line = self.read(platform, execution, &["--types"]).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

async fn java_reader() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new("mvn");
    build.args(["-B", "-q", "-f"]).arg(root().join("docs/data-teams/java/pom.xml"));
    build.arg(format!("-Doutput.directory={}", folder.path().display())).arg("package");
    printed(build).await;
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_and_python_read_the_same_rows_with_the_types_of_the_guide() {
    let platform = Platform::shared(Stack::Real).await;
    let api = Api::of(&platform);
    let id = fresh("row");
    let messages = json!([{ "role": "user", "content": "Ahoy there" }]);
    let request = json!({
        "id": id, "model": "demo", "labels": { "team": "fleet" }, "body": { "messages": messages }
    });
    assert_eq!(api.post("/v1/requests", &request).await.status(), 202);
    api.ended(&id).await;
    // Rows come with the next checkpoint.
    let rows = until("its last row", PATIENCE, async || {
        let rows = Reader::Python.rows(&platform, &id).await;
        rows.iter().any(|row| row["status"].is_string()).then_some(rows)
    })
    .await;

    let types: Vec<_> = rows.iter().map(|row| row["event_type"].clone()).collect();
    assert_eq!(types, ["execution.admitted", "execution.started", "execution.succeeded"]);
    let last = &rows[2];
    assert_eq!(last["status"], "succeeded");
    assert_eq!(last["labels"], json!({ "team": "fleet" }));
    assert_eq!(last["input_tokens"], 2);
    assert_eq!(last["tenant"], Value::from(platform.tenant.as_str()));
    for row in &rows {
        assert_eq!(row["source_topic"], "model-events", "{row}");
        let place = [&row["source_partition"], &row["source_offset"]].map(ToString::to_string);
        assert_eq!(row["cause_id"], format!("model-events/{}/{}", place[0], place[1]), "{row}");
        assert!(row["event_time"].as_str().unwrap().ends_with('Z'), "{row}");
    }

    let folder = java_reader().await;
    let java = Reader::Java(&folder);
    assert_eq!(java.rows(&platform, &id).await, rows);
    let in_java = java.types(&platform, &id).await;
    let in_python = Reader::Python.types(&platform, &id).await;
    for (column, java, python) in TYPES {
        assert_eq!(in_java[column], java, "{column} in Java");
        assert_eq!(in_python[column], python, "{column} in Python");
    }
    for column in EMPTY {
        assert_eq!(in_java[column], Value::Null, "{column} in Java");
        assert_eq!(in_python[column], Value::Null, "{column} in Python");
    }
}

/// The columns of the schema, in its order.
fn columns() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("schemas/execution-log-record.avsc")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let name = |field: &Value| field["name"].as_str().unwrap().to_owned();
    schema["fields"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn guide_and_tables_have_every_column_in_the_order_of_the_schema() {
    for (file, before, after) in [
        ("docs/data-teams.md", "\n| `", "` |"),
        ("docs/data-teams/clickhouse.sql", "\n    ", " "),
        ("docs/data-teams/flink.sql", "\n  `", "` "),
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let mut rest = text.as_str();
        for column in columns() {
            let line = format!("{before}{column}{after}");
            let Some(at) = rest.find(&line) else {
                panic!("{file}: {column} is missing, or stands in another order");
            };
            rest = &rest[at + line.len()..];
        }
    }
}

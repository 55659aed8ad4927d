//! Programs that others wrote, against the API: the `openai` package, and requests generated from the
//! OpenAPI document.

use std::path::PathBuf;
use std::process::Command;

use stepstream_tests::platform::{Platform, output};
use stepstream_tests::stack::Stack;

/// A Python that has `tests/requirements.txt`, as `cargo xtask setup` makes it.
pub(crate) fn python() -> PathBuf {
    let given = std::env::var_os("STEPSTREAM_PYTHON");
    given.map(PathBuf::from).expect("STEPSTREAM_PYTHON names a Python; `cargo xtask test` sets it")
}

/// What a command printed.
pub(crate) async fn printed(command: Command) -> String {
    tokio::task::spawn_blocking(move || output(command)).await.unwrap()
}

/// Streams a chat, embeds and lists models as the package's users do; prints what came back.
const OPENAI: &str = r#"
import sys
from openai import NotFoundError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
messages = [{"role": "user", "content": "Ahoy there"}]
chunks = list(client.chat.completions.create(
    model="demo", messages=messages, stream=True, stream_options={"include_usage": True}))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert "Ahoy there" in text, text
assert chunks[-1].usage.prompt_tokens == 2, chunks[-1]
whole = client.chat.completions.create(model="demo", messages=messages)
assert whole.choices[0].message.content == text, whole
assert len(client.embeddings.create(model="demo", input="Ahoy").data[0].embedding) == 8
assert "demo" in [model.id for model in client.models.list()]
try:
    client.chat.completions.create(model="nobody", messages=messages)
    raise AssertionError("an unknown model answered")
except NotFoundError as error:
    assert "nobody" in str(error), error
print("ok")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_package_works_unchanged() {
    let platform = Platform::shared(Stack::Embedded).await;
    let mut command = Command::new(python());
    command.args(["-c", OPENAI, &format!("{}/v1", platform.url), &platform.key]);
    assert_eq!(printed(command).await, "ok");
}

/// What a generated request must never get: a server error, or an answer (status, media type, body) that
/// the document doesn't have. Whether it is accepted is another matter: a JSON schema can't say everything
/// that makes an id or a model definition valid.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_document_holds_for_generated_requests() {
    let platform = Platform::shared(Stack::Embedded).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python().with_file_name("schemathesis"));
    command
        .args(["run", &format!("{}/openapi.json", platform.url), "--checks", CHECKS])
        .args(["--header", &format!("Authorization: Bearer {}", platform.key)])
        .args(["--max-examples", "20", "--request-timeout", "30", "--no-color"])
        .current_dir(folder.path());
    let report = printed(command).await;
    assert!(report.contains("Tested: "), "{report}");
}

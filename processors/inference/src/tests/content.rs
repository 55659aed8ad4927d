//! Prompt and answer in the execution log: only where the definition lets them, and nowhere else.

use super::scripted::knowing;
use super::*;

const CANARY: &str = "canary-4e81";

fn definition(log_content: &str) -> String {
    format!(
        r#"{{"deployments": [{{"name": "one", "provider": "scripted", "model": "m",
            "script": {{"rules": [
                {{"when": {{"contains": "break"}}, "fault": {{"kind": {{"drop": {{"after_tokens": 0}}}}}}}},
                {{"reply": "answer {CANARY}"}}
            ]}}}}],
            "retry": {{"max_tries": 1}}{log_content}}}"#
    )
}

/// The rows of one call of a model with this definition.
async fn rows(log_content: &str, text: &str) -> Vec<ExecutionLogRecord> {
    let definition = definition(log_content);
    let inference = knowing(&definition, model::Options::default(), &Stream::new());
    let mut harness = Harness::new(inference);
    harness.publish(&saying(&format!("{text} {CANARY}")));
    harness.run_calls().await;
    checkpointed_rows(&mut harness)
}

#[tokio::test(start_paused = true)]
async fn texts_stand_in_rows_where_the_definition_lets_them() {
    let rows = rows(r#", "log_content": true"#, "question").await;
    let texts: Vec<_> = rows
        .iter()
        .map(|row| (row.event_type.as_str(), row.input_text.as_deref(), row.output_text.as_deref()))
        .collect();
    let (question, answer) = (format!("user: question {CANARY}"), format!("answer {CANARY}"));
    assert_eq!(
        texts,
        [
            ("execution.admitted", Some(question.as_str()), None),
            ("execution.started", None, None),
            ("execution.succeeded", None, Some(answer.as_str())),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn prompt_of_a_call_that_failed_stands_as_well() {
    let rows = rows(r#", "log_content": true"#, "break").await;
    assert_eq!(rows[0].input_text, Some(format!("user: break {CANARY}")));
    let last = rows.last().expect("three");
    assert_eq!((last.status.as_deref(), &last.output_text), (Some("failed"), &None));
}

#[tokio::test(start_paused = true)]
async fn without_it_no_column_has_any_of_the_texts() {
    for log_content in ["", r#", "log_content": false"#] {
        for text in ["question", "break"] {
            let rows = rows(log_content, text).await;
            assert_eq!(rows.len(), 3);
            let shown = format!("{rows:?}");
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replay_writes_the_same_texts() {
    let definition = definition(r#", "log_content": true"#);
    let inference = knowing(&definition, model::Options::default(), &Stream::new());
    let mut harness = Harness::new(inference);
    harness.publish(&saying("question"));
    harness.restart();
    harness.run_calls().await;
    harness.restart();
    let rows = checkpointed_rows(&mut harness);
    let texts: Vec<_> = rows
        .iter()
        .filter_map(|row| row.input_text.as_ref().or(row.output_text.as_ref()))
        .collect();
    assert_eq!(texts, ["user: question", &format!("answer {CANARY}")]);
}

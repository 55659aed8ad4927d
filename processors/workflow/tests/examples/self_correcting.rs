//! Again and again, until it adds up.

use domain::event::EventType;
use domain::request::ModelRequest;
use serde_json::{Value, json};

use crate::world::World;

/// What the model is asked.
fn prompt(request: &ModelRequest) -> String {
    let body: Value = serde_json::from_str(&request.body).expect("JSON");
    body["messages"][1]["content"].as_str().expect("a text").to_owned()
}

/// Runs to the end; the prompts.
async fn prompts(world: &mut World) -> Vec<String> {
    let mut prompts = Vec::new();
    while let Some(request) = world.models.pop_front() {
        prompts.push(prompt(&request));
        world.ask(request).await;
    }
    prompts
}

#[tokio::test]
async fn third_answer_adds_up_and_ends_the_loop() {
    let mut world = World::of("self-correcting");
    world.start();
    let prompts = prompts(&mut world).await;
    let invoice = world.example().input["invoice"].as_str().expect("a text");
    assert_eq!(prompts.len(), 3);
    assert_eq!(prompts[0].trim_end(), invoice);
    assert!(
        prompts[1].contains("so it is 44.80 in all.\nIt isn't JSON. Answer again."),
        "{prompts:?}"
    );
    assert!(prompts[2].contains("\"total\": 4480}\nThe lines don't add up"), "{prompts:?}");
    assert_eq!(world.output(), world.example().promised());
    let asked = world.steps(EventType::StepSucceeded).into_iter();
    let asked: Vec<_> = asked.filter(|step| step.ends_with(".ask")).collect();
    assert_eq!(asked, ["read[0].ask", "read[1].ask", "read[2].ask"]);
}

#[tokio::test]
async fn fifth_wrong_answer_is_the_last_one() {
    let mut world = World::of("self-correcting");
    world.start_with(&json!({"invoice": "There is nothing on it."}));
    assert_eq!(prompts(&mut world).await.len(), 5);
    assert_eq!(world.failure(), "max_iterations");
}

#[tokio::test]
async fn json_of_another_form_is_told_so() {
    let mut world = World::of("self-correcting");
    let script = r#"{"deployments": [{"name": "s", "provider": "scripted", "model": "m", "script": {"rules": [
        {"when": {"contains": "no lines with cents"}, "reply": "{\"lines\": [], \"total\": 0}"},
        {"reply": "[44.80]"}]}}]}"#;
    world.put_model("extractor", script);
    world.start();
    assert_eq!(prompts(&mut world).await.len(), 2);
    assert_eq!(world.output(), json!({"invoice": {"lines": [], "total": 0}, "rounds": 2}));
}

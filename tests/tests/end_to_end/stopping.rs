//! A process that is asked to stop: whoever waits gets their answer, and nothing that was answered is lost.

use serde_json::json;
use stepstream_tests::api::{Api, Events};
use stepstream_tests::fresh;
use stepstream_tests::platform::Platform;
use stepstream_tests::process::Signal;
use stepstream_tests::stack::Stack;
use stepstream_tests::wait::PATIENCE;

async fn running_chat_ends_before_the_process_and_history_stays(stack: Stack) {
    let mut platform = Platform::start(stack).await;
    let api = Api::of(&platform);
    let done = fresh("done");
    api.start(&done, "demo", "hi").await;
    api.ended(&done).await;
    let body = json!({
        "model": "demo", "stream": true, "messages": [{ "role": "user", "content": "hi" }]
    });
    let mut events = Events::of(api.post("/v1/chat/completions", &body).await);
    events.next().await.expect("a first token");
    platform.process().signal(Signal::Terminate);
    let rest = events.rest().await;
    assert_eq!(rest.last().map(|sent| sent.data.as_str()), Some("[DONE]"), "{rest:#?}");
    let status = platform.process().ended(PATIENCE);
    assert!(status.success(), "{status}");

    let key = platform.key.clone();
    let again = platform.start_again().await;
    assert_eq!(again.key, key, "the key is kept with the data");
    let api = Api::of(&again);
    assert_eq!(api.ended(&done).await["status"], "succeeded");
    assert_eq!(api.event_types(&done).await.len(), 3);
    let next = fresh("next");
    api.start(&next, "demo", "hi").await;
    assert_eq!(api.ended(&next).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_chat_ends_before_the_embedded_process_and_history_stays() {
    running_chat_ends_before_the_process_and_history_stays(Stack::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_chat_ends_before_the_process_on_a_real_stack_and_history_stays() {
    running_chat_ends_before_the_process_and_history_stays(Stack::Real).await;
}

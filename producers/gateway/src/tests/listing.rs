//! Lists of executions, and waiting for one.

use std::time::Duration;

use domain::event::{EventType, ExecutionEvent};
use domain::topic::Kind;
use serde_json::{Value, json};
use store::Store as _;

use super::Options;
use super::world::{Served, event};

async fn apply(served: &Served, id: &str, number: i64, event_type: EventType) {
    served.world.0.store.apply_event(&event(id, number, event_type)).await.unwrap();
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_is_the_newest_first_in_pages_and_filtered() {
    let served = Served::new().await;
    for n in 1..=5 {
        // The time of an event follows from its number.
        let event_type = if n % 2 == 0 { EventType::Failed } else { EventType::Started };
        apply(&served, &format!("e{n}"), n, event_type).await;
    }
    let page = served.get("/v1/executions?limit=2").await.json();
    assert_eq!(ids(&page), ["e5", "e4"]);
    let next = page["next"].as_str().unwrap();
    let page = served.get(&format!("/v1/executions?limit=2&cursor={next}")).await.json();
    assert_eq!(ids(&page), ["e3", "e2"]);
    let next = page["next"].as_str().unwrap();
    let page = served.get(&format!("/v1/executions?limit=2&cursor={next}")).await.json();
    assert_eq!((ids(&page), &page["next"]), (vec!["e1"], &Value::Null));
    for (query, found) in [
        ("status=failed", vec!["e4", "e2"]),
        ("status=running&kind=model", vec!["e5", "e3", "e1"]),
        ("kind=workflow", vec![]),
        ("from=1002&to=1004", vec!["e3", "e2"]),
        ("", vec!["e5", "e4", "e3", "e2", "e1"]),
    ] {
        let page = served.get(&format!("/v1/executions?{query}")).await.json();
        assert_eq!(ids(&page), found, "{query}");
    }
}

#[tokio::test]
async fn list_is_filtered_by_search_attributes_of_any_name() {
    let served = Served::new().await;
    let mut told = [
        ("e1", json!({"customer": "c 7", "status": "new"})),
        ("e2", json!({"customer": "c 7", "a&b=c": "x/1"})),
        ("e3", json!({"customer": "c"})),
    ];
    for (number, (id, attributes)) in (1..).zip(&mut told) {
        let data = json!({"version": 1, "input": {}, "search_attributes": attributes});
        let admitted = ExecutionEvent {
            kind: Kind::Workflow,
            data: Some(data.to_string()),
            ..event(id, number, EventType::Admitted)
        };
        served.world.0.store.apply_event(&admitted).await.unwrap();
    }
    for (query, found) in [
        ("attribute.customer=c+7", vec!["e2", "e1"]),
        ("attribute.customer=c%207&limit=1", vec!["e2"]),
        ("attribute.customer=c%207&attribute.status=new", vec!["e1"]),
        ("kind=workflow&attribute.a%26b%3Dc=x/1&status=admitted", vec!["e2"]),
        ("attribute%2Ecustomer=c", vec!["e3"]),
        ("attribute.customer=c+7&to=1002", vec!["e1"]),
        ("attribute.customer=c+7&kind=model", vec![]),
        ("attribute.customer", vec![]),
        ("attribute.none=x", vec![]),
    ] {
        let page = served.get(&format!("/v1/executions?{query}")).await.json();
        assert_eq!(ids(&page), found, "{query}");
    }
    let page = served.get("/v1/executions?attribute.customer=c+7&limit=1").await.json();
    let next = page["next"].as_str().unwrap();
    let path = format!("/v1/executions?attribute.customer=c+7&limit=1&cursor={next}");
    let page = served.get(&path).await.json();
    assert_eq!(page["data"][0]["search_attributes"], told[0].1);
    assert_eq!((ids(&page), &page["next"]), (vec!["e1"], &Value::Null));
}

#[tokio::test]
async fn wrong_filter_is_refused_at_its_place() {
    let served = Served::new().await;
    for (query, place) in [
        ("kind=king", "kind"),
        ("status=done", "status"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "query"),
        ("from=x", "query"),
        ("tenant=other", "query"),
        ("attributes.customer=x", "query"),
        ("attribute.=x", "attribute (entry 0)"),
        ("attribute.a=1&attribute.a=2", "attribute.a"),
    ] {
        let got = served.get(&format!("/v1/executions?{query}")).await;
        assert_eq!(got.status.as_u16(), 400, "{query}");
        assert_eq!(got.json()["place"], place, "{query}");
    }
}

#[tokio::test]
async fn waiting_ends_with_the_execution_before_the_store_has_heard() {
    let served = Served::new().await;
    apply(&served, "e", 1, EventType::Admitted).await;
    let world = served.world.clone();
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        world.succeed("e", r#"{"choices":[]}"#);
    });
    let got = served.get("/v1/executions/e?wait=30s").await.json();
    assert_eq!((&got["status"], &got["output"]), (&json!("succeeded"), &json!({"choices": []})));
    assert_eq!(got["position"]["number"], 3);
}

#[tokio::test]
async fn waiting_has_an_end() {
    let wait = Duration::from_millis(40);
    let served = Served::with(Options { wait, ..Options::default() }).await;
    apply(&served, "e", 1, EventType::Admitted).await;
    for wait in ["5ms", "600s"] {
        let got = served.get(&format!("/v1/executions/e?wait={wait}")).await;
        assert_eq!((got.status.as_u16(), &got.json()["status"]), (200, &json!("admitted")));
    }
    let got = served.get("/v1/executions/e?wait=soon").await;
    assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!("wait")));
}

#[tokio::test]
async fn request_can_be_started_and_waited_for() {
    let served = Served::new().await;
    let body = json!({"model": "fast", "priority": 7, "not_before": 5, "body": {"messages": [{"role": "user"}]}});
    let early = served.post("/v1/requests?wait=10ms", &body).await;
    assert_eq!((early.status.as_u16(), &early.json()["status"]), (202, &json!("accepted")));
    served.world.on_request(|world, request| {
        assert_eq!((request.priority, request.not_before.unwrap().0), (7, 5));
        world.succeed(&request.id, r#"{"choices":[]}"#);
    });
    let done = served.post("/v1/requests?wait=30s", &body).await;
    assert_eq!(done.status.as_u16(), 200, "{}", done.text);
    assert_eq!(done.json()["status"], "succeeded");
    assert_eq!(done.header("location"), done.json()["links"]["self"].as_str().unwrap());
    assert_eq!(served.world.published().len(), 2, "nothing is cancelled");
}

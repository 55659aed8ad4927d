//! Schedules: what is stored, what steers them, and when they are due next.

use axum::body::Body;
use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Command, Fact, Order};
use domain::schedule::triggered_id;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use store::Store as _;

use super::{Answer, NEW, Served, answer, pairs, put, send, workflow};
use crate::tests::world::event;

fn at(path: &str) -> String {
    format!("/v1/definitions/schedules/{path}")
}

fn nightly(cron: &str) -> Value {
    json!({"workflow": "w", "cron": cron, "timeZone": "Europe/Berlin", "endAt": "2199-01-01T00:00:00Z"})
}

/// A workflow `w` and a schedule `n` of it.
async fn with_schedule() -> Served {
    let served = Served::new().await;
    put(&served, NEW, &workflow("w", json!(1))).await;
    let got = send(&served, "PUT", &at("n"), &[NEW], nightly("0 2 * * *").to_string()).await;
    assert_eq!((got.status.as_u16(), got.header("etag")), (201, "\"1\""), "{}", got.text);
    assert_eq!(got.json()["definition"], nightly("0 2 * * *"));
    served
}

/// The commands that were written, each with its key.
fn commands(served: &Served) -> Vec<(String, Order)> {
    let published = served.world.published();
    let logged = published.iter().filter(|record| record.topic == Topic::Log(Kind::Workflow));
    let read = |record: &runtime::ports::Outgoing| {
        let key = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
        match served.world.0.ids.read_fact(&record.value).unwrap() {
            Fact::Command(Command { tenant, order, .. }) => {
                assert_eq!(tenant, "acme");
                (key, order)
            }
            other => panic!("{other:?}"),
        }
    };
    logged.map(read).collect()
}

async fn steer(served: &Served, what: &str, body: &str) -> Answer {
    let path = format!("/v1/schedules/{what}");
    answer(served.send(served.request("POST", &path, body.to_owned())).await).await
}

#[tokio::test]
async fn schedule_is_kept_in_versions_like_any_definition() {
    let served = with_schedule().await;
    let yaml = "workflow: w\ncron: 0 3 * * *\n";
    let headers = [("if-match", "\"1\""), ("content-type", "application/yaml")];
    let got = send(&served, "PUT", &at("n"), &headers, yaml).await;
    assert_eq!((got.status.as_u16(), got.header("etag")), (200, "\"2\""), "{}", got.text);
    let late = send(&served, "PUT", &at("n"), &headers, yaml).await;
    assert_eq!((late.status.as_u16(), &late.json()["code"]), (409, &json!("version_conflict")));
    let list = served.get("/v1/definitions/schedules").await.json();
    assert_eq!(list["data"][0]["cron"], "0 3 * * *");
    assert_eq!(pairs(&list, "name", "time_zone"), [(json!("n"), json!("UTC"))]);
    assert_eq!(served.get(&at("n/versions/1")).await.json()["definition"], nightly("0 2 * * *"));
    let gone = send(&served, "DELETE", &at("n"), &[("if-match", "\"2\"")], Body::empty()).await;
    assert_eq!(gone.status.as_u16(), 204);
    assert_eq!(served.get(&at("n")).await.status.as_u16(), 404);
    let versions = served.get(&at("n/versions")).await.json();
    let expected = [(3, true), (2, false), (1, false)].map(|(n, gone)| (json!(n), json!(gone)));
    assert_eq!(pairs(&versions, "version", "deleted"), expected);
    assert!(served.get("/v1/definitions/workflows").await.text.contains("\"w\""));
}

#[tokio::test]
async fn example_of_the_guide_is_stored() {
    let guide = include_str!("../../../../../docs/schedules.md");
    let (_, rest) = guide.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let served = Served::new().await;
    let mut report = workflow("nightly-report", json!(1));
    report["spec"]["inputs"] =
        json!({"type": "object", "properties": {"format": {"enum": ["pdf", "html"]}}});
    put(&served, NEW, &report).await;
    let stable = at("x").replace("schedules/x", "workflows/nightly-report/aliases/stable");
    send(&served, "PUT", &stable, &[NEW], r#"{"version":1}"#).await;
    let headers = [NEW, ("content-type", "application/yaml")];
    let got = send(&served, "PUT", &at("nightly"), &headers, example).await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
    assert_eq!(got.json()["warnings"], json!([]), "{}", got.text);
}

#[tokio::test]
async fn schedule_that_could_start_nothing_is_refused_with_the_place() {
    let served = Served::new().await;
    let mut takes = workflow("w", json!(1));
    takes["spec"]["inputs"] = json!({"type": "object", "required": ["a", "scheduledFor"],
        "properties": {"a": {"type": "integer"}, "scheduledFor": {"type": "string"}}});
    put(&served, NEW, &takes).await;
    for (body, place) in [
        (json!({"cron": "0 2 * * *"}), ""),
        (json!({"workflow": "w", "cron": "0 25 * * *"}), "/cron"),
        (json!({"workflow": "other", "cron": "0 2 * * *"}), "/workflow"),
        (json!({"workflow": "w", "alias": "stable", "cron": "0 2 * * *"}), "/alias"),
        (json!({"workflow": "w", "cron": "0 2 * * *"}), "/input"),
        (json!({"workflow": "w", "cron": "0 2 * * *", "input": {"a": "x"}}), "/input/a"),
        (json!({"workflow": "w", "cron": "0 2 * * *", "timeZone": "Berlin"}), "/timeZone"),
    ] {
        let got = send(&served, "PUT", &at("n"), &[NEW], body.to_string()).await;
        assert_eq!(got.status.as_u16(), 422, "{body}: {}", got.text);
        assert_eq!(got.json()["problems"][0]["pointer"], place, "{body}: {}", got.text);
    }
    let good = json!({"workflow": "w", "cron": "0 0 1 * 1", "input": {"a": 1}});
    let got = send(&served, "PUT", &at("n"), &[NEW], good.to_string()).await;
    assert_eq!(got.status.as_u16(), 201, "{}", got.text);
    assert_eq!(got.json()["warnings"][0]["pointer"], "/cron", "{}", got.text);
}

#[tokio::test]
async fn commands_go_to_the_schedule_as_it_stands() {
    let served = with_schedule().await;
    for verb in ["pause", "resume"] {
        let got = steer(&served, &format!("n:{verb}"), "").await;
        assert_eq!(got.status.as_u16(), 202, "{verb}: {}", got.text);
        assert_eq!(got.json()["id"], "@schedule/acme/n");
    }
    let stretch = r#"{"from":"2026-01-01T00:00:00+01:00","to":"2026-02-01T00:00:00Z"}"#;
    assert_eq!(steer(&served, "n:backfill", stretch).await.status.as_u16(), 202);
    let triggered = steer(&served, "n:trigger", "").await;
    let said = commands(&served);
    assert!(said.iter().all(|(key, _)| key == "@schedule/acme/n"));
    let orders: Vec<_> = said.into_iter().map(|(_, order)| order).collect();
    assert_eq!(orders[..2], [Order::Pause, Order::Resume]);
    let Order::Signal { name, payload: Some(payload) } = &orders[2] else { panic!("{orders:?}") };
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(name, "backfill");
    assert_eq!(payload, serde_json::from_str::<Value>(stretch).unwrap());
    let Order::Signal { name, payload: Some(payload) } = &orders[3] else { panic!("{orders:?}") };
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(name, "trigger");
    let execution = triggered_id("@schedule/acme/n", payload["id"].as_str().unwrap());
    assert_eq!(triggered.json()["id"], execution);

    send(&served, "DELETE", &at("n"), &[("if-match", "1")], Body::empty()).await;
    assert_eq!(steer(&served, "n:pause", "").await.status.as_u16(), 404);
    send(&served, "PUT", &at("n"), &[NEW], nightly("0 3 * * *").to_string()).await;
    assert_eq!(steer(&served, "n:pause", "").await.json()["id"], "@schedule/acme/n~3");
}

#[tokio::test]
async fn command_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let served = with_schedule().await;
    for (what, body, status, place) in [
        ("other:pause", "", 404, None),
        ("n:explode", "", 404, None),
        ("n", "", 404, None),
        ("a b:pause", "", 400, Some("name")),
        ("n:backfill", "", 400, Some("body")),
        ("n:backfill", r#"{"from":"2026-01-01T00:00:00Z"}"#, 400, Some("body")),
        ("n:backfill", r#"{"from":"now","to":"2026-01-01T00:00:00Z"}"#, 400, Some("from")),
        (
            "n:backfill",
            r#"{"from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:00:00Z"}"#,
            400,
            Some("to"),
        ),
    ] {
        let got = steer(&served, &what.replace(' ', "%20"), body).await;
        assert_eq!(got.status.as_u16(), status, "{what} {body}: {}", got.text);
        if let Some(place) = place {
            assert_eq!(got.json()["place"], place, "{what} {body}: {}", got.text);
        }
    }
    assert_eq!(commands(&served), []);
}

#[tokio::test]
async fn next_times_are_those_of_the_definition() {
    let served = with_schedule().await;
    let got = served.get("/v1/schedules/n/next").await.json();
    assert_eq!((&got["cron"], &got["version"]), (&json!("0 2 * * *"), &json!(1)));
    assert_eq!(got["time_zone"], "Europe/Berlin");
    let times: Vec<_> =
        got["next"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted(), "{times:?}");
    // Two o'clock in Berlin, or an hour later on the day of March that has no such time.
    let good = ["T00:00:00.000Z", "T01:00:00.000Z"];
    assert!(times.iter().all(|time| good.iter().any(|end| time.ends_with(end))), "{times:?}");
    let more = served.get("/v1/schedules/n/next?count=100").await.json();
    assert_eq!(more["next"].as_array().unwrap().len(), 100);
    assert_eq!(more["next"].as_array().unwrap()[..5], *got["next"].as_array().unwrap());
    for (query, status) in [
        ("n/next?count=0", 400),
        ("n/next?count=101", 400),
        ("n/next?x=1", 400),
        ("other/next", 404),
    ] {
        let got = served.get(&format!("/v1/schedules/{query}")).await;
        assert_eq!(got.status.as_u16(), status, "{query}: {}", got.text);
    }
    let ends = json!({"workflow": "w", "cron": "0 0 1 1 *", "startAt": "2190-01-01T00:00:00Z", "endAt": "2192-06-01T00:00:00Z"});
    send(&served, "PUT", &at("last"), &[NEW], ends.to_string()).await;
    let got = served.get("/v1/schedules/last/next").await.json();
    let years = ["2190", "2191", "2192"].map(|year| format!("{year}-01-01T00:00:00.000Z"));
    assert_eq!(got["next"], json!(years));
}

#[tokio::test]
async fn schedule_is_not_cancelled_as_an_execution() {
    let served = with_schedule().await;
    let admitted = event("@schedule/acme/n", 1, EventType::Admitted);
    let admitted = ExecutionEvent { kind: Kind::Workflow, ..admitted };
    served.world.0.store.apply_event(&admitted).await.unwrap();
    let got = served.post("/v1/executions/@schedule%2Facme%2Fn:cancel", &json!({})).await;
    assert_eq!((got.status.as_u16(), &got.json()["code"]), (409, &json!("is_a_schedule")));
    assert_eq!(commands(&served), []);
}

//! Compiling without storing, flowcharts and differences.

use serde_json::{Value, json};

use super::{Served, at, put, send, with_versions, workflow};

const COMPILE: &str = "/v1/workflows/w:compile";

#[tokio::test]
async fn definition_is_checked_without_being_stored() {
    let served = Served::new().await;
    let got = served.post(COMPILE, &workflow("w", json!(1))).await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text);
    let said = got.json();
    assert_eq!(
        (&said["valid"], &said["problems"], &said["nodes"]),
        (&json!(true), &json!([]), &json!(1))
    );
    assert!(said["graph"].as_str().unwrap().starts_with("flowchart TD\n"));
    assert!(said.get("version").is_none());
    let mut wrong = workflow("other", json!("{{ nodes.gone.output }}"));
    wrong["spec"]["timeout"] = json!("soon");
    let said = served.post(COMPILE, &wrong).await.json();
    assert_eq!((&said["valid"], said.get("nodes"), said.get("graph")), (&json!(false), None, None));
    let places: Vec<_> =
        said["problems"].as_array().unwrap().iter().map(|p| &p["pointer"]).collect();
    assert_eq!(places.len(), 3, "{said}");
    assert!(places.contains(&&json!("/metadata/name")), "{said}");
    let yaml = [("content-type", "application/yaml")];
    let said = send(&served, "POST", COMPILE, &yaml, "kind: Workflow\n").await.json();
    assert_eq!(said["valid"], false);
    for (body, status) in [("{", 400), ("", 404)] {
        let got = send(&served, "POST", COMPILE, &[], body).await;
        assert_eq!(got.status.as_u16(), status, "{body}: {}", got.text);
    }
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn stored_definition_is_checked_when_none_is_sent() {
    let served = with_versions().await;
    for (query, headers, version) in [
        ("", vec![], 3),
        ("?version=1", vec![], 1),
        // What curl sends with an empty body.
        ("?version=2", vec![("content-type", "application/x-www-form-urlencoded")], 2),
    ] {
        let got = send(&served, "POST", &format!("{COMPILE}{query}"), &headers, "").await;
        let said = got.json();
        assert_eq!((&said["valid"], &said["version"]), (&json!(true), &json!(version)), "{query}");
    }
    for (query, body, status) in [
        ("?version=4", "", 404),
        ("?version=1", "{}", 400),
        ("?version=x", "", 400),
        ("?v=1", "", 400),
    ] {
        let got = send(&served, "POST", &format!("{COMPILE}{query}"), &[], body).await;
        assert_eq!(got.status.as_u16(), status, "{query}: {}", got.text);
    }
}

#[tokio::test]
async fn only_known_verbs_are_routes() {
    let served = with_versions().await;
    for path in ["/v1/workflows/w", "/v1/workflows/w:fly", "/v1/workflows/w:compile2"] {
        let got = served.post(path, &json!({})).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["code"]),
            (404, &json!("unknown_route")),
            "{path}"
        );
    }
    let got = served.post("/v1/workflows/:compile", &json!({})).await;
    assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!("name")));
}

#[tokio::test]
async fn graph_is_mermaid() {
    let served = with_versions().await;
    let got = served.get(&at("w/graph")).await;
    assert_eq!(got.status.as_u16(), 200);
    assert_eq!(got.header("content-type"), "text/vnd.mermaid; charset=utf-8");
    assert!(got.text.starts_with("flowchart TD\n"), "{}", got.text);
    for (path, status) in [
        ("w/graph?version=1", 200),
        ("w/graph?version=9", 404),
        ("w/graph?version=x", 400),
        ("gone/graph", 404),
    ] {
        assert_eq!(served.get(&at(path)).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn diff_names_each_place() {
    let served = with_versions().await;
    let mut more = workflow("w", json!(4));
    let first = json!({"id": "first", "kind": "transform", "value": 0});
    more["spec"]["nodes"].as_array_mut().unwrap().insert(0, first.clone());
    put(&served, ("if-match", "3"), &more).await;
    let said = served.get(&at("w/diff?from=1&to=4")).await.json();
    let expected = json!([
        {"change": "changed", "pointer": "/spec/nodes/1/value", "node": "n", "from": 1, "to": 4},
        {"change": "added", "pointer": "/spec/nodes/0", "node": "first", "to": first},
    ]);
    assert_eq!((&said["changes"], &said["from"], &said["to"]), (&expected, &json!(1), &json!(4)));
    let back = served.get(&at("w/diff?from=4&to=1")).await.json();
    assert_eq!(back["changes"][0]["change"], "removed");
    let same = served.get(&at("w/diff?from=2&to=2")).await.json();
    assert_eq!(same["changes"], json!([]));
    for (path, status) in [
        ("w/diff?from=1&to=9", 404),
        ("w/diff?from=1", 400),
        ("w/diff?from=1&to=x", 400),
        ("gone/diff?from=1&to=2", 404),
    ] {
        assert_eq!(served.get(&at(path)).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn what_somebody_else_wrote_into_the_topic_breaks_nothing() {
    let served = Served::new().await;
    served.world.define_workflow("acme", "w", "no JSON");
    served.world.define_workflow("acme", "v", "[]");
    let list = served.get("/v1/definitions/workflows").await.json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    for (method, path, status) in [
        ("GET", at("w"), 404),
        ("GET", at("w/graph"), 422),
        ("GET", at("v/graph"), 422),
        ("GET", at("w/diff?from=1&to=1"), 422),
        ("POST", COMPILE.to_owned(), 422),
    ] {
        let got = send(&served, method, &path, &[], "").await;
        assert_eq!(got.status.as_u16(), status, "{method} {path}: {}", got.text);
    }
    let mended = put(&served, ("if-match", "1"), &workflow("w", Value::Null)).await;
    assert_eq!(mended.header("etag"), "\"2\"");
}

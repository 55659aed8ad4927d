//! Making, replacing, deleting and listing definitions.

use axum::body::Body;
use domain::topic::Topic;
use serde_json::{Value, json};
use service::auth::Scope;

use super::{NEW, Served, answer, at, pairs, put, send, with_versions, workflow};
use crate::tests::Options;
use crate::tests::world::with_key;

#[tokio::test]
async fn workflow_is_changed_by_whoever_names_the_version_that_stands() {
    let served = Served::new().await;
    let made = put(&served, NEW, &workflow("w", json!(1))).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"1\""));
    assert_eq!(made.json()["definition"], workflow("w", json!(1)));
    assert_eq!(made.json()["warnings"], json!([]));
    let body = workflow("w", json!(2)).to_string();
    for (headers, status) in [
        (vec![], 428),
        (vec![NEW], 409),
        (vec![("if-match", "\"7\"")], 409),
        (vec![("if-match", "x")], 400),
        (vec![("if-match", "\"1\"")], 200),
        (vec![("if-match", "\"1\"")], 409),
    ] {
        let got = send(&served, "PUT", &at("w"), &headers, body.clone()).await;
        assert_eq!(got.status.as_u16(), status, "{headers:?}: {}", got.text);
    }
    let stands = served.get(&at("w")).await;
    assert_eq!(stands.header("etag"), "\"2\"");
    assert_eq!(stands.json()["definition"], workflow("w", json!(2)));
}

#[tokio::test]
async fn yaml_is_stored_as_json() {
    let served = Served::new().await;
    let yaml = "# drafts\napiVersion: stepstream/v1\nkind: Workflow\nmetadata: { name: w }\nspec:\n  nodes:\n    \
                - id: n\n      kind: transform\n      value: '{{ \"[\" }}'\n";
    for kind in ["application/yaml", "text/yaml; charset=utf-8", "Application/X-YAML"] {
        let served = Served::new().await;
        let got = send(&served, "PUT", &at("w"), &[NEW, ("content-type", kind)], yaml).await;
        assert_eq!(got.status.as_u16(), 201, "{kind}: {}", got.text);
    }
    let headers = [NEW, ("content-type", "application/yaml")];
    send(&served, "PUT", &at("w"), &headers, yaml).await;
    let stored = served.get(&at("w")).await.json();
    assert_eq!(stored["definition"], workflow("w", json!("{{ \"[\" }}")));
    let broken = send(&served, "PUT", &at("x"), &headers, "a: [1\nb: 2\n").await;
    assert_eq!((broken.status.as_u16(), &broken.json()["place"]), (400, &json!("body")));
    assert!(broken.json()["detail"].as_str().unwrap().contains("line"), "{}", broken.text);
    let other = send(&served, "PUT", &at("w"), &[NEW, ("content-type", "text/plain")], yaml).await;
    assert_eq!(other.status.as_u16(), 415);
    assert!(other.json()["detail"].as_str().unwrap().contains("JSON or YAML"), "{}", other.text);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_workflow_comes_at_once_and_nothing_is_written() {
    let served = Served::new().await;
    let mut wrong = workflow("other", json!("{{ nodes.gone.output }}"));
    wrong["spec"]["edges"] = json!([{"from": "n", "to": "nowhere"}]);
    wrong["spec"]["timeout"] = json!("soon");
    let got = send(&served, "PUT", &at("w"), &[NEW], wrong.to_string()).await;
    assert_eq!(got.status.as_u16(), 422, "{}", got.text);
    assert_eq!(got.header("content-type"), "application/problem+json");
    let said = got.json();
    assert_eq!(said["code"], "invalid_definition");
    let problems = said["problems"].as_array().unwrap();
    let mut places: Vec<_> = problems.iter().map(|one| one["pointer"].as_str().unwrap()).collect();
    places.sort_unstable();
    let expected = ["/metadata/name", "/spec/edges/0/to", "/spec/nodes/0/value", "/spec/timeout"];
    assert_eq!(places, expected, "{}", got.text);
    assert!(problems.iter().all(|one| one["severity"] == "error" && one["message"].is_string()));
    assert!(said["detail"].as_str().unwrap().starts_with("4 errors; the first: "), "{said}");
    for (body, status) in [("", 400), ("[]", 422), ("{", 400), ("\"x\"", 422)] {
        let got = send(&served, "PUT", &at("w"), &[NEW], body).await;
        assert_eq!(got.status.as_u16(), status, "{body}: {}", got.text);
    }
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn warnings_come_with_what_was_stored() {
    let served = Served::new().await;
    let mut body = workflow("w", json!(1));
    body["spec"]["nodes"] = json!([{"id": "c", "kind": "workflow", "name": "child"}]);
    let warned = put(&served, NEW, &body).await.json();
    assert_eq!(warned["warnings"][0]["pointer"], "/spec/nodes/0/name");
    assert_eq!(warned["warnings"][0]["severity"], "warning");
    let mut child = workflow("child", json!(1));
    child["spec"]["inputs"] = json!({"type": "object", "required": ["a"]});
    put(&served, NEW, &child).await;
    let again = send(&served, "PUT", &at("w"), &[("if-match", "1")], body.to_string()).await;
    assert_eq!(again.status.as_u16(), 422, "the child takes something now: {}", again.text);
}

#[tokio::test]
async fn deleted_definition_is_gone_and_its_versions_stay() {
    let served = with_versions().await;
    let model = r#"{"deployments":[{"name":"a","provider":"openai","model":"m"}]}"#;
    for condition in [NEW, ("if-match", "1"), ("if-match", "2")] {
        send(&served, "PUT", "/v1/definitions/models/w", &[condition], model).await;
    }
    let at: [fn(&str) -> String; 2] = [at, |path| format!("/v1/definitions/models/{path}")];
    for at in at {
        let path = at("w");
        for (headers, status) in [
            (vec![], 428),
            (vec![NEW], 400),
            (vec![("if-match", "\"2\"")], 409),
            (vec![("if-match", "\"3\"")], 204),
            (vec![("if-match", "\"3\"")], 404),
            (vec![("if-match", "\"4\"")], 404),
        ] {
            let got = send(&served, "DELETE", &path, &headers, Body::empty()).await;
            assert_eq!(got.status.as_u16(), status, "{path} {headers:?}: {}", got.text);
            assert_eq!(got.text.is_empty(), status == 204);
        }
        assert_eq!(served.get(&path).await.status.as_u16(), 404, "{path}");
        let versions = served.get(&at("w/versions")).await.json();
        let expected = [(4, true), (3, false), (2, false), (1, false)]
            .map(|(n, gone)| (json!(n), json!(gone)));
        assert_eq!(pairs(&versions, "version", "deleted"), expected);
        let old = served.get(&at("w/versions/3")).await;
        assert_eq!((old.status.as_u16(), old.header("etag")), (200, "\"3\""));
        assert!(old.json()["definition"].is_object());
        for (number, status) in [("4", 404), ("5", 404), ("0", 404), ("x", 400)] {
            let got = served.get(&at(&format!("w/versions/{number}"))).await;
            assert_eq!(got.status.as_u16(), status, "{path} {number}");
        }
        assert_eq!(served.get(&at("gone/versions")).await.status.as_u16(), 404);
        assert_eq!(served.get(&at("gone")).await.status.as_u16(), 404);
    }
    let chat = json!({"model": "w", "messages": [{"role": "user", "content": "x"}]});
    let refused = served.post("/v1/chat/completions", &chat).await;
    assert_eq!(refused.json()["error"]["code"], "model_not_found", "{}", refused.text);
    let anew = put(&served, NEW, &workflow("w", json!(5))).await;
    assert_eq!((anew.status.as_u16(), anew.header("etag")), (201, "\"5\""));
}

#[tokio::test]
async fn versions_come_in_pages() {
    let served = with_versions().await;
    let first = served.get(&at("w/versions?limit=2")).await.json();
    assert_eq!(pairs(&first, "version", "deleted").len(), 2);
    let next = first["next"].as_str().unwrap();
    let rest = served.get(&at(&format!("w/versions?limit=2&cursor={next}"))).await.json();
    assert_eq!((&rest["data"][0]["version"], &rest["next"]), (&json!(1), &Value::Null));
    for (query, place) in
        [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=eA", "cursor"), ("x=1", "query")]
    {
        let got = served.get(&at(&format!("w/versions?{query}"))).await;
        assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!(place)), "{query}");
    }
}

#[tokio::test]
async fn workflows_are_listed_by_name_in_pages_and_by_label() {
    let served = with_versions().await;
    for (name, team) in [("a", "sales"), ("x", "sales"), ("b", "support")] {
        let mut body = workflow(name, json!(1));
        body["metadata"]["labels"] = json!({"team": team, "url": "http://x"});
        body["metadata"]["description"] = json!("What it does");
        put(&served, NEW, &body).await;
    }
    let stable = r#"{"version":2}"#;
    send(&served, "PUT", &at("w/aliases/stable"), &[NEW], stable).await;
    let all = served.get("/v1/definitions/workflows").await.json();
    let expected = [("a", 1), ("b", 1), ("w", 2), ("x", 1)].map(|(n, v)| (json!(n), json!(v)));
    assert_eq!(pairs(&all, "name", "standing"), expected);
    assert_eq!(all["data"][2]["version"], 3);
    assert_eq!(all["data"][0]["labels"]["team"], "sales");
    assert!(all["data"][0].get("definition").is_none());
    let names = |list: &Value| {
        pairs(list, "name", "name").iter().map(|(n, _)| n.as_str().unwrap().to_owned()).collect()
    };
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let page = served.get(&format!("/v1/definitions/workflows?{query}")).await.json();
        pages.push(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=3&cursor={next}");
    }
    assert_eq!(pages, [vec!["a", "b", "w"], vec!["x"]]);
    for (label, found) in [
        ("team:sales", vec!["a", "x"]),
        ("team:sales&limit=1", vec!["a"]),
        ("team:", vec![]),
        ("url:http%3A%2F%2Fx", vec!["a", "b", "x"]),
        ("who:sales", vec![]),
    ] {
        let page = served.get(&format!("/v1/definitions/workflows?label={label}")).await.json();
        let names: Vec<String> = names(&page);
        assert_eq!(names, found, "{label}");
    }
    for (query, place) in [
        ("label=team", "label"),
        ("label=:x", "label"),
        ("cursor=*", "cursor"),
        ("kind=x", "query"),
    ] {
        let got = served.get(&format!("/v1/definitions/workflows?{query}")).await;
        assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!(place)), "{query}");
    }
}

#[tokio::test]
async fn workflows_of_another_tenant_do_not_exist() {
    let served = with_versions().await;
    let theirs = served.world.key("other", &Scope::ALL);
    for path in ["w", "w/versions", "w/versions/1", "w/graph", "w/diff?from=1&to=2", "w/aliases"] {
        let request = with_key("GET", &at(path), &theirs, Body::empty());
        let got = answer(served.send(request).await).await;
        assert_eq!(got.status.as_u16(), 404, "{path}");
    }
    let request = with_key("GET", "/v1/definitions/workflows", &theirs, Body::empty());
    assert_eq!(answer(served.send(request).await).await.json()["data"], json!([]));
}

#[tokio::test]
async fn name_that_no_workflow_can_have_is_refused() {
    let served = with_versions().await;
    send(&served, "PUT", &at("w/aliases/stable"), &[NEW], r#"{"version":1}"#).await;
    for name in ["w@stable", "w%2Fx", "%20", "%C3%A9", &"x".repeat(129), "w:compile"] {
        let got = served.get(&at(name)).await;
        assert_eq!((got.status.as_u16(), &got.json()["place"]), (400, &json!("name")), "{name}");
    }
}

#[tokio::test]
async fn definition_that_no_record_can_hold_is_too_large() {
    let options = Options { body_bytes: 4 * 1024 * 1024, ..Options::default() };
    let served = Served::with(options).await;
    let body = workflow("w", json!("x".repeat(crate::RECORD_BODY_BYTES)));
    let got = send(&served, "PUT", &at("w"), &[NEW], body.to_string()).await;
    assert_eq!(got.status.as_u16(), 413, "{}", got.text);
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn broker_that_is_away_is_said_and_the_catalogue_stays() {
    let served = with_versions().await;
    served.world.break_broker();
    let body = workflow("w", json!(4)).to_string();
    let got = send(&served, "PUT", &at("w"), &[("if-match", "3")], body).await;
    assert_eq!((got.status.as_u16(), &got.json()["code"]), (503, &json!("unavailable")));
    let got = send(&served, "DELETE", &at("w"), &[("if-match", "3")], Body::empty()).await;
    assert_eq!(got.status.as_u16(), 503);
    assert_eq!(served.get(&at("w")).await.header("etag"), "\"3\"");
    served.world.mend_broker();
    let got = send(&served, "DELETE", &at("w"), &[("if-match", "3")], Body::empty()).await;
    assert_eq!(got.status.as_u16(), 204);
    let record = served.world.published_to(Topic::Definitions).await;
    assert_eq!(record.key.as_deref(), Some(&b"workflow/acme/w"[..]));
}

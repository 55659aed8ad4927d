//! Names for versions of a workflow.

use axum::body::Body;
use domain::catalogue::{DefinitionKind, Which};
use serde_json::json;

use super::{NEW, Served, at, pairs, send, with_versions};

/// The version that runs where nobody names one.
fn standing(served: &Served) -> Option<i32> {
    let catalogue = served.world.0.definitions.snapshot();
    let found = catalogue.resolve(DefinitionKind::Workflow, "acme", "w", Which::Standing);
    found.map(|version| version.number)
}

#[tokio::test]
async fn alias_is_made_moved_and_deleted_by_whoever_names_its_version() {
    let served = with_versions().await;
    let path = at("w/aliases/stable");
    assert_eq!(standing(&served), Some(3));
    assert_eq!(served.get(&path).await.status.as_u16(), 404);
    let made = send(&served, "PUT", &path, &[NEW], r#"{"version":1}"#).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"1\""));
    let said = made.json();
    assert_eq!((&said["alias"], &said["version"]), (&json!("stable"), &json!(1)));
    assert_eq!(standing(&served), Some(1));
    for (headers, status, stands) in [
        (vec![], 428, 1),
        (vec![NEW], 409, 1),
        (vec![("if-match", "\"2\"")], 409, 1),
        (vec![("if-match", "\"1\"")], 200, 2),
        (vec![("if-match", "\"1\"")], 409, 2),
    ] {
        let got = send(&served, "PUT", &path, &headers, r#"{"version":2}"#).await;
        assert_eq!(got.status.as_u16(), status, "{headers:?}: {}", got.text);
        assert_eq!(standing(&served), Some(stands));
    }
    let got = served.get(&path).await;
    assert_eq!((got.header("etag"), &got.json()["revision"]), ("\"2\"", &json!(2)));
    send(&served, "PUT", &at("w/aliases/next"), &[NEW], r#"{"version":3}"#).await;
    let list = served.get(&at("w/aliases")).await.json();
    let expected = [("next", 3), ("stable", 2)].map(|(alias, of)| (json!(alias), json!(of)));
    assert_eq!(pairs(&list, "alias", "version"), expected);
    for (headers, status) in [
        (vec![], 428),
        (vec![("if-match", "1")], 409),
        (vec![("if-match", "2")], 204),
        (vec![("if-match", "2")], 404),
    ] {
        let got = send(&served, "DELETE", &path, &headers, Body::empty()).await;
        assert_eq!(got.status.as_u16(), status, "{headers:?}: {}", got.text);
    }
    assert_eq!(standing(&served), Some(3));
    let anew = send(&served, "PUT", &path, &[NEW], r#"{"version":1}"#).await;
    assert_eq!((anew.status.as_u16(), anew.header("etag")), (201, "\"4\""));
}

#[tokio::test]
async fn alias_of_a_version_that_is_not_there_is_refused() {
    let served = with_versions().await;
    for (path, body, status) in [
        ("w/aliases/stable", r#"{"version":4}"#, 422),
        ("w/aliases/stable", r#"{"version":0}"#, 422),
        ("w/aliases/stable", r#"{"version":"1"}"#, 400),
        ("w/aliases/stable", r#"{"version":1,"more":2}"#, 400),
        ("w/aliases/stable", "{}", 400),
        ("w/aliases/a@b", r#"{"version":1}"#, 400),
        ("gone/aliases/stable", r#"{"version":1}"#, 404),
    ] {
        let got = send(&served, "PUT", &at(path), &[NEW], body).await;
        assert_eq!(got.status.as_u16(), status, "{path} {body}: {}", got.text);
        if status == 422 {
            assert_eq!(got.json()["problems"][0]["pointer"], "/version");
        }
    }
    assert_eq!(served.get(&at("gone/aliases")).await.status.as_u16(), 404);
    assert_eq!(served.get(&at("w/aliases")).await.json()["data"], json!([]));
    assert_eq!(served.world.published().len(), 3, "nothing but the workflow's versions");
}

#[tokio::test]
async fn alias_of_a_deleted_workflow_starts_nothing() {
    let served = with_versions().await;
    let path = at("w/aliases/stable");
    send(&served, "PUT", &path, &[NEW], r#"{"version":2}"#).await;
    send(&served, "DELETE", &at("w"), &[("if-match", "3")], Body::empty()).await;
    assert_eq!(standing(&served), None);
    let moved = send(&served, "PUT", &path, &[("if-match", "1")], r#"{"version":1}"#).await;
    assert_eq!(moved.status.as_u16(), 404);
    let gone = send(&served, "DELETE", &path, &[("if-match", "1")], Body::empty()).await;
    assert_eq!(gone.status.as_u16(), 204, "what is left over can be cleared away");
}

//! The embedded registry, asked by our client, by the converter and over plain HTTP.

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_subjects, get_schema_by_id, get_schema_by_subject, post_schema,
};
use schema_registry_converter::schema_registry_common::{
    SchemaType, SubjectNameStrategy, SuppliedSchema,
};
use schemas::Ids;
use serde_json::{Value, json};

use super::Server;
use crate::registry::{Registry, RegistryError, Settings};

const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;
const ONE_SPACED: &str =
    r#"{ "name":"R", "type":"record", "fields":[ {"type":"string","name":"a"} ] }"#;
const WITH_DEFAULT: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"},
    {"name":"b","type":["null","int"],"default":null}]}"#;
const WITHOUT_DEFAULT: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"},
    {"name":"b","type":"int"}]}"#;

fn registry() -> (Server, Registry) {
    let server = Server::start(0).unwrap();
    let client = Registry::connect(Settings::at(server.url())).unwrap();
    (server, client)
}

/// One request with a JSON body, or without one; the status and the JSON that came back.
async fn ask(server: &Server, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request =
        reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", server.url()));
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[test]
fn the_same_schema_keeps_its_id_however_it_is_written_and_wherever_it_stands() {
    let (_server, client) = registry();
    let id = client.register("s-R", ONE).unwrap();
    assert_eq!(client.register("s-R", ONE_SPACED).unwrap(), id);
    assert_eq!(client.register("t-R", ONE).unwrap(), id);
    assert_ne!(client.register("t-R", WITH_DEFAULT).unwrap(), id);
    assert_eq!(client.fetch(id).unwrap().as_deref(), Some(ONE));
    assert_eq!(client.fetch(id + 100).unwrap(), None);
}

#[test]
fn full_transitive_takes_only_fields_with_defaults() {
    let (_server, client) = registry();
    client.register("s-R", ONE).unwrap();
    client.set_compatibility("s-R", "FULL_TRANSITIVE").unwrap();
    let error = client.register("s-R", WITHOUT_DEFAULT).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Incompatible { subject, .. } if subject == "s-R"),
        "{error}"
    );
    client.register("s-R", WITH_DEFAULT).unwrap();
    // Compatible with the last version but not with the first.
    let renamed = ONE.replace("\"a\"", "\"c\"");
    assert!(client.register("s-R", &renamed).is_err());
    let error = client.set_compatibility("s-R", "SOMEHOW").unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
}

#[test]
fn a_rule_that_is_not_transitive_looks_at_the_last_version_only() {
    let (_server, client) = registry();
    let with = |default: &str| {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x","type":{default}}}]}}"#)
    };
    client.set_compatibility("s-R", "NONE").unwrap();
    client.register("s-R", &with("\"string\"")).unwrap();
    client.register("s-R", &with("\"int\"")).unwrap();
    client.set_compatibility("s-R", "BACKWARD_TRANSITIVE").unwrap();
    assert!(client.register("s-R", &with("\"long\"")).is_err());
    client.set_compatibility("s-R", "BACKWARD").unwrap();
    client.register("s-R", &with("\"long\"")).unwrap();
    client.set_compatibility("s-R", "FORWARD").unwrap();
    assert!(client.register("s-R", &with("\"double\"")).is_err(), "a long reader can't read it");
}

#[test]
fn every_schema_of_ours_is_taken_with_its_rule_and_found_again() {
    let (server, client) = registry();
    let ids = Ids::new();
    let count = client.register_all(&ids, "p-").unwrap();
    assert_eq!(count, schemas::subjects::all("p-").count());
    assert!(ids.missing().is_empty(), "{:?}", ids.missing());
    assert_eq!(client.register_all(&ids, "p-").unwrap(), count, "again, with nothing new");
    let fresh = Ids::new();
    for record in schemas::ALL {
        let id = ids.id_of(record.name).unwrap();
        assert!(client.resolve(&fresh, id).unwrap(), "{}", record.name);
    }
    let (subject, _) = schemas::subjects::all("p-").next().unwrap();
    let runtime = crate::tests::runtime();
    let (status, body) = runtime.block_on(ask(&server, "GET", &format!("/config/{subject}"), None));
    assert_eq!((status, body), (200, json!({ "compatibilityLevel": "FULL_TRANSITIVE" })));
    let (_, versions) =
        runtime.block_on(ask(&server, "GET", &format!("/subjects/{subject}/versions"), None));
    assert_eq!(versions, json!([1]));
}

#[test]
fn the_converters_own_calls_work() {
    let (server, _) = registry();
    let settings = SrSettings::new(server.url());
    crate::tests::runtime().block_on(async {
        let supplied = || SuppliedSchema::new(Some("R".into()), SchemaType::Avro, ONE.into());
        let posted = post_schema(&settings, "t-R".into(), supplied()).await.unwrap();
        let fetched = get_schema_by_id(posted.id, &settings).await.unwrap();
        assert_eq!(fetched.schema, ONE);
        let latest = SubjectNameStrategy::TopicRecordNameStrategy("t".into(), "R".into());
        assert_eq!(get_schema_by_subject(&settings, &latest).await.unwrap().id, posted.id);
        assert_eq!(get_all_subjects(&settings).await.unwrap(), ["t-R"]);
        assert!(get_schema_by_id(77, &settings).await.is_err());
    });
}

#[test]
fn refusals_have_the_codes_that_clients_know() {
    let (server, client) = registry();
    client.register("s", ONE).unwrap();
    let schema = |text: &str| Some(json!({ "schema": text }));
    let table = [
        ("GET", "/subjects/none/versions", None, 404, 40_401),
        ("GET", "/subjects/none/versions/1", None, 404, 40_401),
        ("GET", "/subjects/s/versions/2", None, 404, 40_402),
        ("GET", "/subjects/s/versions/x", None, 422, 42_202),
        ("GET", "/subjects/s/versions/0", None, 422, 42_202),
        ("GET", "/schemas/ids/9", None, 404, 40_403),
        ("GET", "/schemas/ids/x", None, 404, 40_403),
        ("GET", "/schemas/ids/0", None, 404, 40_403),
        ("GET", "/config/s", None, 404, 40_408),
        ("GET", "/nowhere", None, 404, 404),
        ("POST", "/subjects/none", schema(ONE), 404, 40_401),
        ("POST", "/subjects/s", schema(WITH_DEFAULT), 404, 40_403),
        ("POST", "/subjects/s/versions", schema("{"), 422, 42_201),
        ("POST", "/subjects/s/versions", schema(r#"{"type":"wat"}"#), 422, 42_201),
        ("POST", "/subjects/s/versions", Some(json!({})), 422, 42_201),
        ("POST", "/subjects/s/versions", None, 422, 42_201),
        ("POST", "/subjects/s/versions", schema(WITHOUT_DEFAULT), 409, 409),
        (
            "POST",
            "/subjects/s/versions",
            Some(json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" })),
            422,
            42_201,
        ),
        (
            "POST",
            "/subjects/s/versions",
            Some(json!({ "schema": ONE, "references": [{ "name": "x" }] })),
            422,
            42_201,
        ),
        ("PUT", "/config", Some(json!({ "compatibility": "WAT" })), 422, 42_203),
        ("PUT", "/config/s", None, 422, 42_203),
    ];
    crate::tests::runtime().block_on(async {
        for (method, path, body, status, code) in table {
            let (got, answer) = ask(&server, method, path, body).await;
            assert_eq!((got, &answer["error_code"]), (status, &json!(code)), "{method} {path}");
            assert!(answer["message"].is_string(), "{method} {path}: {answer}");
        }
    });
}

#[test]
fn a_schema_nested_without_end_is_refused_and_the_registry_lives() {
    let (server, client) = registry();
    let deep =
        format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(5_000), "}".repeat(5_000));
    crate::tests::runtime().block_on(async {
        let body = Some(json!({ "schema": deep }));
        let (status, _) = ask(&server, "POST", "/subjects/s/versions", body).await;
        assert_eq!(status, 422);
    });
    client.register("s", ONE).unwrap();
}

#[test]
fn compatibility_can_be_asked_for_without_registering() {
    let (server, client) = registry();
    client.register("s", ONE).unwrap();
    client.set_compatibility("s", "FULL_TRANSITIVE").unwrap();
    crate::tests::runtime().block_on(async {
        for (path, schema, expected) in [
            ("versions/latest", WITH_DEFAULT, true),
            ("versions/1", WITHOUT_DEFAULT, false),
            ("versions", WITHOUT_DEFAULT, false),
            ("versions", WITH_DEFAULT, true),
        ] {
            let path = format!("/compatibility/subjects/s/{path}");
            let body = Some(json!({ "schema": schema }));
            let (status, answer) = ask(&server, "POST", &path, body).await;
            assert_eq!(status, 200, "{path}");
            assert_eq!(answer["is_compatible"], json!(expected), "{path}: {answer}");
        }
        let (_, found) = ask(&server, "POST", "/subjects/s", Some(json!({ "schema": ONE }))).await;
        assert_eq!((&found["version"], &found["id"]), (&json!(1), &json!(1)));
        let (_, versions) = ask(&server, "GET", "/subjects/s/versions", None).await;
        assert_eq!(versions, json!([1]), "nothing was registered by asking");
    });
}

#[test]
fn a_registry_that_is_away_is_not_one_that_has_nothing() {
    let (server, client) = registry();
    let ids = Ids::new();
    drop(server);
    let error = client.resolve(&ids, 1).unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    let error = client.set_compatibility("s", "FULL").unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    // Nothing was held against the id.
    assert!(matches!(ids.name_of(&[0, 0, 0, 0, 1]), Err(schemas::ReadError::UnknownSchema(1))));
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in ["", "localhost:8081", "ftp://x"] {
        assert!(Registry::connect(Settings::at(url)).is_err(), "{url}");
    }
}

//! What the configuration takes, what it refuses, and that it never tells a secret.

use std::error::Error;
use std::fs;

use super::*;

const CANARY: &str = "canary-7f3a";

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stepstream.toml");
    fs::write(&path, toml).unwrap();
    Config::load_from(Some(&path), env(variables))
}

/// The whole text of an error, with its sources, its `Debug` form, and the file's name for its path.
fn error_of(toml: &str, variables: &[(&str, &str)]) -> (String, String) {
    let error = load(toml, variables).expect_err(toml);
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let text = format!("{error}{source}");
    let short = match text.find("stepstream.toml") {
        Some(at) => text[at..].to_owned(),
        None => text.clone(),
    };
    (short, format!("{text} {error:?}"))
}

#[test]
fn nothing_set_gives_defaults_that_can_work() {
    let config = Config::load_from(None, env(&[])).unwrap();
    assert_eq!(config.roles, Role::ALL);
    assert_eq!(config.kafka.bootstrap_servers(), "127.0.0.1:9092");
    assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:8080");
    config.check().unwrap();
}

#[test]
fn what_is_shown_of_the_defaults_reads_back_as_the_defaults() {
    let shown = Config::default().show();
    assert_eq!(load(&shown, &[]).unwrap().show(), shown);
}

#[test]
fn environment_wins_over_file_and_file_over_defaults() {
    let toml = r#"
        roles = ["gateway"]
        [kafka]
        brokers = ["a:1", "b:2"]
        client-id = "from-file"
        partitions = 6
        [inference]
        window = 7
    "#;
    let config = load(
        toml,
        &[
            ("STEPSTREAM_KAFKA__CLIENT_ID", "0042"),
            ("STEPSTREAM_INFERENCE__WINDOW", "9"),
            ("STEPSTREAM_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SSL"),
            ("STEPSTREAM_TELEMETRY__METRICS_LISTEN", "127.0.0.1:9100"),
            ("STEPSTREAM_ROLES", "inference, archive"),
            // What Kubernetes makes for a service of that name.
            ("STEPSTREAM_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ],
    )
    .unwrap();
    assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
    assert_eq!(config.kafka.client_id, "0042");
    assert_eq!(config.kafka.partitions, 6);
    assert_eq!(config.inference.window, 9);
    assert_eq!(config.telemetry.metrics_listen.unwrap().port(), 9100);
    assert_eq!(config.roles, [Role::Inference, Role::Archive]);
    let properties: Vec<_> = config.kafka.expose_properties().collect();
    assert_eq!(properties, [("security.protocol", "SSL")]);
    let config = load("", &[("STEPSTREAM_KAFKA__BROKERS", "c:3,d:4")]).unwrap();
    assert_eq!(config.kafka.bootstrap_servers(), "c:3,d:4");
}

/// The file, the environment, and how the error begins.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn wrong_keys_and_values_are_refused_with_their_place() {
    let cases: &[Case] = &[
        ("a = = 1", &[], "stepstream.toml, line 1, column 5: "),
        ("[kafka]\nx = [1,\ny", &[], "stepstream.toml, line 3, column 2: "),
        ("kafak.brokers = []", &[], "stepstream.toml: kafak: unknown key, expected one of roles, "),
        (
            "[kafka]\nbroker = 'a:1'",
            &[],
            "stepstream.toml: kafka.broker: unknown key, expected one",
        ),
        (
            "[kafka]\npartitions = 'x'",
            &[],
            "stepstream.toml: kafka.partitions: expected i32, found",
        ),
        ("[kafka]\npartitions = 3000000000", &[], "stepstream.toml: kafka.partitions: "),
        ("[kafka]\nbrokers = 5", &[], "stepstream.toml: kafka.brokers: expected a list, or a text"),
        ("[gateway]\nlisten = 'here'", &[], "stepstream.toml: gateway.listen: "),
        ("[gateway]\nmax-body-bytes = -1", &[], "stepstream.toml: gateway.max-body-bytes: "),
        (
            "store.kind = 'sql'",
            &[],
            "stepstream.toml: store.kind: unknown value, expected one of embedded, cql",
        ),
        ("kafka = 1", &[], "stepstream.toml: kafka: expected struct Kafka, found another number"),
        (
            "roles = ['king']",
            &[],
            "stepstream.toml: roles.0: unknown value, expected one of gateway",
        ),
        (
            "[telemetry]\nlog-format = 'xml'",
            &[],
            "stepstream.toml: telemetry.log-format: unknown value, expected one of auto, text, json",
        ),
        (
            "[kafka.properties]\nsasl.mechanism.x = 'y'",
            &[],
            "stepstream.toml: kafka.properties.sasl: expected text, { env = \"NAME\" } or",
        ),
        (
            "[registry]\nuser = 'u'\npassword = { file = '/nonexistent/x' }",
            &[],
            "stepstream.toml: registry.password: file /nonexistent/x: No such file",
        ),
        (
            "[registry]\nuser = 'u'\npassword = { env = 'STEPSTREAM_NOT_SET' }",
            &[],
            "stepstream.toml: registry.password: environment variable STEPSTREAM_NOT_SET is not set",
        ),
        (
            "[registry]\nuser = 'u'\npassword = { env = 'PATH', file = '/x' }",
            &[],
            "stepstream.toml: registry.password: expected text, ",
        ),
        (
            "[registry]\nuser = 'u'\npassword = { file = '/dev/zero' }",
            &[],
            "stepstream.toml: registry.password: file /dev/zero: is larger than 65536 bytes",
        ),
        (
            "[inference]\nwindow = 7",
            &[("STEPSTREAM_INFERENCE__WINDOW", "many")],
            "environment variable STEPSTREAM_INFERENCE__WINDOW: inference.window: expected usize",
        ),
        (
            "[inference]\nwindow = 7",
            &[("STEPSTREAM_INFERENCE__WINDOWS", "8")],
            "environment variable STEPSTREAM_INFERENCE__WINDOWS: inference.windows: unknown key",
        ),
        (
            "[inference]\nwidth = 7",
            &[("STEPSTREAM_INFERENCE__WINDOW", "8")],
            "stepstream.toml: inference.width: unknown key",
        ),
        (
            "",
            &[("STEPSTREAM_ROLES", "gateway,king")],
            "environment variable STEPSTREAM_ROLES: roles: unknown value, expected one of gateway",
        ),
        (
            "",
            &[("STEPSTREAM___X", "1")],
            "environment variable STEPSTREAM___X: has an empty part between its underscores",
        ),
        (
            "",
            &[("STEPSTREAM_KAFKA__PREFIX", "a"), ("STEPSTREAM_KAFKA__PREFIX__B", "b")],
            "environment variable STEPSTREAM_KAFKA__PREFIX__B: sets a key that another variable",
        ),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .map(|(toml, variables, expected)| (toml, expected, error_of(toml, variables).0))
        .filter(|(_, expected, text)| !text.starts_with(**expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn values_that_cannot_work_are_refused_by_their_key() {
    let cases = [
        ("roles = []", "roles: there has to be one at least"),
        ("roles = ['archive', 'archive']", "roles: has one twice"),
        ("kafka.brokers = []", "kafka.brokers: there has to be one at least"),
        ("kafka.brokers = ['a:1', 'b']", "kafka.brokers: entry 2 is not host:port"),
        ("kafka.brokers = ['a:0']", "kafka.brokers: entry 1 is not host:port"),
        ("kafka.prefix = 'a/b'", "kafka.prefix: a topic's name takes"),
        ("kafka.partitions = 0", "kafka.partitions: has to be 1 or more"),
        ("kafka.replication-factor = 0", "kafka.replication-factor: has to be 1 or more, or -1"),
        (
            "kafka.properties = { 'enable.idempotence' = false }",
            "kafka.properties.\"enable.idempotence\": is set by the platform",
        ),
        ("registry.url = 'localhost:8081'", "registry.url: is not an http or https address"),
        ("registry.url = 'http://u:p@host'", "registry.url: must not hold a user or password"),
        ("registry.user = 'u'", "registry.password: user and password go together"),
        (
            "push.ticket-secret = 'guess me'",
            "push.ticket-secret: has to have 32 characters or more",
        ),
        ("inference.window = 0", "inference.window: has to be 1 or more"),
        ("runtime.checkpoint-max-ms = 10", "runtime.checkpoint-max-ms: is less than"),
        ("runtime.session-timeout-ms = 1000", "runtime.session-timeout-ms: has to be more than"),
        ("store.path = ''", "store.path: is empty"),
        ("store.nodes = ['a']", "store.nodes: entry 1 is not host:port"),
        ("store.nodes = []", "store.nodes: there has to be one at least"),
        ("store.keyspace = 'a-b'", "store.keyspace: takes small letters"),
        ("store.keyspace = '1'", "store.keyspace: takes small letters"),
        ("store.replication-factor = 0", "store.replication-factor: has to be 1 or more"),
        ("store.password = 'p'", "store.password: user and password go together"),
        ("store.event-retention-days = 3", "store.event-retention-days: is for `cql`"),
        (
            "store = { kind = 'cql', log-row-retention-days = 9000 }",
            "store.log-row-retention-days: has to be 7300 or less with `cql`",
        ),
        ("telemetry.log-filter = 'a=b=c'", "telemetry.log-filter: not a filter: "),
    ];
    for (toml, expected) in cases {
        let (text, _) = error_of(toml, &[]);
        let expected = format!("the configuration can't work: {expected}");
        assert!(text.starts_with(&expected), "{toml}: {text}");
    }
    let (text, _) = error_of("inference.window = 0\nstore.retention-days = 0", &[]);
    assert!(text.contains("inference.window") && text.contains("; store.retention-days"), "{text}");
}

#[test]
fn shared_store_is_configured_by_variables_alone() {
    let config = load(
        "",
        &[
            ("STEPSTREAM_STORE__KIND", "cql"),
            ("STEPSTREAM_STORE__NODES", "a:9042, b:9043"),
            ("STEPSTREAM_STORE__CONSISTENCY", "local-one"),
            ("STEPSTREAM_STORE__EVENT_RETENTION_DAYS", "3"),
        ],
    )
    .unwrap();
    let store = &config.store;
    assert_eq!((store.kind, store.consistency), (StoreKind::Cql, Consistency::LocalOne));
    assert_eq!(store.nodes, ["a:9042", "b:9043"]);
    assert_eq!(store.event_retention().as_secs(), 3 * 86_400);
    assert_eq!(store.log_row_retention(), store.retention());
}

#[test]
fn missing_file_is_named() {
    let error = Config::load_from(Some(Path::new("/nonexistent.toml")), env(&[])).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the configuration file /nonexistent.toml");
}

#[test]
fn secrets_are_read_from_where_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    for (text, secret) in [("p w\n", "p w"), ("p w\r\n", "p w"), ("p\n\n", "p\n"), ("", "")] {
        fs::write(&file, text).unwrap();
        let toml = format!("registry = {{ user = 'u', password.file = {file:?} }}");
        let config = load(&toml, &[]).unwrap();
        assert_eq!(config.registry.password.unwrap().expose(), secret);
    }
    // Cargo sets this one for every test.
    let toml = "kafka.properties = { 'sasl.password' = { env = 'CARGO_PKG_NAME' }, 'a.b' = 5 }";
    let config = load(toml, &[]).unwrap();
    let properties: Vec<_> = config.kafka.expose_properties().collect();
    assert_eq!(properties, [("a.b", "5"), ("sasl.password", "stepstream-service")]);
    assert!(config.show().contains("env = \"CARGO_PKG_NAME\""), "{}", config.show());
    assert!(!config.show().contains("stepstream-service"), "{}", config.show());
    let variables = [
        ("STEPSTREAM_REGISTRY__USER", "u"),
        ("STEPSTREAM_REGISTRY__PASSWORD", "007"),
        ("STEPSTREAM_KAFKA__PROPERTIES__SASL_PASSWORD__ENV", "CARGO_PKG_NAME"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.registry.password.as_ref().unwrap().expose(), "007");
    assert_eq!(config.kafka.properties["sasl.password"].expose(), "stepstream-service");
}

#[test]
fn secret_is_in_nothing_that_is_shown() {
    let toml = format!(
        "[registry]\nuser = 'u'\npassword = '{CANARY}'\n\
         [store]\nuser = 'u'\npassword = '{CANARY}'\n\
         [kafka.properties]\n'sasl.password' = '{CANARY}'\n'ssl.key.pem' = '{CANARY}'\n\
         'some.new.thing' = '{CANARY}'\n'security.protocol' = 'SASL_SSL'\n'ssl.ca.location' = '/ca'"
    );
    let config = load(&toml, &[]).unwrap();
    let shown = config.show();
    assert!(!shown.contains(CANARY), "{shown}");
    assert_eq!(shown.matches("\"***\"").count(), 5, "{shown}");
    assert!(shown.contains("\"security.protocol\" = \"SASL_SSL\""), "{shown}");
    assert!(shown.contains("\"ssl.ca.location\" = \"/ca\""), "{shown}");
    assert!(!format!("{config:?}").contains(CANARY));
}

#[test]
fn secret_is_in_no_error() {
    let files = [
        // Under a wrong key, of a wrong type, in a broken line, beside another mistake.
        format!("[registry]\npasswrd = '{CANARY}'"),
        format!("[registry]\ntimeout-ms = '{CANARY}'"),
        format!("[registry]\nurl = {{ password = '{CANARY}' }}"),
        format!("[registry]\nuser = ['{CANARY}']"),
        format!("[registry]\npassword = ['{CANARY}']"),
        format!("[registry]\npassword = {{ text = '{CANARY}' }}"),
        format!("[registry]\npassword = '{CANARY}"),
        format!("[registry]\npassword = {CANARY}"),
        format!("[registry]\npassword = '{CANARY}' '{CANARY}'"),
        format!("[registry]\nurl = 'http://u:{CANARY}@host'"),
        format!("[registry]\nurl = 'ftp://u:{CANARY}@host'"),
        format!("[registry]\npassword = '{CANARY}'\nuser = 'u'\ntimeout-ms = 0"),
        format!("[kafka]\nbrokers = ['u:{CANARY}@host']"),
        format!("[kafka]\nbrokers = [{{ x = '{CANARY}' }}]"),
        format!("[kafka]\nprefix = '{CANARY}/'"),
        format!("[kafka]\nproperties = '{CANARY}'"),
        format!("[kafka.properties]\nsasl.password.x = '{CANARY}'"),
        format!("[kafka.properties]\n'acks' = '{CANARY}'"),
        format!("[gateway]\nlisten = '{CANARY}'"),
        format!("[telemetry]\nlog-format = '{CANARY}'"),
        format!("roles = ['{CANARY}']"),
    ];
    for toml in &files {
        let (_, all) = error_of(toml, &[]);
        assert!(!all.contains(CANARY), "{toml}: {all}");
    }
    for name in ["REGISTRY__TIMEOUT_MS", "REGISTRY__PASS", "KAFKA__PARTITIONS", "GATEWAY__LISTEN"] {
        let (_, all) = error_of("", &[(&format!("STEPSTREAM_{name}"), CANARY)]);
        assert!(!all.contains(CANARY), "{name}: {all}");
    }
}

#[test]
fn standard_variables_of_opentelemetry_count_where_nothing_of_ours_is_set() {
    let standard = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_SERVICE_NAME", "edge"),
    ];
    let telemetry = load("", &standard).unwrap().telemetry;
    assert_eq!(telemetry.otlp_endpoint.as_deref(), Some("http://collector:4318"));
    assert_eq!((telemetry.trace_ratio, telemetry.service_name.as_str()), (0.25, "edge"));
    let toml = "[telemetry]\notlp-endpoint = \"http://other:4318\"\ntrace-ratio = 0.5";
    let ours = ("STEPSTREAM_TELEMETRY__TRACE_RATIO", "1");
    let telemetry = load(toml, &[&standard[..], &[ours]].concat()).unwrap().telemetry;
    assert_eq!(telemetry.otlp_endpoint.as_deref(), Some("http://other:4318"));
    assert_eq!((telemetry.trace_ratio, telemetry.service_name.as_str()), (1.0, "edge"));
    let empty = load("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().telemetry;
    assert_eq!(empty.otlp_endpoint, None, "off");
}

#[test]
fn traces_that_can_t_be_sent_are_refused_with_their_place() {
    for (variables, expected) in [
        (("OTEL_TRACES_SAMPLER_ARG", "often"), "OTEL_TRACES_SAMPLER_ARG: telemetry.trace-ratio"),
        (("OTEL_TRACES_SAMPLER_ARG", "1.5"), "telemetry.trace-ratio: is not from 0 to 1"),
        (
            ("STEPSTREAM_TELEMETRY__OTLP_ENDPOINT", "collector:4318"),
            "telemetry.otlp-endpoint: is not",
        ),
        (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:canary-7f3a@collector:4318"),
            "telemetry.otlp-endpoint: must not hold a user or password",
        ),
    ] {
        let (short, whole) = error_of("", &[variables]);
        assert!(short.contains(expected), "{variables:?}: {short}");
        assert!(!whole.contains(CANARY), "{whole}");
    }
}

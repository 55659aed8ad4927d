//! The AsyncAPI 3.0 document, generated from the topics' records: what an outsider may send and receive.
//!
//! The document describes a system beside Stepstream, so `send` is what it publishes and `receive` what
//! it reads. State topics and what processors write to their logs are listed, so that the topics are
//! complete, but have no operation.

use domain::topic::Topic;
use serde_json::{Map, Value, json};

use crate::record::{ALL, Declared};
use crate::subjects::{COMMANDS, SUBJECTS, Subjects};

/// Avro with defaults for enum symbols came with 1.9.
const SCHEMA_FORMAT: &str = "application/vnd.apache.avro;version=1.9.0";
const CONTENT_TYPE: &str = "application/avro";
const KAFKA_BINDING: &str = "0.5.0";

/// The document for topics under `prefix` on the bootstrap `server`: `host:port`, or several with commas
/// between them.
#[must_use]
pub fn asyncapi(prefix: &str, server: &str) -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stepstream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a system beside Stepstream publishes and reads on Kafka. Values \
                are Avro in Confluent framing; subjects are named by TopicRecordName and are \
                FULL_TRANSITIVE.",
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0"
            }
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": server
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .enumerate()
            .map(|(i, host)| {
                (format!("kafka-{}", i + 1), json!({ "host": host, "protocol": "kafka" }))
            })
            .collect::<Map<_, _>>(),
        "channels": SUBJECTS
            .iter()
            .map(|entry| (entry.topic.name().to_owned(), channel(prefix, *entry)))
            .collect::<Map<_, _>>(),
        "operations": SUBJECTS.iter().copied().flat_map(operations).collect::<Map<_, _>>(),
        "components": {
            "messages": ALL
                .iter()
                .map(|record| (short(record.name).to_owned(), message(record)))
                .collect::<Map<_, _>>(),
            "messageTraits": { "cloudEvent": cloud_event() }
        }
    })
}

fn channel(prefix: &str, entry: Subjects) -> Value {
    let address = format!("{prefix}{}", entry.topic.name());
    json!({
        "address": address,
        "description": description(entry.topic),
        "messages": entry
            .records()
            .map(|record| {
                let name = short(record.name);
                (name.to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }))
            })
            .collect::<Map<_, _>>(),
        "bindings": { "kafka": { "topic": address, "bindingVersion": KAFKA_BINDING } }
    })
}

fn description(topic: Topic) -> &'static str {
    match topic {
        Topic::Feed(_) => "Work waiting to be admitted. Public; the key is the request's id.",
        Topic::Log(_) => {
            "What happened, in one order per entity; the key is the entity's id. Only commands are \
             public, and only to write: read `results` and `execution-log` instead."
        }
        Topic::State(_) => "Compacted checkpoints of a processor. Internal.",
        Topic::Results => "Events of executions; the key is the execution's id.",
        Topic::Stream => "Token deltas; the key is the execution's id. Kept for an hour.",
        Topic::ExecutionLog => "One flat row a fact, for data teams; read with read_committed.",
        Topic::DeadLetters => "What could not be taken, with cause and original bytes.",
        Topic::Definitions => {
            "Models, workflows, agents, functions and keys; the key is kind/tenant/name, the first \
             proposal that expects the standing version wins. Kept for ever."
        }
    }
}

/// What an outsider does with a topic.
#[derive(Clone, Copy)]
enum Action {
    Send,
    Receive,
}

fn operations(entry: Subjects) -> Vec<(String, Value)> {
    let actions: &[Action] = match entry.topic {
        Topic::Feed(_) | Topic::Log(_) => &[Action::Send],
        Topic::State(_) => &[],
        Topic::Results | Topic::Stream | Topic::ExecutionLog | Topic::DeadLetters => {
            &[Action::Receive]
        }
        Topic::Definitions => &[Action::Send, Action::Receive],
    };
    actions.iter().map(|action| operation(entry, *action)).collect()
}

fn operation(entry: Subjects, action: Action) -> (String, Value) {
    let name = entry.topic.name();
    let action = match action {
        Action::Send => "send",
        Action::Receive => "receive",
    };
    let messages: Vec<Value> = entry
        .records()
        .filter(|record| !matches!(entry.topic, Topic::Log(_)) || COMMANDS.contains(&record.name))
        .map(|record| json!({ "$ref": format!("#/channels/{name}/messages/{}", short(record.name)) }))
        .collect();
    let value = json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{name}") },
        "messages": messages
    });
    (format!("{action}-{name}"), value)
}

fn message(record: &Declared) -> Value {
    let schema: Value = serde_json::from_str(record.schema)
        .expect("our schemas are compiled in and parsed by a test");
    json!({
        "name": record.name,
        "title": short(record.name),
        "summary": schema["doc"],
        "contentType": CONTENT_TYPE,
        "traits": [{ "$ref": "#/components/messageTraits/cloudEvent" }],
        "payload": { "schemaFormat": SCHEMA_FORMAT, "schema": schema },
        "bindings": {
            "kafka": {
                "key": { "type": "string" },
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicRecordNameStrategy",
                "bindingVersion": KAFKA_BINDING
            }
        }
    })
}

/// The headers of a CloudEvent in binary mode. All are optional on the way in.
fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "headers": {
            "type": "object",
            "properties": {
                "ce_id": text("The event's id."),
                "ce_type": text("What happened, by its dotted name."),
                "ce_source": text("Who says so."),
                "ce_time": text("When, RFC 3339."),
                "ce_subject": text("The entity."),
                "ce_tenant": text("Whose it is."),
                "traceparent": text("W3C trace context."),
                "tracestate": text("W3C trace context.")
            }
        }
    })
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| refs(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
            _ => {}
        }
    }

    #[test]
    fn document_has_every_topic_and_every_record() {
        let document = asyncapi("dev.", "127.0.0.1:9092, b:9093");
        assert_eq!(document["servers"]["kafka-1"]["host"], "127.0.0.1:9092");
        assert_eq!(document["servers"]["kafka-2"]["host"], "b:9093");
        for entry in SUBJECTS {
            let name = entry.topic.name();
            let channel = &document["channels"][name];
            assert_eq!(channel["address"], format!("dev.{name}"));
            for record in entry.records() {
                assert!(channel["messages"][short(record.name)].is_object(), "{}", record.name);
            }
        }
        for record in ALL {
            let message = &document["components"]["messages"][short(record.name)];
            let schema: Value = serde_json::from_str(record.schema).unwrap();
            assert_eq!(message["payload"]["schema"], schema);
            assert_eq!(message["summary"], schema["doc"]);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = asyncapi("", "localhost:9092");
        let mut found = Vec::new();
        refs(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn outsiders_send_requests_and_commands_and_nothing_else_to_a_processor() {
        let document = asyncapi("", "localhost:9092");
        let operations = document["operations"].as_object().unwrap();
        let messages = |name: &str| -> Vec<String> {
            operations[name]["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap().into())
                .collect()
        };
        assert_eq!(messages("send-model-requests"), ["ModelRequest"]);
        let commands = ["Cancel", "Pause", "Resume", "Signal", "Callback"];
        assert_eq!(messages("send-model-events"), commands);
        assert_eq!(messages("receive-results"), ["ExecutionEvent"]);
        assert!(!operations.keys().any(|name| name.ends_with("-state")));
        assert!(!operations.contains_key("receive-model-events"));
    }
}

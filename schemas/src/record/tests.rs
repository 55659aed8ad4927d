//! The field lists and symbols are those of the `.avsc` files: what the bytes alone can't show, because
//! two strings that are swapped in both directions still make a round trip.

use std::collections::HashMap;

use domain::answer::{ErrorClass, Terminal};
use domain::catalogue::DefinitionKind;
use domain::event::{ChunkKind, EventType};
use domain::request::{FunctionMode, OnBusy, Operation, OriginKind};
use domain::schedule::kept::Kept as WorkflowSchedule;
use domain::schedule::{
    Counts as WorkflowScheduleCounts, Next as WorkflowScheduleNext,
    Running as WorkflowScheduleRunning,
};
use domain::topic::Kind;
use domain::workflow::run::entry::{
    Asked as WorkflowAsked, Execution as WorkflowExecution, Frame as WorkflowFrame,
    Items as WorkflowItems, Line as WorkflowLine, Parent as WorkflowParent, PendingEnding,
    Progress as WorkflowProgress, Step as WorkflowStep, Task as WorkflowTask,
};
use serde_json::Value;

use super::*;

/// The wire names of a type's fields, in the order of its codec.
pub(super) trait Fields {
    const FIELDS: &'static [&'static str];
}

/// Every named type of every schema, by its short name.
fn named_types() -> HashMap<String, Value> {
    fn collect(schema: &Value, types: &mut HashMap<String, Value>) {
        match schema {
            Value::Object(object) => {
                if let Some(Value::String(name)) = object.get("name")
                    && (object.contains_key("fields") || object.contains_key("symbols"))
                {
                    types.insert(name.clone(), schema.clone());
                }
                object.values().for_each(|value| collect(value, types));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, types)),
            _ => {}
        }
    }
    let mut types = HashMap::new();
    for declared in ALL {
        collect(&serde_json::from_str(declared.schema).unwrap(), &mut types);
    }
    types
}

#[test]
fn codecs_list_the_fields_of_their_schemas_in_order() {
    macro_rules! listed {
        ($($type:ident)*) => { [$((stringify!($type), <$type as Fields>::FIELDS)),*] };
    }
    let listed = listed!(
        Origin Usage Cost Failure Source Header ClaimCheck Sender ModelRequest ExecutionEvent Chunk
        ExecutionLogRecord DefinitionProposed DeadLetter Admitted Rejected Finished Failed TimerFired
        TakenOver Skipped Answer Cancel Pause Resume Signal Callback ModelOutcome ModelCall
        WantedModelCall Position Genesis WantedCall SetTimer Sequence AppliedId RecentId EarlyCommand
        WorkflowStart FunctionCall AgentMessage Publication Published WorkflowEntry WorkflowExecution
        WorkflowProgress PendingEnding WorkflowFrame WorkflowParent WorkflowStep WorkflowAsked
        WorkflowItems WorkflowTask WorkflowLine WorkflowSchedule WorkflowScheduleNext
        WorkflowScheduleCounts WorkflowScheduleRunning
    );
    let types = named_types();
    for (name, fields) in listed {
        let schema: Vec<&str> = types[name]["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field["name"].as_str().unwrap())
            .collect();
        assert_eq!(fields, schema, "{name}");
    }
    let records = types.values().filter(|schema| schema["fields"].is_array()).count();
    assert_eq!(listed.len(), records, "a record type of the schemas isn't listed here");
}

#[test]
fn symbols_are_the_names_of_the_values_in_order() {
    let types = named_types();
    let symbols = |name: &str| -> Vec<String> {
        types[name]["symbols"]
            .as_array()
            .unwrap()
            .iter()
            .map(|symbol| symbol.as_str().unwrap().to_owned())
            .collect()
    };
    fn index(value: &impl Field) -> usize {
        let mut out = Vec::new();
        value.write(&mut out);
        usize::try_from(Reader::new(&out).int().unwrap()).unwrap()
    }
    for kind in Kind::ALL {
        assert_eq!(symbols("Kind")[index(&kind)], kind.as_str());
    }
    for kind in EventType::ALL {
        assert_eq!(symbols("EventType")[index(&kind)], kind.as_str().replace('.', "_"));
    }
    for kind in DefinitionKind::ALL {
        assert_eq!(symbols("DefinitionKind")[index(&kind)], kind.as_str());
    }
    for class in ErrorClass::ALL {
        assert_eq!(symbols("ErrorClass")[index(&class)], class.as_str());
    }
    use Operation::{Chat, Embeddings, Rerank, TextCompletion};
    for operation in [Chat, TextCompletion, Embeddings, Rerank] {
        assert_eq!(symbols("Operation")[index(&operation)], operation.as_str());
    }
    use Terminal::{Cancelled, Failed, Succeeded, TimedOut};
    for terminal in [Succeeded, Failed, Cancelled, TimedOut] {
        assert_eq!(symbols("Terminal")[index(&terminal)], terminal.as_str());
    }
    for (kind, name) in [
        (OriginKind::Client, "client"),
        (OriginKind::Workflow, "workflow"),
        (OriginKind::Agent, "agent"),
    ] {
        assert_eq!(symbols("OriginKind")[index(&kind)], name);
    }
    for (mode, name) in [(FunctionMode::Sync, "sync"), (FunctionMode::Callback, "callback")] {
        assert_eq!(symbols("FunctionMode")[index(&mode)], name);
    }
    for (way, name) in
        [(OnBusy::Reject, "reject"), (OnBusy::Enqueue, "enqueue"), (OnBusy::Interrupt, "interrupt")]
    {
        assert_eq!(symbols("OnBusy")[index(&way)], name);
    }
    for (kind, name) in [
        (ChunkKind::Text, "text"),
        (ChunkKind::Reasoning, "reasoning"),
        (ChunkKind::ToolCalls, "tool_calls"),
        (ChunkKind::Done, "done"),
        (ChunkKind::Queued, "queued"),
    ] {
        assert_eq!(symbols("ChunkKind")[index(&kind)], name);
    }
}

/// What a reader that knows nothing of us needs: docs everywhere, defaults where something is optional,
/// no union but `[null, T]`, and a default symbol on each enum.
#[test]
fn schemas_are_documented_and_can_evolve() {
    fn check(schema: &Value, path: &str) {
        match schema {
            Value::Object(object) => match object["type"].as_str().unwrap() {
                "record" => {
                    assert!(object["doc"].as_str().is_some_and(|doc| doc.len() > 3), "{path}");
                    for field in object["fields"].as_array().unwrap() {
                        let path = format!("{path}.{}", field["name"].as_str().unwrap());
                        assert!(field["doc"].as_str().is_some_and(|d| d.len() > 3), "{path}");
                        let kind = &field["type"];
                        if kind.is_array() {
                            assert_eq!(field.get("default"), Some(&Value::Null), "{path}");
                        }
                        if kind["type"] == "map" || kind["type"] == "array" {
                            assert!(field.get("default").is_some(), "{path}");
                        }
                        check(kind, &path);
                    }
                }
                "enum" => {
                    assert!(object["doc"].is_string(), "{path}");
                    let default = &object["default"];
                    assert!(object["symbols"].as_array().unwrap().contains(default), "{path}");
                }
                "array" => check(&object["items"], path),
                "map" => check(&object["values"], path),
                "long" => assert_eq!(object["logicalType"], "timestamp-millis", "{path}"),
                other => panic!("{path}: {other}"),
            },
            Value::Array(branches) => {
                assert_eq!(branches.len(), 2, "{path}");
                assert_eq!(branches[0], "null", "{path}");
                check(&branches[1], path);
            }
            name => assert!(name.is_string(), "{path}"),
        }
    }
    for declared in ALL {
        let schema: Value = serde_json::from_str(declared.schema).unwrap();
        assert_eq!(
            declared.name,
            format!(
                "{}.{}",
                schema["namespace"].as_str().unwrap(),
                schema["name"].as_str().unwrap()
            )
        );
        check(&schema, declared.name);
        // Apicurio Registry 3.0.9 takes a text with this in it for no schema.
        assert!(!declared.schema.contains(r#""{}""#), "{}", declared.name);
    }
}

#[test]
fn a_request_needs_only_id_model_and_body() {
    let schema: Value = serde_json::from_str(ModelRequest::SCHEMA).unwrap();
    let required: Vec<&str> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|field| field.get("default").is_none())
        .map(|field| field["name"].as_str().unwrap())
        .collect();
    assert_eq!(required, ["id", "model", "body"]);
}

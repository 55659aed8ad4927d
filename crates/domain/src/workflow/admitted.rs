//! What the event `execution.admitted` of a workflow says, as JSON: its processor writes it; the store and whoever
//! explains an execution read it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::time::Millis;

/// The data of an admission. `input` is JSON already, and stays as it is spelled.
#[must_use]
pub fn data(
    version: i32,
    not_before: Option<Millis>,
    input: &str,
    search_attributes: &BTreeMap<String, String>,
) -> String {
    let not_before = Value::from(not_before.map(|time| time.0));
    let found_by = match search_attributes.is_empty() {
        true => String::new(),
        false => format!(r#","search_attributes":{}"#, json!(search_attributes)),
    };
    format!(r#"{{"version":{version},"not_before":{not_before},"input":{input}{found_by}}}"#)
}

/// What an admission says of how its execution runs.
#[derive(Debug, Deserialize)]
pub struct Admitted {
    /// The version that it runs with.
    pub version: Option<i32>,
    /// Its inputs, as they were spelled.
    pub input: Option<Box<RawValue>>,
    /// Not to begin before this.
    pub not_before: Option<Millis>,
    /// What it can be found by.
    #[serde(default)]
    pub search_attributes: BTreeMap<String, String>,
}

/// What an execution can be found by, as the data of its admission says; nothing, for data of another kind.
#[must_use]
pub fn search_attributes(data: &str) -> BTreeMap<String, String> {
    /// Without the inputs, which may be large.
    #[derive(Deserialize)]
    struct FoundBy {
        #[serde(default)]
        search_attributes: BTreeMap<String, String>,
    }
    serde_json::from_str::<FoundBy>(data)
        .map_or_else(|_| BTreeMap::new(), |it| it.search_attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_reads_back_what_it_wrote_with_its_inputs_as_they_were_spelled() {
        let attributes = BTreeMap::from([("cust\"omer".to_owned(), "c\n7".to_owned())]);
        for (not_before, attributes) in
            [(None, BTreeMap::new()), (Some(Millis(7)), attributes.clone())]
        {
            let data = data(4, not_before, r#"{"n": 1.50}"#, &attributes);
            let read: Admitted = serde_json::from_str(&data).unwrap();
            assert_eq!((read.version, read.not_before), (Some(4), not_before), "{data}");
            assert_eq!(read.input.unwrap().get(), r#"{"n": 1.50}"#);
            assert_eq!(read.search_attributes, attributes);
            assert_eq!(search_attributes(&data), attributes);
        }
        assert_eq!(
            data(1, None, "{}", &BTreeMap::new()),
            r#"{"version":1,"not_before":null,"input":{}}"#
        );
    }

    #[test]
    fn other_data_names_no_attributes() {
        for other in ["", "null", "[]", r#"{"search_attributes":{"a":1}}"#, r#"{"said":"x"}"#] {
            assert!(search_attributes(other).is_empty(), "{other}");
        }
    }
}

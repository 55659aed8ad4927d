//! From the conditions of an `if-else` to expressions.
//!
//! They hold when Dify's do, also for values that aren't there; where Dify fails because of the type of a
//! value, these may just not hold.

use serde_json::Value;

use super::fields::{Fields, selector};
use super::reference::{Desk, Reference, Shape, literal};
use crate::workflow::expression;

/// Always true, and nothing that the compiler could know.
const ALWAYS: &str = "execution.id != \"\"";

impl Desk<'_> {
    /// The condition of one case.
    ///
    /// # Errors
    /// Why it has no counterpart.
    pub(super) fn case(&mut self, case: &Fields<'_>) -> Result<String, String> {
        let operator = match case.text("logical_operator") {
            "or" => " or ",
            "and" | "" => " and ",
            other => return Err(format!("the logical operator {other:?} isn't known")),
        };
        let mut parts = Vec::new();
        for condition in case.objects("conditions") {
            parts.push(self.condition(&condition)?);
        }
        let made = match parts.as_slice() {
            [] if operator == " or " => format!("not ({ALWAYS})"),
            [] => ALWAYS.to_owned(),
            [one] => one.clone(),
            _ => parts.join(operator),
        };
        // The compiler takes what follows a constant for unreachable.
        match expression::constant(&made) {
            Some(_) => Ok(format!("({made}) and {ALWAYS}")),
            None => Ok(made),
        }
    }

    fn condition(&mut self, condition: &Fields<'_>) -> Result<String, String> {
        let operator = condition.text("comparison_operator");
        let names = condition.get("variable_selector").and_then(selector);
        let names = names.ok_or("a condition has no variable_selector")?;
        condition.mark("id");
        if condition.peek("sub_variable_condition").is_some_and(|sub| {
            sub.get("conditions").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        }) {
            return Err(format!(
                "a condition on the files in {:?} looks into them, which has no counterpart",
                names.join(".")
            ));
        }
        condition.mark("sub_variable_condition");
        condition.mark("numberVarType");
        let at = condition.at.field("variable_selector");
        let value = self.resolve(&names, &at);
        let declared = Shape::named(condition.text("varType"));
        let shape = if declared == Shape::Unknown { value.shape } else { declared };
        let v = value.expression.as_str();
        let made = match operator {
            "empty" => format!("not {v}"),
            "not empty" => format!("not not {v}"),
            "null" | "not exists" => format!("{v} is none"),
            "not null" | "exists" => format!("{v} is not none"),
            _ => {
                let expected = self.expected(condition, operator, shape, &value)?;
                compare(operator, v, &expected)?
            }
        };
        Ok(format!("({made})"))
    }

    /// What the value is compared with.
    fn expected(
        &mut self,
        condition: &Fields<'_>,
        operator: &str,
        shape: Shape,
        value: &Reference,
    ) -> Result<String, String> {
        let at = condition.at.field("value");
        let given = condition.get("value");
        let is_number = shape == Shape::Number
            || matches!(operator, "=" | "≠" | ">" | "<" | "≥" | "≤") && shape != Shape::Json;
        let is_truth = condition.peek("varType").and_then(Value::as_str) == Some("boolean")
            || value.shape == Shape::Json && given.is_some_and(Value::is_boolean);
        match given {
            Some(Value::String(text)) if is_truth => match text.trim() {
                "true" | "True" | "1" => Ok("true".to_owned()),
                "false" | "False" | "0" => Ok("false".to_owned()),
                _ => Ok(self.text_expression(text, &at)),
            },
            Some(Value::String(text)) if is_number => {
                let trimmed = text.trim();
                if let Ok(number) = serde_json::from_str::<serde_json::Number>(trimmed) {
                    return Ok(number.to_string());
                }
                let reference = self.only_reference(trimmed, &at);
                reference.map(|reference| reference.expression).ok_or_else(|| {
                    format!("the comparison {operator:?} is with {text:?}, which is no number")
                })
            }
            Some(Value::String(text)) => Ok(self.text_expression(text, &at)),
            Some(other) => Ok(literal(other)),
            None => match condition.get("value_selector").and_then(selector) {
                Some(names) => Ok(self.resolve(&names, &at).expression),
                None if is_number => {
                    Err(format!("the comparison {operator:?} has nothing to compare with"))
                }
                None => Ok("\"\"".to_owned()),
            },
        }
    }
}

/// A comparison; it gives true or false, and nothing that merely counts as such.
fn compare(operator: &str, v: &str, e: &str) -> Result<String, String> {
    Ok(match operator {
        "contains" => format!("{e} in ({v} or [])"),
        "not contains" => format!("{e} not in ({v} or [])"),
        "start with" => format!("{v} is string and {v}[:{e} | length] == {e}"),
        "end with" => format!(
            "{v} is string and {v} | length >= {e} | length and {v}[{v} | length - {e} | length:] == {e}"
        ),
        "is" | "=" => format!("{v} == {e}"),
        "is not" | "≠" => format!("{v} is not none and {v} != {e}"),
        ">" => format!("{v} is not none and {v} > {e}"),
        "<" => format!("{v} is not none and {v} < {e}"),
        "≥" => format!("{v} is not none and {v} >= {e}"),
        "≤" => format!("{v} is not none and {v} <= {e}"),
        "in" => format!("not not {v} and {v} in {e}"),
        "not in" => format!("not {v} or {v} not in {e}"),
        "all of" => format!("not not {v} and {e} | reject(\"in\", {v}) | list | length == 0"),
        other => return Err(format!("the comparison {other:?} has no counterpart")),
    })
}

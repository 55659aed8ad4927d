//! One JSON object as a row. An error's place is given as a path and as a line of the file.

use domain::json_place::path_at;

use super::{Row, Unread};
use crate::fill::Members;

/// The row in `text`, which begins on `line`.
pub(super) fn row(text: &[u8], line: u64) -> Result<Row, Unread> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Unread::invalid(line, "", format!("is not UTF-8: {error}")))?;
    match serde_json::from_str::<Members>(text) {
        Ok(Members(cells)) => Ok(Row { line, cells }),
        Err(error) if error.is_data() => Err(Unread::invalid(line, "", "is not a JSON object")),
        Err(error) => {
            let at = line + (error.line() as u64).saturating_sub(1);
            let path = path_at(text, error.line(), error.column());
            let place = format!(" at line {} column {}", error.line(), error.column());
            let said = error.to_string();
            let what = said.strip_suffix(&place).unwrap_or(&said);
            let column = error.column();
            Err(Unread::invalid(at, &path, format!("is not JSON: {what} (column {column})")))
        }
    }
}

//! Rows from text: what is read, and what is said of what can't be.

use domain::topic::Kind;
use proptest::prelude::*;

use super::*;

fn template() -> Template {
    Template::new(Kind::Model, Vec::new()).unwrap()
}

fn read(text: &[u8], format: Option<Format>) -> Vec<Result<Row, Unread>> {
    let bytes = io::Cursor::new(text.to_vec());
    match rows(Box::new(bytes), format, &template()) {
        Ok(rows) => rows.collect(),
        Err(error) => vec![Err(error)],
    }
}

/// Each row as `line name=value ...`, each error as `line! path problem`.
fn told(text: &str, format: Option<Format>) -> Vec<String> {
    let rows = read(text.as_bytes(), format).into_iter();
    rows.map(|row| match row {
        Ok(Row { line, cells }) => {
            let cells = cells.into_iter().map(|(name, cell)| match cell {
                Cell::Json(raw) => format!(" {name}={}", raw.get()),
                Cell::Text(text) => format!(" {name}={text}"),
            });
            format!("{line}{}", cells.collect::<String>())
        }
        Err(error) => error.to_string().replacen(':', "!", 1),
    })
    .collect()
}

fn check(text: &str, format: Option<Format>, expected: &[&str]) {
    let told = told(text, format);
    assert_eq!(told.len(), expected.len(), "{text:?}: {told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{text:?}: {told} is not {expected}");
    }
}

#[test]
fn lines_are_rows_with_their_numbers() {
    let text = "\u{feff}{\"id\":\"a\"}\r\n\n  {\"priority\": 1.50}  \n{}";
    check(text, None, &["1 id=\"a\"", "3 priority=1.50", "4"]);
}

#[test]
fn wrong_line_is_named_and_the_next_one_is_read() {
    check(
        "{\"id\": }\n[1]\n7\n{\"labels\":{\"a\":x}}\n{\"id\":\"b\"}\n{\"id\":\"c\"",
        Some(Format::Lines),
        &[
            "1! is not JSON: expected value (column 8)",
            "2! is not a JSON object",
            "3! is not a JSON object",
            "4! labels.a is not JSON",
            "5 id=\"b\"",
            "6! id is not JSON: EOF",
        ],
    );
}

#[test]
fn array_is_cut_into_its_elements() {
    let text = " [\n{\"id\":\"a,]}\\\"\"},{\"id\":\n\"b\"}\n,\n {\"labels\":{\"k\":\"[\"}} ]\n";
    check(text, None, &["2 id=\"a,]}\\\"\"", "2 id=\"b\"", "5 labels={\"k\":\"[\"}"]);
    check("[]", None, &[]);
    check("[ ]\n", None, &[]);
}

#[test]
fn array_that_breaks_off_is_an_error_at_its_line() {
    for (text, expected) in [
        ("[{}", &["1! begins an element"][..]),
        ("[{},\n", &["1", "2! is where the array breaks off"]),
        ("[{},]", &["1", "1! has a comma"]),
        ("[,{}]", &["1! has a comma"]),
        ("[{}]\n{}", &["1", "2! comes after the end"]),
        ("[", &["1! is where the array breaks off"]),
        ("[\n\n{\"id\":}, {}]", &["3! is not JSON", "3"]),
        ("[1, {}]", &["1! is not a JSON object", "1"]),
    ] {
        check(text, None, expected);
    }
    check("{}", Some(Format::Array), &["1! is not a JSON array"]);
    check("", Some(Format::Array), &["1! is empty"]);
}

#[test]
fn table_is_read_as_rfc_4180_has_it() {
    let text = "id,labels.team,body\r\na,x,\"{\"\"m\"\":\n1}\"\r\nb,,\r\n\"c,d\",y,z\r\n";
    check(
        text,
        Some(Format::Table),
        &["2 id=a labels.team=x body={\"m\":\n1}", "4 id=b", "5 id=c,d labels.team=y body=z"],
    );
}

#[test]
fn wrong_table_is_an_error_at_its_place() {
    for (text, expected) in [
        ("id,modell\na,b\n", &["1! modell is not a field: there are id, tenant"][..]),
        ("id,body.x\n", &["1! body.x is not a field"]),
        ("id,origin.x\n", &["1! origin.x is not a field"]),
        ("id,id\n", &["1! has two columns id"]),
        ("", &["1! is empty"]),
        ("id,model\na,b,c\nd,e\n", &["2! has 3 cells, the header 2", "3 id=d model=e"]),
        ("id,model\na,\"b\nc,d\n", &["2! begins a row with a quote that is never closed"]),
        ("id,model\na,b\n\nc,d\"\ne,f", &["2 id=a", "4! has a quote inside", "5 id=e"]),
        ("id,model\n\"a\"b,c\n\r\ne,f", &["2! has text behind", "4 id=e"]),
    ] {
        check(text, Some(Format::Table), expected);
    }
    let wrong = read(b"id,model\n\xff,b\na,b\n", Some(Format::Table));
    assert_eq!(wrong[0].as_ref().unwrap_err().to_string(), "2: id is not UTF-8");
    assert!(wrong[1].is_ok());
}

#[test]
fn row_beyond_the_bound_ends_the_reading() {
    let long = "x".repeat(MAX_ROW_BYTES + 10);
    for (text, format) in [
        (format!("{{\"id\":\"{long}\"}}\n{{}}"), Format::Lines),
        (format!("[{{\"id\":\"{long}\"}},{{}}]"), Format::Array),
        (format!("id\na\n\"{long}{long}\n"), Format::Table),
    ] {
        let rows = read(text.as_bytes(), Some(format));
        let last = rows.last().unwrap().as_ref().unwrap_err();
        assert!(!last.goes_on(), "{format:?}: {last}");
        assert!(rows.len() <= 2, "{format:?}");
    }
}

#[test]
fn format_is_told_by_the_name_of_the_file() {
    for (name, format) in [
        ("a.csv", Some(Format::Table)),
        ("a.CSV", Some(Format::Table)),
        ("a.jsonl", Some(Format::Lines)),
        ("a.json", None),
        ("-", None),
    ] {
        assert_eq!(format_of(Path::new(name)), format, "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_each_error_has_a_line(
        bytes in proptest::collection::vec(prop_oneof![
            3 => prop::sample::select(b"{}[]\",:\\\n\r id1".to_vec()),
            1 => any::<u8>(),
        ], 0..200),
        format in prop::sample::select(vec![Format::Lines, Format::Array, Format::Table]),
    ) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        for row in read(&bytes, Some(format)) {
            match row {
                Ok(row) => prop_assert!((1..=lines).contains(&row.line)),
                Err(Unread::Invalid { line, .. } | Unread::Broken { line, .. }) => {
                    prop_assert!((1..=lines).contains(&line), "{line} of {lines}");
                }
                Err(Unread::Io(error)) => prop_assert!(false, "{error}"),
            }
        }
    }

    #[test]
    fn table_gives_back_what_was_quoted(
        cells in proptest::collection::vec(("[^\\x00]{1,12}", "[a-z,\"\r\n ]{1,12}"), 1..8),
    ) {
        let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
        let mut text = "id,model\n".to_owned();
        for (id, model) in &cells {
            text.push_str(&format!("{},{}\r\n", quoted(id), quoted(model)));
        }
        let read = read(text.as_bytes(), Some(Format::Table));
        prop_assert_eq!(read.len(), cells.len());
        for (row, (id, model)) in read.into_iter().zip(&cells) {
            let given: Vec<String> = row.unwrap().cells.into_iter().map(|(_, cell)| match cell {
                Cell::Text(text) => text,
                Cell::Json(raw) => raw.get().to_owned(),
            }).collect();
            prop_assert_eq!(given, vec![id.clone(), model.clone()]);
        }
    }
}

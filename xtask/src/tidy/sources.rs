//! Rust files: each begins by saying what it is, ends before it has two ideas, and names no client
//! library that isn't its own.

use super::edges::RESERVED;

/// A file beyond this has two ideas.
const MAX_LINES: usize = 800;

/// The rules themselves name the libraries.
const RULES: &str = "xtask/src/tidy/";

/// What is wrong with one file.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems
            .push(format!("{name}: doesn't begin with `//!`: say what it is, and what it refuses"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("{name}: {lines} lines; more than {MAX_LINES} are two ideas"));
    }
    if !name.starts_with(RULES) {
        problems.extend(named_libraries(name, text));
    }
    problems
}

fn named_libraries(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (library, holders) in RESERVED {
        if holders.iter().any(|holder| name.starts_with(holder.folder)) {
            continue;
        }
        let lines = text.lines().enumerate();
        problems.extend(
            lines.filter(|(_, line)| names(code(line), library)).map(|(index, _)| {
                format!("{name}:{}: names {library}, which it may not", index + 1)
            }),
        );
    }
    problems
}

/// The line without its comment. A `//` inside a text ends it early, which hides at most that text.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether the identifier stands there as a whole word.
fn names(code: &str, identifier: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(identifier).any(|(at, found)| {
        !code[..at].ends_with(part_of_word) && !code[at + found.len()..].starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_begin_with_what_it_is() {
        assert_eq!(check("a.rs", "//! A file.\n"), Vec::<String>::new());
        assert_eq!(check("a.rs", "use x;\n//! Late.\n").len(), 1);
        assert_eq!(check("a.rs", "").len(), 1);
    }

    #[test]
    fn a_file_may_have_eight_hundred_lines_and_no_more() {
        let text = |lines: usize| format!("//! A file.\n{}", "x\n".repeat(lines - 1));
        assert_eq!(check("a.rs", &text(800)), Vec::<String>::new());
        assert_eq!(check("a.rs", &text(801)).len(), 1);
    }

    #[test]
    fn a_client_library_named_outside_its_crate_is_caught_with_its_line() {
        let text = "//! A file.\nuse rdkafka::producer::Producer;\n";
        let problems = check("crates/store/src/lib.rs", text);
        assert_eq!(problems, ["crates/store/src/lib.rs:2: names rdkafka, which it may not"]);
        assert_eq!(check("crates/kafka/src/lib.rs", text), Vec::<String>::new());
        assert_eq!(check("bench/src/main.rs", text), Vec::<String>::new());
        let text = "//! A file.\nlet c = schema_registry_converter::x();\n";
        assert_eq!(check("bench/src/main.rs", text).len(), 1);
    }

    #[test]
    fn comments_and_longer_words_are_not_names() {
        let text = "//! Never uses rdkafka.\nlet my_rdkafka = librdkafka; // rdkafka\n";
        assert_eq!(check("crates/store/src/lib.rs", text), Vec::<String>::new());
    }
}

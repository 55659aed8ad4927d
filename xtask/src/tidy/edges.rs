//! The crates' edges against the table in ARCHITECTURE.md, and who may use which client library.
//!
//! The table is the truth: a difference is an error in either direction, so that it can't go stale.

use std::collections::BTreeSet;

use super::metadata::Edges;

/// Under this heading of ARCHITECTURE.md stands the table `crate | may use`.
const HEADING: &str = "## Edges";

/// Libraries that only some crates may use, by dependency or by name in source.
pub(super) const RESERVED: [(&str, &[Holder]); 2] = [
    (
        "rdkafka",
        &[
            Holder { package: "kafka", folder: "crates/kafka/", reason: "the adapter" },
            Holder {
                package: "bench",
                folder: "bench/",
                reason: "measures the raw floor, below the adapter",
            },
        ],
    ),
    (
        "schema_registry_converter",
        &[Holder { package: "kafka", folder: "crates/kafka/", reason: "the adapter" }],
    ),
];

/// A crate that may use a reserved library.
#[derive(Debug)]
pub(super) struct Holder {
    /// Its name without the common prefix.
    pub(super) package: &'static str,
    /// Where its files are.
    pub(super) folder: &'static str,
    /// Why it may; the documentation of the exception.
    #[allow(dead_code, reason = "read by people")]
    pub(super) reason: &'static str,
}

/// What differs between the real edges and the table.
pub(super) fn check(real: &Edges, architecture: &str) -> Vec<String> {
    let table = match parse(architecture) {
        Ok(table) => table,
        Err(problem) => {
            let rows: Vec<_> = real.iter().map(|(name, used)| row(name, used)).collect();
            return vec![format!("ARCHITECTURE.md: {problem}; the edges are\n{}", rows.join("\n"))];
        }
    };
    let nothing = BTreeSet::new();
    let mut problems = Vec::new();
    for (name, used) in real {
        let Some(allowed) = table.get(name) else {
            problems.push(format!(
                "ARCHITECTURE.md: the table of edges lacks crate {name}: {}",
                row(name, used)
            ));
            continue;
        };
        for missing in used.difference(allowed) {
            problems.push(format!(
                "{name} uses {missing}, which the table of edges in ARCHITECTURE.md doesn't allow"
            ));
        }
        for unused in allowed.difference(used) {
            problems.push(format!(
                "ARCHITECTURE.md: the table of edges lets {name} use {unused}, but it doesn't"
            ));
        }
    }
    for name in table.keys().filter(|name| !real.contains_key(*name)) {
        let used = table.get(name).unwrap_or(&nothing);
        problems.push(format!(
            "ARCHITECTURE.md: the table of edges has a crate that isn't there: {}",
            row(name, used)
        ));
    }
    problems
}

/// Who depends on a reserved library without being allowed to.
pub(super) fn check_outside(used: &Edges) -> Vec<String> {
    let mut problems = Vec::new();
    for (library, holders) in RESERVED {
        for (name, libraries) in used {
            let allowed = holders.iter().any(|holder| holder.package == name);
            if libraries.contains(library) && !allowed {
                problems.push(format!("{name} depends on {library}, which it may not"));
            }
        }
    }
    problems
}

/// The first table under the heading.
fn parse(architecture: &str) -> Result<Edges, String> {
    let mut lines = architecture.lines().skip_while(|line| line.trim_end() != HEADING).skip(1);
    let mut table = Edges::new();
    let mut rows = lines
        .by_ref()
        .take_while(|line| !line.starts_with("## "))
        .skip_while(|line| !line.trim_start().starts_with('|'))
        .take_while(|line| line.trim_start().starts_with('|'));
    match rows.next().map(cells) {
        Some(header) if header == ["crate", "may use"] => {}
        Some(header) => return Err(format!("the table of edges has the columns {header:?}")),
        None => return Err(format!("there is no table under {HEADING:?}")),
    }
    for line in rows {
        let cells = cells(line);
        let [name, used] = cells.as_slice() else {
            return Err(format!("a row of the table of edges hasn't two cells: {line}"));
        };
        if name.starts_with("--") || name.starts_with(":-") {
            continue;
        }
        let name = bare(name).to_owned();
        let used = used.split(',').map(bare).filter(|used| !NOTHING.contains(used));
        if table.insert(name.clone(), used.map(str::to_owned).collect()).is_some() {
            return Err(format!("the table of edges has two rows for {name}"));
        }
    }
    Ok(table)
}

/// What stands in a cell of a crate that uses no other.
const NOTHING: [&str; 4] = ["", "-", "—", "nothing"];

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn bare(name: &str) -> &str {
    let name = name.trim().trim_matches('`');
    name.strip_prefix("stepstream-").unwrap_or(name)
}

fn row(name: &str, used: &BTreeSet<String>) -> String {
    let used = if used.is_empty() {
        "nothing".to_owned()
    } else {
        used.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    format!("| `{name}` | {used} |")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
# Architecture
| crate | may use |
|---|---|
| decoy | kafka |

## Edges

Some words first.

| crate | may use |
|---|---|
| `domain` | nothing |
| `stepstream-schemas` | `domain` |
| `kafka` | `domain`, `schemas` |

## After
| crate | may use |
|---|---|
| later | decoy |
";

    fn edges(list: &[(&str, &[&str])]) -> Edges {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        list.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect()
    }

    fn documented() -> Edges {
        edges(&[("domain", &[]), ("schemas", &["domain"]), ("kafka", &["domain", "schemas"])])
    }

    #[test]
    fn equal_edges_are_no_problem() {
        assert_eq!(check(&documented(), DOCUMENT), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_the_table_lacks_is_caught() {
        let mut real = documented();
        real.insert("domain".into(), BTreeSet::from(["kafka".into()]));
        let problems = check(&real, DOCUMENT);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("domain uses kafka"), "{problems:?}");
    }

    #[test]
    fn an_edge_that_only_the_table_has_is_caught() {
        let mut real = documented();
        real.insert("kafka".into(), BTreeSet::from(["domain".into()]));
        let problems = check(&real, DOCUMENT);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("lets kafka use schemas"), "{problems:?}");
    }

    #[test]
    fn a_crate_on_one_side_only_is_caught_with_its_row() {
        let mut real = documented();
        real.remove("schemas");
        real.insert("store".into(), BTreeSet::from(["domain".into()]));
        let problems = check(&real, DOCUMENT);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].ends_with("lacks crate store: | `store` | `domain` |"), "{problems:?}");
        assert!(problems[1].ends_with("isn't there: | `schemas` | `domain` |"), "{problems:?}");
    }

    #[test]
    fn a_document_without_a_usable_table_is_caught() {
        let cases = [
            ("", "no table under"),
            ("## Edges\n\nwords\n\n## Next\n| crate | may use |\n", "no table under"),
            ("## Edges\n| from | to |\n", "columns"),
            ("## Edges\n| crate | may use |\n|---|---|\n| a | b | c |\n", "two cells"),
            ("## Edges\n| crate | may use |\n|---|---|\n| a | |\n| a | b |\n", "two rows for a"),
        ];
        for (document, expected) in cases {
            let problems = check(&documented(), document);
            assert_eq!(problems.len(), 1, "{document:?}");
            assert!(problems[0].contains(expected), "{document:?}: {problems:?}");
            assert!(problems[0].contains("| `schemas` | `domain` |"), "{problems:?}");
        }
    }

    #[test]
    fn a_client_library_outside_its_crate_is_caught() {
        let real = edges(&[
            ("kafka", &["rdkafka", "schema_registry_converter"]),
            ("bench", &["rdkafka", "serde"]),
            ("tests", &["serde"]),
        ]);
        assert_eq!(check_outside(&real), Vec::<String>::new());
        let real = edges(&[("bench", &["schema_registry_converter"]), ("tests", &["rdkafka"])]);
        assert_eq!(check_outside(&real).len(), 2);
    }
}

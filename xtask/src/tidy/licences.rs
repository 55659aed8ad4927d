//! Licences of all crates from outside against a list. Anything unknown or unstated is refused.

use super::metadata::Licence;

/// What we may ship with: permissive licences, none of which reach beyond their own files.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // The certificates of webpki-root-certs, which are data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The crates whose licence we can't accept.
pub(super) fn check(licences: &[Licence]) -> Vec<String> {
    licences
        .iter()
        .filter_map(|(package, licence)| match licence {
            None => Some(format!("{package} states no licence")),
            Some(licence) => match acceptable(licence) {
                Some(true) => None,
                Some(false) => Some(format!("{package} has the licence {licence:?}: not allowed")),
                None => Some(format!("{package} has an unreadable licence: {licence:?}")),
            },
        })
        .collect()
}

/// Whether an SPDX expression can be fulfilled by allowed licences; `None` when it isn't one.
fn acceptable(expression: &str) -> Option<bool> {
    // The form from before SPDX, still in use: a slash for "or".
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let outcome = alternatives(&mut words)?;
    words.next().is_none().then_some(outcome)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn alternatives(words: &mut Words<'_>) -> Option<bool> {
    let mut outcome = conjunction(words)?;
    while words.next_if_eq(&"OR").is_some() {
        outcome |= conjunction(words)?;
    }
    Some(outcome)
}

/// `AND` binds more tightly than `OR`.
fn conjunction(words: &mut Words<'_>) -> Option<bool> {
    let mut outcome = single(words)?;
    while words.next_if_eq(&"AND").is_some() {
        outcome &= single(words)?;
    }
    Some(outcome)
}

fn single(words: &mut Words<'_>) -> Option<bool> {
    let word = words.next()?;
    match word {
        "(" => {
            let outcome = alternatives(words)?;
            words.next_if_eq(&")").map(|_| outcome)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        licence => {
            if words.next_if_eq(&"WITH").is_none() {
                return Some(ALLOWED.contains(&licence));
            }
            let exception = words.next()?;
            Some(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_what_they_leave_to_choose() {
        let cases = [
            ("MIT", Some(true)),
            ("GPL-3.0-only", Some(false)),
            ("MIT OR GPL-3.0-only", Some(true)),
            ("MIT AND GPL-3.0-only", Some(false)),
            ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", Some(true)),
            ("Unlicense/MIT", Some(true)),
            ("Apache-2.0 / MIT", Some(true)),
            ("(MIT OR GPL-3.0-only) AND Unicode-3.0", Some(true)),
            ("(MIT OR Apache-2.0) AND GPL-3.0-only", Some(false)),
            // AND binds first: this is MIT, or both of the others.
            ("MIT OR GPL-2.0-only AND ISC", Some(true)),
            ("GPL-2.0-only AND ISC OR AGPL-3.0-only", Some(false)),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", Some(true)),
            ("Apache-2.0 WITH Strange-exception", Some(false)),
            ("ISC AND (Apache-2.0 OR ISC)", Some(true)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT)", None),
            ("MIT ISC", None),
            ("Apache-2.0 WITH", None),
        ];
        for (expression, expected) in cases {
            assert_eq!(acceptable(expression), expected, "{expression:?}");
        }
    }

    #[test]
    fn the_offender_is_named() {
        let licences = [
            ("good 1.0.0".to_owned(), Some("MIT".to_owned())),
            ("viral 2.0.0".to_owned(), Some("AGPL-3.0-only".to_owned())),
            ("silent 3.0.0".to_owned(), None),
        ];
        let problems = check(&licences);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("viral 2.0.0 has the licence"), "{problems:?}");
        assert!(problems[1].starts_with("silent 3.0.0 states no"), "{problems:?}");
    }
}

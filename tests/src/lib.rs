//! The harness of the end-to-end tests: real processes of `stepstream`, on the embedded stack or on a real
//! broker and registry, and the clients that an outsider would have.
//!
//! It sees what users see: HTTP, topics, command line, exit codes. It never reaches into a process. A
//! harness that can't do its work panics and says what is missing; it never skips.

pub mod api;
pub mod cassandra;
pub mod collector;
pub mod invariants;
pub mod next;
pub mod platform;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod stack;
pub mod topics;
pub mod wait;

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// The program under test, from the same build as this test.
///
/// # Panics
/// When it wasn't built.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let built = test.ancestors().nth(2).expect("tests lie in target/*/deps").join("stepstream");
    assert!(
        built.is_file(),
        "{} isn't there: `cargo test --workspace` and `cargo build -p stepstream` build it",
        built.display()
    );
    built
}

/// An id that nobody else uses.
#[must_use]
pub fn fresh(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::now_v7().simple())
}

//! What reading and writing records costs, in instructions: a count that no busy machine disturbs.
//!
//! `bench` says how fast that is; this says when it becomes slower. It counts by valgrind, in the profile
//! of the tests.

use std::hint::black_box;
use std::process::Command;

use schemas::samples;

/// Instructions for reading every record of the contract once and writing it again. The 30 records before
/// workflows took 332,078; the six that came with them take the rest.
const EVERY_RECORD: u64 = 427_124;

/// What another C library or a newer record may change without a word, in percent.
const TOLERANCE: u64 = 3;

/// Set where this program is counted: how often to do the work.
const TIMES: &str = "STEPSTREAM_COUNTED_TIMES";

#[test]
fn every_record_takes_no_more_instructions_than_it_did() {
    if let Ok(times) = std::env::var(TIMES) {
        return work(times.parse().unwrap());
    }
    let times = 40;
    // The start of the program counts too, so it is taken off.
    let counted = (counted(times) - counted(0)) / times;
    let most = EVERY_RECORD + EVERY_RECORD * TOLERANCE / 100;
    assert!(
        counted <= most,
        "{counted} instructions, and it was {EVERY_RECORD}; if that can't be helped, write it down here",
    );
    let least = EVERY_RECORD - EVERY_RECORD * TOLERANCE / 100;
    assert!(
        counted >= least,
        "only {counted} instructions, and it was {EVERY_RECORD}: write it down here"
    );
}

fn work(times: u64) {
    let samples = samples::all();
    for _ in 0..times {
        for sample in &samples {
            black_box((sample.again)(black_box(&sample.datum)).expect("a sample can be read"));
        }
    }
}

fn counted(times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("a test knows where it is"))
        .args(["--exact", "every_record_takes_no_more_instructions_than_it_did"])
        .env(TIMES, times.to_string())
        .output()
        .expect("valgrind is there; `cargo xtask setup` installs it");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.split_once("Collected :")).expect("a count").1;
    line.trim().parse().expect("a number")
}

//! Deltas and times in, pieces out.

use proptest::prelude::*;

use super::*;

fn delta(kind: ChunkKind, choice: i32, text: &str) -> Delta {
    Delta { kind, choice, text: text.into() }
}

fn text(text: &str) -> Delta {
    delta(ChunkKind::Text, 0, text)
}

fn texts(pieces: &[Piece]) -> Vec<&str> {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

#[test]
fn first_token_leaves_at_once_and_the_next_ones_together() {
    let mut coalescer = Coalescer::new();
    assert_eq!(texts(&coalescer.push(text("a"), 0)), ["a"]);
    assert_eq!(coalescer.due(), None);
    assert!(coalescer.push(text("b"), 1).is_empty());
    assert!(coalescer.push(text("c"), 20).is_empty());
    assert_eq!(coalescer.due(), Some(21));
    assert_eq!(texts(&coalescer.flush(21)), ["bc"]);
    assert_eq!(texts(&coalescer.push(text("d"), 43)), ["d"], "a slow token doesn't wait");
}

#[test]
fn gap_grows_with_the_stream_up_to_its_bound() {
    let mut coalescer = Coalescer::new();
    let mut now = 0;
    let mut gaps = Vec::new();
    for _ in 0..40 {
        coalescer.push(text("a"), now);
        coalescer.push(text("b"), now);
        let due = coalescer.due().expect("b waits");
        gaps.push(due - now);
        now = due;
        coalescer.flush(now);
    }
    assert_eq!(gaps.first(), Some(&21));
    assert!(gaps.is_sorted());
    assert_eq!(gaps.last(), Some(&LAST_GAP_MS));
}

#[test]
fn much_text_doesn_t_wait_and_is_cut_at_characters() {
    let mut coalescer = Coalescer::new();
    coalescer.push(text("a"), 0);
    assert_eq!(texts(&coalescer.push(text(&"x".repeat(FULL_BYTES)), 1)).len(), 1);
    let long = "é".repeat(PIECE_BYTES);
    let pieces = coalescer.push(text(&long), 2);
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|piece| piece.text.len() <= PIECE_BYTES));
    assert_eq!(texts(&pieces).concat(), long);
    assert_eq!(pieces.iter().map(|piece| piece.index).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn new_try_numbers_from_zero_and_forgets_what_waited() {
    let mut coalescer = Coalescer::new();
    coalescer.begin(1);
    coalescer.push(text("a"), 0);
    coalescer.push(text("b"), 1);
    coalescer.begin(2);
    assert_eq!(coalescer.due(), None);
    let pieces = coalescer.push(text("c"), 2);
    assert_eq!(
        pieces,
        [Piece { attempt: 2, index: 0, kind: ChunkKind::Text, choice: 0, text: "c".into() }]
    );
}

#[test]
fn kinds_keep_their_order_within_a_choice() {
    let mut coalescer = Coalescer::new();
    coalescer.push(text("-"), 0);
    for (kind, choice, piece) in [
        (ChunkKind::Reasoning, 0, "r"),
        (ChunkKind::Text, 1, "x"),
        (ChunkKind::Reasoning, 0, "s"),
        (ChunkKind::Text, 0, "t"),
        (ChunkKind::Text, 1, "y"),
        (ChunkKind::Text, 0, ""),
    ] {
        assert!(coalescer.push(delta(kind, choice, piece), 1).is_empty());
    }
    let pieces = coalescer.complete(2);
    assert_eq!(texts(&pieces), ["rs", "xy", "t", ""]);
    assert_eq!(pieces.last().map(|piece| piece.kind), Some(ChunkKind::Done));
}

#[test]
fn pieces_of_tool_calls_stay_one_array() {
    let mut coalescer = Coalescer::new();
    coalescer.push(text("-"), 0);
    for piece in [r#"[{"index":0}]"#, "[]", r#" [{"index":1}, {"index":0}] "#] {
        coalescer.push(delta(ChunkKind::ToolCalls, 0, piece), 1);
    }
    let pieces = coalescer.flush(2);
    assert_eq!(texts(&pieces), [r#"[{"index":0},{"index":1}, {"index":0}]"#]);
}

proptest! {
    #[test]
    fn nothing_is_lost_or_reordered_whatever_the_times(
        deltas in proptest::collection::vec((0_i32..3, "[a-zé]{0,40}", 0_i64..30), 0..60),
    ) {
        let mut coalescer = Coalescer::new();
        let (mut now, mut left) = (0, Vec::new());
        let mut expected = [String::new(), String::new(), String::new()];
        for (choice, piece, later) in deltas {
            now += later;
            // As the timer beside the call would have done.
            if let Some(due) = coalescer.due().filter(|due| *due <= now) {
                left.extend(coalescer.flush(due));
            }
            expected[usize::try_from(choice).expect("small")].push_str(&piece);
            left.extend(coalescer.push(delta(ChunkKind::Text, choice, &piece), now));
            let due = coalescer.due();
            prop_assert!(due.is_none_or(|due| due > now && due <= now + LAST_GAP_MS));
        }
        left.extend(coalescer.complete(now));
        for (number, piece) in left.iter().enumerate() {
            prop_assert_eq!(piece.index, i64::try_from(number).expect("few"));
        }
        for (choice, whole) in expected.iter().enumerate() {
            let got: String = left
                .iter()
                .filter(|piece| usize::try_from(piece.choice) == Ok(choice))
                .map(|piece| piece.text.as_str())
                .collect();
            prop_assert_eq!(&got, whole);
        }
    }
}

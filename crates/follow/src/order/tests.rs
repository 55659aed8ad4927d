//! Claims about the order, over chosen and over random histories.

use domain::event::QueuePlace;
use proptest::prelude::*;

use super::*;

fn at(generation: i32, number: i64) -> Position {
    Position { generation, number }
}

fn chunk(fence: i64, attempt: i32, index: i64) -> Chunk {
    Chunk {
        execution_id: "e".into(),
        tenant: "t".into(),
        fence,
        attempt,
        index,
        kind: ChunkKind::Text,
        choice: 0,
        text: format!("<{fence}.{attempt}.{index}>"),
    }
}

/// What a client would have on its screen.
fn screen(chunks: impl IntoIterator<Item = Chunk>) -> String {
    let (mut output, mut out) = (Output::default(), Vec::new());
    chunks.into_iter().for_each(|chunk| output.offer(chunk, &mut out));
    let mut text = String::new();
    for piece in out {
        match piece {
            Piece::Chunk(chunk) => text.push_str(&chunk.text),
            Piece::Reset(_) => text.clear(),
            Piece::Gap(_) => text.push('?'),
            Piece::Queued(_) => {}
        }
    }
    text
}

#[test]
fn events_are_passed_on_once_and_in_order() {
    use Verdict::{Copy, Gap, Next, Replaces};
    type Case<'a> = (&'a str, &'a [((i32, i64), Verdict)]);
    let cases: [Case<'_>; 5] = [
        (
            "plain",
            &[((0, 1), Next), ((0, 2), Next), ((0, 2), Copy), ((0, 1), Copy), ((0, 3), Next)],
        ),
        (
            "a hole is not passed over",
            &[((0, 1), Next), ((0, 3), Gap), ((0, 2), Next), ((0, 3), Next)],
        ),
        (
            "a higher generation replaces",
            &[((0, 1), Next), ((0, 2), Next), ((1, 2), Replaces), ((0, 3), Copy), ((1, 3), Next)],
        ),
        ("a higher generation goes on", &[((0, 1), Next), ((1, 2), Next), ((0, 2), Copy)]),
        ("the first one has number 1", &[((0, 2), Gap), ((3, 1), Next), ((3, 1), Copy)]),
    ];
    for (name, steps) in cases {
        let mut events = Events::default();
        for ((generation, number), verdict) in steps {
            let got = events.offer(at(*generation, *number));
            assert_eq!(got, *verdict, "{name}: ({generation}, {number})");
        }
    }
}

#[test]
fn resumed_place_takes_only_what_is_newer() {
    let mut events = Events::after(at(0, 3));
    assert_eq!(events.offer(at(0, 2)), Verdict::Copy);
    assert_eq!(events.offer(at(1, 2)), Verdict::Replaces);
    assert_eq!(events.last(), at(1, 2));
}

#[test]
fn newer_try_discards_the_text_of_the_older() {
    let chunks = [chunk(7, 1, 0), chunk(7, 1, 1), chunk(7, 2, 0), chunk(7, 1, 2), chunk(7, 2, 1)];
    assert_eq!(screen(chunks), "<7.2.0><7.2.1>");
    assert_eq!(screen([chunk(9, 1, 0), chunk(7, 5, 0)]), "<9.1.0>");
}

#[test]
fn hole_is_said_once_and_nothing_of_that_try_follows() {
    let late = (2..2 + HELD_CHUNKS as i64 + 5).map(|index| chunk(1, 1, index));
    let chunks = std::iter::once(chunk(1, 1, 0)).chain(late).chain([chunk(1, 1, 1)]);
    assert_eq!(screen(chunks), "<1.1.0>?");
}

#[test]
fn new_try_is_whole_again_after_a_hole() {
    let mut output = Output::default();
    let mut out = Vec::new();
    output.offer(chunk(1, 1, 0), &mut out);
    output.give_up(&mut out);
    output.give_up(&mut out);
    output.offer(chunk(1, 1, 1), &mut out);
    output.offer(chunk(1, 2, 0), &mut out);
    let of = |attempt| Try { fence: 1, attempt };
    assert_eq!(
        out,
        [
            Piece::Chunk(chunk(1, 1, 0)),
            Piece::Gap(of(1)),
            Piece::Reset(of(2)),
            Piece::Chunk(chunk(1, 2, 0)),
        ]
    );
}

/// Said for the `nth` time, from 1.
fn queued(fence: i64, attempt: i32, nth: i64) -> Chunk {
    let place = QueuePlace { position: 9, estimated_wait_ms: None };
    let (kind, text) = (ChunkKind::Queued, place.to_text());
    Chunk { kind, text, ..chunk(fence, attempt, -nth) }
}

#[test]
fn place_in_a_queue_is_passed_on_while_it_is_news() {
    type Case<'a> = (&'a str, &'a [Chunk], &'a [Chunk]);
    let text = || chunk(1, 1, 0);
    let cases: [Case<'_>; 7] = [
        ("rising", &[queued(1, 1, 1), queued(1, 1, 2)], &[queued(1, 1, 1), queued(1, 1, 2)]),
        (
            "copies and older words",
            &[queued(1, 1, 2), queued(1, 1, 2), queued(1, 1, 1)],
            &[queued(1, 1, 2)],
        ),
        ("after the text began", &[text(), queued(1, 1, 3)], &[text()]),
        ("before the next try", &[text(), queued(1, 2, 1)], &[text(), queued(1, 2, 1)]),
        (
            "another owner",
            &[queued(1, 2, 5), queued(7, 1, 1), queued(1, 2, 6)],
            &[queued(1, 2, 5), queued(7, 1, 1)],
        ),
        ("of an owner before", &[chunk(7, 1, 0), queued(1, 9, 1)], &[chunk(7, 1, 0)]),
        ("no place", &[Chunk { text: "soon".into(), ..queued(1, 1, 1) }], &[]),
    ];
    for (name, chunks, expected) in cases {
        let (mut output, mut out) = (Output::default(), Vec::new());
        chunks.iter().for_each(|chunk| output.offer(chunk.clone(), &mut out));
        let got: Vec<_> = out
            .into_iter()
            .map(|piece| match piece {
                Piece::Chunk(chunk) | Piece::Queued(chunk) => chunk,
                other => panic!("{name}: {other:?}"),
            })
            .collect();
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn waiting_again_discards_no_text_until_the_next_try_speaks() {
    let (mut output, mut out) = (Output::default(), Vec::new());
    for chunk in [queued(1, 1, 1), chunk(1, 1, 0), queued(1, 2, 1), chunk(1, 1, 1), chunk(1, 2, 0)]
    {
        output.offer(chunk, &mut out);
    }
    let expected = [
        Piece::Queued(queued(1, 1, 1)),
        Piece::Chunk(chunk(1, 1, 0)),
        Piece::Queued(queued(1, 2, 1)),
        Piece::Chunk(chunk(1, 1, 1)),
        Piece::Reset(Try { fence: 1, attempt: 2 }),
        Piece::Chunk(chunk(1, 2, 0)),
    ];
    assert_eq!(out, expected);
}

/// A history of tries, each whole, in which every chunk may come several times and late by some places.
fn copies() -> impl Strategy<Value = (Vec<Chunk>, String)> {
    let tries = prop::collection::vec((0_i64..3, 1_i32..3, 1_i64..12), 1..5);
    (tries, prop::collection::vec((0_usize..30, 1_usize..4), 0..200)).prop_map(|(tries, noise)| {
        let mut sent: Vec<(usize, Chunk)> = Vec::new();
        let lengths: BTreeMap<Try, i64> = tries
            .into_iter()
            .map(|(fence, attempt, length)| (Try { fence, attempt }, length))
            .collect();
        for (of, length) in &lengths {
            for index in 0..*length {
                let n = sent.len();
                sent.push((n, chunk(of.fence, of.attempt, index)));
            }
        }
        let all = sent.clone();
        for (n, (delay, times)) in noise.iter().enumerate() {
            let (place, copy) = &all[n % all.len()];
            sent.extend((1..=*times).map(|k| (place + delay * k, copy.clone())));
        }
        sent.sort_by_key(|(place, _)| *place);
        let (of, length) = lengths.last_key_value().expect("at least one try");
        let text = (0..*length).map(|i| chunk(of.fence, of.attempt, i).text).collect();
        (sent.into_iter().map(|(_, chunk)| chunk).collect(), text)
    })
}

proptest! {
    #[test]
    fn places_in_queues_never_change_the_text(
        (chunks, text) in copies(),
        places in prop::collection::vec((0_usize..200, 0_i64..4, 1_i32..4, 1_i64..5), 0..20)
    ) {
        let mut chunks = chunks;
        for (at, fence, attempt, nth) in places {
            chunks.insert(at.min(chunks.len()), queued(fence, attempt, nth));
        }
        prop_assert_eq!(screen(chunks), text);
    }

    #[test]
    fn any_duplication_across_copies_gives_the_same_text((chunks, text) in copies()) {
        prop_assert_eq!(screen(chunks), text);
    }

    #[test]
    fn any_reorder_within_the_held_window_gives_the_same_text(
        order in Just((0..40_i64).collect::<Vec<_>>()).prop_shuffle()
    ) {
        let whole: String = (0..40).map(|index| chunk(1, 1, index).text).collect();
        prop_assert_eq!(screen(order.into_iter().map(|index| chunk(1, 1, index))), whole);
    }

    #[test]
    fn events_of_any_schedule_of_copies_rise_without_a_hole(
        schedule in prop::collection::vec((0_i32..3, 1_i64..8), 0..80)
    ) {
        let (mut events, mut seen) = (Events::default(), Vec::new());
        for (generation, number) in schedule {
            let place = at(generation, number);
            match events.offer(place) {
                Verdict::Next => seen.push(place),
                Verdict::Replaces => {
                    seen.retain(|p: &Position| p.number < number);
                    seen.push(place);
                }
                Verdict::Copy | Verdict::Gap => {}
            }
            let numbers: Vec<i64> = seen.iter().map(|p| p.number).collect();
            prop_assert_eq!(numbers, (1..=seen.len() as i64).collect::<Vec<_>>());
            prop_assert!(seen.windows(2).all(|pair| pair[0].generation <= pair[1].generation));
        }
    }
}

//! The machine against a model of hub, store and client: whatever is cut, late, lost or repeated, a client
//! has each event once and in order.

mod policy;
mod world;

use domain::event::{EventType, Position};
use follow::feed::Doubt;
use proptest::prelude::*;

use self::world::{Op, World, chunk, event, ids, said};
use super::*;

#[test]
fn every_cut_leaves_events_and_text_whole() {
    let mut whole = World::new(false);
    whole.finish();
    let messages = whole.client.messages;
    assert!(messages > 10, "{messages}");
    for cut in 0..=messages {
        let mut world = World::new(false);
        while world.client.messages < cut && world.step_one() {}
        world.apply(Op::Cut);
        world.finish();
        world.check_whole();
        assert_eq!(world.client.resets, 0, "cut at {cut}");
        assert!(world.client.places > 0, "cut at {cut}");
    }
}

#[test]
fn every_cut_leaves_events_whole_when_a_changed_program_took_over() {
    let mut whole = World::new(true);
    whole.finish();
    for cut in 0..=whole.client.messages {
        let mut world = World::new(true);
        while world.client.messages < cut && world.step_one() {}
        world.apply(Op::Cut);
        world.finish();
        world.check_whole();
    }
}

#[test]
fn cursor_from_another_life_is_reset_and_told_everything() {
    for (generation, number) in [(0, 999), (7, 1), (i32::MAX, i64::MAX - 1)] {
        let mut world = World::new(false);
        world.client.place = Some(Position { generation, number });
        world.apply(Op::Cut);
        world.finish();
        world.check_whole();
        assert_eq!(world.client.resets, 1, "{generation}.{number}");
    }
}

#[test]
fn cursor_from_another_life_is_reset_while_the_execution_runs() {
    let mut world = World::new(false);
    world.apply(Op::Publish(3));
    world.apply(Op::Archive(9));
    world.apply(Op::Cut);
    world.client.forget();
    world.client.place = Some(Position { generation: 0, number: 50 });
    world.apply(Op::Cut);
    for _ in 0..40 {
        world.apply(Op::Answer);
        world.apply(Op::Read(9));
        world.apply(Op::Wait(500));
    }
    assert_eq!(world.client.resets, 1);
    world.finish();
    world.check_whole();
}

#[test]
fn history_that_is_gone_is_said_and_what_is_left_is_whole() {
    let mut world = World::new(false);
    world.apply(Op::Publish(99));
    world.apply(Op::Archive(99));
    world.forget_before(3);
    world.apply(Op::Cut);
    world.finish();
    assert_eq!(world.client.resets, 1);
    let numbers: Vec<_> = world.client.events.iter().map(|place| place.number).collect();
    assert_eq!(numbers.first(), Some(&3));
    assert_eq!(numbers.last(), Some(&world.last_number()));
}

#[test]
fn end_that_the_client_has_ends_the_subscription_at_once() {
    let mut world = World::new(false);
    world.finish();
    let before = world.client.events.clone();
    world.client.ended = false;
    world.forget_recent();
    world.apply(Op::Cut);
    world.finish();
    assert_eq!(world.client.events, before);
    assert!(world.client.ended);
}

#[test]
fn now_begins_with_what_comes_and_leaves_nothing_out_after_that() {
    let mut world = World::new(false);
    world.client.from_now = true;
    world.apply(Op::Publish(3));
    world.apply(Op::Archive(3));
    world.apply(Op::Cut);
    world.apply(Op::Answer);
    world.finish();
    let numbers: Vec<_> = world.client.events.iter().map(|place| place.number).collect();
    let first = numbers[0];
    assert!(first > 1, "{numbers:?}");
    assert_eq!(numbers, (first..=world.last_number()).collect::<Vec<_>>());
}

#[test]
fn store_that_is_away_stops_nobody_who_has_no_hole() {
    let mut world = World::new(false);
    world.apply(Op::Publish(2));
    world.store_away = true;
    world.apply(Op::Cut);
    for _ in 0..20 {
        world.apply(Op::Answer);
        world.apply(Op::Read(9));
        world.apply(Op::Wait(1_000));
    }
    world.apply(Op::Publish(99));
    for _ in 0..20 {
        world.apply(Op::Answer);
        world.apply(Op::Read(99));
        world.apply(Op::Wait(200));
    }
    assert!(world.client.ended);
    world.check_whole();
}

#[test]
fn text_that_a_client_brought_begins_anew_also_after_it_lagged() {
    let mut world = World::new(false);
    world.limits.queue_items = 3;
    world.apply(Op::Cut);
    // The first chunk of a try that is given up; the beginning of the next try is lost.
    world.apply(Op::Lose);
    world.apply(Op::Publish(6));
    world.apply(Op::Read(9));
    assert_eq!(world.client.text, "lost0 ");
    world.apply(Op::Archive(3));
    world.apply(Op::Publish(7));
    world.apply(Op::Lose);
    world.apply(Op::Cut);
    // History alone fills the queue, so the next piece doesn't fit.
    world.apply(Op::Answer);
    world.apply(Op::Answer);
    world.apply(Op::Lose);
    world.finish();
    assert!(world.client.lagged > 0);
    world.check_whole();
}

#[test]
fn nobody_elses_record_gets_through() {
    let mut world = World::new(false);
    let stolen = |number| {
        let mut stolen = event(0, number, EventType::Started);
        stolen.tenant = "theirs".into();
        stolen
    };
    let tag = world.tag();
    world.machine().handle_record(Now::ZERO, tag, Record::Event(stolen(1).into()));
    let mut text = chunk(1, 0, "canary");
    text.tenant = "theirs".into();
    world.machine().handle_remembered(Now::ZERO, tag, remembered(vec![Record::Chunk(text.into())]));
    let history = History { events: vec![stolen(1)], ..History::default() };
    world.machine().handle_history(Now::ZERO, tag, Some(history));
    while let Some(message) = world.machine().poll_message(Now::ZERO) {
        let message = said(message);
        assert!(!message.contains("theirs") && !message.contains("canary"), "{message}");
    }
}

fn remembered(records: Vec<Record>) -> Remembered {
    Remembered { records, doubt: Doubt::None }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (1_usize..4).prop_map(Op::Publish),
        4 => (1_usize..6).prop_map(Op::Archive),
        6 => Just(Op::Answer),
        6 => (1_usize..8).prop_map(Op::Read),
        3 => (1_u64..400).prop_map(Op::Wait),
        2 => Just(Op::Cut),
        1 => Just(Op::Lose),
        1 => Just(Op::Repeat),
        1 => Just(Op::Recheck),
    ];
    prop::collection::vec(op, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever happens in whatever order, the client has every event that stands, once, in order; and
    /// the text, unless it was told that some is missing.
    #[test]
    fn any_schedule_gives_each_event_once(ops in ops(), changed in any::<bool>(), narrow in any::<bool>()) {
        let mut world = World::new(changed);
        if narrow {
            world.limits.queue_items = 3;
            world.limits.queue_bytes = 2_000;
            world.apply(Op::Cut);
        }
        for op in ops {
            world.apply(op);
        }
        world.finish();
        world.check_whole();
    }

    /// Any cursor at all: no panic, no other end than a whole history, after at most one reset.
    #[test]
    fn any_cursor_ends_with_what_stands(generation in 0_i32..4, number in 0_i64..20, changed in any::<bool>()) {
        let mut world = World::new(changed);
        world.client.place = Some(Position { generation, number });
        world.client.trusts = false;
        world.apply(Op::Cut);
        world.apply(Op::Publish(99));
        world.apply(Op::Archive(99));
        world.finish();
        prop_assert!(world.client.ended);
        prop_assert!(world.client.resets <= 1);
    }

    /// Whatever a client says, in whatever order, the machine answers or closes and stays within bounds.
    #[test]
    fn any_talk_is_borne(texts in prop::collection::vec(talk(), 0..200)) {
        let mut machine = Connection::new(Limits { subscriptions: 5, ..Limits::default() });
        for text in texts {
            machine.handle_text(Now::ZERO, &text);
            while let Some(effect) = machine.poll_effect() {
                if let Effect::Authenticate { .. } = effect {
                    machine.handle_identity(Now::ZERO, Ok("t".into()));
                }
            }
            prop_assert!(machine.subscriptions() <= 5);
        }
    }
}

fn talk() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"type":"authenticate","key":"k"}"#.to_owned()),
        (0..8).prop_map(|n| format!(r#"{{"type":"subscribe","id":"{n}","execution":"e"}}"#)),
        (0..8).prop_map(|n| format!(r#"{{"type":"subscribe","id":"{n}","filter":{{}}}}"#)),
        (0..8).prop_map(|n| format!(r#"{{"type":"unsubscribe","id":"{n}"}}"#)),
        Just(r#"{"type":"ping"}"#.to_owned()),
        "\\PC{0,40}",
    ]
}

#[test]
fn ids_of_the_model_are_those_of_the_messages() {
    assert_eq!(ids(r#"{"generation":1,"number":2}"#), Some((1, 2)));
}

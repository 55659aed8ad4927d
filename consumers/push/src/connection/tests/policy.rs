//! What becomes of clients that are slow, silent, strangers, or ask for too much.

use domain::event::EventType;
use domain::topic::Kind;
use serde_json::Value;

use super::world::{ID, TENANT, chunk, event, place, said};
use super::*;

/// A machine whose client is known, with what it was told taken out.
fn known(limits: Limits) -> Connection {
    let mut machine = Connection::new(limits);
    machine.handle_text(Now::ZERO, r#"{"type":"authenticate","key":"k"}"#);
    while machine.poll_effect().is_some() {}
    machine.handle_identity(Now::ZERO, Ok(TENANT.into()));
    drain(&mut machine);
    machine
}

fn drain(machine: &mut Connection) -> Vec<Value> {
    let messages = std::iter::from_fn(|| machine.poll_message(Now::ZERO));
    messages.map(|message| serde_json::from_str(&said(message)).unwrap()).collect()
}

fn effects(machine: &mut Connection) -> Vec<Effect> {
    std::iter::from_fn(|| machine.poll_effect()).collect()
}

fn closed(machine: &mut Connection) -> Option<Close> {
    effects(machine).into_iter().find_map(|effect| match effect {
        Effect::Close(close) => Some(close),
        _ => None,
    })
}

/// Subscribes to the execution; its tag, once its empty history is read.
fn followed(machine: &mut Connection, name: &str) -> u64 {
    let text = format!(r#"{{"type":"subscribe","id":"{name}","execution":"{ID}"}}"#);
    machine.handle_text(Now::ZERO, &text);
    let tag = read_of(&effects(machine)).expect("it reads its history");
    machine.handle_history(Now::ZERO, tag, Some(History::default()));
    drain(machine);
    tag
}

fn read_of(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Read { tag, .. } => Some(*tag),
        _ => None,
    })
}

fn text(index: i64, text: &str) -> Record {
    Record::Chunk(chunk(1, index, text).into())
}

#[test]
fn stranger_is_let_go() {
    for said in [r#"{"type":"ping"}"#, "", r#"{"type":"subscribe","id":"1","execution":"e"}"#] {
        let mut machine = Connection::new(Limits::default());
        machine.handle_text(Now::ZERO, said);
        assert_eq!(closed(&mut machine).unwrap().code, CloseCode::NotAuthenticated, "{said}");
        assert!(machine.poll_message(Now::ZERO).is_none());
    }
    let mut silent = Connection::new(Limits::default());
    let deadline = silent.deadline().unwrap();
    assert_eq!(deadline, Limits::default().authenticate);
    silent.handle_time(deadline);
    assert_eq!(closed(&mut silent).unwrap().code, CloseCode::NotAuthenticated);
}

#[test]
fn refused_key_and_revoked_key_close_with_their_code() {
    for code in [CloseCode::NotAuthenticated, CloseCode::NotAllowed] {
        let mut machine = Connection::new(Limits::default());
        machine.handle_text(Now::ZERO, r#"{"type":"authenticate","ticket":"t"}"#);
        effects(&mut machine);
        machine.handle_identity(Now::ZERO, Err(Close::new(code, "no")));
        assert_eq!(closed(&mut machine), Some(Close::new(code, "no")));
    }
    let mut machine = known(Limits::default());
    machine.handle_heard(Limits::default().recheck);
    machine.handle_time(Limits::default().recheck);
    assert!(effects(&mut machine).contains(&Effect::Recheck));
    machine.handle_recheck(Err(Close::new(CloseCode::NotAuthenticated, "gone")));
    assert_eq!(closed(&mut machine).unwrap().code, CloseCode::NotAuthenticated);
}

#[test]
fn client_that_misses_its_pings_is_closed_and_one_that_answers_is_not() {
    let (mut mute, mut lively) = (known(Limits::default()), known(Limits::default()));
    let mut pings = 0;
    for _ in 0..20 {
        let now = lively.deadline().unwrap();
        lively.handle_time(now);
        if effects(&mut lively).contains(&Effect::Ping) {
            pings += 1;
            lively.handle_heard(now);
        }
    }
    assert!(pings >= 5);
    let mut code = None;
    while code.is_none() {
        let now = mute.deadline().expect("it is closed in the end");
        assert!(now <= Limits::default().heartbeat * 3, "{now:?}");
        mute.handle_time(now);
        code = closed(&mut mute);
    }
    assert_eq!(code.unwrap().code, CloseCode::TooSlow);
}

#[test]
fn text_of_a_slow_client_is_joined_and_stays_the_same() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    for index in 0..500 {
        machine.handle_record(Now::ZERO, tag, text(index, &format!("{index} ")));
    }
    let messages = drain(&mut machine);
    assert_eq!(messages.len(), outbox::COALESCE_FROM);
    let got: String =
        messages.iter().map(|message| message["event"]["text"].as_str().unwrap()).collect();
    assert_eq!(got, (0..500).map(|index| format!("{index} ")).collect::<String>());
    assert_eq!(messages.last().unwrap()["event"]["index"], 499);
    let counts = machine.take_counts();
    assert_eq!((counts.sent, counts.coalesced), (16, 484));
}

#[test]
fn subscription_that_lags_goes_on_from_what_the_client_has() {
    let limits = Limits { queue_bytes: 4_000, ..Limits::default() };
    let mut machine = known(limits);
    let tag = followed(&mut machine, "s");
    machine.handle_record(Now::ZERO, tag, Record::Event(event(0, 1, EventType::Admitted).into()));
    machine.handle_record(Now::ZERO, tag, text(0, "a"));
    assert_eq!(drain(&mut machine).len(), 2);
    effects(&mut machine);
    let big = "x".repeat(1_500);
    for index in 1..8 {
        machine.handle_record(Now::ZERO, tag, text(index, &big));
    }
    let gone = effects(&mut machine);
    assert_eq!(gone, [Effect::Unfollow { tag }]);
    // What fitted is still whole and in order; then it goes on at once, since all of it was taken.
    let told = drain(&mut machine);
    let types: Vec<_> = told.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["event", "event", "lagging"]);
    let again = effects(&mut machine);
    let place = Position { generation: 0, number: 1 };
    let newer = tag + 1;
    assert_eq!(
        again,
        [
            Effect::Follow { tag: newer, execution: ID.into() },
            Effect::Read { tag: newer, execution: ID.into(), wish: Wish::Events(place) },
        ]
    );
    let all = (0..8).map(|index| text(index, if index == 0 { "a" } else { "b" })).collect();
    machine.handle_remembered(Now::ZERO, newer, remembered(all));
    let texts: Vec<_> = drain(&mut machine)
        .iter()
        .filter_map(|message| message["event"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(texts, ["bbbbb"]);
    assert_eq!(machine.take_counts().lagged, 1);
}

#[test]
fn client_that_takes_nothing_is_closed_with_its_place() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    let admitted = event(3, 1, EventType::Admitted);
    machine.handle_record(Now::ZERO, tag, Record::Event(admitted.into()));
    assert_eq!(drain(&mut machine).len(), 1);
    machine.handle_record(Now::ZERO, tag, text(0, "waits"));
    let stalled = Limits::default().stall;
    assert_eq!(machine.deadline(), Some(stalled));
    machine.handle_time(stalled);
    let close = closed(&mut machine).unwrap();
    assert_eq!(close, Close::new(CloseCode::TooSlow, "s=3.1"));
}

#[test]
fn server_that_stops_says_where_to_resume() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    let admitted = event(0, 1, EventType::Admitted);
    machine.handle_record(Now::ZERO, tag, Record::Event(admitted.into()));
    drain(&mut machine);
    machine.handle_shutdown();
    assert_eq!(closed(&mut machine), Some(Close::new(CloseCode::Restarting, "s=0.1")));
    machine.handle_replaced();
    assert_eq!(closed(&mut machine), None);
}

#[test]
fn subscriptions_are_bounded_named_once_and_can_be_ended() {
    let mut machine = known(Limits { subscriptions: 2, ..Limits::default() });
    let tag = followed(&mut machine, "a");
    followed(&mut machine, "b");
    let code = |machine: &mut Connection, said: &str| {
        machine.handle_text(Now::ZERO, said);
        let message = drain(machine).remove(0);
        message["code"].as_str().unwrap_or_else(|| message["type"].as_str().unwrap()).to_owned()
    };
    let subscribe = |id: &str| format!(r#"{{"type":"subscribe","id":"{id}","execution":"e"}}"#);
    assert_eq!(code(&mut machine, &subscribe("a")), "duplicate_subscription");
    assert_eq!(code(&mut machine, &subscribe("c")), "too_many_subscriptions");
    let unsubscribe = r#"{"type":"unsubscribe","id":"a"}"#;
    assert_eq!(code(&mut machine, unsubscribe), "unsubscribed");
    assert!(effects(&mut machine).contains(&Effect::Unfollow { tag }));
    assert_eq!(code(&mut machine, unsubscribe), "unknown_subscription");
    // What was still on its way from the hub goes nowhere.
    machine.handle_record(Now::ZERO, tag, text(0, "late"));
    assert_eq!(drain(&mut machine).len(), 0);
    assert_eq!(machine.subscriptions(), 1);
}

#[test]
fn filtered_feed_has_what_it_asked_for_once_and_no_history() {
    let mut machine = known(Limits::default());
    let said = r#"{"type":"subscribe","id":"f","filter":{"status":"failed"},"after":"start"}"#;
    machine.handle_text(Now::ZERO, said);
    let told = drain(&mut machine);
    assert_eq!(told[0]["type"], "subscribed");
    assert_eq!((&told[1]["type"], &told[1]["reason"]), (&"reset".into(), &"no_history".into()));
    let [Effect::FollowTenant { tag }] = effects(&mut machine)[..] else { panic!("no feed") };
    let mut other = event(0, 9, EventType::Failed);
    other.execution_id = "f".into();
    other.kind = Kind::Workflow;
    for event in [
        event(0, 1, EventType::Admitted),
        event(0, 2, EventType::Failed),
        event(0, 2, EventType::Failed),
        other,
    ] {
        machine.handle_record(Now::ZERO, tag, Record::Event(event.into()));
    }
    let got = drain(&mut machine);
    let numbers: Vec<_> = got.iter().map(|message| &message["event"]["number"]).collect();
    assert_eq!(numbers, [2, 9]);
}

#[test]
fn answer_waits_a_moment_for_text_that_is_on_its_way() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    machine.handle_record(Now::ZERO, tag, text(0, "half"));
    machine.handle_record(Now::ZERO, tag, Record::Event(event(0, 1, EventType::Succeeded).into()));
    machine.handle_record(Now::ZERO, tag, text(1, " whole"));
    machine.handle_record(Now::ZERO, tag, text(2, ""));
    let types: Vec<_> = drain(&mut machine)
        .iter()
        .map(|message| {
            let event = message["event"]["type"].as_str();
            event.unwrap_or_else(|| message["type"].as_str().unwrap()).to_owned()
        })
        .collect();
    let expected =
        ["output.delta", "output.delta", "output.done", "execution.succeeded", "unsubscribed"];
    assert_eq!(types, expected);
    assert_eq!(machine.subscriptions(), 0);
}

#[test]
fn answer_does_not_wait_for_ever() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    machine.handle_record(Now::ZERO, tag, text(0, "half"));
    machine.handle_record(Now::ZERO, tag, Record::Event(event(0, 1, EventType::Succeeded).into()));
    assert_eq!(drain(&mut machine).len(), 1);
    let deadline = machine.deadline().unwrap();
    assert_eq!(deadline, Limits::default().text_patience);
    machine.handle_time(deadline);
    let told = drain(&mut machine);
    // The half isn't left to look like the whole.
    assert_eq!(told[0]["event"]["type"], "output.reset");
    assert_eq!(told[1]["event"]["type"], "execution.succeeded");
    assert_eq!(told[2]["type"], "unsubscribed");
}

fn waits(attempt: i32, nth: i64, position: u64) -> Record {
    Record::Chunk(place(attempt, nth, position).into())
}

/// Positions, and what else was told.
fn told(machine: &mut Connection) -> Vec<String> {
    let one = |message: &Value| match message["event"]["position"].as_u64() {
        Some(position) => position.to_string(),
        None => message["event"]["type"].as_str().unwrap_or("about").to_owned(),
    };
    drain(machine).iter().map(one).collect()
}

#[test]
fn place_in_a_queue_is_an_event_without_a_number() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    machine.handle_record(Now::ZERO, tag, waits(1, 1, 3));
    let expected = serde_json::json!({
        "type": "event", "subscription": "s",
        "event": {
            "type": "execution.queued", "execution_id": ID, "position": 3, "estimated_wait_ms": 300
        }
    });
    assert_eq!(drain(&mut machine), [expected]);
    // It is nothing to resume after.
    machine.handle_shutdown();
    assert_eq!(closed(&mut machine), Some(Close::new(CloseCode::Restarting, "")));
}

#[test]
fn slow_client_is_told_only_the_newest_place_in_a_queue() {
    let mut machine = known(Limits::default());
    let (tag, other) = (followed(&mut machine, "a"), followed(&mut machine, "b"));
    for nth in 1..=8 {
        machine.handle_record(Now::ZERO, tag, waits(1, nth, 9 - nth.unsigned_abs()));
        machine.handle_record(Now::ZERO, other, waits(1, nth, 20 - nth.unsigned_abs()));
    }
    assert_eq!(told(&mut machine), ["1", "12"]);
    // What comes between is told in its order.
    machine.handle_record(Now::ZERO, tag, waits(1, 9, 0));
    machine.handle_record(Now::ZERO, tag, text(0, "a"));
    machine.handle_record(Now::ZERO, tag, waits(1, 10, 5));
    machine.handle_record(Now::ZERO, tag, waits(2, 1, 5));
    machine.handle_record(Now::ZERO, tag, waits(2, 2, 4));
    machine.handle_record(Now::ZERO, tag, text(1, "b"));
    assert_eq!(told(&mut machine), ["0", "output.delta", "4", "output.delta"]);
    assert_eq!(machine.take_counts().coalesced, 0);
    assert_eq!(machine.outbox.bytes(), 0);
}

#[test]
fn place_in_a_queue_that_finds_no_room_is_left_out() {
    let mut machine = known(Limits { queue_items: 2, ..Limits::default() });
    let tag = followed(&mut machine, "s");
    for number in 1..=2 {
        let event = event(0, number, EventType::Started);
        machine.handle_record(Now::ZERO, tag, Record::Event(event.into()));
    }
    machine.handle_record(Now::ZERO, tag, waits(1, 1, 2));
    assert_eq!(told(&mut machine), ["execution.started", "execution.started"]);
    assert_eq!(machine.take_counts().lagged, 0);
    machine.handle_record(Now::ZERO, tag, waits(1, 2, 1));
    assert_eq!(told(&mut machine), ["1"]);
}

#[test]
fn late_follower_is_told_where_the_call_waits_only_while_it_does() {
    let ended = || Record::Event(event(0, 1, EventType::Cancelled).into());
    for (name, records, expected) in [
        ("it waits", vec![waits(1, 4, 2)], vec!["2"]),
        ("it speaks", vec![waits(1, 4, 0), text(0, "a")], vec!["output.delta"]),
        ("it waits again", vec![text(0, "a"), waits(2, 1, 2)], vec!["output.delta", "2"]),
        ("it has ended", vec![waits(1, 4, 2), ended()], vec![]),
    ] {
        let mut machine = known(Limits::default());
        let said = format!(r#"{{"type":"subscribe","id":"s","execution":"{ID}"}}"#);
        machine.handle_text(Now::ZERO, &said);
        let tag = read_of(&effects(&mut machine)).expect("it reads its history");
        drain(&mut machine);
        machine.handle_remembered(Now::ZERO, tag, remembered(records));
        assert_eq!(told(&mut machine), expected, "{name}");
    }
}

#[test]
fn no_place_in_a_queue_is_told_once_the_end_is_known() {
    let mut machine = known(Limits::default());
    let tag = followed(&mut machine, "s");
    machine.handle_record(Now::ZERO, tag, text(0, "half"));
    machine.handle_record(Now::ZERO, tag, Record::Event(event(0, 1, EventType::Failed).into()));
    machine.handle_record(Now::ZERO, tag, waits(2, 1, 1));
    assert_eq!(told(&mut machine), ["output.delta"]);
}

#[test]
fn session_goes_on_after_an_ending() {
    let mut machine = known(Limits::default());
    machine.handle_text(Now::ZERO, r#"{"type":"subscribe","id":"s","session":"e"}"#);
    let tag = read_of(&effects(&mut machine)).unwrap();
    machine.handle_history(Now::ZERO, tag, Some(History::default()));
    for (number, event_type) in [(1, EventType::Succeeded), (2, EventType::Started)] {
        machine.handle_record(Now::ZERO, tag, Record::Event(event(0, number, event_type).into()));
    }
    assert_eq!(drain(&mut machine).len(), 3);
    assert_eq!(machine.subscriptions(), 1);
}

#[test]
fn chatter_is_not_listened_to_past_a_bound() {
    let mut machine = known(Limits::default());
    let mut said = 0;
    while machine.listens() {
        machine.handle_text(Now::ZERO, r#"{"type":"ping","id":"1"}"#);
        said += 1;
    }
    assert_eq!(said, LISTEN_BELOW);
    assert_eq!(drain(&mut machine).len(), LISTEN_BELOW);
    assert!(machine.listens());
}

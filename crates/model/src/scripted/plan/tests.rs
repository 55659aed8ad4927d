//! What a script plays.

use domain::script::{ScriptedToolCall, Slow, When};

use super::*;

fn request(id: &str, body: Value) -> Request<'_> {
    Request { operation: Operation::Chat, id, attempt: 1, authorization: None, body }
}

fn ask(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

fn streamed(text: &str) -> Value {
    let mut body = ask(text);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

fn script(rule: Rule) -> Script {
    Script { rules: vec![rule] }
}

/// The text that is sent, times left out.
fn sent(plan: &Plan) -> String {
    plan.steps
        .iter()
        .filter_map(|(_, step)| match step {
            Step::Send(text) => Some(text.as_str()),
            Step::Hang | Step::Break => None,
        })
        .collect()
}

#[test]
fn same_request_gets_the_same_plan() {
    let script = script(Rule { slow: Some(Slow { every: 3, latency_ms: 9 }), ..Rule::default() });
    for id in ["a", "b", "c", "0190-7"] {
        let plan = |_| plan(&script, &request(id, streamed("hello")));
        assert_eq!(plan(0), plan(1), "{id}");
    }
}

#[test]
fn without_rules_the_answer_echoes_and_streams() {
    let plan = plan(&Script::default(), &request("r", streamed("how are you?")));
    let text = sent(&plan);
    assert!(text.contains("how ") && text.contains("scripted "), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let times: Vec<Duration> = plan.steps.iter().map(|(at, _)| *at).collect();
    assert!(times.is_sorted());
    assert_eq!(times[0], Duration::from_millis(FRIENDLY_LATENCY_MS));
    assert!(times.last() > Some(&Duration::from_secs(1)), "slow enough to be seen");
}

#[test]
fn first_rule_that_matches_plays() {
    let rule = |when, reply: &str| Rule { when, reply: Some(reply.into()), ..Rule::default() };
    let script = Script {
        rules: vec![
            rule(When { contains: Some("cat".into()), ..When::default() }, "meow"),
            rule(When { model: Some("other".into()), ..When::default() }, "other"),
            rule(When { operation: Some(Operation::TextCompletion), ..When::default() }, "text"),
            rule(When::default(), "{{model}} {{request_id}} {{prompt}}"),
        ],
    };
    let mut other = ask("x");
    other["model"] = json!("other");
    for (body, reply) in [(ask("a cat"), "meow"), (other, "other"), (ask("dog"), "m r dog")] {
        let plan = plan(&script, &request("r", body));
        let body: Value = serde_json::from_str(&sent(&plan)).expect("JSON");
        assert_eq!(body["choices"][0]["message"]["content"], reply);
    }
}

#[test]
fn words_count_as_tokens() {
    let rule = Rule {
        reply: Some("one two three".into()),
        reasoning: Some("let me think".into()),
        ..Rule::default()
    };
    let mut limited = ask("four words in all");
    limited["max_tokens"] = json!(4);
    for (body, usage, finish_reason) in
        [(ask("four words in all"), [4, 6, 3], "stop"), (limited, [4, 4, 3], "length")]
    {
        let plan = plan(&script(rule.clone()), &request("r", body));
        let body: Value = serde_json::from_str(&sent(&plan)).expect("JSON");
        let counted = &body["usage"];
        let counted = [
            &counted["prompt_tokens"],
            &counted["completion_tokens"],
            &counted["completion_tokens_details"]["reasoning_tokens"],
        ];
        assert_eq!(counted, usage);
        assert_eq!(body["choices"][0]["finish_reason"], finish_reason);
    }
}

#[test]
fn tokens_come_at_their_rate() {
    let rule = Rule {
        reply: Some("a b c".into()),
        latency_ms: 100,
        tokens_per_second: Some(10),
        ..Rule::default()
    };
    let plan = plan(&script(rule.clone()), &request("r", streamed("x")));
    let times: Vec<u128> = plan.steps.iter().map(|(at, _)| at.as_millis()).collect();
    // Role, three words, finish, usage, end.
    assert_eq!(times, [100, 100, 200, 300, 300, 300, 300]);
    let whole = super::plan(&script(rule), &request("r", ask("x")));
    assert_eq!(whole.head_at, Some(Duration::from_millis(400)));
}

#[test]
fn one_in_every_k_is_slow_and_always_the_same_one() {
    let rule = Rule { slow: Some(Slow { every: 100, latency_ms: 30_000 }), ..Rule::default() };
    let script = script(rule);
    let ids: Vec<String> = (0..10_000).map(|i| format!("request-{i}")).collect();
    let slow = |id: &&String| {
        plan(&script, &request(id, ask("x"))).head_at >= Some(Duration::from_secs(30))
    };
    let first: Vec<&String> = ids.iter().filter(slow).collect();
    assert!((50..200).contains(&first.len()), "{} of 10,000", first.len());
    assert_eq!(first, ids.iter().filter(slow).collect::<Vec<_>>());
}

#[test]
fn faults_show_for_the_tries_they_are_meant_for() {
    let fault = |first_tries| Rule {
        fault: Some(Fault {
            kind: FaultKind::Status { status: 500, retry_after: None, body: None },
            first_tries,
            every: None,
        }),
        ..Rule::default()
    };
    for (first_tries, attempt, status) in [(None, 9, 500), (Some(2), 2, 500), (Some(2), 3, 200)] {
        let mut request = request("r", ask("x"));
        request.attempt = attempt;
        assert_eq!(plan(&script(fault(first_tries)), &request).status, status, "{attempt}");
    }
}

#[test]
fn faults_in_mid_stream_come_after_their_tokens() {
    for (kind, last, words) in [
        (FaultKind::Hang { after_tokens: 2 }, Some(Step::Hang), "one two "),
        (FaultKind::Drop { after_tokens: 0 }, Some(Step::Break), ""),
        (FaultKind::Drop { after_tokens: 99 }, Some(Step::Break), "one two three"),
        (FaultKind::MalformedSse { after_tokens: 1 }, None, "one "),
        (FaultKind::ErrorEvent { after_tokens: 1, code: "overloaded_error".into() }, None, "one "),
    ] {
        let rule = Rule {
            reply: Some("one two three".into()),
            fault: Some(Fault { kind: kind.clone(), first_tries: None, every: None }),
            ..Rule::default()
        };
        let plan = plan(&script(rule), &request("r", streamed("x")));
        let heard: String = sent(&plan)
            .split("\n\n")
            .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(heard, words, "{kind:?}");
        assert!(!sent(&plan).contains("[DONE]"), "{kind:?}");
        if let Some(last) = last {
            assert_eq!(plan.steps.last().map(|(_, step)| step), Some(&last), "{kind:?}");
        }
    }
}

#[test]
fn tool_calls_come_in_pieces_that_make_the_whole() {
    let arguments = json!({ "city": "Zürich", "days": 3 });
    let rule = Rule {
        tool_calls: vec![ScriptedToolCall { name: "weather".into(), arguments: arguments.clone() }],
        ..Rule::default()
    };
    let whole = plan(&script(rule.clone()), &request("r", ask("x")));
    let whole: Value = serde_json::from_str(&sent(&whole)).expect("JSON");
    let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], arguments.to_string());
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let pieces = sent(&plan(&script(rule), &request("r", streamed("x"))));
    assert!(pieces.matches("tool_calls").count() > 3, "{pieces}");
}

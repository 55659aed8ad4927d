//! The commands that work on topics: `publish`, `replay`, `tail`, run beside the platform as people run them.

use std::path::Path;
use std::process::Output;

use domain::fact::DeadLetter;
use domain::topic::{Kind, Topic};
use runtime::ports::Headers;
use serde_json::{Value, json};
use stepstream_tests::fresh;
use stepstream_tests::platform::Platform;
use stepstream_tests::topics::Client;

super::on_both_stacks!(
    published_rows_are_answered_and_shown,
    wrong_row_keeps_everything_from_being_published,
    original_of_a_dead_letter_goes_back_to_its_feed,
);

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(platform: &Platform, arguments: &[&str]) -> Said {
    let mut command = platform.command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

impl Said {
    fn check(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    fn lines(&self) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        self.out.lines().map(line).collect()
    }
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn published_rows_are_answered_and_shown(platform: &Platform) {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, third) = (fresh("p"), fresh("p"), fresh("p"));
    let body = r#"{""messages"":[{""role"":""user"",""content"":""Ahoy""}]}"#;
    let table =
        format!("id,body,labels.team\r\n{first},\"{body}\",search\r\n{second},\"{body}\",\r\n");
    let table = written(folder.path(), "r.csv", &table);
    let said =
        run(platform, &["publish", &table, "--model", "demo", "--follow", "--output", "json"])
            .await
            .check(0);
    assert!(
        said.err.contains("published 2 in") && said.err.contains("2 succeeded"),
        "{}",
        said.err
    );
    let events = said.lines();
    for id in [&first, &second] {
        let of_it = events.iter().filter(|event| event["execution_id"] == json!(id));
        let types: Vec<&Value> = of_it.map(|event| &event["type"]).collect();
        assert_eq!(types.first(), Some(&&json!("execution.admitted")), "{types:?}");
        assert_eq!(types.last(), Some(&&json!("execution.succeeded")), "{types:?}");
    }

    // One of a model that isn't there: all is published, and one has no answer.
    let lines = format!(
        "{}\n{}\n",
        json!({"id": third, "body": {"messages": [{"role": "user", "content": "Ahoy"}]}}),
        json!({"model": fresh("nosuch"), "body": {"messages": [{"role": "user", "content": "x"}]}}),
    );
    let lines = written(folder.path(), "r.jsonl", &lines);
    let said = run(platform, &["publish", &lines, "--model", "demo", "--follow"]).await.check(4);
    assert!(said.err.contains("1 succeeded, 1 failed"), "{}", said.err);
    assert!(said.out.lines().any(|line| line.starts_with(&third) && line.contains("Ahoy")));

    let shown = ["--from", "earliest", "--execution", &first, "--output", "json", "--limit"];
    let rows = run(platform, &[&["tail", "execution-log"], &shown[..], &["3"]].concat()).await;
    let rows = rows.check(0).lines();
    let end = rows.iter().find(|row| row["status"] == "succeeded").unwrap();
    assert_eq!(end["labels"], json!({"team": "search"}));
    let plain = ["tail", "results", "--from", "earliest", "--execution", &second, "--limit", "3"];
    let plain = run(platform, &plain).await.check(0);
    assert!(plain.out.lines().last().unwrap().contains("execution.succeeded"), "{}", plain.out);

    let copied = ["replay", "results", "--stdout"];
    let copied = run(platform, &copied).await.check(0);
    assert!(copied.lines().len() >= 6 && copied.err.contains("copied "), "{}", copied.err);
}

async fn wrong_row_keeps_everything_from_being_published(platform: &Platform) {
    let folder = tempfile::tempdir().unwrap();
    let (right, later) = (fresh("w"), fresh("w"));
    let request = |id: &str| json!({"id": id, "model": "demo", "body": {"messages": [{"role": "user", "content": "x"}]}});
    let text = format!("{}\n{{\"model\": 7}}\n{}\n", request(&right), request(&later));
    let path = written(folder.path(), "w.jsonl", &text);
    let said = run(platform, &["publish", &path]).await.check(1);
    let place = format!("{path}:2: model is not a text");
    assert!(
        said.err.contains(&place) && said.err.contains("nothing was published"),
        "{}",
        said.err
    );

    let dry = run(platform, &["publish", &path, "--dry-run=1", "--from-line", "3"]).await.check(0);
    assert_eq!(dry.lines()[0]["id"], json!(later));

    let skipping = ["publish", &path, "--skip-invalid", "--from-line", "2", "--follow"];
    let said = run(platform, &skipping).await.check(3);
    assert!(said.err.contains(&place) && said.err.contains("published 1 in"), "{}", said.err);
    assert!(said.out.starts_with(&later), "{}", said.out);
    let upstream = Client::of(platform).await;
    let mut feed = upstream.read::<domain::event::ExecutionEvent>(Topic::Results).await;
    let ended = |events: &[&domain::event::ExecutionEvent]| {
        events.iter().any(|event| event.execution_id == later && event.event_type.is_terminal())
    };
    feed.until("its result", |_| true, ended).await;
    assert!(feed.records().all(|event| event.execution_id != right), "it was never published");
}

async fn original_of_a_dead_letter_goes_back_to_its_feed(platform: &Platform) {
    let upstream = Client::of(platform).await;
    let id = fresh("poison");
    let feed = Topic::Feed(Kind::Model);
    let headers: Headers = vec![("mine".into(), "7".into())];
    let (partition, offset) =
        upstream.write_with(feed, None, &id, b"{not avro}".to_vec(), headers).await;
    let mut letters = upstream.read::<DeadLetter>(Topic::DeadLetters).await;
    let of_it = |letter: &DeadLetter| letter.key.as_deref() == Some(id.as_bytes());
    letters.until("its letter", of_it, |letters| !letters.is_empty()).await;

    let refused =
        run(platform, &["replay", "dead-letters", "--into", "model-events", "--yes"]).await;
    assert!(refused.check(2).err.contains("its processor only"));
    let unasked = run(platform, &["replay", "dead-letters", "--original"]).await.check(1);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);

    run(platform, &["replay", "dead-letters", "--original", "--key", &id, "--yes"]).await.check(0);
    let both = letters.until("a second letter", of_it, |letters| letters.len() == 2).await;
    assert_eq!((both[0].partition, both[0].offset), (partition, offset));
    assert_eq!(both[1].partition, partition);
    assert!(both[1].offset > offset);
    assert_eq!(both[0].value, both[1].value);
    let header = |letter: &DeadLetter, name: &str| {
        let mut headers = letter.headers.iter();
        headers.find(|header| header.name == name).map(|header| header.value.clone())
    };
    assert_eq!(header(both[1], "mine"), Some(b"7".to_vec()));
    let from = String::from_utf8(header(both[1], "stepstream-replayed-from").unwrap()).unwrap();
    assert!(from.starts_with("dead-letters/"), "{from}");
}

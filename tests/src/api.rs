//! A client of the HTTP API, as anybody could write it.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::platform::Platform;
use crate::wait::{PATIENCE, until};

/// A client with an API key. Each test makes its own, since connections belong to a test's runtime.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    url: String,
    key: String,
}

impl Api {
    /// A client with the platform's own key.
    #[must_use]
    pub fn of(platform: &Platform) -> Self {
        Self::with_key(platform, &platform.key)
    }

    /// A client with another key.
    ///
    /// # Panics
    /// When the HTTP client can't be made.
    #[must_use]
    pub fn with_key(platform: &Platform, key: &str) -> Self {
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        Self { client, url: platform.url.clone(), key: key.to_owned() }
    }

    /// A request to `path`, with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// What a GET gives.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// What a POST of JSON gives.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.expect("an answer")
    }

    /// Makes a model that nobody has made yet.
    ///
    /// # Panics
    /// When it isn't taken.
    pub async fn put_model(&self, name: &str, definition: &Value) {
        let path = format!("/v1/definitions/models/{name}");
        let put = self.request(Method::PUT, &path).header("if-none-match", "*").json(definition);
        let answer = put.send().await.expect("an answer");
        let status = answer.status();
        assert_eq!(status, StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
    }

    /// Starts a chat that nobody waits for; the id is the caller's.
    ///
    /// # Panics
    /// When it isn't taken.
    pub async fn start(&self, id: &str, model: &str, prompt: &str) {
        let messages = json!([{ "role": "user", "content": prompt }]);
        let body =
            json!({ "id": id, "model": model, "stream": true, "body": { "messages": messages } });
        let answer = self.post("/v1/requests", &body).await;
        let status = answer.status();
        assert_eq!(status, StatusCode::ACCEPTED, "{}", answer.text().await.unwrap_or_default());
    }

    /// The execution, when it has ended.
    pub async fn ended(&self, id: &str) -> Value {
        until(&format!("the end of {id}"), PATIENCE, async || {
            let execution: Value =
                self.get(&format!("/v1/executions/{id}")).await.json().await.ok()?;
            let ended = ["succeeded", "failed", "cancelled", "timed_out"];
            let status = execution["status"].as_str()?;
            ended.contains(&status).then(|| execution.clone())
        })
        .await
    }

    /// The types of an execution's events so far, in order.
    ///
    /// # Panics
    /// When the answer isn't a list of events.
    pub async fn event_types(&self, id: &str) -> Vec<String> {
        let path = format!("/v1/executions/{id}/events");
        let request = self.request(Method::GET, &path).header("accept", "application/json");
        let list: Value =
            request.send().await.expect("an answer").json().await.expect("a list of events");
        let events = list["data"].as_array().expect("a list of events");
        events.iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// `id:`, where it has one.
    pub id: Option<String>,
    /// `event:`; empty where it has none.
    pub event: String,
    /// `data:`.
    pub data: String,
}

impl Sent {
    /// Its data as JSON.
    ///
    /// # Panics
    /// When it isn't.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{}: {error}", self.data))
    }
}

/// Reads server-sent events from an answer.
#[derive(Debug)]
pub struct Events {
    answer: Response,
    text: Vec<u8>,
}

impl Events {
    /// The events of `answer`.
    ///
    /// # Panics
    /// When it is no stream of events.
    #[must_use]
    pub fn of(answer: Response) -> Self {
        let kind = answer.headers().get("content-type").map(|kind| kind.as_bytes().to_vec());
        let kind = String::from_utf8(kind.unwrap_or_default()).unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "{}: {kind}", answer.status());
        Self { answer, text: Vec::new() }
    }

    /// The next event; `None` at the end. Comments are passed over.
    ///
    /// # Panics
    /// When none comes in time, or the connection breaks.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("events are UTF-8");
                if let Some(sent) = parse(&block) {
                    return Some(sent);
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            match chunk.expect("an event or the end, in time").expect("an unbroken stream") {
                Some(chunk) => self.text.extend(&chunk),
                None => return None,
            }
        }
    }

    /// All that are left.
    pub async fn rest(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.next().await {
            all.push(sent);
        }
        all
    }
}

fn parse(block: &str) -> Option<Sent> {
    let mut sent = Sent::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => sent.id = Some(id.to_owned()),
            Some(("event", event)) => event.clone_into(&mut sent.event),
            Some(("data", text)) => data.push(text),
            _ => {}
        }
    }
    sent.data = data.join("\n");
    (!data.is_empty()).then_some(sent)
}

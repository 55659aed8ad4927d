//! The token deltas of one call on their way to the topic `stream`, while the call runs, and before them
//! word of where it waits.
//!
//! Outside all acknowledgements: what is lost here is missing from a live view and from nothing else,
//! for the answer is what `Finished` says. Nothing here waits for a broker.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::event::{Chunk, ChunkKind, QueuePlace};
use domain::model_call::WantedModelCall;
use domain::topic::{Kind, Topic};
use domain::trace::TraceContext;
use model::{ChunkSink, Delta};
use runtime::partition::wire;
use runtime::ports::{Deltas, Headers};
use runtime::processor::Running;
use schemas::{Ids, Record};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::coalesce::{Coalescer, Piece};
use crate::metrics;
use crate::spans::run_of;

/// The stream of one call.
pub(crate) struct Chunks<'a> {
    ids: &'a Ids,
    deltas: &'a dyn Deltas,
    call: &'a WantedModelCall,
    running: &'a Running,
    /// `traceparent` of the chunks: the span of this run of the call.
    trace_parent: Option<String>,
    began: Instant,
    coalescer: Mutex<Coalescer>,
    /// Something waits that did not wait before.
    filled: Notify,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(
        ids: &'a Ids,
        deltas: &'a dyn Deltas,
        call: &'a WantedModelCall,
        running: &'a Running,
    ) -> Self {
        let parse = TraceContext::parse;
        let admission = call.trace_parent.as_deref().and_then(parse);
        let run = admission.map(|admission| run_of(admission, &running.call, running.fence));
        Self {
            ids,
            deltas,
            call,
            running,
            trace_parent: run.map(|run| run.to_string()),
            began: Instant::now(),
            coalescer: Mutex::new(Coalescer::new()),
            filled: Notify::new(),
        }
    }

    /// Where the driver puts its deltas.
    pub(crate) fn sink(&self) -> Sink<'_> {
        Sink { chunks: self, tokens: Tokens::Sent }
    }

    /// The same for a call whose tokens nobody asked for: only where it waits is sent.
    pub(crate) fn places(&self) -> Sink<'_> {
        Sink { chunks: self, tokens: Tokens::Unwanted }
    }

    /// Sends what waits when its time has come; to be polled beside the call, and dropped with it.
    pub(crate) async fn send_when_due(&self) -> Infallible {
        loop {
            let due = self.coalescer().due();
            let Some(due) = due else {
                self.filled.notified().await;
                continue;
            };
            let wait = Duration::from_millis(u64::try_from(due).unwrap_or(0));
            sleep_until(self.began + wait).await;
            let now = self.now();
            let mut coalescer = self.coalescer();
            if coalescer.due().is_some_and(|due| due <= now) {
                let pieces = coalescer.flush(now);
                self.send(pieces);
            }
        }
    }

    /// The call has its answer: sends the rest and the mark that nothing follows. A call that failed has
    /// no such mark; its terminal event says so.
    pub(crate) fn complete(&self) {
        let now = self.now();
        let pieces = self.coalescer().complete(now);
        self.send(pieces);
    }

    fn coalescer(&self) -> MutexGuard<'_, Coalescer> {
        // A panic within it leaves at worst a piece unsent.
        self.coalescer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the call began.
    fn now(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn send(&self, pieces: Vec<Piece>) {
        for Piece { attempt, index, kind, choice, text } in pieces {
            let bytes = text.len();
            let chunk = Chunk {
                execution_id: self.running.entity.clone(),
                tenant: self.call.request.tenant.clone(),
                fence: self.running.fence,
                attempt,
                index,
                kind,
                choice,
                text,
            };
            match self.ids.frame(&chunk) {
                Ok(value) => {
                    self.deltas.send(&self.running.entity, value, self.headers(&chunk));
                    metrics::chunk_sent(bytes);
                }
                Err(error) => {
                    metrics::chunk_unframed();
                    // Once for each try and each wait: the rest would only say the same.
                    if index == 0 || index == -1 {
                        let execution = self.running.entity.as_str();
                        tracing::warn!(execution, %error, "token deltas can't be framed");
                    }
                }
            }
        }
    }

    fn headers(&self, chunk: &Chunk) -> Headers {
        let Chunk { execution_id, fence, attempt, index, .. } = chunk;
        let text = |name: &str, value: String| (name.to_owned(), Bytes::from(value));
        let mut headers = vec![
            text(wire::SPEC_VERSION, "1.0".into()),
            text(wire::ID, format!("{execution_id}/{fence}/{attempt}/{index}")),
            // Without a partition and an offset: no fold put it out, so there are no copies to detect.
            text(wire::SOURCE, format!("/{}", Topic::Log(Kind::Model).name())),
            text(wire::TYPE, <Chunk as Record>::NAME.into()),
            text(wire::TENANT, chunk.tenant.clone()),
        ];
        if chunk.kind == ChunkKind::Queued {
            // So that who remembers chunks without reading them knows which one this replaces.
            headers.push(text(wire::CHUNK_KIND, wire::QUEUED.into()));
        }
        let parent = self.trace_parent.clone();
        headers.extend(parent.map(|parent| text(wire::TRACE_PARENT, parent)));
        headers
    }
}

/// Whether anybody asked for the tokens of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tokens {
    Sent,
    Unwanted,
}

/// The driver's end of a stream.
pub(crate) struct Sink<'a> {
    chunks: &'a Chunks<'a>,
    tokens: Tokens,
}

impl ChunkSink for Sink<'_> {
    fn try_begins(&mut self, attempt: i32) {
        self.chunks.coalescer().begin(attempt);
    }

    fn delta(&mut self, delta: Delta) {
        if self.tokens == Tokens::Unwanted {
            return;
        }
        let now = self.chunks.now();
        let mut coalescer = self.chunks.coalescer();
        let pieces = coalescer.push(delta, now);
        // Under the lock, so that numbers leave in order.
        self.chunks.send(pieces);
        if coalescer.due().is_some() {
            self.chunks.filled.notify_one();
        }
    }

    fn queued(&mut self, attempt: i32, place: QueuePlace) {
        let mut coalescer = self.chunks.coalescer();
        let piece = coalescer.place(attempt, place);
        self.chunks.send(vec![piece]);
    }
}

#[cfg(test)]
mod tests {
    use domain::request::ModelRequest;
    use runtime::ports::header;

    use super::*;

    #[derive(Default)]
    struct Sent(Mutex<Vec<(String, Vec<u8>, Headers)>>);

    impl Deltas for Sent {
        fn send(&self, key: &str, value: Vec<u8>, headers: Headers) {
            self.0.lock().unwrap().push((key.to_owned(), value, headers));
        }
    }

    impl Sent {
        fn chunks(&self, ids: &Ids) -> Vec<Chunk> {
            self.0.lock().unwrap().iter().map(|(_, value, _)| ids.read(value).unwrap()).collect()
        }

        fn texts(&self, ids: &Ids) -> Vec<String> {
            self.chunks(ids).into_iter().map(|chunk| chunk.text).collect()
        }
    }

    const ADMISSION: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn call() -> WantedModelCall {
        let mut request = ModelRequest::new("call-1", "fast", "{}");
        request.tenant = "acme".into();
        WantedModelCall { request, version: Some(1), trace_parent: Some(ADMISSION.into()) }
    }

    fn running() -> Running {
        Running { entity: "call-1".into(), call: "call".into(), fence: 42 }
    }

    fn text(text: &str) -> Delta {
        Delta { kind: ChunkKind::Text, choice: 0, text: text.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_leave_in_pieces_while_the_call_runs() {
        let (ids, sent, call, running) = (Ids::for_tests(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        let mut sink = chunks.sink();
        let provider = async {
            // Nothing comes for a while, so whoever sends goes to sleep.
            tokio::time::sleep(Duration::from_millis(10)).await;
            sink.try_begins(1);
            for token in ["a", "b", "c"] {
                sink.delta(text(token));
            }
            assert_eq!(sent.texts(&ids), ["a"], "the first token leaves at once");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(sent.texts(&ids), ["a", "bc"], "the rest needs no further token to leave");
            sink.delta(text("d"));
            sink.delta(text("e"));
        };
        tokio::select! {
            () = provider => chunks.complete(),
            never = chunks.send_when_due() => match never {},
        }
        let all = sent.chunks(&ids);
        assert_eq!(sent.texts(&ids), ["a", "bc", "d", "e", ""]);
        assert_eq!(all.last().map(|chunk| chunk.kind), Some(ChunkKind::Done));
        assert!(all.iter().zip(0..).all(|(chunk, index)| {
            (chunk.index, chunk.fence, chunk.attempt) == (index, 42, 1) && chunk.tenant == "acme"
        }));
    }

    #[tokio::test(start_paused = true)]
    async fn second_try_starts_over_with_its_own_number() {
        let (ids, sent, call, running) = (Ids::for_tests(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        let mut sink = chunks.sink();
        sink.try_begins(1);
        sink.delta(text("wrong"));
        sink.delta(text("never seen"));
        sink.try_begins(2);
        sink.delta(text("right"));
        chunks.complete();
        let places: Vec<_> = sent
            .chunks(&ids)
            .into_iter()
            .map(|chunk| (chunk.attempt, chunk.index, chunk.text))
            .collect();
        let expected = [(1, 0, "wrong"), (2, 0, "right"), (2, 1, "")];
        assert_eq!(places, expected.map(|(attempt, index, text)| (attempt, index, text.into())));
    }

    #[tokio::test(start_paused = true)]
    async fn chunk_is_a_cloud_event_under_the_key_of_its_execution() {
        let (ids, sent, call, running) = (Ids::for_tests(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        chunks.sink().delta(text("a"));
        let all = sent.0.lock().unwrap();
        let (key, _, headers) = all.first().expect("one chunk");
        assert_eq!(key, "call-1");
        let admission = TraceContext::parse(ADMISSION).expect("a trace parent");
        let run = run_of(admission, "call", 42).to_string();
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "call-1/42/1/0"),
            ("ce_source", "/model-events"),
            ("ce_type", "io.stepstream.v1.Chunk"),
            ("ce_tenant", "acme"),
            ("traceparent", run.as_str()),
        ] {
            assert_eq!(header(headers, name), Some(value), "{name}");
        }
    }

    fn place(position: u64) -> QueuePlace {
        QueuePlace { position, estimated_wait_ms: Some(1_200) }
    }

    #[tokio::test(start_paused = true)]
    async fn place_in_a_queue_leaves_at_once_and_leaves_no_hole_in_the_text() {
        let (ids, sent, call, running) = (Ids::for_tests(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        let mut sink = chunks.sink();
        sink.queued(1, place(2));
        sink.queued(1, QueuePlace::TURN);
        sink.try_begins(1);
        sink.delta(text("wrong"));
        sink.queued(2, place(1));
        sink.try_begins(2);
        sink.delta(text("right"));
        chunks.complete();
        let places: Vec<_> = sent
            .chunks(&ids)
            .into_iter()
            .map(|chunk| (chunk.attempt, chunk.index, chunk.queue_place(), chunk.text))
            .collect();
        let waits = |place: QueuePlace| (Some(place), place.to_text());
        let says = |text: &str| (None, text.to_owned());
        let expected = [
            (1, -1, waits(place(2))),
            (1, -2, waits(QueuePlace::TURN)),
            (1, 0, says("wrong")),
            (2, -1, waits(place(1))),
            (2, 0, says("right")),
            (2, 1, says("")),
        ];
        assert_eq!(
            places,
            expected.map(|(attempt, index, (place, text))| (attempt, index, place, text))
        );
        let kinds: Vec<_> = sent
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, _, headers)| header(headers, wire::CHUNK_KIND).map(str::to_owned))
            .collect();
        let queued = Some(wire::QUEUED.to_owned());
        assert_eq!(kinds, [queued.clone(), queued.clone(), None, queued, None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn call_whose_tokens_nobody_asked_for_says_where_it_waits() {
        let (ids, sent, call, running) = (Ids::for_tests(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        let mut sink = chunks.places();
        sink.queued(1, place(2));
        sink.try_begins(1);
        sink.delta(text("a"));
        assert_eq!(sent.texts(&ids), [place(2).to_text()]);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_without_a_schema_id_are_left_out() {
        let (ids, sent, call, running) = (Ids::new(), Sent::default(), call(), running());
        let chunks = Chunks::new(&ids, &sent, &call, &running);
        chunks.sink().delta(text("a"));
        chunks.complete();
        assert!(sent.0.lock().unwrap().is_empty());
    }
}

//! Records between librdkafka's form and ours. Copies bytes, interprets none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use domain::time::Millis;
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;
use runtime::ports::{Elsewhere, Headers, Outgoing, Raw};

/// What stands for a null header value, which our own form doesn't have.
const NO_VALUE: &[u8] = b"";

/// A record as it was read. Key, value and header values share one allocation.
pub(crate) fn raw(message: &BorrowedMessage<'_>) -> Raw {
    let key = message.key();
    let value = message.payload().unwrap_or_default();
    let headers = message.headers();
    let mut store =
        BytesMut::with_capacity(key.map_or(0, <[u8]>::len) + value.len() + header_bytes(headers));
    let key = key.map(|key| copied(&mut store, key));
    let value = copied(&mut store, value);
    let headers = headers.map_or_else(Vec::new, |headers| read_headers(headers, &mut store));
    Raw {
        offset: message.offset(),
        time: Millis(message.timestamp().to_millis().unwrap_or(0)),
        key,
        value,
        headers,
    }
}

fn copied(store: &mut BytesMut, bytes: &[u8]) -> Bytes {
    store.extend_from_slice(bytes);
    store.split().freeze()
}

/// Room for the header values, at a guess: exact would mean reading them twice.
fn header_bytes(headers: Option<&BorrowedHeaders>) -> usize {
    headers.map_or(0, |headers| headers.count() * 40)
}

fn read_headers(headers: &BorrowedHeaders, store: &mut BytesMut) -> Headers {
    (0..headers.count())
        .filter_map(|at| {
            // rdkafka panics at a header whose name is not UTF-8. Anyone may write such a record: leave out
            // the header, keep the record.
            catch_unwind(AssertUnwindSafe(|| read_header(headers, at, store))).ok().flatten()
        })
        .collect()
}

fn read_header(
    headers: &BorrowedHeaders,
    at: usize,
    store: &mut BytesMut,
) -> Option<(String, Bytes)> {
    let header = headers.try_get(at)?;
    Some((header.key.to_owned(), copied(store, header.value.unwrap_or(NO_VALUE))))
}

/// Headers for a record to be written; `None` when there are none.
pub(crate) fn headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let mut owned = OwnedHeaders::new_with_capacity(headers.len());
    for (name, value) in headers {
        owned = owned.insert(Header { key: name, value: Some(value.as_ref()) });
    }
    Some(owned)
}

/// A record as a producer takes it.
pub(crate) type Base<'a, D> = BaseRecord<'a, [u8], [u8], D>;

/// `record` as the producer takes it.
pub(crate) fn base<'a, D: IntoOpaque>(
    topic: &'a str,
    record: &'a Outgoing,
    opaque: D,
) -> Base<'a, D> {
    let mut out = BaseRecord::with_opaque_to(topic, opaque).payload(record.value.as_ref());
    if let Some(partition) = record.partition {
        out = out.partition(partition);
    }
    if let Some(key) = &record.key {
        out = out.key(key.as_ref());
    }
    if let Some(headers) = headers(&record.headers) {
        out = out.headers(headers);
    }
    out
}

/// A record for a topic of others, as the producer takes it.
pub(crate) fn elsewhere<D: IntoOpaque>(record: &Elsewhere, opaque: D) -> Base<'_, D> {
    let mut out = BaseRecord::with_opaque_to(&record.topic, opaque).payload(record.value.as_ref());
    if let Some(key) = &record.key {
        out = out.key(key.as_ref());
    }
    if let Some(headers) = headers(&record.headers) {
        out = out.headers(headers);
    }
    out
}

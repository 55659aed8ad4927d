//! The headers of what a fold puts out: the CloudEvents Kafka binding in binary mode, and the source of
//! the output as extension attributes, readable when the value isn't.

use bytes::Bytes;
use domain::fact::Source;

use crate::ports::{Headers, header};

/// CloudEvents `id`: deterministic, the same on every copy.
pub const ID: &str = "ce_id";
/// CloudEvents `source`: `/topic/partition` of the log whose fold put it out.
pub const SOURCE: &str = "ce_source";
/// CloudEvents `type`: the full name of the Avro record.
pub const TYPE: &str = "ce_type";
/// CloudEvents `specversion`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The tenant, an extension attribute.
pub const TENANT: &str = "ce_tenant";
/// The log offset whose fold put it out, an extension attribute.
pub const SOURCE_OFFSET: &str = "ce_sourceoffset";
/// The last log offset that a committed checkpoint covered, an extension attribute.
pub const STABLE: &str = "ce_stable";
/// What a chunk of a stream carries, where it is no output; an extension attribute.
pub const CHUNK_KIND: &str = "ce_chunkkind";
/// The value of [`CHUNK_KIND`] on a chunk that says where its call waits.
pub const QUEUED: &str = "queued";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";

fn text(name: &str, value: impl Into<String>) -> (String, Bytes) {
    (name.to_owned(), Bytes::from(value.into()))
}

/// The headers of an output.
pub(crate) fn headers(
    source: &Source,
    record: &str,
    tenant: Option<&str>,
    trace_parent: Option<&str>,
) -> Headers {
    let mut headers = vec![
        text(SPEC_VERSION, "1.0"),
        text(ID, source.id.clone()),
        text(SOURCE, format!("/{}/{}", source.topic, source.partition)),
        text(TYPE, record),
        text(SOURCE_OFFSET, source.offset.to_string()),
        text(STABLE, source.stable.to_string()),
    ];
    headers.extend(tenant.map(|tenant| text(TENANT, tenant)));
    headers.extend(trace_parent.map(|parent| text(TRACE_PARENT, parent)));
    headers
}

/// The source of a record that another fold put out; `None` for everybody else's records.
pub(crate) fn source(headers: &Headers) -> Option<Source> {
    let (topic, partition) = header(headers, SOURCE)?.strip_prefix('/')?.rsplit_once('/')?;
    Some(Source {
        id: header(headers, ID)?.to_owned(),
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        offset: header(headers, SOURCE_OFFSET)?.parse().ok()?,
        stable: header(headers, STABLE)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_read_back_from_headers() {
        let source = Source {
            id: "e/answer/1".into(),
            topic: "model-events".into(),
            partition: 3,
            offset: 17,
            stable: -1,
        };
        let headers = headers(&source, "io.stepstream.v1.Answer", Some("acme"), None);
        assert_eq!(super::source(&headers), Some(source));
    }

    #[test]
    fn foreign_cloud_event_has_no_source() {
        let headers = vec![text(ID, "1"), text(SOURCE, "/shop/orders")];
        assert_eq!(source(&headers), None);
    }
}

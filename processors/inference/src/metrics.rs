//! The metrics of this crate: names, units, help. What a call took, used and cost is counted in `model`.

/// Chunks of token streams that were handed to the producer.
const CHUNKS: &str = "stepstream_inference_chunks_total";
/// Text in those chunks.
const CHUNK_BYTES: &str = "stepstream_inference_chunk_bytes_total";
/// Chunks that could not be framed, and so were not sent.
const CHUNKS_UNFRAMED: &str = "stepstream_inference_chunks_unframed_total";
/// Looks at a request that did not admit it, by the failure's code.
const REFUSALS: &str = "stepstream_inference_refusals_total";

/// Tells the recorder what the metrics mean. Once, at start.
pub fn describe() {
    use metrics::{Unit, describe_counter};
    describe_counter!(CHUNKS, Unit::Count, "chunks of token streams that were sent");
    describe_counter!(CHUNK_BYTES, Unit::Bytes, "text in the chunks that were sent");
    describe_counter!(
        CHUNKS_UNFRAMED,
        Unit::Count,
        "chunks that were not sent because their schema has no id yet"
    );
    describe_counter!(
        REFUSALS,
        Unit::Count,
        "looks at a request that did not admit it; one that waits for its model is looked at again"
    );
}

pub(crate) fn chunk_sent(text_bytes: usize) {
    metrics::counter!(CHUNKS).increment(1);
    metrics::counter!(CHUNK_BYTES).increment(u64::try_from(text_bytes).unwrap_or(u64::MAX));
}

pub(crate) fn chunk_unframed() {
    metrics::counter!(CHUNKS_UNFRAMED).increment(1);
}

/// `code` is one of the few of [`crate::admission`] and [`crate::Models`], never an upstream's text.
pub(crate) fn refused(code: &str) {
    metrics::counter!(REFUSALS, "code" => code.to_owned()).increment(1);
}

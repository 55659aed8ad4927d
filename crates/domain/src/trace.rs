//! W3C Trace Context: the trace of an execution, and the spans in it that stand in the log.
//!
//! Nothing here is drawn by chance. What a fold writes down has to be the same for every owner, so the
//! spans of an execution have ids that are derived: of its place in the feed, of the call, of the owner's
//! fence. Whoever exports such a span derives the same id. It exports nothing itself.

use std::fmt;

use uuid::Uuid;

use crate::topic::Kind;

/// The name space of derived ids: the UUID of version 5 of `stepstream.io` in the DNS name space.
const NAMESPACE: Uuid = Uuid::from_u128(0x3203_ab9f_13a2_5e70_abd0_82d5_0eef_60f5);

/// The flag `sampled` of Trace Context.
const SAMPLED: u8 = 0x01;
/// The flags that are known here: `sampled`, and `random` of level 2. The others have to be zeroed.
const KNOWN_FLAGS: u8 = 0x03;

/// A trace; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// A span; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The trace with these bytes; `None`: they are zeros.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The trace of an execution whose request came without one.
    #[must_use]
    pub fn of_execution(kind: Kind, tenant: &str, execution: &str) -> Self {
        Self(derived(&["trace", kind.as_str(), tenant, execution]).into_bytes())
    }

    /// The lower 56 bits: those that are random in every id that is made by a known rule, UUIDs included
    /// (W3C Trace Context level 2, "random trace id").
    #[must_use]
    pub fn randomness(self) -> u64 {
        self.0[9..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl SpanId {
    /// The span with these bytes; `None`: they are zeros.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }

    fn derived(parts: &[&str]) -> Self {
        let (_, low) = derived(parts).as_u64_pair();
        // Its first two bits are those of the UUID's variant, so it is never zero.
        Self(low.to_be_bytes())
    }
}

/// Parts of different lengths must not run into each other, so each is preceded by its length.
fn derived(parts: &[&str]) -> Uuid {
    let mut name = String::new();
    for part in parts {
        name.push_str(&format!("{}:{part}", part.len()));
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Lower-case hexadecimal digits, as everywhere in Trace Context.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// As its `Display`.
impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lower-case hexadecimal digits, as everywhere in Trace Context.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// As its `Display`.
impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A span of a trace, as `traceparent` names it. Its `Display` is that header, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    flags: u8,
}

/// Whether spans of a trace are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// They are.
    Sampled,
    /// They aren't.
    NotSampled,
}

impl TraceContext {
    /// A span of a trace.
    #[must_use]
    pub fn new(trace: TraceId, span: SpanId, sampling: Sampling) -> Self {
        let flags = if sampling == Sampling::Sampled { SAMPLED } else { 0 };
        Self { trace, span, flags }
    }

    /// Reads a `traceparent` of version 00 or later; `None`: it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let trace = TraceId::new(bytes(parts.next()?)?)?;
        let span = SpanId::new(bytes(parts.next()?)?)?;
        let [flags]: [u8; 1] = bytes(parts.next()?)?;
        // Later versions may say more, this one may not.
        let fits = version != [0xff] && (version != [0] || parts.next().is_none());
        fits.then_some(Self { trace, span, flags: flags & KNOWN_FLAGS })
    }

    /// What whoever made this span decided.
    #[must_use]
    pub fn sampling(self) -> Sampling {
        if self.flags & SAMPLED == 0 { Sampling::NotSampled } else { Sampling::Sampled }
    }

    /// The same span, with another decision.
    #[must_use]
    pub fn sampled(self, sampling: Sampling) -> Self {
        let flag = if sampling == Sampling::Sampled { SAMPLED } else { 0 };
        Self { flags: self.flags & !SAMPLED | flag, ..self }
    }

    /// The span of this name below this one: the same for everybody who asks.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        let span = SpanId::derived(&["span", &self.span.to_string(), name]);
        Self { span, ..self }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(self, span: SpanId) -> Self {
        Self { span, ..self }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Exactly `N` bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Where a request came into the platform: the first span that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The span of the admission. Whatever follows from the request is below it.
    pub context: TraceContext,
    /// The span that the request named; `None`: it named none, and the trace begins here.
    pub parent: Option<SpanId>,
}

impl Entry {
    /// The entry of the request that stands at `offset` of a feed partition. `trace_parent` is its header,
    /// whatever that says: one that can't be read counts as none.
    #[must_use]
    pub fn of(
        trace_parent: Option<&str>,
        kind: Kind,
        tenant: &str,
        execution: &str,
        (partition, offset): (i32, i64),
    ) -> Self {
        let place = [kind.as_str(), execution, &partition.to_string(), &offset.to_string()];
        let span = SpanId::derived(&["admission", &place.join("/")]);
        match trace_parent.and_then(TraceContext::parse) {
            Some(parent) => Self { context: parent.with_span(span), parent: Some(parent.span) },
            None => {
                let trace = TraceId::of_execution(kind, tenant, execution);
                let context = TraceContext::new(trace, span, Sampling::Sampled);
                Self { context, parent: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn entry(trace_parent: Option<&str>, offset: i64) -> Entry {
        Entry::of(trace_parent, Kind::Model, "acme", "call-1", (3, offset))
    }

    #[test]
    fn trace_parent_is_read_and_written_back() {
        let context = TraceContext::parse(PARENT).expect("a trace parent");
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.sampling(), Sampling::Sampled);
        let later = TraceContext::parse(&format!("01{}-more", &PARENT[2..]));
        assert_eq!(later.map(|later| later.to_string()).as_deref(), Some(PARENT));
        let unknown = format!("{}fe", &PARENT[..PARENT.len() - 2]);
        let unknown = TraceContext::parse(&unknown).expect("flags may be unknown");
        assert_eq!(unknown.sampling(), Sampling::NotSampled);
        assert!(unknown.to_string().ends_with("-02"), "{unknown}");
    }

    #[test]
    fn what_is_no_trace_parent_is_none() {
        let (trace, span) = (&PARENT[3..35], &PARENT[36..52]);
        for bad in [
            "",
            "00",
            &PARENT[1..],
            &PARENT.to_uppercase(),
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            &format!("00-{}-{span}-01", "0".repeat(32)),
            &format!("00-{trace}-{}-01", "0".repeat(16)),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn entry_goes_on_with_the_trace_of_the_request() {
        let entry = entry(Some(PARENT), 7);
        let parent = TraceContext::parse(PARENT).expect("a trace parent");
        assert_eq!((entry.context.trace, entry.parent), (parent.trace, Some(parent.span)));
        assert_ne!(entry.context.span, parent.span);
        let unsampled = format!("{}00", &PARENT[..PARENT.len() - 2]);
        let entry = self::entry(Some(&unsampled), 7);
        assert_eq!(entry.context.sampling(), Sampling::NotSampled, "the upstream decided");
    }

    /// These ids stand in logs, and other programs derive them again: they never change.
    #[test]
    fn ids_are_the_same_for_ever() {
        let begun = entry(None, 7);
        assert_eq!(begun.parent, None);
        let expected = "00-eaaf8cf7b30e5a64941ec355058905eb-8b1a2963bd8a79d0-01";
        assert_eq!(begun.context.to_string(), expected);
        assert_eq!(begun.context.child("call/42").span.to_string(), "a6a1f3cc9410eef6");
        assert_eq!(entry(Some("garbage"), 7), begun);
    }

    #[test]
    fn each_place_in_the_feed_and_each_child_is_a_span_of_its_own() {
        let [one, other] = [7, 8].map(|offset| entry(None, offset).context);
        assert_eq!(one.trace, other.trace, "both are about one execution");
        assert_ne!(one.span, other.span);
        assert_ne!(one.child("call/1").span, one.child("call/2").span);
        assert_ne!(one.child("call/1").span, other.child("call/1").span);
        let elsewhere = TraceId::of_execution(Kind::Model, "other", "call-1");
        assert_ne!(one.trace, elsewhere);
    }
}

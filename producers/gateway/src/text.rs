//! Small pieces of text: URL segments, trace parents. Each is a published format.

use std::fmt::Write as _;

use uuid::Uuid;

/// `text` as one segment of a URL path (RFC 3986, unreserved characters stay).
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a string can't fail"),
        }
    }
    out
}

/// Whether `text` is a `traceparent` that may be passed on (W3C Trace Context, version 00 or later).
pub(crate) fn is_trace_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts
            .next()
            .filter(|part| {
                part.len() == length
                    && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
            .map(str::to_owned)
    };
    let (Some(version), Some(trace), Some(span), Some(_flags)) = (hex(2), hex(32), hex(16), hex(2))
    else {
        return false;
    };
    let set = |id: &str| id.bytes().any(|byte| byte != b'0');
    set(&trace) && set(&span) && version != "ff" && (version != "00" || parts.next().is_none())
}

/// A `traceparent` that begins a trace, sampled.
pub(crate) fn new_trace_parent() -> String {
    let span = format!("{:016x}", Uuid::new_v4().as_u64_pair().1);
    format!("00-{}-{span}-01", Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_has_no_character_that_a_path_would_read() {
        assert_eq!(segment("a/b?c#d %é:"), "a%2Fb%3Fc%23d%20%25%C3%A9%3A");
        assert_eq!(segment("0190-Az_~."), "0190-Az_~.");
    }

    #[test]
    fn only_a_well_formed_trace_parent_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_trace_parent(good));
        assert!(is_trace_parent(&new_trace_parent()));
        assert!(is_trace_parent(&format!("01{}-more", &good[2..])));
        for bad in [
            "",
            "00",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}-more"),
            &format!("ff{}", &good[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert!(!is_trace_parent(bad), "{bad}");
        }
    }
}

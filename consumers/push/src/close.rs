//! Why a socket is closed, as the number that goes over the wire.

/// A close code. Those from 4000 on are ours; the others are RFC 6455's and its registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// 1000: the client said goodbye.
    Normal,
    /// 1009: a message was larger than is taken.
    TooLarge,
    /// 1012: this server stops; resume elsewhere, or here in a moment.
    Restarting,
    /// 4001: no key, a key that isn't good any more, or a session that is over.
    NotAuthenticated,
    /// 4003: a good key that may not do this.
    NotAllowed,
    /// 4008: it didn't read, or didn't answer pings; the reason says where to resume.
    TooSlow,
    /// 4009: the same client opened another socket.
    Replaced,
    /// 1006, which is never sent: the connection broke.
    Broken,
}

impl CloseCode {
    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Broken => 1006,
            Self::TooLarge => 1009,
            Self::Restarting => 1012,
            Self::NotAuthenticated => 4001,
            Self::NotAllowed => 4003,
            Self::TooSlow => 4008,
            Self::Replaced => 4009,
        }
    }

    /// The number as text, for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "1000",
            Self::Broken => "1006",
            Self::TooLarge => "1009",
            Self::Restarting => "1012",
            Self::NotAuthenticated => "4001",
            Self::NotAllowed => "4003",
            Self::TooSlow => "4008",
            Self::Replaced => "4009",
        }
    }
}

/// The longest reason that a close frame can carry (RFC 6455, 5.5: 125 bytes with the code).
pub const MAX_REASON_BYTES: usize = 123;

/// The end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why, for programs.
    pub code: CloseCode,
    /// Why, for people; for [`CloseCode::TooSlow`] and [`CloseCode::Restarting`] where to resume.
    pub reason: String,
}

impl Close {
    /// An end with a reason, which is cut where it is too long.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        Self { code, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reason_is_cut_between_two_characters() {
        let close = Close::new(CloseCode::Normal, "ä".repeat(100));
        assert_eq!(close.reason, "ä".repeat(61));
        assert_eq!(CloseCode::TooSlow.number().to_string(), CloseCode::TooSlow.label());
    }
}

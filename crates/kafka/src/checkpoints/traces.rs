//! What an owner remembers of its state partition, to notice that somebody emptied it, cut it or made it anew.
//! It decides only that something is wrong; what is left, and whether that will do, a restore says.

use rdkafka::error::KafkaError;

use crate::reader::stops_reading;

/// Offsets of one state partition that this owner knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traces {
    /// Where its genesis record stands. It is written once, and compaction keeps the newest of each key.
    genesis: Option<i64>,
    /// The last record that was read or written.
    last: Option<i64>,
}

impl Traces {
    /// A restore has read a record.
    pub(super) fn read(&mut self, offset: i64) {
        self.last = self.last.max(Some(offset));
    }

    /// That was the genesis record.
    pub(super) fn read_genesis(&mut self, offset: i64) {
        self.genesis = Some(offset);
    }

    /// A checkpoint stands from `first` to `last`.
    ///
    /// # Errors
    /// That is no place behind what stood there before: says so.
    pub(super) fn wrote(&mut self, first: i64, last: i64) -> Result<(), String> {
        match self.last {
            Some(before) if first <= before => Err(format!(
                "a checkpoint was written at {first}, where {before} was taken: the topic was truncated or \
                 made anew"
            )),
            _ => {
                self.last = Some(last);
                Ok(())
            }
        }
    }

    /// Compares with the offset of the oldest record and the one after the newest. Compaction moves neither.
    ///
    /// # Errors
    /// Records are gone: says which. Nobody's answer is no reason.
    pub(super) fn check(&self, ends: &Result<(i64, i64), KafkaError>) -> Result<(), String> {
        match ends {
            Ok((low, _)) if self.genesis.is_some_and(|genesis| genesis < *low) => Err(format!(
                "records were deleted: the oldest is at {low}, the genesis record is gone"
            )),
            Ok((_, high)) if self.last.is_some_and(|last| last >= *high) => Err(format!(
                "it ends at {high}, before what was written to it: the topic was truncated or made anew"
            )),
            Err(error) if stops_reading(error) => Err(error.to_string()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    fn traces() -> Traces {
        let mut traces = Traces::default();
        traces.read(2);
        traces.read_genesis(2);
        traces.read(5);
        traces.wrote(7, 9).unwrap();
        traces
    }

    #[test]
    fn what_is_gone_is_named_and_compaction_is_no_loss() {
        for (low, high, expected) in [
            (0, 10, None),
            (2, 11, None),
            (3, 11, Some("the genesis record is gone")),
            (10, 10, Some("the genesis record is gone")),
            (0, 9, Some("it ends at 9")),
            (0, 0, Some("it ends at 0")),
        ] {
            let said = traces().check(&Ok((low, high))).err();
            match expected {
                None => assert_eq!(said, None, "{low} {high}"),
                Some(words) => {
                    assert!(said.as_deref().unwrap_or("").contains(words), "{low} {high}: {said:?}")
                }
            }
        }
        assert_eq!(Traces::default().check(&Ok((0, 0))), Ok(()), "nothing is known yet");
    }

    #[test]
    fn an_unanswered_question_is_no_reason_and_a_missing_topic_is() {
        let error = |code| Err(KafkaError::MetadataFetch(code));
        assert_eq!(traces().check(&error(Code::OperationTimedOut)), Ok(()));
        assert!(traces().check(&error(Code::UnknownTopicOrPartition)).is_err());
    }

    #[test]
    fn a_checkpoint_stands_behind_the_one_before() {
        for (first, last, fine) in [(10, 12, true), (9, 12, false), (0, 3, false)] {
            assert_eq!(traces().wrote(first, last).is_ok(), fine, "{first} {last}");
        }
    }
}

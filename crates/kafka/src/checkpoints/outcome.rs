//! What the outcome of a transactional call means. Facts in, decision out; it calls nothing.
//!
//! librdkafka sorts its errors into fatal, abortable and retriable. That answers what to do next with the
//! producer, not what stands in the topics: that is decided here.

use rdkafka::error::RDKafkaErrorCode;

/// Which call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `init_transactions`.
    Init,
    /// `begin_transaction`.
    Begin,
    /// Producing the records, and their acknowledgements.
    Write,
    /// `commit_transaction`.
    Commit,
    /// `abort_transaction`.
    Abort,
}

/// How librdkafka sorts an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The producer is of no more use.
    Fatal,
    /// The transaction must be aborted; the producer lives.
    Abortable,
    /// The same call may be made again.
    Retriable,
    /// None of these.
    Plain,
}

/// Whether a request may have been sent twice, so that its first copy may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resent {
    /// No connection broke and no request timed out meanwhile.
    No,
    /// One did.
    Maybe,
}

/// Whether there is time for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// There is.
    Left,
    /// There isn't.
    Spent,
}

/// What is known after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which call.
    pub step: Step,
    /// Its error.
    pub error: Option<(RDKafkaErrorCode, Sort)>,
    /// Whether it may have been sent twice.
    pub resent: Resent,
    /// Whether there is time.
    pub patience: Patience,
}

/// What to do, or what it all came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on to the next call.
    Proceed,
    /// Make the same call again.
    Again,
    /// Abort the transaction.
    Abort,
    /// The checkpoint stands, and nothing of it is still on its way.
    Committed,
    /// Nothing of the checkpoint stands, and the producer can take the next one.
    Aborted,
    /// Another producer with the same transactional id is in charge.
    Fenced,
    /// Nobody can say; only a restore can.
    Unknown,
}

/// Decides.
#[must_use]
pub fn decide(facts: Facts) -> Decision {
    let Some((code, sort)) = facts.error else {
        return match (facts.step, facts.resent) {
            (Step::Init | Step::Begin | Step::Write, _) => Decision::Proceed,
            (Step::Commit, Resent::No) => Decision::Committed,
            (Step::Abort, Resent::No) => Decision::Aborted,
            // It is done, but an older copy of the request could end the next transaction early.
            (Step::Commit | Step::Abort, Resent::Maybe) => Decision::Unknown,
        };
    };
    if is_fenced(code) {
        return Decision::Fenced;
    }
    match (facts.step, sort) {
        (_, Sort::Fatal) => Decision::Unknown,
        // Records of this transaction failed, or its end was never asked for: the abort's own outcome tells.
        (Step::Write, _) | (Step::Commit, Sort::Abortable) => Decision::Abort,
        (Step::Init | Step::Commit | Step::Abort, Sort::Retriable) => match facts.patience {
            Patience::Left => Decision::Again,
            Patience::Spent => Decision::Unknown,
        },
        (
            Step::Init | Step::Begin | Step::Commit | Step::Abort,
            Sort::Abortable | Sort::Retriable | Sort::Plain,
        ) => Decision::Unknown,
    }
}

/// Whether the code says that a newer producer has our transactional id. A transaction that the broker
/// timed out looks the same: whoever is told so asks the group who owns the partition.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::TransactionCoordinatorFenced
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    /// Every code that a transactional request can be answered with, and librdkafka's own.
    const CODES: [RDKafkaErrorCode; 32] = [
        Code::BrokerTransportFailure,
        Code::OperationTimedOut,
        Code::TimedOutQueue,
        Code::MessageTimedOut,
        Code::State,
        Code::Fatal,
        Code::Fenced,
        Code::Inconsistent,
        Code::GaplessGuarantee,
        Code::PurgeQueue,
        Code::PurgeInflight,
        Code::RequestTimedOut,
        Code::NotLeaderForPartition,
        Code::UnknownTopicOrPartition,
        Code::NotEnoughReplicas,
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::NotCoordinator,
        Code::TopicAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::OutOfOrderSequenceNumber,
        Code::DuplicateSequenceNumber,
        Code::InvalidProducerEpoch,
        Code::InvalidTransactionalState,
        Code::InvalidProducerIdMapping,
        Code::InvalidTransactionTimeout,
        Code::ConcurrentTransactions,
        Code::TransactionCoordinatorFenced,
        Code::TransactionalIdAuthorizationFailed,
        Code::UnknownProducerId,
        Code::KafkaStorageError,
        Code::ProducerFenced,
    ];
    const STEPS: [Step; 5] = [Step::Init, Step::Begin, Step::Write, Step::Commit, Step::Abort];
    const SORTS: [Sort; 4] = [Sort::Fatal, Sort::Abortable, Sort::Retriable, Sort::Plain];

    fn facts(step: Step, error: Option<(Code, Sort)>) -> Facts {
        Facts { step, error, resent: Resent::No, patience: Patience::Left }
    }

    #[test]
    fn success_ends_a_transaction_only_when_nothing_is_still_on_its_way() {
        for (step, resent, expected) in [
            (Step::Init, Resent::Maybe, Decision::Proceed),
            (Step::Begin, Resent::Maybe, Decision::Proceed),
            (Step::Write, Resent::Maybe, Decision::Proceed),
            (Step::Commit, Resent::No, Decision::Committed),
            (Step::Commit, Resent::Maybe, Decision::Unknown),
            (Step::Abort, Resent::No, Decision::Aborted),
            (Step::Abort, Resent::Maybe, Decision::Unknown),
        ] {
            let facts = Facts { resent, ..facts(step, None) };
            assert_eq!(decide(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn fencing_is_recognised_in_every_call_however_it_is_sorted() {
        let fenced = [
            Code::Fenced,
            Code::ProducerFenced,
            Code::InvalidProducerEpoch,
            Code::TransactionCoordinatorFenced,
        ];
        for code in CODES {
            for step in STEPS {
                for sort in SORTS {
                    let is = decide(facts(step, Some((code, sort)))) == Decision::Fenced;
                    assert_eq!(is, fenced.contains(&code), "{code:?} {step:?} {sort:?}");
                }
            }
        }
    }

    #[test]
    fn every_code_in_every_call_has_the_decision_of_its_sort() {
        use Decision::{Abort, Again, Unknown};
        // Rows: init, begin, write, commit, abort. Columns: fatal, abortable, retriable, plain.
        let table = [
            [Unknown, Unknown, Again, Unknown],
            [Unknown, Unknown, Unknown, Unknown],
            [Unknown, Abort, Abort, Abort],
            [Unknown, Abort, Again, Unknown],
            [Unknown, Unknown, Again, Unknown],
        ];
        for code in CODES.into_iter().filter(|code| !is_fenced(*code)) {
            for (step, row) in STEPS.into_iter().zip(table) {
                for (sort, expected) in SORTS.into_iter().zip(row) {
                    let got = decide(facts(step, Some((code, sort))));
                    assert_eq!(got, expected, "{code:?} {step:?} {sort:?}");
                }
            }
        }
    }

    #[test]
    fn an_error_never_counts_as_committed_and_never_tries_without_end() {
        for code in CODES {
            for step in STEPS {
                for sort in SORTS {
                    for resent in [Resent::No, Resent::Maybe] {
                        let error = Some((code, sort));
                        let spent = Facts { step, error, resent, patience: Patience::Spent };
                        let decision = decide(spent);
                        assert!(
                            !matches!(
                                decision,
                                Decision::Committed | Decision::Aborted | Decision::Again
                            ),
                            "{spent:?} -> {decision:?}"
                        );
                    }
                }
            }
        }
    }
}

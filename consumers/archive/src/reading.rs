//! Records of a topic as they go into the store: what is there, taken together. The more of them a batch
//! has, the fewer writes it comes to, since what belongs to one execution is written at once.

use futures_util::FutureExt as _;
use runtime::ports::{ClusterError, Tail, Tailed};

/// The most records of one batch, give or take what a reader hands over at once.
const MOST: usize = 2_000;
/// The same, in bytes of their values.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Records that were read together.
pub(crate) struct Gathered {
    /// At least one; each partition's are in order.
    pub(crate) records: Vec<Tailed>,
    /// Reading broke behind them.
    pub(crate) broken: Option<ClusterError>,
}

/// Waits for records, and takes what else is there by then. May be dropped while it waits.
///
/// # Errors
/// Those of [`Tail::next`], when there is no record before.
pub(crate) async fn gather(tail: &mut dyn Tail) -> Result<Gathered, ClusterError> {
    let mut records = tail.next().await?;
    let size = |records: &[Tailed]| records.iter().map(|one| one.record.value.len()).sum::<usize>();
    let mut bytes = size(&records);
    while records.len() < MOST && bytes < MOST_BYTES {
        match tail.next().now_or_never() {
            None => break,
            Some(Ok(more)) => {
                bytes += size(&more);
                records.extend(more);
            }
            Some(Err(error)) => return Ok(Gathered { records, broken: Some(error) }),
        }
    }
    Ok(Gathered { records, broken: None })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;
    use bytes::Bytes;
    use domain::time::Millis;
    use runtime::ports::Raw;

    use super::*;

    /// Gives these, and then nothing more.
    struct Given(VecDeque<Result<Vec<Tailed>, ClusterError>>);

    #[async_trait]
    impl Tail for Given {
        async fn next(&mut self) -> Result<Vec<Tailed>, ClusterError> {
            match self.0.pop_front() {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }

        fn caught_up(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn records(count: usize, bytes: usize) -> Vec<Tailed> {
        let value = Bytes::from(vec![0; bytes]);
        let record = |offset| Raw {
            offset,
            time: Millis(0),
            key: None,
            value: value.clone(),
            headers: Vec::new(),
        };
        (0..).take(count).map(|offset| Tailed { partition: 0, record: record(offset) }).collect()
    }

    async fn counts(mut tail: Given) -> Vec<usize> {
        let mut counts = Vec::new();
        while !tail.caught_up() {
            let gathered = gather(&mut tail).await.unwrap();
            assert!(gathered.broken.is_none());
            counts.push(gathered.records.len());
        }
        counts
    }

    #[tokio::test]
    async fn what_is_there_is_taken_together_up_to_a_bound() {
        let given = |count, bytes| Given((0..20).map(|_| Ok(records(count, bytes))).collect());
        assert_eq!(counts(given(3, 1)).await, [60]);
        assert_eq!(counts(given(500, 1)).await, [2_000; 5]);
        assert_eq!(counts(given(1, MOST_BYTES)).await, [1; 20]);
    }

    #[tokio::test]
    async fn records_before_a_failure_are_kept() {
        let error = || ClusterError { what: "reading".into(), why: "gone".into() };
        let mut tail = Given([Ok(records(2, 1)), Err(error()), Err(error())].into());
        let gathered = gather(&mut tail).await.unwrap();
        assert_eq!((gathered.records.len(), gathered.broken.is_some()), (2, true));
        assert!(gather(&mut tail).await.is_err());
    }
}

//! A tenant's executions by time, all of them or those with a search attribute: hour by hour back from the newest,
//! and each place checked against the execution itself, since places that another one beats are never deleted.

use std::collections::VecDeque;

use domain::time::Millis;
use futures_util::TryStreamExt as _;
use futures_util::stream::{self, StreamExt as _};

use super::Shared;
use super::listing::HOUR_MS;
use super::read::{failed, paged, summary};
use crate::summary::Summary;
use crate::{Cursor, Filter, Page, StoreError};

/// The most places that one call looks at. A page that finds too few of the wanted ones among them says
/// where to go on.
const LOOKED_AT: usize = 1_000;

/// Executions that are read at once.
const READS: usize = 32;

/// Hours that are fetched at once.
const HOURS: usize = 48;

/// A place: the time and the execution.
type Place = (i64, String);

pub(super) async fn page(
    shared: &Shared,
    tenant: &str,
    filter: &Filter,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<Page, StoreError> {
    let from = filter.from.map_or(i64::MIN, |from| from.0);
    let to = filter.to.map_or(i64::MAX, |to| to.0);
    let end = match cursor {
        Some(cursor) => (to, String::new()).min((cursor.created().0, cursor.id().to_owned())),
        None => (to, String::new()),
    };
    let mut page = Page::default();
    if end <= (from, String::new()) {
        return Ok(page);
    }
    // Those that have the first attribute; whether they have the others is told by themselves.
    let attribute = filter.attributes.first_key_value();
    let attribute = attribute.map(|(name, value)| (name.as_str(), value.as_str()));
    let mut places = Places::new(shared, tenant, attribute, from, end);
    let (mut last, mut looked_at) = (None, 0);
    loop {
        let wanted = (limit - page.executions.len()).clamp(1, READS).min(LOOKED_AT - looked_at);
        let next = places.take(wanted).await?;
        let Some(behind) = next.last().cloned() else { return Ok(page) };
        looked_at += next.len();
        for ((time, id), found) in read_all(shared, tenant, next).await? {
            let Some(summary) = found else { continue };
            let listed = match attribute {
                Some(_) => summary.attributed.as_ref().map(|attributed| attributed.time),
                None => Some(summary.created),
            };
            let execution = summary.into_execution(tenant, &id);
            if listed == Some(Millis(time)) && filter.wants(&execution) {
                page.executions.push(execution);
            }
        }
        last = Some(Cursor::after(Millis(behind.0), behind.1)).or(last);
        if page.executions.len() >= limit || looked_at >= LOOKED_AT {
            if !places.take(1).await?.is_empty() {
                page.next = last;
            }
            return Ok(page);
        }
    }
}

/// What is known of the executions at these places, in their order.
async fn read_all(
    shared: &Shared,
    tenant: &str,
    places: Vec<Place>,
) -> Result<Vec<(Place, Option<Summary>)>, StoreError> {
    stream::iter(places)
        .map(async |(time, id)| {
            let found = summary(shared, tenant, &id).await?;
            Ok(((time, id), found))
        })
        .buffered(READS)
        .try_collect()
        .await
}

/// The places of a list, newest first.
struct Places<'a> {
    shared: &'a Shared,
    tenant: &'a str,
    /// Name and value; `None`: all executions.
    attribute: Option<(&'a str, &'a str)>,
    from: i64,
    /// The place behind the next one.
    end: Place,
    /// Hours that have places, and weren't looked at.
    hours: VecDeque<i64>,
    /// The newest hour that wasn't asked for; `None`: there are no more.
    next_hour: Option<i64>,
    /// The hour that is being read.
    hour: Option<i64>,
}

impl<'a> Places<'a> {
    fn new(
        shared: &'a Shared,
        tenant: &'a str,
        attribute: Option<(&'a str, &'a str)>,
        from: i64,
        end: Place,
    ) -> Self {
        let next_hour = Some(end.0.div_euclid(HOUR_MS));
        let hours = VecDeque::new();
        Self { shared, tenant, attribute, from, end, hours, next_hour, hour: None }
    }

    /// The next ones, at most `count`; none: that was all.
    async fn take(&mut self, count: usize) -> Result<Vec<Place>, StoreError> {
        loop {
            let hour = match self.hour {
                Some(hour) => hour,
                None => match self.next_hour().await? {
                    Some(hour) => *self.hour.insert(hour),
                    None => return Ok(Vec::new()),
                },
            };
            let places = self.of_hour(hour, count).await?;
            if places.len() < count {
                self.hour = None;
            }
            if let Some(last) = places.last() {
                self.end = last.clone();
                return Ok(places);
            }
        }
    }

    async fn of_hour(&self, hour: i64, count: usize) -> Result<Vec<Place>, StoreError> {
        let failed = failed("list executions");
        let (session, statements) = (&self.shared.session, &self.shared.statements);
        let (tenant, from, (time, id)) = (self.tenant, self.from, &self.end);
        let pages = match self.attribute {
            None => {
                let statement = paged(&statements.read_listed, count);
                session.execute_iter(statement, (tenant, hour, from, "", time, id)).await
            }
            Some((name, value)) => {
                let statement = paged(&statements.read_listed_by_attribute, count);
                let values = (tenant, name, value, hour, from, "", time, id);
                session.execute_iter(statement, values).await
            }
        };
        let pages = pages.map_err(failed.of())?;
        let rows = pages.rows_stream::<Place>().map_err(failed.of())?;
        rows.take(count).try_collect().await.map_err(failed.of())
    }

    async fn next_hour(&mut self) -> Result<Option<i64>, StoreError> {
        if let Some(hour) = self.hours.pop_front() {
            return Ok(Some(hour));
        }
        let failed = failed("list hours");
        let Some(newest) = self.next_hour else { return Ok(None) };
        let (session, statements) = (&self.shared.session, &self.shared.statements);
        let (tenant, oldest) = (self.tenant, self.from.div_euclid(HOUR_MS));
        let pages = match self.attribute {
            None => {
                let statement = paged(&statements.read_hours, HOURS);
                session.execute_iter(statement, (tenant, oldest, newest)).await
            }
            Some((name, value)) => {
                let statement = paged(&statements.read_hours_by_attribute, HOURS);
                session.execute_iter(statement, (tenant, name, value, oldest, newest)).await
            }
        };
        let pages = pages.map_err(failed.of())?;
        let rows = pages.rows_stream::<(i64,)>().map_err(failed.of())?;
        let hours: Vec<(i64,)> = rows.take(HOURS).try_collect().await.map_err(failed.of())?;
        self.next_hour = match hours.last() {
            Some((oldest,)) if hours.len() == HOURS => oldest.checked_sub(1),
            _ => None,
        };
        self.hours.extend(hours.into_iter().map(|(hour,)| hour));
        Ok(self.hours.pop_front())
    }
}

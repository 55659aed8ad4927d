//! The places of executions in lists: by time, and by each of their search attributes and time. What lies in one
//! hour is one partition; which hours there are is noted beside it.
//!
//! No place is ever taken back: what is listed at a time that something earlier beats is stale, and readers pass over
//! it.

use std::sync::PoisonError;

use domain::time::Millis;
use scylla::value::CqlValue;

use super::write::Write;
use super::{Shared, rank, recent};
use crate::summary::{Attributed, Summary};

/// The time that one partition of a list spans.
pub(super) const HOUR_MS: i64 = 60 * 60 * 1000;

fn hour_of(time: Millis) -> i64 {
    time.0.div_euclid(HOUR_MS)
}

fn end_of(hour: i64) -> Millis {
    Millis(hour.saturating_add(1).saturating_mul(HOUR_MS))
}

/// The place of an execution in its tenant's list. When something earlier comes up it gets another one;
/// the old one stays, and readers pass over it.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) tenant: String,
    id: String,
    time: Millis,
    pub(super) hour: i64,
}

impl Listing {
    /// `None`: this process has listed it at that time or earlier.
    pub(super) fn due(shared: &Shared, tenant: &str, id: &str, time: Millis) -> Option<Self> {
        let listed = shared.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = listed.get(&recent::key(tenant, id));
        known.is_none_or(|known| time.0 < known).then(|| Self {
            tenant: tenant.into(),
            id: id.into(),
            time,
            hour: hour_of(time),
        })
    }

    pub(super) fn write_place(&self, shared: &Shared, now: Millis) -> Option<Write> {
        let left = rank::seconds_left(shared.keep.executions, self.time, now)?;
        let values = vec![
            CqlValue::Text(self.tenant.clone()),
            CqlValue::BigInt(self.hour),
            CqlValue::BigInt(self.time.0),
            CqlValue::Text(self.id.clone()),
            CqlValue::Int(left),
            CqlValue::BigInt(rank::same(self.time)),
        ];
        Some(Write::new(&shared.statements.listed, values))
    }

    /// `None`: this process has noted the hour, or it is past its time.
    pub(super) fn write_hour(&self, shared: &Shared, now: Millis) -> Option<Write> {
        let known = shared.hours.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&self.hour_key()).is_some() {
            return None;
        }
        let end = end_of(self.hour);
        let left = rank::seconds_left(shared.keep.executions, end, now)?;
        let values = vec![
            CqlValue::Text(self.tenant.clone()),
            CqlValue::BigInt(self.hour),
            CqlValue::Int(left),
            CqlValue::BigInt(rank::same(end)),
        ];
        Some(Write::new(&shared.statements.hour, values))
    }

    /// Notes that it was written.
    pub(super) fn remember(self, shared: &Shared) {
        let hour = self.hour_key();
        shared.hours.lock().unwrap_or_else(PoisonError::into_inner).put(hour, 0);
        let mut listed = shared.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = recent::key(&self.tenant, &self.id);
        // Another call may have listed it earlier meanwhile.
        let time = listed.get(&key).map_or(self.time.0, |known| known.min(self.time.0));
        listed.put(key, time);
    }

    fn hour_key(&self) -> String {
        recent::key(&self.tenant, &self.hour.to_string())
    }
}

/// The place of an execution among those with one search attribute.
#[derive(Debug)]
pub(super) struct Attribution<'s> {
    tenant: &'s str,
    id: &'s str,
    name: &'s str,
    value: &'s str,
    time: Millis,
}

impl<'s> Attribution<'s> {
    /// One for each of its attributes.
    pub(super) fn all(
        tenant: &'s str,
        id: &'s str,
        summary: &'s Summary,
    ) -> impl Iterator<Item = Self> {
        summary.attributed.iter().flat_map(move |Attributed { time, attributes }| {
            attributes.iter().map(move |(name, value)| Self {
                tenant,
                id,
                name,
                value,
                time: *time,
            })
        })
    }

    /// `None`: it is past its time.
    pub(super) fn write_place(&self, shared: &Shared, now: Millis) -> Option<Write> {
        let left = rank::seconds_left(shared.keep.executions, self.time, now)?;
        let mut values = self.attribute();
        values.extend([
            CqlValue::BigInt(hour_of(self.time)),
            CqlValue::BigInt(self.time.0),
            CqlValue::Text(self.id.to_owned()),
            CqlValue::Int(left),
            CqlValue::BigInt(rank::same(self.time)),
        ]);
        Some(Write::new(&shared.statements.listed_by_attribute, values))
    }

    /// `None`: this process has noted the hour, or it is past its time.
    pub(super) fn write_hour(&self, shared: &Shared, now: Millis) -> Option<Write> {
        let known = shared.hours_by_attribute.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&self.hour_key()).is_some() {
            return None;
        }
        let end = end_of(hour_of(self.time));
        let left = rank::seconds_left(shared.keep.executions, end, now)?;
        let mut values = self.attribute();
        values.extend([
            CqlValue::BigInt(hour_of(self.time)),
            CqlValue::Int(left),
            CqlValue::BigInt(rank::same(end)),
        ]);
        Some(Write::new(&shared.statements.hour_by_attribute, values))
    }

    /// Notes that the hour was written.
    pub(super) fn remember(&self, shared: &Shared) {
        let mut known = shared.hours_by_attribute.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(self.hour_key(), 0);
    }

    fn attribute(&self) -> Vec<CqlValue> {
        let texts = [self.tenant, self.name, self.value];
        texts.into_iter().map(|text| CqlValue::Text(text.to_owned())).collect()
    }

    fn hour_key(&self) -> String {
        let of_name = recent::key(self.name, self.value);
        recent::key(self.tenant, &format!("{}/{of_name}", hour_of(self.time)))
    }
}

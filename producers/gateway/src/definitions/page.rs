//! `limit` and `cursor` of the lists of definitions: a cursor is the name, or the number, that a page ended
//! with, so it stays good whatever is added or deleted meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::fault::Fault;

/// How many a page has that doesn't say.
const PAGE: usize = 50;

/// The most of a page.
const MOST: usize = 1000;

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The most of a page; 50 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

impl Paging {
    pub(super) fn page(&self) -> Result<Page, Fault> {
        Page::asked(self.limit, self.cursor.as_deref())
    }
}

/// A part of a list.
pub(super) struct Page {
    limit: usize,
    /// What the page before ended with.
    after: Option<String>,
}

impl Page {
    pub(super) fn asked(limit: Option<usize>, cursor: Option<&str>) -> Result<Self, Fault> {
        let limit = limit.unwrap_or(PAGE);
        if !(1..=MOST).contains(&limit) {
            return Err(Fault::invalid("limit", format!("must be 1 to {MOST}")));
        }
        let after = cursor.filter(|text| !text.is_empty()).map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong_cursor)
        });
        Ok(Self { limit, after: after.transpose()? })
    }

    /// The name that the page before ended with.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The number that the page before ended with.
    pub(super) fn after_number(&self) -> Result<Option<i32>, Fault> {
        let number = |text: &str| text.parse().map_err(|_| wrong_cursor());
        self.after().map(number).transpose()
    }

    /// The first of these, and the next page's cursor; each has what its cursor would be.
    pub(super) fn take<T>(
        &self,
        items: impl Iterator<Item = (String, T)>,
    ) -> (Vec<T>, Option<String>) {
        let mut items = items.peekable();
        let (mut data, mut last) = (Vec::new(), String::new());
        for (key, item) in items.by_ref().take(self.limit) {
            data.push(item);
            last = key;
        }
        let next = items.peek().map(|_| URL_SAFE_NO_PAD.encode(last));
        (data, next)
    }
}

fn wrong_cursor() -> Fault {
    Fault::invalid("cursor", "is not `next` of a page")
}

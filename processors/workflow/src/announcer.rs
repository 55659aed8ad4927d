//! Definitions of schedules, from the catalogue into the feed: each version becomes a record that says so to
//! the schedule.
//!
//! Every process of the role does it, and does it again when it starts, so nothing that stands in the
//! catalogue is lost with a process. Copies do no harm, as versions of a schedule only go up. Which of them
//! counts, and whether it can be used, is decided where the record is admitted and folded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::catalogue::{Catalogue, DefinitionKind, Version};
use domain::request::WorkflowStart;
use domain::schedule::life;
use domain::topic::{Kind, Topic};
use runtime::ports::{Outgoing, Publish};
use schemas::{FrameError, Ids, Record as _};
use serde_json::Value;
use service::catalogue::Definitions;

use crate::admission::DELETED;

/// Who the records say they come from.
const SOURCE: &str = "stepstream/schedules";
/// The first wait before a record that didn't stand is written again; doubled up to [`AGAIN_AT_MOST`].
const AGAIN_FIRST: Duration = Duration::from_millis(100);
/// The longest wait before a record that didn't stand is written again.
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// Which versions this process has announced.
#[derive(Debug, Default)]
pub struct Announcer {
    /// The newest by tenant and name.
    announced: BTreeMap<(String, String), i32>,
}

impl Announcer {
    /// What is to be announced, in this order: of each execution that a schedule was, the newest version that
    /// wasn't yet. What lies between is history before anybody went by it.
    #[must_use]
    pub fn due(&self, catalogue: &Catalogue) -> Vec<WorkflowStart> {
        let mut due = Vec::new();
        for (tenant, name, versions) in catalogue.histories(DefinitionKind::Schedule) {
            let known = self.announced.get(&(tenant.to_owned(), name.to_owned()));
            let new = versions.iter().filter(|it| known.is_none_or(|known| it.number > *known));
            for version in new.filter(|version| is_newest(version, versions)) {
                due.push(announcement(tenant, name, versions, version));
            }
        }
        due
    }

    /// This one stands in the feed.
    pub fn stands(&mut self, announcement: &WorkflowStart) {
        let WorkflowStart { id, tenant, schedule, .. } = announcement;
        let version = id.rsplit_once('@').and_then(|(_, version)| version.parse().ok());
        if let (Some(name), Some(version)) = (schedule, version) {
            self.announced.insert((tenant.clone(), name.clone()), version);
        }
    }
}

/// Whether the execution to which a version belongs has no newer one.
fn is_newest(version: &Version, versions: &[Version]) -> bool {
    version.body.is_none() || versions.last().is_some_and(|last| last.number == version.number)
}

fn announcement(tenant: &str, name: &str, versions: &[Version], it: &Version) -> WorkflowStart {
    let id = life::record_id(&life::id_at(tenant, name, versions, it.number), it.number);
    let workflow = it.body.as_deref().and_then(|body| {
        let body: Value = serde_json::from_str(body).ok()?;
        Some(body.get("workflow")?.as_str()?.to_owned())
    });
    WorkflowStart {
        tenant: tenant.to_owned(),
        schedule: Some(name.to_owned()),
        input: it.body.clone().unwrap_or_else(|| DELETED.to_owned()),
        ..WorkflowStart::new(id, workflow.unwrap_or_default())
    }
}

/// The record in the feed. The same version is the same record, whoever writes it.
///
/// # Errors
/// When the schema is not registered.
pub fn record(announcement: &WorkflowStart, ids: &Ids) -> Result<Outgoing, FrameError> {
    let value = ids.frame(announcement)?;
    let key = life::told(&announcement.id);
    let text =
        |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    Ok(Outgoing {
        topic: Topic::Feed(Kind::Workflow),
        partition: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.into(),
        headers: vec![
            text("content-type", "application/avro"),
            text("ce_specversion", "1.0"),
            text("ce_id", &announcement.id),
            text("ce_type", WorkflowStart::NAME),
            text("ce_source", SOURCE),
            text("ce_subject", key),
            text("ce_tenant", &announcement.tenant),
        ],
    })
}

/// Announces what stands in the catalogue and what becomes of it, for as long as there is a catalogue;
/// dropped when it is time to stop.
pub async fn run(definitions: Definitions, publisher: Arc<dyn Publish>, ids: Ids) {
    // Before that, versions would come that are history.
    definitions.wait_caught_up().await;
    let mut changes = definitions.changes();
    drop(definitions);
    let mut announcer = Announcer::default();
    while let Some(catalogue) = changes.next().await {
        let due = announcer.due(&catalogue);
        // Whoever holds a catalogue makes the next change copy it.
        drop(catalogue);
        for announcement in due {
            publish(&announcement, &*publisher, &ids).await;
            announcer.stands(&announcement);
        }
    }
}

/// Returns when the announcement stands in the feed.
async fn publish(announcement: &WorkflowStart, publisher: &dyn Publish, ids: &Ids) {
    let id = announcement.id.as_str();
    let record = match record(announcement, ids) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(id, %error, "a schedule can't be announced; the program lacks its schema");
            return;
        }
    };
    let mut wait = AGAIN_FIRST;
    while let Err(error) = publisher.publish(record.clone()).await {
        tracing::warn!(id, %error, "a schedule isn't announced yet; trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_AT_MOST);
    }
    tracing::debug!(id, "a schedule is announced");
}

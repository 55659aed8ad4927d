//! From a keyspace as it is to the keyspace that we need: what `stepstream store plan` shows and `store
//! apply` does.
//!
//! It makes what is missing. It never alters or drops anything, and refuses a keyspace in which there is
//! something that it doesn't know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::TryStreamExt as _;
use scylla::client::session::Session;

use super::tables::{self, Column, Table};
use crate::StoreError;

/// What has to be done so that a keyspace is as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is missing, with the statement that makes it, in this order.
    pub create: Vec<Step>,
    /// What can't be put right here.
    pub refused: Vec<Refusal>,
    /// What differs from the configuration and is left as it is.
    pub notes: Vec<String>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it makes.
    pub what: String,
    /// In CQL.
    pub statement: String,
}

/// Something that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The table.
    pub table: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Plan {
    /// Whether nothing has to be done, and nothing stands in the way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.refused.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Refusal { table, reason } in &self.refused {
            writeln!(f, "refused  table {table}: {reason}")?;
        }
        for Step { what, statement } in &self.create {
            writeln!(f, "create   {what}\n         {statement}")?;
        }
        for note in &self.notes {
            writeln!(f, "note     {note}")?;
        }
        if self.is_empty() {
            writeln!(f, "the store is as it must be")?;
        }
        Ok(())
    }
}

/// A keyspace as `system_schema` tells it.
#[derive(Debug, Default)]
struct Found {
    /// `None`: there is no keyspace.
    replication: Option<BTreeMap<String, String>>,
    /// By table and name.
    columns: BTreeMap<String, BTreeMap<String, Shape>>,
    layout: Option<i32>,
}

/// A column as `system_schema.columns` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    kind: String,
    order: String,
    position: i32,
    of: String,
}

/// Compares.
pub(super) async fn plan(
    session: &Session,
    keyspace: &str,
    replication_factor: u32,
) -> Result<Plan, StoreError> {
    Ok(compare(&look(session, keyspace).await?, keyspace, replication_factor))
}

/// Makes what the plan says, and says which layout the tables have.
pub(super) async fn carry_out(
    session: &Session,
    keyspace: &str,
    plan: &Plan,
) -> Result<(), StoreError> {
    for Step { statement, .. } in &plan.create {
        session
            .query_unpaged(statement.as_str(), ())
            .await
            .map_err(|source| StoreError::backend("make a table", source))?;
    }
    let layout = format!("INSERT INTO {keyspace}.about (name, value) VALUES ('layout', ?)");
    session
        .query_unpaged(layout, (tables::LAYOUT,))
        .await
        .map_err(|source| StoreError::backend("write the layout", source))?;
    Ok(())
}

async fn look(session: &Session, keyspace: &str) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = session.query_unpaged(text, (keyspace,)).await.map_err(failed)?;
    let rows = rows.into_rows_result().map_err(failed)?;
    let first = rows.maybe_first_row::<(BTreeMap<String, String>,)>().map_err(failed)?;
    found.replication = first.map(|(replication,)| replication);
    if found.replication.is_none() {
        return Ok(found);
    }
    let text = "SELECT table_name, column_name, kind, clustering_order, position, type \
                FROM system_schema.columns WHERE keyspace_name = ?";
    let columns = session.query_iter(text, (keyspace,)).await.map_err(failed)?;
    let mut rows =
        columns.rows_stream::<(String, String, String, String, i32, String)>().map_err(failed)?;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let (table, column, kind, order, position, of) = row;
        let shape = Shape { kind, order: order.to_lowercase(), position, of };
        found.columns.entry(table).or_default().insert(column, shape);
    }
    if found.columns.contains_key("about") {
        let text = format!("SELECT value FROM {keyspace}.about WHERE name = 'layout'");
        let rows = session.query_unpaged(text, ()).await.map_err(failed)?;
        let rows = rows.into_rows_result().map_err(failed)?;
        let first = rows.maybe_first_row::<(Option<i32>,)>().map_err(failed)?;
        found.layout = first.and_then(|(layout,)| layout);
    }
    Ok(found)
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::backend("look at the schema", source)
}

fn compare(found: &Found, keyspace: &str, replication_factor: u32) -> Plan {
    let mut plan = Plan::default();
    match &found.replication {
        None => plan.create.push(Step {
            what: format!("keyspace {keyspace}, replication factor {replication_factor}"),
            statement: format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': \
                 'NetworkTopologyStrategy', 'replication_factor': {replication_factor}}}"
            ),
        }),
        Some(replication) => plan.notes.extend(other_factor(replication, replication_factor)),
    }
    if let Some(layout) = found.layout.filter(|layout| *layout != tables::LAYOUT) {
        let known = tables::LAYOUT;
        let reason = format!("the tables have layout {layout}, and this program knows {known}");
        plan.refused.push(Refusal { table: "about".into(), reason });
    }
    for table in &tables::ALL {
        match found.columns.get(table.name) {
            None => plan.create.push(Step {
                what: format!("table {}", table.name),
                statement: table.create(keyspace),
            }),
            Some(columns) => {
                let refuse = |reason| Refusal { table: table.name.into(), reason };
                plan.refused.extend(differences(table, columns).into_iter().map(refuse));
            }
        }
    }
    let ours: BTreeSet<_> = tables::ALL.iter().map(|table| table.name).collect();
    for table in found.columns.keys().filter(|name| !ours.contains(name.as_str())) {
        let reason = "is not ours: choose another keyspace by `store.keyspace`".into();
        plan.refused.push(Refusal { table: table.clone(), reason });
    }
    plan
}

/// A remark when the keyspace has another number of copies. Changing it takes a repair of all data.
fn other_factor(replication: &BTreeMap<String, String>, wanted: u32) -> Option<String> {
    let factors = replication.iter().filter(|(name, _)| *name != "class");
    let other: Vec<_> = factors
        .filter(|(_, factor)| factor.parse() != Ok(wanted))
        .map(|(center, factor)| format!("{factor} in {center}"))
        .collect();
    (!other.is_empty()).then(|| {
        format!(
            "the replication factor is {}, and `store.replication-factor` says {wanted}: it is left \
             as it is, since changing it needs ALTER KEYSPACE and a repair",
            other.join(", ")
        )
    })
}

fn differences(table: &Table, found: &BTreeMap<String, Shape>) -> Vec<String> {
    let mut differences = Vec::new();
    for (column, wanted) in table.columns.iter().zip(shapes(table.columns)) {
        match found.get(column.name) {
            None => differences.push(format!("column {} is missing", column.name)),
            Some(shape) if *shape != wanted => differences.push(format!(
                "column {} is {}, expected {}",
                column.name,
                shape.describe(),
                wanted.describe()
            )),
            Some(_) => {}
        }
    }
    let known = |name: &str| table.columns.iter().any(|column| column.name == name);
    let unknown = found.keys().filter(|name| !known(name));
    differences.extend(unknown.map(|name| format!("column {name} is not ours")));
    differences
}

/// How `system_schema.columns` tells these.
fn shapes(columns: &'static [Column]) -> impl Iterator<Item = Shape> {
    columns.iter().enumerate().map(|(at, column)| {
        let (kind, order) = column.kind.in_schema();
        let before = columns[..at].iter().filter(|one| one.kind.in_schema().0 == kind).count();
        let position = match kind {
            "partition_key" | "clustering" => i32::try_from(before).unwrap_or(i32::MAX),
            _ => -1,
        };
        Shape { kind: kind.into(), order: order.into(), position, of: column.of.into() }
    })
}

impl Shape {
    fn describe(&self) -> String {
        let Self { kind, order, position, of } = self;
        let place = if *position < 0 { String::new() } else { format!(" {position}") };
        let order = if order == "none" { String::new() } else { format!(" {order}") };
        format!("{of} ({}{place}{order})", kind.replace('_', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyspace in which everything is as it must be.
    fn good() -> Found {
        let columns = tables::ALL.iter().map(|table| {
            let named = table.columns.iter().map(|column| column.name.to_owned());
            (table.name.to_owned(), named.zip(shapes(table.columns)).collect())
        });
        let replication = [("class", "x.NetworkTopologyStrategy"), ("datacenter1", "3")];
        let replication = replication.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Found {
            replication: Some(replication.into()),
            columns: columns.collect(),
            layout: Some(tables::LAYOUT),
        }
    }

    #[test]
    fn what_is_as_it_must_be_is_left_alone() {
        let plan = compare(&good(), "k", 3);
        assert_eq!(plan, Plan::default());
        assert_eq!(plan.to_string(), "the store is as it must be\n");
    }

    #[test]
    fn keyspace_comes_before_its_tables() {
        let plan = compare(&Found::default(), "k", 1);
        assert!(plan.refused.is_empty());
        assert_eq!(plan.create.len(), 1 + tables::ALL.len());
        assert_eq!(plan.create[0].what, "keyspace k, replication factor 1");
        let mut half = good();
        half.columns.remove("events");
        let plan = compare(&half, "k", 3);
        assert_eq!(plan.create.iter().map(|step| &step.what).collect::<Vec<_>>(), ["table events"]);
    }

    #[test]
    fn other_replication_is_told_and_not_changed() {
        let plan = compare(&good(), "k", 1);
        assert!(plan.is_empty());
        assert!(plan.notes[0].starts_with("the replication factor is 3 in datacenter1, and"));
    }

    #[test]
    fn everything_unknown_is_refused_with_its_place() {
        let mut found = good();
        let shape = found.columns["events"]["number"].clone();
        let events = found.columns.get_mut("events").unwrap();
        events.insert("number".into(), Shape { of: "int".into(), ..shape.clone() });
        events.insert("more".into(), shape.clone());
        found.columns.get_mut("hours").unwrap().remove("hour");
        found.columns.insert("users".into(), BTreeMap::new());
        found.layout = Some(9);
        let plan = compare(&found, "k", 3);
        let refused: Vec<_> =
            plan.refused.iter().map(|one| format!("{}: {}", one.table, one.reason)).collect();
        assert_eq!(
            refused,
            [
                "about: the tables have layout 9, and this program knows 3",
                "hours: column hour is missing",
                "events: column number is int (clustering 0 asc), expected bigint (clustering 0 asc)",
                "events: column more is not ours",
                "users: is not ours: choose another keyspace by `store.keyspace`",
            ]
        );
        assert!(plan.create.is_empty() && !plan.is_empty());
    }
}

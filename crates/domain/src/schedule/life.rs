//! The names under which a schedule lives: the execution that it is, and the record that tells it a version.
//!
//! A schedule is an execution, `@schedule/TENANT/NAME`, from its first version until it is deleted. One that is
//! made anew under the same name is another execution, since each ends once and for all: its id has the
//! version with which it began behind it, `@schedule/TENANT/NAME~7`. No name of a schedule has a `~`, a `/` or
//! an `@`.

use crate::catalogue::{Catalogue, DefinitionKind, Version};

/// What the ids of schedules, and of nothing else, begin with.
const PREFIX: &str = "@schedule/";

/// Whether an execution of this id is a schedule.
#[must_use]
pub fn is_schedule(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// The execution to which a version belongs, of a schedule with these versions.
#[must_use]
pub fn id_at(tenant: &str, name: &str, versions: &[Version], number: i32) -> String {
    let until = versions.iter().take_while(|version| version.number <= number);
    let (mut began, mut ended) = (1, false);
    for version in until {
        if ended {
            began = version.number;
        }
        ended = version.body.is_none();
    }
    match began {
        1 => format!("{PREFIX}{tenant}/{name}"),
        _ => format!("{PREFIX}{tenant}/{name}~{began}"),
    }
}

/// The execution of the schedule as it stands; `None`: there is none, or it is deleted.
#[must_use]
pub fn standing(catalogue: &Catalogue, tenant: &str, name: &str) -> Option<String> {
    let newest = catalogue.newest(DefinitionKind::Schedule, tenant, name)?;
    let versions = catalogue.history(DefinitionKind::Schedule, tenant, name);
    Some(id_at(tenant, name, versions, newest.number))
}

/// The id of the record that tells a schedule that it is this version from here on.
#[must_use]
pub fn record_id(schedule: &str, version: i32) -> String {
    format!("{schedule}@{version}")
}

/// The schedule that a record of this id tells something; the whole id where it is none of those.
#[must_use]
pub fn told(record_id: &str) -> &str {
    record_id.rsplit_once('@').map_or(record_id, |(schedule, _)| schedule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    fn versions(bodies: &[Option<&str>]) -> Vec<Version> {
        let version = |(number, body): (i32, &Option<&str>)| Version {
            number,
            body: body.map(str::to_owned),
            proposal: number.to_string(),
            time: Millis(0),
        };
        (1..).zip(bodies).map(version).collect()
    }

    #[test]
    fn schedule_that_is_made_anew_is_another_execution() {
        let versions = versions(&[Some("a"), Some("b"), None, Some("c"), None, None, Some("d")]);
        let ids: Vec<_> = (1..=7).map(|number| id_at("acme", "n", &versions, number)).collect();
        let first = "@schedule/acme/n";
        let again = ["@schedule/acme/n~4", "@schedule/acme/n~6", "@schedule/acme/n~7"];
        assert_eq!(ids, [first, first, first, again[0], again[0], again[1], again[2]]);
        assert!(ids.iter().all(|id| is_schedule(id)));
    }

    #[test]
    fn record_leads_to_its_schedule_whatever_the_tenant_is_called() {
        for id in ["@schedule/acme/n", "@schedule/a@b/c/n~4"] {
            assert_eq!(told(&record_id(id, 12)), id);
        }
        assert_eq!(told("run-1"), "run-1");
    }
}

//! Which ids a client may choose over HTTP.
//!
//! An execution's id is a record key, and the log of a processor knows an execution by its id alone: of two
//! requests with one id the later one is a copy, whoever sent it. So one tenant must not be able to take an
//! id that another tenant will use. An id is a tenant's own when nobody else can come upon it: a random
//! UUID, or one that begins with the tenant's name. Ids without a name before them belong to the tenant
//! `default`, which has no name to begin with. Nothing is translated: the id in an answer is the id in
//! every topic.

use domain::request::DEFAULT_TENANT;
use uuid::{Uuid, Version};

use crate::fault::Fault;

/// What stands between a tenant's name and the rest of an id.
const SEPARATOR: char = '/';

/// Checks the id that a client of `tenant` chose.
pub(crate) fn check(tenant: &str, id: &str) -> Result<(), Fault> {
    domain::id::check(id).map_err(|why| Fault::invalid("id", why.to_string()))?;
    if let Ok(uuid) = Uuid::parse_str(id) {
        return match uuid.get_version() {
            Some(Version::Random | Version::SortRand) => Ok(()),
            // Ids that are derived are such: whoever knows what from could take them.
            _ => {
                Err(Fault::invalid("id", "is a UUID that is neither of version 4 nor of version 7"))
            }
        };
    }
    let owner = id.split_once(SEPARATOR).map_or(DEFAULT_TENANT, |(owner, _)| owner);
    if owner == tenant {
        return Ok(());
    }
    let problem = if tenant.contains(SEPARATOR) {
        "must be a UUID of version 4 or 7".to_owned()
    } else if tenant == DEFAULT_TENANT {
        format!(
            "must be a UUID of version 4 or 7, have no `{SEPARATOR}`, or begin with `{tenant}/`"
        )
    } else {
        format!("must be a UUID of version 4 or 7, or begin with `{tenant}/`")
    };
    Err(Fault::invalid("id", problem))
}

/// The id of the execution that this key of this tenant stands for.
pub(crate) fn of_key(tenant: &str, key: &str) -> String {
    domain::id::derived(tenant, &format!("idempotency-key:{key}"), 1)
}

/// The id of the execution that this event of this tenant stands for: `source` and `id` name an event.
pub(crate) fn of_event(tenant: &str, source: &str, id: &str) -> String {
    domain::id::derived(tenant, &format!("cloudevent:{source}\u{0}{id}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_can_choose_an_id_that_another_one_may_choose() {
        let random = "0190a1b2-c3d4-7abc-8def-0123456789ab";
        let ids = [
            "plain",
            "acme/x",
            "acme/x/y",
            "other/x",
            "default/x",
            "acme",
            "acme/",
            random,
            "é/漢",
        ];
        let tenants = ["default", "acme", "other", "acme/x", "é"];
        for id in ids {
            let owners: Vec<_> =
                tenants.iter().filter(|tenant| check(tenant, id).is_ok()).collect();
            let expected = if id == random { tenants.len() } else { 1 };
            assert_eq!(owners.len(), expected, "{id}: {owners:?}");
        }
        assert!(check("default", "plain").is_ok() && check("acme", "acme/x/y").is_ok());
    }

    #[test]
    fn derived_id_of_another_tenant_can_not_be_chosen() {
        for tenant in ["default", "acme"] {
            for id in [of_key("other", "k"), of_event("other", "s", "1")] {
                assert!(check(tenant, &id).is_err());
                assert!(check(tenant, &id.replace('-', "")).is_err());
                assert!(check(tenant, &format!("urn:uuid:{id}")).is_err());
            }
        }
    }
}

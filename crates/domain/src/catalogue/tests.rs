//! Who wins, what stays of what was deleted, and which version an alias or no alias means.

use super::*;

fn proposal(expects: i32, body: Option<&str>) -> DefinitionProposed {
    DefinitionProposed {
        id: format!("p{expects}"),
        kind: DefinitionKind::Model,
        tenant: "default".into(),
        name: "fast".into(),
        expects,
        body: body.map(str::to_owned),
        proposed_by: "test".into(),
        time: Millis(0),
    }
}

#[test]
fn first_proposal_in_the_log_wins() {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.apply(proposal(0, Some("a"))), Outcome::Accepted(1));
    assert_eq!(catalogue.apply(proposal(0, Some("b"))), Outcome::Conflict(1));
    assert_eq!(catalogue.apply(proposal(1, Some("c"))), Outcome::Accepted(2));
    let body = |v: Option<&Version>| v.and_then(|v| v.body.clone());
    let kind = DefinitionKind::Model;
    assert_eq!(body(catalogue.newest(kind, "default", "fast")).as_deref(), Some("c"));
    assert_eq!(body(catalogue.version(kind, "default", "fast", 1)).as_deref(), Some("a"));
}

#[test]
fn deleted_definition_keeps_its_versions() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(proposal(0, Some("a")));
    catalogue.apply(proposal(1, None));
    let kind = DefinitionKind::Model;
    assert!(catalogue.newest(kind, "default", "fast").is_none());
    assert!(catalogue.version(kind, "default", "fast", 1).is_some());
    assert_eq!(catalogue.apply(proposal(2, Some("b"))), Outcome::Accepted(3));
}

const WORKFLOW: DefinitionKind = DefinitionKind::Workflow;

/// Puts a further version of a workflow, or of an alias.
fn put(catalogue: &mut Catalogue, name: &str, body: Option<&str>) {
    let expects = catalogue.history(WORKFLOW, "default", name).len();
    let proposal = DefinitionProposed {
        kind: WORKFLOW,
        name: name.into(),
        ..proposal(i32::try_from(expects).unwrap(), body)
    };
    assert!(matches!(catalogue.apply(proposal), Outcome::Accepted(_)));
}

/// The number of the version that is meant, of the workflow `w`.
fn meant(catalogue: &Catalogue, which: Which<'_>) -> Option<i32> {
    catalogue.resolve(WORKFLOW, "default", "w", which).map(|version| version.number)
}

#[test]
fn standing_is_the_newest_until_stable_says_otherwise() {
    let mut catalogue = Catalogue::default();
    assert_eq!(meant(&catalogue, Which::Standing), None);
    for body in ["a", "b", "c"] {
        put(&mut catalogue, "w", Some(body));
    }
    assert_eq!(meant(&catalogue, Which::Standing), Some(3));
    assert_eq!(meant(&catalogue, Which::Alias(STABLE)), None, "nobody made it");
    put(&mut catalogue, "w@stable", Some(&alias::body(2)));
    put(&mut catalogue, "w@next", Some(&alias::body(3)));
    assert_eq!(meant(&catalogue, Which::Standing), Some(2));
    assert_eq!(meant(&catalogue, Which::Alias(STABLE)), Some(2));
    assert_eq!(meant(&catalogue, Which::Alias("next")), Some(3));
    assert_eq!(meant(&catalogue, Which::Version(1)), Some(1));
    put(&mut catalogue, "w@stable", None);
    assert_eq!(meant(&catalogue, Which::Standing), Some(3));
}

#[test]
fn alias_that_leads_nowhere_finds_nothing() {
    let mut catalogue = Catalogue::default();
    put(&mut catalogue, "w", Some("a"));
    for body in [alias::body(7), "{}".into(), "x".into(), r#"{"version":"1"}"#.into()] {
        put(&mut catalogue, "w@stable", Some(&body));
        assert_eq!(meant(&catalogue, Which::Standing), None, "{body}");
        assert_eq!(meant(&catalogue, Which::Alias(STABLE)), None, "{body}");
    }
    put(&mut catalogue, "w@stable", Some(r#"{"version":1,"why":"later"}"#));
    assert_eq!(meant(&catalogue, Which::Standing), Some(1));
}

#[test]
fn deleted_workflow_is_found_by_number_only_until_it_is_made_anew() {
    let mut catalogue = Catalogue::default();
    put(&mut catalogue, "w", Some("a"));
    put(&mut catalogue, "w@stable", Some(&alias::body(1)));
    put(&mut catalogue, "w", None);
    assert_eq!(meant(&catalogue, Which::Standing), None);
    assert_eq!(meant(&catalogue, Which::Alias(STABLE)), None);
    assert_eq!(meant(&catalogue, Which::Version(1)), Some(1));
    assert_eq!(meant(&catalogue, Which::Version(2)), None, "that is where it was deleted");
    put(&mut catalogue, "w", Some("b"));
    assert_eq!(meant(&catalogue, Which::Standing), Some(1));
}

#[test]
fn alias_is_no_workflow() {
    let mut catalogue = Catalogue::default();
    for name in ["w", "w-2", "w@stable", "w@next", "w@gone", "w.3@stable", "v@stable"] {
        put(&mut catalogue, name, Some(&alias::body(1)));
    }
    put(&mut catalogue, "w@gone", None);
    let names: Vec<_> = catalogue.names(WORKFLOW, "default").map(|(name, _)| name).collect();
    assert_eq!(names, ["w", "w-2"]);
    let every: Vec<_> = catalogue.every(WORKFLOW).map(|(_, name, _)| name).collect();
    assert_eq!(every, ["w", "w-2"]);
    assert!(catalogue.resolve(WORKFLOW, "default", "w@stable", Which::Standing).is_none());
    let aliases = |tenant, name| {
        let found = catalogue.aliases(tenant, name);
        found.map(|(alias, of, version)| (alias, of, version.number)).collect::<Vec<_>>()
    };
    assert_eq!(aliases("default", "w"), [("next", 1, 1), ("stable", 1, 1)]);
    assert_eq!(aliases("default", "w-2"), []);
    assert_eq!(aliases("other", "w"), []);
}

#[test]
fn other_kinds_may_have_the_sign_in_their_names_and_have_no_aliases() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(proposal(0, Some("a")));
    catalogue.apply(DefinitionProposed { name: "fast@stable".into(), ..proposal(0, Some("b")) });
    let kind = DefinitionKind::Model;
    assert_eq!(catalogue.names(kind, "default").count(), 2);
    let found = |name, which| catalogue.resolve(kind, "default", name, which).is_some();
    assert!(found("fast", Which::Standing) && found("fast@stable", Which::Standing));
    assert!(!found("fast", Which::Alias(STABLE)));
}

#[test]
fn alias_has_the_first_one_wins_rule() {
    let mut catalogue = Catalogue::default();
    let stable = |expects, of| DefinitionProposed {
        kind: WORKFLOW,
        name: "w@stable".into(),
        ..proposal(expects, Some(&alias::body(of)))
    };
    assert_eq!(catalogue.apply(stable(0, 1)), Outcome::Accepted(1));
    assert_eq!(catalogue.apply(stable(0, 2)), Outcome::Conflict(1));
    assert_eq!(catalogue.apply(stable(1, 2)), Outcome::Accepted(2));
}

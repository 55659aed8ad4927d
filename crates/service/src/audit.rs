//! Who changed an API key: a line in the log under the target `audit`, beside the record itself.
//!
//! The trail is the log of definitions, which is kept for ever. These lines are for those who watch: each
//! process says what it learned while it ran, whoever wrote it. No line holds a key, or the hash of one.

use domain::catalogue::{DefinitionKind, DefinitionProposed};

use crate::auth::{KeyDefinition, key_id};

/// The target of the lines.
pub const TARGET: &str = "audit";

/// A proposal became version `version` of a definition; says so when that is a key.
pub fn accepted(proposal: &DefinitionProposed, version: i32) {
    if proposal.kind != DefinitionKind::Key {
        return;
    }
    let action = match (&proposal.body, proposal.expects) {
        (None, _) => "key.revoke",
        (Some(_), 0) => "key.create",
        (Some(_), _) => "key.change",
    };
    let body = proposal.body.as_deref();
    // One that can't be read allows nothing; whoever presents it is told so.
    let definition: Option<KeyDefinition> = body.and_then(|body| serde_json::from_str(body).ok());
    let definition = definition.as_ref();
    tracing::info!(
        target: TARGET,
        action,
        key_id = key_id(&proposal.name),
        tenant = definition.map(|definition| definition.tenant.as_str()),
        scopes = definition.map(|definition| tracing::field::debug(&definition.scopes)),
        expires = definition.and_then(|definition| definition.expires).map(|expires| expires.0),
        proposal = proposal.id,
        proposed_by = proposal.proposed_by,
        proposed = proposal.time.0,
        version,
        "an API key was changed"
    );
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use domain::time::Millis;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::auth::{NewKey, Scope};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged about proposals that became versions 1, 2, ...
    fn said(proposals: &[DefinitionProposed]) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            for (proposal, version) in proposals.iter().zip(1..) {
                accepted(proposal, version);
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_change_of_a_key_is_said_with_who_and_what_and_never_the_key() {
        let key = NewKey::generate().unwrap();
        let definition = KeyDefinition {
            tenant: "acme".into(),
            scopes: [Scope::ExecutionsRead].into(),
            label: "for the dashboard".into(),
            created: Millis(7),
            expires: None,
        };
        let made = key.proposal("p1", &definition, "stepstream keys");
        let changed = DefinitionProposed { id: "p2".into(), expects: 1, ..made.clone() };
        let revoked = DefinitionProposed {
            id: "p3".into(),
            expects: 2,
            body: None,
            proposed_by: "an admin".into(),
            ..made.clone()
        };
        let foreign = DefinitionProposed { name: "short".into(), ..revoked.clone() };
        let model = DefinitionProposed { kind: DefinitionKind::Model, ..made.clone() };
        let lines = said(&[made, changed, revoked, foreign, model]);
        assert_eq!(lines.len(), 4, "{lines:?}");
        let id = key.key_id();
        for (line, words) in lines.iter().zip([
            ["key.create", id, "acme", "ExecutionsRead", "p1", "stepstream keys", "version=1"],
            ["key.change", id, "acme", "ExecutionsRead", "p2", "stepstream keys", "version=2"],
            ["key.revoke", id, "audit", "proposed=7", "p3", "an admin", "version=3"],
            ["key.revoke", "short", "audit", "proposed=7", "p3", "an admin", "version=4"],
        ]) {
            for word in words {
                assert!(line.contains(word), "no {word} in {line}");
            }
            assert!(!line.contains(key.key.expose_secret()), "{line}");
            assert!(!line.contains(&key.hash), "{line}");
        }
    }
}

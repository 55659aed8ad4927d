//! The API key of a development machine: made once, kept in the data directory for the next start, so
//! that commands that were copied go on working.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use domain::catalogue::DefinitionProposed;
use domain::request::DEFAULT_TENANT;
use secrecy::{ExposeSecret, SecretString};
use service::auth::{KeyDefinition, NewKey, Scope};
use uuid::Uuid;

use super::make_folder;
use crate::cluster::now;
use crate::error::CommandError;

/// The file within the data directory. Nobody but its owner can read it.
const FILE: &str = "api-key";
const OWNER_ONLY: u32 = 0o600;

/// The key of the data directory `data`, which is made when there is none.
///
/// # Errors
/// A directory or file that can't be read or made, or one that holds something else.
pub(super) fn load_or_make(data: &Path) -> Result<NewKey, CommandError> {
    let path = data.join(FILE);
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(text) => NewKey::given(SecretString::from(text.trim().to_owned())).map_err(|error| {
            CommandError::new(format!("reading the API key in {shown}"), error)
                .advise("delete the file, and a new key is made")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(data)?;
            let key = NewKey::generate()
                .map_err(|error| CommandError::new("making an API key", error))?;
            write(&path, &key).map_err(|error| {
                CommandError::new(format!("writing the API key to {shown}"), error)
                    .advise("choose another place with --data")
            })?;
            Ok(key)
        }
        Err(error) => Err(CommandError::new(format!("reading the API key in {shown}"), error)),
    }
}

fn write(path: &Path, key: &NewKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    writeln!(file, "{}", key.key.expose_secret())
}

/// The proposal that makes it known: it may do everything in the default tenant.
pub(super) fn proposal(key: &NewKey) -> DefinitionProposed {
    let definition = KeyDefinition {
        tenant: DEFAULT_TENANT.into(),
        scopes: [Scope::Admin].into(),
        label: "stepstream dev".into(),
        created: now(),
        expires: None,
    };
    key.proposal(Uuid::now_v7().to_string(), &definition, "stepstream dev")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        let made = load_or_make(&data).unwrap();
        let found = load_or_make(&data).unwrap();
        assert_eq!(made.hash, found.hash);
        let mode = fs::metadata(data.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
    }

    #[test]
    fn file_that_holds_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "hunter2").unwrap();
        let error = load_or_make(folder.path()).unwrap_err();
        assert!(error.chain().contains(FILE), "{}", error.chain());
        assert!(!error.chain().contains("hunter2"));
    }
}
